"""A library that computes, imported where it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from xpmlp.errors import DeviceError


def imported(module: str, name: str, install: str) -> Any:
    """Return a library's module; raises `DeviceError` with the line that installs it.

    `name` is what its users call it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            message = f"this backend needs {name}, which is not installed"
        else:
            message = f"{name} does not import ({str(error).splitlines()[0]})"
        raise DeviceError(f"{message}: {install}") from error
