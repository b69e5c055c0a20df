"""From the names of a device and a library to a backend."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from xpmlp.backends.base import Backend
from xpmlp.backends.cpu.cores import shared_cores, usable_cores
from xpmlp.errors import DeviceError, UsageError, XpmlpError, check_known


def select_backend(
    device: str = "cpu",
    dtype: str = "float32",
    *,
    backend: str = "auto",
    threads: int | None = None,
    distributed: str | None = None,
    graph: bool = True,
    precision: str = "float32",
) -> Backend:
    """Return the backend of a device: "cpu", "gpu" (its first one) or "gpu:N".

    `backend` is the library: "numpy", "cupy", "jax" or "torch"; "auto" is numpy on the CPU and
    CuPy on a GPU, and never another. JAX's "gpu" is its default accelerator, and it knows "tpu";
    torch's is the accelerator that it finds, and it knows "cuda:N", "mps" and "xpu" by name.
    `dtype` is "float32" or "float64"; `threads` how many threads a CPU may use, numpy's own
    included (by default all that this process may). A GPU's steps are recorded as a CUDA `graph`
    unless that is False; `precision` "tf32" rounds what its products multiply. `distributed`
    "mpi" makes it one of the ranks that mpiexec has started: each has a share of the examples,
    "gpu" is its own card, and the cores of a machine are divided among its ranks.
    Raises `UsageError` for another name, `DeviceError` for a library that is not installed or a
    device that cannot be used, with the cause; there is no silent way back to the CPU.

    >>> backend = select_backend("cpu", "float64", threads=1)
    >>> backend.name, backend.dtype_name, backend.settings()["threads"]
    ('numpy', 'float64', 1)
    """
    if distributed is not None:
        return _on_a_rank(device, dtype, backend, threads, distributed, precision)
    library = _library(device, backend)
    _check_precision(device, dtype, precision)
    return BACKENDS[library](DeviceRequest(device, dtype, threads, graph, precision))


def chosen_backend(backend: Backend | str, device: str, dtype: str) -> Backend:
    """Return a backend that is given, or the one of a library's name."""
    if isinstance(backend, Backend):
        return backend
    return select_backend(device, dtype, backend=backend)


class DeviceRequest(NamedTuple):
    """What a backend is made for: the arguments of `select_backend` that are left to it."""

    device: str
    dtype: str
    threads: int | None
    graph: bool
    precision: str

    def number(self, *names: str) -> int:
        """Return the N of "gpu:N", 0 of "gpu"; raises `UsageError` for a device not of `names`."""
        match = re.fullmatch(r"(.+?)(?::(\d+))?", self.device)
        if match is None or match[1] not in names or (match[1] == "cpu" and match[2]):
            offered = [name if name == "cpu" else f"{name} or {name}:N" for name in names]
            raise UsageError(
                f"device {self.device!r} is not one of this backend: choose {', '.join(offered)}"
            )
        return int(match[2] or 0)


def _numpy(wanted: DeviceRequest) -> Backend:
    from xpmlp.backends.cpu.numpy_backend import NumpyBackend

    wanted.number("cpu")
    return NumpyBackend(wanted.dtype, wanted.threads)


def _cupy(wanted: DeviceRequest) -> Backend:
    from xpmlp.backends.cuda.cupy_backend import CupyBackend

    number = wanted.number("gpu")
    try:
        return CupyBackend(number, wanted.dtype, graph=wanted.graph, precision=wanted.precision)
    except DeviceError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):  # it is there
            raise
        others = [name for name in ("torch", "jax") if _can_use(name, wanted)]
        if not others:
            raise
        raise DeviceError(
            f"{error}; {others[0]} sees a GPU here: give {others[0]} as backend="
        ) from error


def _can_use(library: str, wanted: DeviceRequest) -> bool:
    """Return whether another library is installed, and would compute what is wanted."""
    try:
        return find_spec(library) is not None and bool(BACKENDS[library](wanted))
    except XpmlpError:
        return False


def _jax(wanted: DeviceRequest) -> Backend:
    from xpmlp.backends.jax.jax_backend import JaxBackend

    device, dtype, threads, _, precision = wanted
    return JaxBackend(device, dtype, threads=threads, precision=precision)


def _torch(wanted: DeviceRequest) -> Backend:
    from xpmlp.backends.torch.torch_backend import TorchBackend

    device, dtype, threads, _, precision = wanted
    return TorchBackend(device, dtype, threads=threads, precision=precision)


# From a library's name to its backend; a new one is a row here.
BACKENDS: dict[str, Callable[[DeviceRequest], Backend]] = {
    "numpy": _numpy,
    "cupy": _cupy,
    "jax": _jax,
    "torch": _torch,
}


def _library(device: str, backend: str) -> str:
    """Return the library that computes: what was asked for, or what is usual for a device."""
    if backend != "auto":
        check_known("backend", backend, ["auto", *BACKENDS])
        return backend
    if device == "cpu":
        return "numpy"
    if re.fullmatch(r"gpu(:\d+)?", device):
        return "cupy"
    raise UsageError(
        f"device {device!r} is not known: choose cpu, gpu or gpu:N (gpu:0, gpu:1, ...); with torch "
        "as backend= there are cuda:N, mps and xpu, too, and with jax tpu"
    )


def _check_precision(device: str, dtype: str, precision: str) -> None:
    check_known("precision", precision, ("float32", "tf32"))
    if precision == "tf32" and (device == "cpu" or dtype != "float32"):
        raise UsageError(f"tf32 is a GPU's way with float32: {device} in {dtype} has none")


def _on_a_rank(
    device: str, dtype: str, backend: str, threads: int | None, engine: str, precision: str
) -> Backend:
    if engine != "mpi":
        raise UsageError(f"distributed {engine!r} is not known: there is mpi")
    from xpmlp.backends.ranks.distributed import DistributedBackend
    from xpmlp.backends.ranks.start import start_ranks

    ranks = start_ranks()
    library = _library(device, backend)
    if device == "gpu":
        device = f"gpu:{ranks.local_rank % _gpus(library)}"
    if threads is None and library != "jax":
        threads = max(1, min(shared_cores() // ranks.sharers, usable_cores()))
    # What a rank records would not wait for the others.
    inner = select_backend(
        device, dtype, backend=backend, threads=threads, graph=False, precision=precision
    )
    return DistributedBackend(inner, ranks)


def _gpus(library: str) -> int:
    """Return how many GPUs a library sees; 1 where that fails, which its use will explain."""
    try:
        if library == "torch":
            return max(1, int(import_module("torch").accelerator.device_count()))
        if library == "jax":
            return len(import_module("jax").devices())
        return max(1, int(import_module("cupy").cuda.runtime.getDeviceCount()))
    except Exception:  # of any library that is missing
        return 1
