"""The history of a training: a row per log point, and what is read off it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import isnan
from typing import Any

import numpy as np

from xpmlp.rules import FINITE, FROM_0, checked, number, optional, shown, whole


@dataclass(frozen=True)
class LogRow:
    """One log point. `seconds` are spent in training steps, evaluations left out.

    Training loss and accuracy are means over the examples trained on since the previous
    row, or, with `train_exact`, of the whole training set at this step. Losses are of the
    data alone, without penalties, so that training and validation can be compared.

    >>> row = LogRow(20, 1.0, 0.5, 0.31, 0.92, None, None, seconds=0.2)
    >>> row.step, row.train_loss, row.val_loss
    (20, 0.31, None)
    """

    step: int
    epoch: float
    learning_rate: float
    train_loss: float
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    test_loss: float | None = None
    test_accuracy: float | None = None


COLUMNS = tuple(field.name for field in fields(LogRow))


_ROW_RULES = {
    "step": whole(0),
    "train_loss": FINITE,
    **dict.fromkeys(("epoch", "learning_rate", "seconds"), FROM_0),
    **dict.fromkeys(("val_loss", "test_loss"), optional(FINITE)),
    **dict.fromkeys(
        ("train_accuracy", "val_accuracy", "test_accuracy"), optional(number(0, 1, "0 to 1"))
    ),
}


def row_of(record: object) -> LogRow:
    """Return the row that a record of somebody's file says; raises `ValueError` for no such row."""
    found = checked(record, _ROW_RULES)
    for name in found:
        if name not in COLUMNS:
            raise ValueError(f"{shown(name)} means nothing")
    values: Any = {name: found.get(name) for name in COLUMNS}
    return LogRow(**values)


def best_row(rows: Iterable[LogRow]) -> LogRow | None:
    """Return the row of the lowest validation loss, the first of equals, or None without one."""
    validated = [row for row in rows if row.val_loss is not None]
    return min(validated, key=lambda row: row.val_loss or 0.0, default=None)


def history_arrays(rows: Sequence[LogRow]) -> dict[str, np.ndarray]:
    """Return the columns of a history as arrays; NaN where nothing was evaluated."""
    return {
        name: np.array(
            [np.nan if (value := getattr(row, name)) is None else value for row in rows],
            dtype=np.int64 if name == "step" else np.float64,
        )
        for name in COLUMNS
    }


def rows_of_arrays(columns: dict[str, np.ndarray]) -> list[LogRow]:
    """Return the rows of which `history_arrays` made columns, value for value.

    Raises `ValueError` for columns of no such rows.
    """
    table = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
    return [
        row_of({k: None if isnan(v) else v for k, v in zip(COLUMNS, values, strict=True)})
        for values in table
    ]
