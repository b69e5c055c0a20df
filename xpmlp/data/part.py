"""What a format reads a path into: features and targets as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from xpmlp.data.held_out import BY_CHANCE, Apart
from xpmlp.errors import UsageError
from xpmlp.rules import shown, whole

# The keys that name columns of a table.
COLUMNS = ("target", "drop", "categorical", "group", "time")


class Keys(NamedTuple):
    """How a file is read, and under which names it holds its features and targets.

    `x_key` and `y_key`: of arrays, in HDF5 and npz. `target`: the columns of a table that are to be
    predicted; `drop`: those that are left out; `categorical`: numbers that stand for categories.
    `group` or `time`: the column that keeps the parts of a split apart: none of its values is in
    two of them, or the latest rows are held out.
    `texts`: columns of CSV that are read as texts, whatever is in them.
    `image_size`: height and width that image files are brought to, or one number for both.
    `stream`: whether rows stay in their file; None: where memory is too small for them.
    """

    x_key: str = "xdata"
    y_key: str = "ydata"
    target: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    image_size: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    stream: bool | None = None


def keys_of(names: dict[str, Any]) -> Keys:
    """Return the keys of keyword arguments, a single column as a text; `UsageError` for others."""
    for name in names:
        if name not in Keys._fields:
            raise UsageError(f"{name} is no way to read: choose from {', '.join(Keys._fields)}")
    listed = {
        name: (value,) if isinstance(value, str) else tuple(value or ())
        for name, value in names.items()
        if name in COLUMNS
    }
    given = names.get("image_size", ())
    size = given if isinstance(given, tuple | list) else (given,)
    if len(size) > 2 or not all(whole(1).holds(number) for number in size):
        raise UsageError(f"image_size is {shown(given)}: give height and width, or one number")
    return Keys(**names | listed | {"image_size": tuple(size)})


@dataclass(frozen=True)
class Part:
    """Features and targets as they are stored, and where that is.

    They are in memory, or rows of an open file (`in_file`) that are read when they are sliced.
    `maximum` is the largest value that a feature can have, None where only its type may tell.
    `names` are those of the targets, where they have any; `apart` says which rows stay together.
    """

    x: Any
    y: Any
    x_place: str
    y_place: str
    maximum: float | None = None
    in_file: bool = False
    names: tuple[str, ...] = ()
    apart: Apart = BY_CHANCE


# The one interface of formats: from a path to the training part and, if there is one, a test part.
Reader: TypeAlias = Callable[[Path, Keys], list[Part]]
