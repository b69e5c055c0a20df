"""Products on a GPU through a cuBLAS handle of our own.

CuPy refuses its products while a stream is captured into a graph; cuBLAS itself does not. With a
handle of one's own a product can be captured, adds to what is there, C ← β C + α Aᵀ B, takes α
and β from the device, where a graph finds new values, and chooses TF32 for itself alone. A handle
belongs to one thread: another would turn it to another stream.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
import weakref
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from xpmlp.backends.layout import strides_of

# Of cuBLAS's headers.
_NO_TRANSPOSE, _TRANSPOSE = 0, 1
_ON_HOST, _ON_DEVICE = 0, 1
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
        self._library = _load(cupy)
        self._of_thread = threading.local()
        self._ones: dict[tuple[Any, int], Any] = {}
        self.handle_of_thread()

    def matmul(self, a: Any, b: Any) -> Any | None:
        """Return A B of matrices, or of stacks of them with leading axes; None for other kinds."""
        ndim = max(a.ndim, b.ndim)
        stacks = [x.shape[:-2] for x in (a, b) if x.ndim > 2]
        if ndim > 3 and len(set(stacks)) == 1:
            flat = (
                x.reshape((prod(x.shape[:-2]), *x.shape[-2:])) if x.ndim > 2 else x for x in (a, b)
            )
            found = self.matmul(*flat)
            return None if found is None else found.reshape((*stacks[0], *found.shape[-2:]))
        if min(a.ndim, b.ndim) < 2 or ndim > 3 or a.dtype != b.dtype:
            return None
        stack = () if ndim == 2 else (max(x.shape[0] for x in (a, b) if x.ndim == 3),)
        c = self._cupy.empty((*stack, a.shape[-2], b.shape[-1]), dtype=a.dtype)
        return c if self.multiply(c, a, b, 1.0, 0.0) else None

    def accumulate_product(self, c: Any, a: Any, b: Any, alpha: Any, beta: Any) -> bool:
        """C ← β C + α Aᵀ B in place; False, and C left alone, where it cannot be done so.

        Without A it is C ← β C + α Σ_n B_n, a row for each matrix B.
        """
        if a is not None:
            return self.multiply(c, a.swapaxes(-1, -2), b, alpha, beta)
        if not c.flags.c_contiguous:
            return False
        # A new axis by None would have the stride 0, which is no matrix's.
        row = c.reshape((*c.shape[:-1], 1, c.shape[-1]))
        return self.multiply(row, self._row_of_ones(b), b, alpha, beta)

    def _row_of_ones(self, like: Any) -> Any:
        """Return (1, N) of ones, one for each N: graphs go on reading them."""
        key = (like.dtype, like.shape[-2])
        if key not in self._ones:
            self._ones[key] = self._cupy.ones((1, like.shape[-2]), dtype=like.dtype)
        return self._ones[key]

    def multiply(self, c: Any, a: Any, b: Any, alpha: Any, beta: Any) -> bool:
        """C ← β C + α A B for matrices and stacks; α and β numbers, or 0-d arrays of C's dtype."""
        kind = self._kind(c.dtype)
        stack = c.shape[0] if c.ndim == 3 else 1
        parts = [_operand(x, stack) for x in (a, b, c)]
        if (
            kind is None
            or any(x.dtype != c.dtype for x in (a, b))
            or None in parts
            or not all(_is_factor(value, c.dtype) for value in (alpha, beta))
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
        handle = self.handle_of_thread()
        handle.turn_to(self._cupy.cuda.get_current_stream().ptr, self._call)
        on_host = all(isinstance(value, float | int) for value in (alpha, beta))
        handle.look_for_factors(_ON_HOST if on_host else _ON_DEVICE, self._call)
        # Kept until the call has been made.
        factors = [self._factor(value, c.dtype, on_host) for value in (alpha, beta)]
        one = stack == 1  # a choice of kernels that the other routine does not have
        steps = [[] if one else [ctypes.c_longlong(step)] for step in (a_step, b_step, c_step)]
        # cuBLAS thinks by columns: there our C is Cᵀ = Bᵀ Aᵀ, and so are A and B.
        self._call(
            "cublasGemmEx" if one else "cublasGemmStridedBatchedEx",
            handle.pointer,
            _TRANSPOSE if b_t else _NO_TRANSPOSE,
            _TRANSPOSE if a_t else _NO_TRANSPOSE,
            n,
            m,
            k,
            _address(factors[0]),
            *(ctypes.c_void_p(b.data.ptr), real, b_lead, *steps[1]),
            *(ctypes.c_void_p(a.data.ptr), real, a_lead, *steps[0]),
            _address(factors[1]),
            *(ctypes.c_void_p(c.data.ptr), real, c_lead, *steps[2]),
            *([] if one else [stack]),
            compute,
            _DEFAULT_ALGORITHM,
        )
        return True

    def handle_of_thread(self) -> _Handle:
        """Return this thread's handle, which goes with the thread.

        A graph goes on using its workspace: whoever records one keeps it.
        """
        found: _Handle | None = getattr(self._of_thread, "handle", None)
        if found is None:
            pointer = ctypes.c_void_p()
            self._call("cublasCreate_v2", ctypes.byref(pointer))
            found = _Handle(pointer, self._cupy.empty(_WORKSPACE, dtype=np.uint8))
            weakref.finalize(found, self._library.cublasDestroy_v2, pointer).atexit = False
            self._of_thread.handle = found
        return found

    def _kind(self, dtype: Any) -> tuple[int, int] | None:
        if dtype == np.float32:
            return _REAL_32, _COMPUTE_TF32 if self._tf32 else _COMPUTE_32
        return (_REAL_64, _COMPUTE_64) if dtype == np.float64 else None

    def _factor(self, value: Any, dtype: Any, on_host: bool) -> Any:
        """Return a factor where cuBLAS looks for it: both on the host, or both on the device."""
        if on_host:
            return (ctypes.c_float if dtype == np.float32 else ctypes.c_double)(value)
        if isinstance(value, float | int):
            return self._cupy.asarray(value, dtype=dtype)
        return value

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} of cuBLAS failed with status {status}")


class _Handle:
    """A handle of cuBLAS, its workspace, and what it was told last."""

    def __init__(self, pointer: ctypes.c_void_p, workspace: Any) -> None:
        self.pointer, self._workspace = pointer, workspace
        self._stream: int | None = None
        self._mode: int | None = None

    def turn_to(self, stream: int, call: Callable[..., None]) -> None:
        """Have products made on a stream."""
        if stream != self._stream:
            call("cublasSetStream_v2", self.pointer, ctypes.c_void_p(stream))
            # Setting the stream takes the workspace away.
            address = ctypes.c_void_p(self._workspace.data.ptr)
            call("cublasSetWorkspace_v2", self.pointer, address, ctypes.c_size_t(_WORKSPACE))
            self._stream = stream

    def look_for_factors(self, where: int, call: Callable[..., None]) -> None:
        """Have α and β read on the host, or on the device."""
        if where != self._mode:
            call("cublasSetPointerMode_v2", self.pointer, where)
            self._mode = where


def _is_factor(value: Any, dtype: Any) -> bool:
    """Tell a number, or a 0-d array of a dtype."""
    if isinstance(value, float | int):
        return True
    return getattr(value, "ndim", None) == 0 and value.dtype == dtype


def _address(factor: Any) -> ctypes.c_void_p:
    on_host = isinstance(factor, ctypes.c_float | ctypes.c_double)
    return ctypes.c_void_p(ctypes.addressof(factor) if on_host else factor.data.ptr)


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


def _load(cupy: Any) -> ctypes.CDLL:
    """Load the cuBLAS that CuPy uses: by its name where it has been loaded already."""
    version = cupy.cuda.runtime.runtimeGetVersion() // 1000
    try:
        return ctypes.CDLL(f"libcublas.so.{version}")
    except OSError:
        pass  # it is not where the system looks
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception as error:  # not installed, or not found by it
        raise OSError(f"cuBLAS cannot be loaded ({error})") from error


def product_of(cublas: Cublas, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """Return a `matmul` by this handle, and by CuPy for what it does not take."""

    def matmul(a: Any, b: Any, /) -> Any:
        found = cublas.matmul(a, b)
        return otherwise(a, b) if found is None else found

    return matmul
