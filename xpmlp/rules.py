"""What a value may be: a rule for each name, and one sentence for what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from math import inf
from numbers import Integral, Real
from typing import Any, NamedTuple

from xpmlp.errors import UsageError

# Characters of a wrong value that a sentence shows.
_SHOWN = 60


class Rule(NamedTuple):
    """Whether a value `holds`, and what is `allowed` in words."""

    holds: Callable[[Any], bool]
    allowed: str


def one_of(*words: str | None) -> Rule:
    """Return the rule of a choice: some words, and None where it is among them."""

    def holds(value: Any) -> bool:
        return value in words if value is None else isinstance(value, str) and value in words

    return Rule(holds, ", ".join(map(str, words)))


def row_of(rows: Container[str]) -> Rule:
    """Return the rule of a name in a table."""
    return Rule(lambda value: isinstance(value, str) and value in rows, "a name that is known")


def number(
    low: float, high: float, allowed: str, *, open_low: bool = False, open_high: bool = False
) -> Rule:
    """Return the rule of a number from `low` to `high`, these two left out where they are open."""

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, Real):
            return False
        try:
            found = float(value)
        except OverflowError:  # an integer beyond any float
            return False
        inside = low <= found <= high
        return inside and not (open_low and found == low) and not (open_high and found == high)

    return Rule(holds, allowed)


def whole(least: int) -> Rule:
    """Return the rule of a whole number, such as fits 64 bits."""

    def holds(value: Any) -> bool:
        is_whole = not isinstance(value, bool) and isinstance(value, Integral)
        return is_whole and least <= int(value) < 2**63

    return Rule(holds, f"{least} or more, a whole number")


def optional(rule: Rule) -> Rule:
    """Return the rule that allows None, too."""
    return Rule(lambda value: value is None or rule.holds(value), f"{rule.allowed}, or None")


def several(rule: Rule) -> Rule:
    """Return the rule of a list or tuple whose values all hold a rule."""

    def holds(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(map(rule.holds, value))

    return Rule(holds, f"a list, each of it {rule.allowed}")


def either(one: Rule, other: Rule) -> Rule:
    """Return the rule of a value that holds one of two."""
    allowed = f"{one.allowed}; or {other.allowed}"
    return Rule(lambda value: one.holds(value) or other.holds(value), allowed)


ABOVE_0 = number(0, inf, "a number above 0", open_low=True, open_high=True)
FROM_0 = number(0, inf, "a number from 0 up", open_high=True)
FINITE = number(-inf, inf, "a finite number", open_low=True, open_high=True)
SHARE = number(0, 1, "a number from 0 to below 1", open_high=True)
BOOLEAN = Rule(lambda value: isinstance(value, bool), "True or False")
TEXT = Rule(lambda value: isinstance(value, str), "a text")
RECORD = Rule(lambda value: isinstance(value, dict), "values by name")


def check(name: str, value: object, rule: Rule) -> None:
    """Raise `UsageError` for a value that breaks its rule."""
    if not rule.holds(value):
        raise UsageError(f"{name} is {shown(value)}: choose {rule.allowed}")


def checked(record: object, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Return a record of which each named value holds its rule; None stands for one not there.

    What else is in it may be anything. Raises `ValueError` for the first that breaks its rule.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{shown(record)} where values by name are expected")
    for name, rule in rules.items():
        if not rule.holds(record.get(name)):
            raise ValueError(f"{name} is {shown(record.get(name))}, and not {rule.allowed}")
    return record


def shown(value: object) -> str:
    """Return a value as a sentence shows it: not at any length."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"an integer of more than {_SHOWN} digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
