"""CuPy on an NVIDIA GPU, and the reasons why it may not work, told apart."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends.base import Backend
from xpmlp.errors import DeviceError

_INSTALL = (
    'pip install "cupy-cuda13x[ctk]" (or "cupy-cuda12x[ctk]" for an NVIDIA driver older than 580)'
)


class CupyBackend(Backend):
    """CuPy arrays in the memory of one GPU, on which a 2×2 product has been seen to work."""

    name = "cupy"
    # Bounds the activations of a full batch; large enough to fill any card.
    piece_size = 65536

    def __init__(self, index: int, dtype: str) -> None:
        self._cupy = _import_cupy()
        _require_device(self._cupy, index)
        self.xp = importlib.import_module("array_api_compat.cupy")
        self.device = self._cupy.cuda.Device(index)
        self.device_name = f"gpu:{index}"
        self.device.use()  # CuPy allocates on the thread's current device
        _probe(self._cupy, self.device_name)
        super().__init__(dtype)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy to the host, which waits for the work on this array."""
        return np.asarray(self._cupy.asnumpy(array))

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Make this backend's device the current one, whichever another backend chose."""
        device: AbstractContextManager[Any] = self.device
        return device

    def synchronize(self) -> None:
        """Wait for all work on the device."""
        self.device.synchronize()

    def versions(self) -> dict[str, str]:
        """Add CuPy, the CUDA runtime and driver, and the card's name."""
        runtime = self._cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.device.id)
        return super().versions() | {
            "cupy": self._cupy.__version__,
            "cuda_runtime": str(runtime.runtimeGetVersion()),
            "cuda_driver": str(runtime.driverGetVersion()),
            "gpu": properties["name"].decode(),
        }


def _import_cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise DeviceError(
                f"CuPy is installed but lacks the module {error.name}: reinstall it with {_INSTALL}"
            ) from error
        raise DeviceError(f"a GPU needs CuPy, which is not installed: {_INSTALL}") from error
    except ImportError as error:
        raise DeviceError(
            f"CuPy is installed but does not import ({_first_line(error)}): "
            f"uninstall every cupy package, then {_INSTALL}"
        ) from error


def count_devices() -> int:
    """Return how many GPUs this process sees; 1 where that fails, which its use will explain."""
    try:
        return max(1, int(_import_cupy().cuda.runtime.getDeviceCount()))
    except Exception:  # of any library that is missing; see _require_device
        return 1


def _require_device(cupy: ModuleType, index: int) -> None:
    """Raise the precise reason why device `index` is not there, if it is not."""
    runtime = cupy.cuda.runtime
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        cause = _first_line(error)
        if "InsufficientDriver" in cause:
            raise DeviceError(_driver_message(cupy)) from error
        if "NoDevice" in cause:
            count = 0
        else:
            raise DeviceError(
                f"the CUDA runtime does not start ({cause}): check that nvidia-smi works"
            ) from error
    if count == 0:
        raise DeviceError(
            "the NVIDIA driver reports no GPU: check nvidia-smi and the environment variable "
            "CUDA_VISIBLE_DEVICES, or use --device cpu"
        )
    if index >= count:
        names = ", ".join(f"gpu:{i}" for i in range(count))
        raise DeviceError(f"there is no device gpu:{index}: this machine has {names}")


def _driver_message(cupy: ModuleType) -> str:
    """Tell a machine without a driver from one whose driver is too old."""
    driver, needed = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    if driver == 0:
        return (
            "no NVIDIA driver was found on this machine: install one (nvidia-smi shows whether "
            "it works) or use --device cpu"
        )
    return (
        f"the NVIDIA driver serves CUDA {_version(driver)} and this CuPy needs {_version(needed)}: "
        'update the driver, or replace CuPy with pip install "cupy-cuda12x[ctk]"'
    )


def _probe(cupy: ModuleType, device_name: str) -> None:
    """Run one elementwise kernel (NVRTC compiles it) and one product (cuBLAS)."""
    probes: dict[str, Callable[[], Any]] = {
        "compile a kernel": lambda: cupy.arange(4, dtype="float32") * 2 + 1,
        "multiply two matrices": lambda: cupy.matmul(cupy.eye(2), cupy.eye(2)),
    }
    for purpose, probe in probes.items():
        try:
            probe().get()
        except Exception as error:  # CuPy raises ImportError, OSError, RuntimeError or its own
            raise DeviceError(
                f"{device_name} cannot {purpose} ({_first_line(error)}): CuPy lacks a CUDA "
                f"library, {_INSTALL} brings them"
            ) from error


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
