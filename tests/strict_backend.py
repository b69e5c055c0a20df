"""array_api_strict on its simulated second device: what stands in for a GPU without one.

Only functions of the standard exist, boolean masks and data-dependent shapes are refused,
arrays of another device or library are refused, and so is reading a value on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import pytest

from xpmlp.arrays import Array
from xpmlp.backends import Backend

_DEVICE = array_api_strict.Device("device1")


def _on_device(function: Any) -> Any:
    """Create on the second device, as the functions of a GPU's library do on theirs."""

    def create(*arguments: Any, device: Any = None, **settings: Any) -> Any:
        return function(*arguments, device=device or _DEVICE, **settings)

    return create


_CREATION = ("arange", "ones", "zeros", "eye", "full", "asarray")


class StrictBackend(Backend):
    name = "array_api_strict"
    device_name = "strict:device1"
    xp = SimpleNamespace(
        **vars(array_api_strict)
        | {name: _on_device(getattr(array_api_strict, name)) for name in _CREATION}
    )
    device = _DEVICE
    piece_size = 16

    def to_host(self, array: Array) -> np.ndarray:
        # The library refuses to copy from its second device; a GPU's library has a function.
        return np.array(array._array) if hasattr(array, "_array") else np.array(array)

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:  # noqa: ARG002
        return np.errstate(over="ignore", invalid="ignore", divide="ignore")

    def synchronize(self) -> None:
        pass


def _refuse(name: str) -> Any:
    def refuse(*_: Any) -> Any:
        raise AssertionError(f"{name} reads an array on the host: a GPU would wait here")

    return refuse


@contextmanager
def strict_rules() -> Iterator[None]:
    """Switch optional features off and make host reads raise."""
    array_type = type(array_api_strict.ones(1))
    with (
        array_api_strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("__float__", "__bool__", "__int__", "__index__", "__complex__"):
            patch.setattr(array_type, name, _refuse(name))
        yield
