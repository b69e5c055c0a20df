"""Products on a GPU through a cuBLAS handle of our own.

CuPy refuses its products while a stream is captured into a graph; cuBLAS itself does not. With a
handle of one's own a product can be captured, adds to what is there, C ← β C + α Aᵀ B, takes α
and β from the device, where a graph finds new values, and chooses TF32 for itself alone.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from xpmlp.backends.layout import strides_of

# Of cuBLAS's headers.
_NO_TRANSPOSE, _TRANSPOSE = 0, 1
_POINTERS_ON_DEVICE = 1
_REAL_32, _REAL_64 = 0, 1
_COMPUTE_32, _COMPUTE_64, _COMPUTE_TF32 = 68, 70, 77
_DEFAULT_ALGORITHM = -1
# What NVIDIA recommends for Hopper; a graph keeps using it, so it lives as long as the handle.
_WORKSPACE = 32 * 2**20


class Cublas:
    """Products of arrays on one GPU; `tf32` rounds what is multiplied to 10 bits.

    Raises `OSError` where the library cannot be loaded, `RuntimeError` where it refuses.
    """

    def __init__(self, cupy: Any, *, tf32: bool = False) -> None:
        self._cupy, self._tf32 = cupy, tf32
        self._library = _load()
        self._handle = ctypes.c_void_p()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        self._workspace = cupy.empty(_WORKSPACE, dtype=np.uint8)
        self._call("cublasSetPointerMode_v2", self._handle, _POINTERS_ON_DEVICE)
        self._stream: int | None = None
        # Plain factors, by dtype and value: on the device once, and never freed.
        self._numbers: dict[tuple[np.dtype[Any], float], Any] = {}

    def matmul(self, a: Any, b: Any) -> Any | None:
        """Return A B of matrices, or of stacks of them with leading axis; None for other kinds."""
        ndim = max(a.ndim, b.ndim)
        if min(a.ndim, b.ndim) < 2 or ndim > 3 or a.dtype != b.dtype:
            return None
        stack = () if ndim == 2 else (max(x.shape[0] for x in (a, b) if x.ndim == 3),)
        c = self._cupy.empty((*stack, a.shape[-2], b.shape[-1]), dtype=a.dtype)
        return c if self.multiply(c, a, b, 1.0, 0.0) else None

    def accumulate_product(self, c: Any, a: Any, b: Any, alpha: Any, beta: Any) -> bool:
        """C ← β C + α Aᵀ B in place; False, and C left alone, where it cannot be done so."""
        return self.multiply(c, a.swapaxes(-1, -2), b, alpha, beta)

    def multiply(self, c: Any, a: Any, b: Any, alpha: Any, beta: Any) -> bool:
        """C ← β C + α A B for matrices and stacks; α and β numbers, or 0-d arrays of C's dtype."""
        kind = self._kind(c.dtype)
        stack = c.shape[0] if c.ndim == 3 else 1
        parts = [_operand(x, stack) for x in (a, b, c)]
        factors = [self._factor(value, c.dtype) for value in (alpha, beta)]
        if (
            kind is None
            or any(x.dtype != c.dtype for x in (a, b))
            or None in parts
            or None in factors
            or c.ndim not in (2, 3)
            or (*a.shape[-2:-1], b.shape[-1]) != c.shape[-2:]
            or a.shape[-1] != b.shape[-2]
        ):
            return False
        (a_t, a_lead, a_step), (b_t, b_lead, b_step), (c_t, c_lead, c_step) = parts  # type: ignore[misc]
        (m, n), k = c.shape[-2:], a.shape[-1]
        if c_t or not (m and n and k and stack):
            return False
        real, compute = kind
        stream = self._cupy.cuda.get_current_stream().ptr
        if stream != self._stream:
            self._call("cublasSetStream_v2", self._handle, ctypes.c_void_p(stream))
            # Setting the stream takes the workspace away.
            address = ctypes.c_void_p(self._workspace.data.ptr)
            size = ctypes.c_size_t(_WORKSPACE)
            self._call("cublasSetWorkspace_v2", self._handle, address, size)
            self._stream = stream
        # cuBLAS thinks by columns: there our C is Cᵀ = Bᵀ Aᵀ, and so are A and B.
        self._call(
            "cublasGemmStridedBatchedEx",
            self._handle,
            _TRANSPOSE if b_t else _NO_TRANSPOSE,
            _TRANSPOSE if a_t else _NO_TRANSPOSE,
            n,
            m,
            k,
            ctypes.c_void_p(factors[0]),
            ctypes.c_void_p(b.data.ptr),
            real,
            b_lead,
            ctypes.c_longlong(b_step),
            ctypes.c_void_p(a.data.ptr),
            real,
            a_lead,
            ctypes.c_longlong(a_step),
            ctypes.c_void_p(factors[1]),
            ctypes.c_void_p(c.data.ptr),
            real,
            c_lead,
            ctypes.c_longlong(c_step),
            stack,
            compute,
            _DEFAULT_ALGORITHM,
        )
        return True

    def _kind(self, dtype: Any) -> tuple[int, int] | None:
        if dtype == np.float32:
            return _REAL_32, _COMPUTE_TF32 if self._tf32 else _COMPUTE_32
        return (_REAL_64, _COMPUTE_64) if dtype == np.float64 else None

    def _factor(self, value: Any, dtype: Any) -> int | None:
        """Return where a factor lies on the device."""
        if isinstance(value, float | int):
            key = (dtype, float(value))
            if key not in self._numbers:
                self._numbers[key] = self._cupy.asarray(value, dtype=dtype)
            return int(self._numbers[key].data.ptr)
        if getattr(value, "ndim", None) == 0 and value.dtype == dtype:
            return int(value.data.ptr)
        return None

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} of cuBLAS failed with status {status}")


def _operand(array: Any, stack: int) -> tuple[bool, int, int] | None:
    """Return (by columns, leading dimension, step from matrix to matrix) of a matrix or stack.

    A matrix, or a stack of one, is the same for all: step 0.
    """
    strides = strides_of(array.shape[-2:], array.strides[-2:], array.itemsize)
    if strides is None:
        return None
    step = 0
    if array.ndim == 3 and array.shape[0] == stack and stack > 1:
        if array.strides[0] % array.itemsize:
            return None
        step = array.strides[0] // array.itemsize
    elif array.ndim == 3 and array.shape[0] != 1:
        return None
    return (*strides, step)


def _load() -> ctypes.CDLL:
    """Load the cuBLAS that CuPy uses."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception as error:  # not installed, or not found by it
        for name in ("libcublas.so.13", "libcublas.so.12"):
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
        raise OSError(f"cuBLAS cannot be loaded ({error})") from error


def product_of(cublas: Cublas, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `matmul` by this handle, and by CuPy for what it does not take."""

    def matmul(a: Any, b: Any, /) -> Any:
        found = cublas.matmul(a, b)
        return otherwise(a, b) if found is None else found

    return matmul
