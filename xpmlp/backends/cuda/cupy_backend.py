"""CuPy on an NVIDIA GPU, and the reasons why it may not work, told apart."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends.base import Backend
from xpmlp.backends.cuda.cublas import Cublas, product_of
from xpmlp.backends.cuda.fusion import Fusion
from xpmlp.backends.cuda.graph import Recorder
from xpmlp.backends.cuda.kernels import Kernels
from xpmlp.errors import DeviceError

_INSTALL = (
    'pip install "cupy-cuda13x[ctk]" (or "cupy-cuda12x[ctk]" for an NVIDIA driver older than 580)'
)


class CupyBackend(Backend):
    """CuPy arrays in the memory of one GPU, on which a 2×2 product has been seen to work."""

    name = "cupy"
    sums_by_nccl = True
    # Bounds the activations of a full batch; large enough to fill any card.
    piece_size = 65536
    piece_bytes = 2**30

    def __init__(
        self, index: int, dtype: str, *, graph: bool = True, precision: str = "float32"
    ) -> None:
        self._cupy = _import_cupy()
        _require_device(self._cupy, index)
        self.device = self._cupy.cuda.Device(index)
        self.device_name = f"gpu:{index}"
        _probe(self._cupy, self.device, self.device_name)
        self.precision = precision if dtype == "float32" else dtype
        self._cublas = self._own_products()
        self.records = graph and self._cublas is not None
        self._recorder: Recorder | None = None
        self.xp = _namespace(self._cupy, self._cublas)
        super().__init__(dtype)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy to the host, which waits for the work on this array."""
        return np.asarray(self._cupy.asnumpy(array))

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Make this backend's device the current one, whichever another backend chose."""
        device: AbstractContextManager[Any] = self.device
        return device

    def synchronize(self) -> None:
        """Wait for this thread's work: to wait for the device would spoil another's recording."""
        with self.device:
            self._cupy.cuda.get_current_stream().synchronize()

    def record(self, steps: Callable[[], None]) -> Callable[[], None] | None:
        """Record steps as a CUDA graph; with a warning None, from then on, where that fails."""
        try:
            with self.device:
                self._recorder = self._recorder or Recorder(self._cupy)
                keep = self._cublas and self._cublas.handle_of_thread()
                return self._recorder.record(steps, keep)
        except Exception as error:  # CuPy's, CUDA's, NotImplementedError of a product, ...
            self.records = False
            warnings.warn(
                f"steps are not recorded as a CUDA graph but launched one by one "
                f"({type(error).__name__}: {_first_line(error)}): graph=False chooses that",
                RuntimeWarning,
                stacklevel=2,
            )
        # Here the error has gone, and with it the arrays of the steps.
        if self._recorder is not None:
            self._recorder.give_back()
        return None

    def settings(self) -> dict[str, Any]:
        """Return in what precision products are made, and whether steps are recorded."""
        return {
            "precision": self.precision,
            "graph": self.records,
            "accumulating_product": self._cublas is not None,
        }

    def _own_products(self) -> Cublas | None:
        """Return products that can be recorded, None with a warning where they do not work."""
        try:
            with self.device:
                return working_products(self._cupy, tf32=self.precision == "tf32")
        except Exception as error:
            if self.precision == "tf32":
                raise DeviceError(
                    f"{self.device_name} cannot multiply in tf32 ({_first_line(error)}): leave out "
                    "precision="
                ) from error
            warnings.warn(
                f"cuBLAS cannot be called directly ({_first_line(error)}): steps will not be "
                "recorded, and launched one by one",
                RuntimeWarning,
                stacklevel=4,
            )
            return None

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


def working_products(cupy: Any, *, tf32: bool) -> Cublas:
    """Return products by a handle of our own that agree with CuPy's on small matrices."""
    cublas = Cublas(cupy, tf32=tf32)
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        # As they lie in a step: by rows, by columns, one for a stack.
        a, b = (cupy.asarray(rng.normal(size=s), dtype=dtype) for s in ((2, 5, 3), (2, 5, 4)))
        c = cupy.asarray(rng.normal(size=(2, 3, 4)), dtype=dtype)
        half = cupy.asarray(0.5, dtype=dtype)
        for x, y, z in ((a, b, c), (a[0], b[0], c[0]), (a[0], b, c)):
            expected = 0.5 * z - 2.0 * cupy.sum(x[..., :, :, None] * y[..., :, None, :], axis=-3)
            tolerance = 1e-2 if tf32 and dtype == "float32" else 1e-5
            found = z.copy()
            if not (
                cublas.accumulate_product(found, x, y, -2.0, half)
                and np.allclose(found.get(), expected.get(), rtol=tolerance, atol=tolerance)
            ):
                raise RuntimeError("its products are not those of CuPy")
    return cublas


def _namespace(cupy: Any, cublas: Cublas | None) -> Any:
    """Return the standard's functions, with products and fused functions that can be recorded."""
    compat = importlib.import_module("array_api_compat.cupy")
    if cublas is None:
        return compat

    def vecdot(a: Array, b: Array, /, *, axis: int = -1) -> Array:
        return cupy.sum(a * b, axis=axis)  # compat's is a product of CuPy's

    names = vars(compat) | {
        "matmul": product_of(cublas, compat.matmul),
        "accumulate_product": cublas.accumulate_product,
        "vecdot": vecdot,
    }
    # What every step begins with; graphs go on reading it.
    names |= {name: _made_once(getattr(compat, name)) for name in ("arange", "ones")}
    fusion = Fusion(cupy, names, Kernels(cupy))
    names |= {"fused": fusion.fused, "each": fusion.each, "by_hand": fusion.by_hand}
    return SimpleNamespace(**names)


def _made_once(make: Callable[..., Array]) -> Callable[..., Array]:
    """Return what makes an array of each kind once; the device is always this backend's."""
    known = cache(make)
    return lambda *shape, device=None, **kind: known(*shape, **kind)  # noqa: ARG005


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
            "CUDA_VISIBLE_DEVICES, or use the device cpu"
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
            "it works) or use the device cpu"
        )
    older = ', or replace CuPy with pip install "cupy-cuda12x[ctk]"' if needed >= 13000 else ""
    return (
        f"the NVIDIA driver serves CUDA {_version(driver)} and this CuPy needs {_version(needed)}: "
        f"update the driver{older}"
    )


def _probe(cupy: ModuleType, device: Any, device_name: str) -> None:
    """Start the device, run one elementwise kernel (NVRTC compiles it) and one product (cuBLAS)."""
    probes: dict[str, Callable[[], Any]] = {
        "start": device.use,  # CuPy allocates on the thread's current device
        "compile a kernel": lambda: (cupy.arange(4, dtype="float32") * 2 + 1).get(),
        "multiply two matrices": lambda: cupy.matmul(cupy.eye(2), cupy.eye(2)).get(),
    }
    for purpose, probe in probes.items():
        try:
            probe()
        except Exception as error:  # CuPy raises ImportError, OSError, RuntimeError or its own
            if purpose == "start" or isinstance(error, MemoryError):
                cure = "nvidia-smi shows what else uses the card"
            elif "architecture" in str(error):
                cure = 'for older cards replace CuPy with pip install "cupy-cuda12x[ctk]"'
            else:
                cure = f"CuPy lacks a CUDA library, {_INSTALL} brings them"
            raise DeviceError(
                f"{device_name} cannot {purpose} ({_first_line(error)}): {cure}"
            ) from error


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
