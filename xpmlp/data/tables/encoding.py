"""From the columns of a table to the features of a network, as the training part has them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from xpmlp.data.tables.codes import (
    INTERVALS,
    CategoryCode,
    Code,
    DateCode,
    NumberCode,
    code_as_record,
    code_of_record,
)
from xpmlp.data.tables.table import ISO, Table, date_format
from xpmlp.errors import DataError
from xpmlp.parts import pieces
from xpmlp.rules import RECORD, TEXT, checked, several


@dataclass(frozen=True)
class Encoding:
    """`codes` make features of columns; `left_out` are columns that say nothing, and why.

    >>> from xpmlp.data.tables.table import table_of
    >>> table = table_of({"age": [20, 30, 40], "town": ["Bonn", "Ulm", "Bonn"]})
    >>> encoding = fit_encoding(table)
    >>> encoding.encoded(table).shape == (3, len(encoding.features))
    True
    """

    codes: tuple[Code, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @cached_property
    def features(self) -> list[str]:
        """The names of the features, in order."""
        return [name for code in self.codes for name in code.features]

    def encoded(self, table: Table) -> np.ndarray:
        """Return the features of rows (N, features) in float32.

        Raises `DataError` for columns that are missing, or hold something else than in training.
        """
        found = np.empty((len(table), len(self.features)), dtype=np.float32)
        for rows in pieces(len(table), 8 * len(self.features)):
            start = 0
            for code in self.codes:
                some = code.encoded(table[rows])
                found[rows, start : start + some.shape[1]] = some
                start += some.shape[1]
        return found

    def made_up(self, rows: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return columns of random values such as training has seen, some of them missing."""
        found: dict[str, Any] = {}
        for code in self.codes:
            if isinstance(code, CategoryCode):
                names = [*code.categories, "never seen"]
                found[code.name] = [names[k] for k in rng.integers(len(names), size=rows)]
            elif isinstance(code, NumberCode | DateCode):
                values = code.median + code.spread * rng.normal(size=rows)
                found[code.name] = np.where(rng.random(rows) < 0.1, np.nan, values)
        return found

    def summary(self, most: int = 30) -> str:
        """Return a table of how each column was read, of the first so many columns."""
        rows = [
            (code.name, code.kind, f"{len(code.features)} features{_missing(code)}")
            for code in self.codes
        ]
        rows += [(name, "left out", why) for name, why in self.left_out]
        shown = [(_short(name), kind, note) for name, kind, note in rows[:most]]
        wide = max(len(name) for name, _, _ in shown)
        lines = [f"{name:<{wide}}  {kind:<8}  {note}" for name, kind, note in shown]
        if len(rows) > most:
            lines.append(f"and {len(rows) - most} more columns")
        return "\n".join(lines)

    def as_record(self) -> dict[str, Any]:
        """Return it as plain values, for a run's record."""
        left = [list(pair) for pair in self.left_out]
        return {"codes": [code_as_record(code) for code in self.codes], "left_out": left}

    @classmethod
    def from_record(cls, record: object, features: int) -> Self:
        """Return what `as_record` wrote down, for a network of so many features.

        Raises `DataError` for what no encoding is.
        """
        try:
            found = checked(record, {"codes": several(RECORD), "left_out": several(several(TEXT))})
            codes = tuple(code_of_record(one) for one in found["codes"])
        except ValueError as error:
            raise DataError(f"encoding: {error}") from error
        own = cls(codes, tuple((one[0], one[-1]) for one in found["left_out"] if one))
        if len(own.features) != features:
            raise DataError(f"encoding: {len(own.features)} features, and the network has others")
        return own


def _missing(code: Code) -> str:
    absent = getattr(code, "missing", False) or None in getattr(code, "categories", ())
    return ", some missing" if absent else ""


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:27]}..."


def fit_encoding(table: Table, intervals: int = INTERVALS) -> Encoding:
    """Learn from training rows how each of their columns is coded.

    Numbers and dates are coded by at most so many `intervals` between quantiles. Raises
    `DataError` where no column says anything.
    """
    codes: list[Code] = []
    left_out = []
    for name in table.names:
        code = _code_of(table, name, intervals)
        if isinstance(code, str):
            left_out.append((name, code))
        else:
            codes.append(code)
    if not codes:
        raise DataError(f"{table.place}: no column tells the rows apart: check the file")
    return Encoding(tuple(codes), tuple(left_out))


def _code_of(table: Table, name: str, intervals: int) -> Code | str:
    """Return the code of a column, or why it has none."""
    kind, written = table.kind(name), ISO
    if kind == "text":
        written = date_format(table, name) or ""
        kind = "date" if written else "category"
    code: Code | None = None
    if kind == "number":
        code = NumberCode.of(name, table.numbers(name), intervals)
    elif kind == "date":
        code = DateCode.of(name, table.dates(name, written), written, intervals)
    elif kind == "category":
        texts = table.texts(name)
        code = CategoryCode.of(name, texts)
        if code is None and len(texts.unique()) > 1:
            return f"{len(texts.unique()):,} different texts in {len(texts):,} rows"
    return code or ("empty" if kind == "empty" else "the same in every row")
