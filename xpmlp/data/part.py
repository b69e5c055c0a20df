"""What a format reads a path into: features and labels as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias


class Keys(NamedTuple):
    """The names under which a file holds its features and labels, where it holds several arrays."""

    x: str = "xdata"
    y: str = "ydata"


@dataclass(frozen=True)
class Part:
    """Features and labels as they are stored, and where that is.

    They are in memory, or rows of an open file (`in_file`) that are read when they are sliced.
    `maximum` is the largest value that a feature can have, None where only its type may tell.
    """

    x: Any
    y: Any
    x_place: str
    y_place: str
    maximum: float | None = None
    in_file: bool = False


# The one interface of formats: from a path to the training part and, if there is one, a test part.
Reader: TypeAlias = Callable[[Path, Keys], list[Part]]
