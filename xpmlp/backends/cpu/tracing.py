"""Functions that go number by number, written down as one loop: by calling them with stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from xpmlp.backends.results import is_placed, places_of

# What a loop may call, by numpy's names: nothing that a compiler may round in another way.
_FUNCTIONS = ("sqrt", "abs", "sign")
_SOURCE = """\
{constants}

def before({values}):
    {before}
    return {factors}

def loop({arrays}, factors):
    for m in range(a0.shape[0]):
        {take}
        for i in range(a0.shape[1]):
            {read}
            {lines}
            {write}
"""


class Traced:
    """function(arrays, numbers, xp) of arrays of one shape and dtype, taken down.

    `before(*numbers)` does with numpy, in the same order, what the function does with numbers
    alone, and returns the factors that the loop needs. `loop(*arrays, *new, factors)` does the
    rest: arrays are (models, n), factors (models, count). `places` says where the results are,
    `new` how many of the arrays are new. An array whose number is `spent` is not written to,
    unless it is a result. Raises `TypeError` or `AttributeError` for a function that is not of
    this kind.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arrays: int,
        numbers: int,
        dtype: np.dtype[Any],
        spent: Sequence[int] = (),
    ) -> None:
        self._lines: list[str] = []
        self._before: list[str] = []
        self._factors: dict[str, int] = {}
        self._constants: list[float] = []
        self.dtype, self._names = dtype, 0
        given = [StandIn(self, f"x{k}", True) for k in range(arrays)]
        values = [StandIn(self, f"v{k}", False) for k in range(numbers)]
        began = [array.name for array in given]
        self.xp = SimpleNamespace(**{name: self._function(name) for name in _FUNCTIONS})
        results = function(given, values, self.xp)
        self.places, new = places_of(results, given)
        if not all(isinstance(result, StandIn) and result.of_array for result in new):
            raise TypeError("a result is no array")
        self.new = len(new)
        kept = [k for k in spent if not is_placed(self.places, k)]
        changed = [k for k, array in enumerate(given) if array.name != began[k] and k not in kept]
        names = [f"a{k}" for k in range(arrays + len(new))]
        written = [f"a{k}[m, i] = {given[k].name}" for k in changed]
        written += [f"a{arrays + k}[m, i] = {result.name}" for k, result in enumerate(new)]
        constants = [f"c{k} = np.{dtype}({n!r})" for k, n in enumerate(self._constants)]
        self.source = _SOURCE.format(
            constants=_block(constants, 0),
            values=", ".join(value.name for value in values),
            before=_block(self._before, 4),
            factors=f"({', '.join(self._factors)}{',' if self._factors else ''})",
            arrays=", ".join(names),
            take=_block([f"{name} = factors[m, {k}]" for name, k in self._factors.items()], 8),
            read=_block([f"x{k} = a{k}[m, i]" for k in range(arrays)], 12),
            lines=_block(self._lines, 12),
            write=_block(written, 12),
        )
        made: dict[str, Any] = {"np": np}
        exec(self.source, made)  # every word of it is written above, or is a number
        self.before: Callable[..., tuple[Any, ...]] = made["before"]
        self.loop: Callable[..., None] = made["loop"]

    def operation(self, code: str, *operands: Any) -> StandIn:
        """Write down an operation, and return what stands for its result."""
        of_array = any(isinstance(operand, StandIn) and operand.of_array for operand in operands)
        names = [self._operand(operand, of_array) for operand in operands]
        self._names += 1
        name = f"{'x' if of_array else 'v'}_{self._names}"
        (self._lines if of_array else self._before).append(f"{name} = {code.format(*names)}")
        return StandIn(self, name, of_array)

    def _operand(self, operand: Any, of_array: bool) -> str:
        if isinstance(operand, StandIn):
            if of_array and not operand.of_array:
                self._factors.setdefault(operand.name, len(self._factors))
            return operand.name
        if type(operand) not in (float, int):
            raise TypeError(f"{operand!r} is neither an array nor a number of Python's")
        if not of_array:
            return repr(operand)
        # As numpy does it: a number of Python's takes the type of the array.
        self._constants.append(operand)
        return f"c{len(self._constants) - 1}"

    def _function(self, name: str) -> Callable[..., StandIn]:
        def function(*operands: Any) -> StandIn:
            places = ", ".join("{}" for _ in operands)
            return self.operation(f"np.{name}({places})", *operands)

        return function


def _block(lines: Sequence[str], indent: int) -> str:
    return f"\n{' ' * indent}".join(lines or ["pass"])


class StandIn:
    """Stands for an array, or for a number, while a function is traced."""

    __hash__ = None  # type: ignore[assignment]
    ndim = 0  # hyperparameters of one value per model have been shaped before

    def __init__(self, traced: Traced, name: str, of_array: bool) -> None:
        self._traced, self.name, self.of_array = traced, name, of_array

    def _then(self, code: str, *operands: Any) -> StandIn:
        return self._traced.operation(code, *operands)

    def _becomes(self, code: str, other: Any) -> Self:
        result = self._then(code, self, other)
        if result.of_array and not self.of_array:
            raise TypeError("a number cannot become an array")
        self.name = result.name
        return self

    def __add__(self, other: Any) -> StandIn:
        return self._then("{} + {}", self, other)

    def __radd__(self, other: Any) -> StandIn:
        return self._then("{} + {}", other, self)

    def __iadd__(self, other: Any) -> Self:
        return self._becomes("{} + {}", other)

    def __sub__(self, other: Any) -> StandIn:
        return self._then("{} - {}", self, other)

    def __rsub__(self, other: Any) -> StandIn:
        return self._then("{} - {}", other, self)

    def __isub__(self, other: Any) -> Self:
        return self._becomes("{} - {}", other)

    def __mul__(self, other: Any) -> StandIn:
        return self._then("{} * {}", self, other)

    def __rmul__(self, other: Any) -> StandIn:
        return self._then("{} * {}", other, self)

    def __imul__(self, other: Any) -> Self:
        return self._becomes("{} * {}", other)

    def __truediv__(self, other: Any) -> StandIn:
        return self._then("{} / {}", self, other)

    def __rtruediv__(self, other: Any) -> StandIn:
        return self._then("{} / {}", other, self)

    def __itruediv__(self, other: Any) -> Self:
        return self._becomes("{} / {}", other)

    def __neg__(self) -> StandIn:
        return self._then("-{}", self)

    def __pow__(self, other: Any) -> StandIn:
        return self._power(self, other)

    def __rpow__(self, other: Any) -> StandIn:
        return self._power(other, self)

    def _power(self, base: Any, exponent: Any) -> StandIn:
        result = self._then("{} ** {}", base, exponent)
        if result.of_array:
            raise TypeError("powers of arrays are rounded in more than one way")
        return result

    def __bool__(self) -> bool:
        raise TypeError("what a loop does may not depend on the numbers")

    def __eq__(self, other: object) -> bool:
        raise TypeError("what a loop does may not depend on the numbers")
