"""Tables of things by name, which anybody may add to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Row = TypeVar("Row")


class Rows(dict[str, Row]):
    """Rows by name, and families of rows that are named with their numbers: "huber(1.35)".

    `families[name](*numbers)` makes a row of a family; it raises `UsageError` for numbers that mean
    nothing.

    >>> powers = Rows(square=lambda x: x * x)
    >>> powers.families["power"] = lambda n: lambda x: x**n
    >>> powers["square"](3), powers["power(3)"](2)
    (9, 8.0)
    """

    def __init__(self, **rows: Row) -> None:
        super().__init__(rows)
        self.families: dict[str, Callable[..., Row]] = {}

    def __missing__(self, name: str) -> Row:
        """Make a row of a family, once; raises `KeyError` for a name that is none's."""
        family, found, numbers = name.partition("(")
        if not found or family not in self.families or not numbers.endswith(")"):
            raise KeyError(name)
        try:
            values = [float(number) for number in numbers[:-1].split(",")]
        except ValueError:
            raise KeyError(name) from None
        try:
            row = self[name] = self.families[family](*values)
        except TypeError:  # it takes another number of them
            raise KeyError(name) from None
        return row

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        try:
            return isinstance(name, str) and self[name] is not None
        except KeyError:
            return False


def named(family: str, *numbers: float) -> str:
    """Return the name of a row of a family.

    >>> named("quantiles", 0.1, 0.9)
    'quantiles(0.1,0.9)'
    """
    return f"{family}({','.join(f'{number!r}' for number in numbers)})"
