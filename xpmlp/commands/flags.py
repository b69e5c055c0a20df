"""Flags, one line each: a name, what it means, and what may be given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from xpmlp.rules import ABOVE_0, FROM_0, SHARE, Rule, number


class Flags:
    """Adds flags to a parser, under one of its headings, or of which one at most is given.

    Of each flag: its name, its meaning, and its default, None for none; `also` are settings of
    argparse's own.
    """

    def __init__(self, group: argparse._ActionsContainer) -> None:
        self.group = group

    def value(
        self,
        name: str,
        kind: Callable[[str], Any],
        meaning: str,
        default: Any = None,
        metavar: str | None = None,
        **also: Any,
    ) -> None:
        """Add a flag whose value `kind` reads from a text."""
        also |= {"type": kind, "default": default, "metavar": metavar}
        self.group.add_argument(name, help=meaning or None, **also)

    def count(
        self, name: str, meaning: str, default: int | None = None, metavar: str = "N"
    ) -> None:
        """Add a flag that is a whole number above 0."""
        self.value(name, counted, meaning, default, metavar)

    def path(
        self,
        name: str,
        meaning: str,
        default: Path | None = None,
        metavar: str = "DIR",
        **also: Any,
    ) -> None:
        """Add a flag that is a folder, or a file."""
        self.value(name, Path, meaning, default, metavar, **also)

    def out(self, folder: str, files: str) -> None:
        """Add --out, for files in a folder: by default one under out/, never the current one."""
        self.path("--out", f"folder for {files}", Path("out", folder))

    def choice(
        self,
        name: str,
        choices: Iterable[str],
        meaning: str,
        default: str | None = "first",
        **also: Any,
    ) -> None:
        """Add a flag that is one of some words, by default the first of them."""
        words = tuple(choices)
        also |= {"choices": words, "default": words[0] if default == "first" else default}
        self.group.add_argument(name, help=meaning, **also)

    def switch(self, name: str, meaning: str) -> None:
        """Add a flag that is given or not."""
        self.group.add_argument(name, action="store_true", help=meaning)


def number_by(rule: Rule, kind: Callable[[str], Any] = float) -> Callable[[str], Any]:
    """Return a flag's type: a number of the given kind that holds a rule."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not rule.holds(value):
            raise argparse.ArgumentTypeError(f"{text} is not {rule.allowed}")
        return value

    parse.__name__ = kind.__name__
    return parse


def in_range(low: float, high: float, meaning: str) -> Callable[[str], float]:
    """Return a flag's type: a number from `low` to below `high`."""
    return number_by(number(low, high, meaning, open_high=True))


positive, share, not_negative = number_by(ABOVE_0), number_by(SHARE), number_by(FROM_0)
counted = number_by(ABOVE_0, int)
