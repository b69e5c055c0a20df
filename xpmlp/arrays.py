"""Names for the types of the Array API standard, which defines behaviour and no Python classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Real
from typing import Any, TypeAlias

# An array of whatever library is at hand, and that library's module of functions.
Array: TypeAlias = Any
Namespace: TypeAlias = Any

# Some rows of an array: neighbours as a slice, or any by their numbers, an integer array.
SomeRows: TypeAlias = "slice | Array"

# Parameters, gradients and optimiser moments of a network, under the same names:
# "layer1.weight", "layer1.bias", ...
Params: TypeAlias = dict[str, Array]


def copied(arrays: Params, *, xp: Namespace) -> Params:
    """Return copies, which updates in place of the originals do not reach."""
    return {name: xp.asarray(array, copy=True) for name, array in arrays.items()}


def some_rows(array: Array, rows: SomeRows, *, xp: Namespace) -> Array:
    """Return some rows of an array."""
    return array[rows, ...] if isinstance(rows, slice) else xp.take(array, rows, axis=0)


def elementwise(function: Callable[..., Any], *arrays: Array, xp: Namespace) -> Any:
    """Return function(*arrays, xp=xp), in one pass over memory where the namespace has a way."""
    fused = getattr(xp, "fused", None)
    return function(*arrays, xp=xp) if fused is None else fused(function)(*arrays)


def each(function: Callable[..., Any], works: Sequence[Any], *, xp: Namespace) -> list[Any]:
    """Return function(*work) of each: of optimisers, arrays and what is left to say of a step.

    A namespace may supply it as `each`, to have a pass over memory where the functions have many.
    """
    supplied = getattr(xp, "each", None)
    return [function(*work) for work in works] if supplied is None else supplied(function, works)


def by_hand(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have function(*arguments, xp=xp) done by a kernel where the namespace has one for it.

    It may supply `by_hand(function, arguments)`: what the function returns, or None.
    """

    @wraps(function)
    def done(*arguments: Any, xp: Namespace) -> Any:
        supplied = getattr(xp, "by_hand", None)
        found = None if supplied is None else supplied(function, arguments)
        return function(*arguments, xp=xp) if found is None else found

    return done


def plain(value: float | Array) -> float | Array:
    """Return a number as a Python float, which never widens float32 as numpy's float64 would."""
    # The usual case first: asking for a Real costs more than some of a small step's sums.
    return value if type(value) is float or not isinstance(value, Real) else float(value)


def per_model(value: float | Array, *, like: Array, xp: Namespace) -> float | Array:
    """Shape a hyperparameter of one value per model, (models,), to broadcast against `like`.

    Numbers and 0-d arrays, which are the same for all models, are not shaped.
    """
    if type(value) is float:  # the usual case, at once
        return value
    value = plain(value)
    if isinstance(value, float) or value.ndim < 1:  # -1: a number in a kernel that is traced
        return value
    return xp.reshape(value, value.shape + (1,) * (like.ndim - value.ndim))


def is_weight(name: str) -> bool:
    """Tell a weight, which penalties and decay act on, from a bias, which they leave alone."""
    return name.endswith(".weight")
