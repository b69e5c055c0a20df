"""From the name of a device to its backend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from xpmlp.backends.base import Backend
from xpmlp.backends.cpu.cores import shared_cores, usable_cores
from xpmlp.errors import UsageError


def select_backend(
    device: str = "cpu",
    dtype: str = "float32",
    *,
    threads: int | None = None,
    distributed: str | None = None,
    graph: bool = True,
    precision: str = "float32",
) -> Backend:
    """Return the backend of "cpu" (numpy), "gpu" (CuPy, its first device) or "gpu:N".

    `dtype` is "float32" or "float64"; `threads` how many threads a CPU may use, numpy's own
    included (by default all that this process may). A GPU's steps are recorded as a CUDA `graph`
    unless that is False; `precision` "tf32" rounds what its products multiply. `distributed`
    "mpi" makes it one of the ranks that mpiexec has started: each has a share of the examples,
    "gpu" is its own card, and the cores of a machine are divided among its ranks.
    Raises `UsageError` for another name, `DeviceError` for a GPU that cannot be used, with the
    cause; there is no silent way back to the CPU.

    >>> backend = select_backend("cpu", "float64", threads=1)
    >>> backend.name, backend.dtype_name, backend.settings()["threads"]
    ('numpy', 'float64', 1)
    """
    if distributed is not None:
        return _on_a_rank(device, dtype, threads, distributed, precision)
    _check_precision(device, dtype, precision)
    match = re.fullmatch(r"(.+?)(?::(\d+))?", device)
    if match is None or match[1] not in BACKENDS or (match[1] == "cpu" and match[2]):
        known = ", ".join(name for name in BACKENDS if name not in ("cpu", "gpu"))
        raise UsageError(
            f"device {device!r} is not known: choose cpu, gpu or gpu:N (gpu:0, gpu:1, ...)"
            + (f", {known}" if known else "")
        )
    index = int(match[2] or 0)
    return BACKENDS[match[1]](DeviceRequest(index, dtype, threads, graph, precision))


class DeviceRequest(NamedTuple):
    """What a backend is made for: the device's number, and the arguments of `select_backend`."""

    number: int
    dtype: str
    threads: int | None
    graph: bool
    precision: str


def _numpy(wanted: DeviceRequest) -> Backend:
    from xpmlp.backends.cpu.numpy_backend import NumpyBackend

    return NumpyBackend(wanted.dtype, wanted.threads)


def _cupy(wanted: DeviceRequest) -> Backend:
    from xpmlp.backends.cuda.cupy_backend import CupyBackend

    return CupyBackend(wanted.number, wanted.dtype, graph=wanted.graph, precision=wanted.precision)


# From a device's name to its backend; a new one is a row here.
BACKENDS: dict[str, Callable[[DeviceRequest], Backend]] = {"cpu": _numpy, "gpu": _cupy}


def _check_precision(device: str, dtype: str, precision: str) -> None:
    if precision not in ("float32", "tf32"):
        raise UsageError(f"precision {precision!r} is not known: choose float32 or tf32")
    if precision == "tf32" and (device == "cpu" or dtype != "float32"):
        raise UsageError(f"tf32 is a GPU's way with float32: {device} in {dtype} has none")


def _on_a_rank(
    device: str, dtype: str, threads: int | None, engine: str, precision: str
) -> Backend:
    if engine != "mpi":
        raise UsageError(f"distributed {engine!r} is not known: there is mpi")
    from xpmlp.backends.ranks.distributed import DistributedBackend
    from xpmlp.backends.ranks.start import start_ranks

    ranks = start_ranks()
    if device == "gpu":
        device = f"gpu:{ranks.local_rank % _gpus()}"
    if threads is None:
        threads = max(1, min(shared_cores() // ranks.sharers, usable_cores()))
    # What a rank records would not wait for the others.
    inner = select_backend(device, dtype, threads=threads, graph=False, precision=precision)
    return DistributedBackend(inner, ranks)


def _gpus() -> int:
    from xpmlp.backends.cuda.cupy_backend import count_devices

    return count_devices()
