"""Elementwise functions of the mathematics as one kernel each, by tracing those functions."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Function = Callable[..., Any]


class Fusion:
    """Traces functions of (arrays, xp=namespace) with cupy.fuse, once each.

    One that cannot be traced, or whose kernel has another dtype or shape, is called as it is:
    the same result, in more kernels.
    """

    def __init__(self, cupy: Any, names: dict[str, Any]) -> None:
        self._cupy = cupy
        # While it is traced an "array" is a stand-in without methods, and its dtype is known.
        self._xp = SimpleNamespace(**names | {"astype": _cast(cupy)})
        self._plain = SimpleNamespace(**names)
        self._traced: dict[Function, Function] = {}

    def fused(self, function: Function) -> Function:
        """Return a function of arrays that does what `function` does with this namespace."""
        if function not in self._traced:
            self._traced[function] = self._trace(function)
        return self._traced[function]

    def _trace(self, function: Function) -> Function:
        def plainly(*arrays: Any) -> Any:
            return function(*arrays, xp=self._plain)

        fuse = self._cupy.fuse(kernel_name=function.__name__)
        kernel = fuse(lambda *arrays: function(*arrays, xp=self._xp))

        def tried(*arrays: Any) -> Any:
            expected = plainly(*arrays)
            try:
                found = kernel(*arrays)
                works = (found.dtype, found.shape) == (expected.dtype, expected.shape)
            except Exception:  # cupy.fuse raises several kinds for what it cannot trace
                works = False
            self._traced[function] = kernel if works else plainly
            return expected

        return tried


def _cast(cupy: Any) -> Function:
    def astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Any:  # noqa: ARG001
        # 1 and 0 of a comparison, in the dtype asked for.
        return cupy.where(x, dtype.type(1), dtype.type(0))

    return astype
