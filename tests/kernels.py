"""A namespace that counts the kernels of a step, as CuPy would launch them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, ClassVar

import array_api_compat.numpy as compat
import numpy as np

from xpmlp.backends.cuda.fusion import Fusion
from xpmlp.data.examples import prepared_rows
from xpmlp.mathematics.losses import assess

# Views, and questions about types: no kernel.
_FREE = {"reshape", "expand_dims", "squeeze", "broadcast_to", "moveaxis", "isdtype", "result_type"}


class Counted(np.ndarray):
    """An array of which every operation is a kernel; what is inside of a fused one is not."""

    counts: ClassVar[Counter[str]] = Counter()
    inside = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        count(f"{ufunc.__name__}" if method == "__call__" else f"{ufunc.__name__}.{method}")
        plain = [x.view(np.ndarray) if isinstance(x, Counted) else x for x in inputs]
        out = settings.pop("out", None)
        if out is not None:
            settings["out"] = tuple(x.view(np.ndarray) for x in out)
            getattr(ufunc, method)(*plain, **settings)
            return out[0]
        return counted(getattr(ufunc, method)(*plain, **settings))

    def __setitem__(self, key: Any, value: Any) -> None:
        count("copy")
        super().__setitem__(key, value)


def count(name: str) -> None:
    """Count a kernel, unless it is a part of another."""
    if not Counted.inside:
        Counted.counts[name] += 1


def counted(found: Any) -> Any:
    """Return arrays as counted ones, those without axes too."""
    if found is None:
        return None
    if isinstance(found, tuple):
        return tuple(map(counted, found))
    return np.asarray(found).view(Counted)


def as_one(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is one kernel, whatever it does."""

    def called(*arguments: Any, **settings: Any) -> Any:
        count(name)
        Counted.inside += 1
        try:
            return counted(function(*arguments, **settings))
        finally:
            Counted.inside -= 1

    return called


def namespace(**supplied: Callable[..., Any]) -> Any:
    """Return numpy's functions as kernels that are counted, and what a backend supplies."""
    names: dict[str, Any] = {}
    for name, function in vars(compat).items():
        of_arrays = callable(function) and not isinstance(function, type)
        names[name] = as_one(name, function) if of_arrays and name not in _FREE else function
    names |= supplied
    for name in ("arange", "ones"):
        names[name] = cache(partial(_made, getattr(compat, name)))

    def fuse(kernel_name: str) -> Callable[..., Any]:
        return lambda function: as_one(kernel_name, function)

    cupy = SimpleNamespace(
        fuse=fuse,
        where=np.where,
        allclose=np.allclose,
        max=np.max,
        abs=np.abs,
        isfinite=np.isfinite,
        asarray=lambda x, dtype: np.asarray(x, dtype),
    )
    written = SimpleNamespace(**{f.__name__: partial(_written, f) for f in (assess, prepared_rows)})
    fusion = Fusion(cupy, names, written)
    supplied = {"fused": fusion.fused, "each": fusion.each, "by_hand": fusion.by_hand}
    return SimpleNamespace(**names | supplied)


def _made(function: Callable[..., Any], *given: Any, dtype: Any) -> Any:
    return counted(function(*given, dtype=dtype))


def _written(function: Callable[..., Any], *arguments: Any) -> Any:
    """Stand in for a kernel that was written for a function."""
    return as_one(function.__name__, function)(*arguments, xp=compat)
