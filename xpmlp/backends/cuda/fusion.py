"""Functions of the mathematics that go number by number, as one kernel each, by tracing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from xpmlp.arrays import is_weight
from xpmlp.backends.results import in_places, places_of
from xpmlp.trees import Layout, put_together, taken_apart

Function = Callable[..., Any]


class Fusion:
    """Traces functions of (arrays and numbers, xp=namespace) with cupy.fuse.

    They may change what they are given, and return some of it. A kernel is held once against the
    function itself for each kind of arguments; where it cannot be traced, or finds something
    else, the function is called as it is: in more kernels.
    """

    def __init__(self, cupy: Any, names: dict[str, Any], written: Any = None) -> None:
        self._cupy, self._written = cupy, written
        # While it is traced an "array" is a stand-in, which is no array to array-api-compat.
        self._xp = SimpleNamespace(**names | {"astype": _astype})
        self._plain = SimpleNamespace(**names)
        self._fused: dict[Any, Function] = {}
        self._agrees: dict[Any, bool] = {}
        self._numbers: dict[tuple[float, Any], Any] = {}
        self._rates: dict[Any, tuple[float, Any]] = {}

    def fused(self, function: Function) -> Function:
        """Return a function of arrays that does what `function` does with this namespace."""
        if function not in self._fused:
            self._fused[function] = self._traced(function, function.__name__)
        return self._fused[function]

    def each(self, function: Function, works: Sequence[Any]) -> list[Any]:
        """Return function(*work) of each optimiser's work, in one kernel where g is an array."""
        return [self._moved(function, *work) for work in works]

    def by_hand(self, function: Function, arguments: tuple[Any, ...]) -> Any | None:
        """Return what a kernel finds that was written for a function; None where there is none.

        It is held once against the function, as those that are traced are.
        """
        kernel = getattr(self._written, function.__name__, None)
        if kernel is None:
            return None
        if any(isinstance(argument, slice) for argument in arguments):
            return None  # that cannot be told from others before Python 3.12
        layout, values = taken_apart(arguments)
        kind = function, layout, *map(_kind, values)
        if self._agrees.get(kind):
            return kernel(*arguments)
        if kind not in self._agrees:
            try:
                found = kernel(*arguments)
                if found is None:
                    return None
                self._agrees[kind] = self._same(found, function(*arguments, xp=self._plain))
            except Exception:  # of a compiler, or a library
                self._agrees[kind] = False
        return found if self._agrees[kind] else None

    def _moved(self, function: Function, rule: Any, w: Any, g: Any, moments: Any, at: Any) -> Any:
        if not hasattr(g, "dtype"):
            return function(rule, w, g, moments, at)  # a product adds itself to what is there
        # Of two plain numbers the tracer would make one of half precision: all are arrays.
        context = at._replace(name="", xp=None, rate=self._rate(at.rate, w.dtype), descent=None)
        layout, values = taken_apart((rule, w, g, moments, context))
        values = [self._kept(v, w.dtype) if isinstance(v, float) else v for v in values]
        if any(value.ndim not in (0, w.ndim) for value in values):
            return function(rule, w, g, moments, at)  # one hyperparameter per model is reshaped
        key = function, layout, is_weight(at.name)
        if key not in self._fused:
            step = partial(_step, function, layout, at.name)
            self._fused[key] = self._traced(step, type(rule).__name__)
        return self._fused[key](*values)

    def _kept(self, value: float, dtype: Any) -> Any:
        """Return a hyperparameter on the device; it is kept, because graphs go on reading it."""
        if (value, dtype) not in self._numbers:
            self._numbers[value, dtype] = self._cupy.asarray(value, dtype=dtype)
        return self._numbers[value, dtype]

    def _rate(self, value: Any, dtype: Any) -> Any:
        """Return a learning rate on the device: the last one is kept, a schedule changes it."""
        if not isinstance(value, float):
            return value
        before, array = self._rates.get(dtype, (None, None))
        if value != before:
            array = self._cupy.asarray(value, dtype=dtype)
            self._rates[dtype] = value, array
        return array

    def _traced(self, function: Function, name: str) -> Function:
        kernels: dict[tuple[Any, ...], _Kernel | None] = {}

        def fused(*values: Any) -> Any:
            kind = tuple(map(_kind, values))
            if kind not in kernels:
                kernels[kind] = self._kernel(function, name, values)
            kernel = kernels[kind]
            # From the first call on: a run that is resumed calls it for the first time, too.
            return function(*values, xp=self._plain) if kernel is None else kernel(*values)

        return fused

    def _kernel(self, function: Function, name: str, values: tuple[Any, ...]) -> _Kernel | None:
        """Return a kernel that finds what the function finds, None where there is none."""
        kernel = _Kernel(self._cupy, partial(function, xp=self._xp), name)
        given, again = ([v.copy() if hasattr(v, "copy") else v for v in values] for _ in range(2))
        try:
            expected = function(*given, xp=self._plain), given
            same = self._same((kernel(*again), again), expected)
        except Exception:  # cupy.fuse raises several kinds for what it cannot trace
            return None
        return kernel if same else None

    def _same(self, found: Any, expected: Any) -> bool:
        """Tell whether the arrays of results are the same to rounding."""
        (_, values), (_, others) = taken_apart(found), taken_apart(expected)
        return len(values) == len(others) and all(map(self._alike, values, others))

    def _alike(self, found: Any, expected: Any) -> bool:
        if (found.dtype, found.shape) != (expected.dtype, expected.shape):
            return False
        if not expected.size:
            return True
        cupy, tolerance = self._cupy, 1e-4 if expected.dtype.itemsize == 4 else 1e-10
        # Derivatives of a mean over many examples are all small.
        usual = float(cupy.max(cupy.abs(cupy.where(cupy.isfinite(expected), expected, 0))))
        close = cupy.allclose(found, expected, tolerance, tolerance * usual, equal_nan=True)
        return bool(close)


class _Kernel:
    """One kernel for a function that may change its arguments, and return some of them."""

    def __init__(self, cupy: Any, function: Function, name: str) -> None:
        self._function = function
        self._places: Any = None  # of the results, as the function returns them
        self._call = cupy.fuse(kernel_name=name)(self._new_ones)

    def _new_ones(self, *arguments: Any) -> Any:
        """Return what the function returns that is none of its arguments, each once."""
        self._places, new = places_of(self._function(*arguments), arguments)
        return tuple(new) if new else None

    def __call__(self, *values: Any) -> Any:
        """Do it, and return what the function would."""
        new = self._call(*values)  # which says the places
        return in_places(self._places, values, new)


def _kind(value: Any) -> Any:
    """Return what tells arguments apart for which a kernel may do something else."""
    return getattr(value, "dtype", type(value)), getattr(value, "ndim", None)


def _step(
    function: Function, layout: Layout, name: str, *values: Any, xp: Any
) -> tuple[Any, dict[str, Any]]:
    """Take an optimiser's step of arrays and numbers that were taken apart."""
    rule, w, g, moments, at = put_together(layout, iter(values))
    at = at._replace(name=name, xp=xp, descent=lambda: -at.rate)
    found: tuple[Any, dict[str, Any]] = function(rule, w, g, moments, at)
    return found


def _astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
    return x.astype(dtype, copy=copy)
