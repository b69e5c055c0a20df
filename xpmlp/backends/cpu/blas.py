"""C ← β C + α Aᵀ B through the BLAS that numpy has loaded: one pass over C, no temporary.

numpy offers no such function, but its library has it (cblas_sgemm, cblas_dgemm). The library is
the very one that numpy multiplies with, so no second set of threads comes up. What is
unknown, or fails its test, is not used.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from xpmlp.backends.layout import blas_strides

_ROW_MAJOR, _NO_TRANSPOSE, _TRANSPOSE = 101, 111, 112
_ACCELERATE = "/System/Library/Frameworks/Accelerate.framework/Accelerate"
# The wheels of numpy rename what is in their OpenBLAS, and mark 64-bit integers.
_PREFIXES, _SUFFIXES = ("", "scipy_"), ("", "64_", "_64")

AccumulateProduct = Callable[[Any, Any, Any, Any, Any], bool]


@cache
def accumulating_product() -> AccumulateProduct | None:
    """Return `accumulate_product(c, a, b, alpha, beta)`, or None without a BLAS that passes.

    It computes C ← β C + α Aᵀ B for matrices and plain numbers, or for stacks C (models, m, n)
    with a number or an array of one a model, and returns True; or it leaves C alone and returns
    False: the caller then does it another way.
    """
    for library in _libraries():
        routines = {
            np.dtype(dtype): routine
            for dtype, letter in (("float32", "s"), ("float64", "d"))
            if (routine := _routine(library, letter)) is not None
        }
        if len(routines) == 2:
            product = _of_stacks(_product_of(routines))
            if _passes(product):
                return product
    return None


def _libraries() -> Iterator[ctypes.CDLL]:
    paths = [entry["filepath"] for entry in threadpool_info() if entry["user_api"] == "blas"]
    if sys.platform == "darwin":
        paths.append(_ACCELERATE)
    for path in paths:
        # Another package's BLAS would bring its own threads into every step.
        if len(paths) > 1 and "numpy" not in path and path != _ACCELERATE:
            continue
        try:
            yield ctypes.CDLL(path)
        except OSError:
            continue


def _routine(library: ctypes.CDLL, letter: str) -> Any:
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            routine = getattr(library, f"{prefix}cblas_{letter}gemm{suffix}", None)
            if routine is not None:
                # A 64-bit argument serves a 32-bit parameter too, where each has a slot of
                # eight bytes; Apple's processors pack them.
                packed = sys.platform == "darwin" and "64" not in suffix
                integer = ctypes.c_int32 if packed else ctypes.c_int64
                real = ctypes.c_float if letter == "s" else ctypes.c_double
                pointer = ctypes.c_void_p
                sizes, matrix = [integer] * 3, [pointer, integer]
                routine.argtypes = [ctypes.c_int] * 3 + [
                    *sizes,
                    real,
                    *matrix,
                    *matrix,
                    real,
                    *matrix,
                ]
                routine.restype = None
                return routine
    return None


def _product_of(routines: dict[np.dtype[Any], Any]) -> AccumulateProduct:
    def accumulate_product(c: Any, a: Any, b: Any, alpha: Any, beta: Any) -> bool:
        dtype = c.dtype
        if (
            type(alpha) is not float
            or type(beta) is not float
            or c.ndim != 2
            or a.ndim != 2
            or b.ndim != 2
            or a.dtype != dtype
            or b.dtype != dtype
        ):
            return False
        routine, (rows, m), n = routines.get(dtype), a.shape, b.shape[1]
        a_strides, b_strides, flags = blas_strides(a), blas_strides(b), c.flags
        if (
            routine is None
            or a_strides is None
            or b_strides is None
            or c.shape != (m, n)
            or b.shape[0] != rows
            or not (rows and m and n)
            or not flags.c_contiguous
            or not flags.writeable
        ):
            return False
        routine(
            _ROW_MAJOR,
            _NO_TRANSPOSE if a_strides[0] else _TRANSPOSE,
            _TRANSPOSE if b_strides[0] else _NO_TRANSPOSE,
            m,
            n,
            rows,
            alpha,
            _address(a),
            a_strides[1],
            _address(b),
            b_strides[1],
            beta,
            _address(c),
            n,
        )
        return True

    return accumulate_product


def _of_stacks(product: AccumulateProduct) -> AccumulateProduct:
    """Extend a product of matrices to stacks of them, one call per model."""

    def accumulate_product(c: Any, a: Any, b: Any, alpha: Any, beta: Any) -> bool:
        if c.ndim != 3:
            return product(c, a, b, alpha, beta)
        models = len(c)
        if a.ndim == 2:  # the same examples for all
            a = [a] * models
        if len(a) != models or b.ndim != 3 or len(b) != models:
            return False
        alphas, betas = _numbers(alpha, models), _numbers(beta, models)
        if alphas is None or betas is None:
            return False
        # All matrices of a stack lie alike: if the first can be done, so can the others.
        return all(map(product, c, a, b, alphas, betas))

    return accumulate_product


def _numbers(factor: Any, models: int) -> list[float] | None:
    """Return one number per model, None for an array of another shape."""
    if type(factor) is float:
        return [factor] * models
    if getattr(factor, "shape", None) != (models, 1, 1):
        return None
    numbers: list[float] = factor.reshape(-1).tolist()
    return numbers


def _address(array: Any) -> int:
    """Return where an array begins, by the quickest way that it allows."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # read-only, or with gaps between its rows
        return int(array.__array_interface__["data"][0])


def _passes(product: AccumulateProduct) -> bool:
    """Hold it against numpy on a small product: a library of other conventions shows here."""
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        a, b, c = (rng.normal(size=shape).astype(dtype) for shape in ((5, 3), (5, 4), (3, 4)))
        expected = 0.5 * c - 2.0 * (a.T @ b)
        if not product(c, a, b, -2.0, 0.5) or not np.allclose(c, expected, rtol=1e-5):
            return False
    return True
