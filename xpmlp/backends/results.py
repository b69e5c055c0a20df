"""Where the results of a kernel are: in arguments that it changed, or in arrays that it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Place(NamedTuple):
    """The number of an argument, or of an array that is new."""

    new: bool
    number: int


def places_of(results: Any, arguments: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return results with a place for each, and those that are none of the arguments, each once.

    Results are one, or several in tuples and dictionaries.
    """
    new: list[Any] = []

    def place(result: Any) -> Place:
        for number, argument in enumerate(arguments):
            if result is argument:
                return Place(False, number)
        if not any(result is other for other in new):
            new.append(result)
        return Place(True, next(k for k, other in enumerate(new) if other is result))

    return _mapped(place, results), new


def in_places(places: Any, arguments: Sequence[Any], new: Sequence[Any]) -> Any:
    """Return the results that belong in the places."""
    return _mapped(lambda at: (new if at.new else arguments)[at.number], places)


def is_placed(places: Any, argument: int) -> bool:
    """Tell whether an argument, by its number, is one of the results."""
    found: list[Place] = []
    _mapped(found.append, places)
    return Place(False, argument) in found


def _mapped(of: Callable[[Any], Any], results: Any) -> Any:
    if isinstance(results, dict):
        return {name: _mapped(of, result) for name, result in results.items()}
    if type(results) is tuple:
        return tuple(_mapped(of, result) for result in results)
    return of(results)
