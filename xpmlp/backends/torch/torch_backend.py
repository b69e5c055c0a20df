"""PyTorch on a CPU, or on whatever accelerator it knows: CUDA, ROCm, Apple's MPS, Intel's XPU.

Its functions are called one by one, and its autograd is not asked for anything.
"""

from __future__ import annotations

import importlib
import re
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends.base import Backend
from xpmlp.backends.library import imported
from xpmlp.errors import DeviceError, UsageError

_INSTALL = "pip install torch (https://pytorch.org says how for each kind of device)"


class TorchBackend(Backend):
    """Tensors on one device of PyTorch's."""

    name = "torch"

    def __init__(
        self,
        device: str,
        dtype: str,
        *,
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        self._torch = torch = imported("torch", "PyTorch", _INSTALL)
        self.device = _device(torch, device)
        number = "" if self.device.index is None else f":{self.device.index}"
        self.device_name = f"{self.device.type}{number}".replace("cuda", "gpu")
        if dtype == "float64" and self.device.type == "mps":
            raise DeviceError("Apple's GPUs have no float64: choose float32, or the device cpu")
        if threads is not None:
            if threads < 1:
                raise UsageError(f"{threads} threads cannot work: choose 1 or more")
            torch.set_num_threads(threads)
        # Pieces fit in cache on a CPU, and fill any card.
        if self.device.type == "cpu":
            self.piece_size = 1000
        else:
            self.piece_size, self.piece_bytes = 65536, 2**30
        self.precision = precision
        if precision == "tf32":
            torch.backends.cuda.matmul.fp32_precision = "tf32"
        self.xp = _namespace(torch)
        super().__init__(dtype)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy to the host, which waits for the work on this tensor."""
        return np.array(array.detach().cpu().numpy())

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Compute without autograd."""
        context: AbstractContextManager[Any] = self._torch.no_grad()
        return context

    def synchronize(self) -> None:
        """Wait for all work on the device."""
        if self.device.type != "cpu":
            self._torch.accelerator.synchronize(self.device)

    def settings(self) -> dict[str, Any]:
        """Return the number of threads, or in what precision a device multiplies."""
        if self.device.type == "cpu":
            return {"threads": self._torch.get_num_threads()}
        return {"precision": self.precision if self.dtype_name == "float32" else self.dtype_name}

    def versions(self) -> dict[str, str]:
        """Add torch, and what it calls the device."""
        found = super().versions() | {"torch": self._torch.__version__}
        if self.device.type == "cuda":
            found["gpu"] = self._torch.cuda.get_device_name(self.device)
        return found


def _namespace(torch: Any) -> SimpleNamespace:
    """Return the standard's functions, and the product that adds up in place."""
    compat = importlib.import_module("array_api_compat.torch")

    def accumulate_product(c: Array, left: Any, right: Array, alpha: Any, beta: Any) -> bool:
        """C ← β C + α Aᵀ B, for numbers α and β and matrices or stacks of them."""
        if not isinstance(alpha, float) or not isinstance(beta, float):
            return False
        if left is None or left.ndim != right.ndim:
            return False
        add = c.addmm_ if c.ndim == 2 else c.baddbmm_
        add(left.mT, right, beta=beta, alpha=alpha)
        return True

    # Torch cannot calculate in uint32.
    names = {"uint32": torch.int64, "accumulate_product": accumulate_product}
    return SimpleNamespace(**vars(compat) | names)


def _device(torch: Any, name: str) -> Any:
    """Return torch's device of a name: "gpu" is the accelerator that is there, others by name."""
    match = re.fullmatch(r"(cpu|gpu|cuda|mps|xpu)(?::(\d+))?", name)
    if match is None or (match[1] in ("cpu", "mps") and match[2]):
        raise UsageError(
            f"device {name!r} is not one of torch's: choose cpu, gpu, gpu:N, cuda:N, mps or xpu:N"
        )
    kind, number = match[1], int(match[2] or 0)
    if kind == "cpu":
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or kind not in ("gpu", found.type):
        there = "no accelerator" if found is None else f"{found.type} and no {kind}"
        raise DeviceError(f"torch {torch.__version__} sees {there} here: {_INSTALL}")
    count = torch.accelerator.device_count()
    if number >= count:
        names = ", ".join(f"{kind}:{place}" for place in range(count))
        raise DeviceError(f"there is no device {name}: this machine has {names}")
    return torch.device(found.type, number)
