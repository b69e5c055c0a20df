"""From the name of a device to its backend."""

from __future__ import annotations

import re

from xpmlp.backends.base import Backend
from xpmlp.errors import UsageError


def select_backend(
    device: str = "cpu", dtype: str = "float32", *, threads: int | None = None
) -> Backend:
    """Return the backend of "cpu" (numpy), "gpu" (CuPy, its first device) or "gpu:N".

    `dtype` is "float32" or "float64"; `threads` how many threads a CPU may use, numpy's own
    included (by default all that this process may). Raises `UsageError` for another name,
    `DeviceError` for a GPU that cannot be used, with the cause; there is no silent way back
    to the CPU.
    """
    if device == "cpu":
        from xpmlp.backends.numpy_backend import NumpyBackend

        return NumpyBackend(dtype, threads)
    if match := re.fullmatch(r"gpu(?::(\d+))?", device):
        from xpmlp.backends.cupy_backend import CupyBackend

        return CupyBackend(int(match[1] or 0), dtype)
    raise UsageError(
        f"device {device!r} is not known: choose cpu, gpu or gpu:N (gpu:0, gpu:1, ...)"
    )
