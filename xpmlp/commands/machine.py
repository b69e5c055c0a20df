"""What a measurement was taken on: date, machine, versions."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xpmlp
from xpmlp.backends import Backend

_PACKAGES = ("numpy", "cupy", "torch", "jax", "scikit-learn")


def measured_on(*backends: Backend) -> dict[str, Any]:
    """Return date, machine and versions, for the JSON beside a figure."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            # OpenBLAS does as these say, if they are set.
            "openblas_variables": {
                name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")
            },
        },
        "devices": {b.device_name: {"backend": b.name, **b.settings()} for b in backends},
        "versions": _versions() | {k: v for b in backends for k, v in b.versions().items()},
    }


def processor_name() -> str:
    """Return the processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "xpmlp": xpmlp.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
