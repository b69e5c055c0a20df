"""What becomes of one column: the features that stand for its numbers, categories or dates.

Each code is learnt from the training part, says what it has learnt as plain values, and is a row in
`CODES`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from xpmlp.data.tables.table import DATE_FORMATS, ISO, Table, arrow
from xpmlp.rules import (
    ABOVE_0,
    BOOLEAN,
    FINITE,
    TEXT,
    Rule,
    checked,
    one_of,
    optional,
    several,
)

# Intervals between quantiles that a number is coded by, at most, where nothing else is said.
INTERVALS = 16
# Beyond about so many spreads a standardised number is bent to stay there.
BEND = 3.0
# So many spreads are as far out as any more; the largest spread that is told.
FAR, _LARGEST = 1e9, 1e308
# Categories that have a feature of their own: at most so many, each of at least so many rows.
_MOST_CATEGORIES, _FEWEST_ROWS = 64, 5
_DAY, _WEEK, _YEAR = 86_400.0, 604_800.0, 365.2425 * 86_400.0
PERIODS = {"day": _DAY, "week": _WEEK, "year": _YEAR}


class Code(Protocol):
    """What a code offers: what it has learnt, and the features that it makes of a column."""

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """The name of its column."""
        ...

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        ...

    def encoded(self, table: Table) -> np.ndarray:
        """Return them of every row (N, features), in float64."""
        ...


@dataclass(frozen=True)
class NumberCode:
    """A number x: (x − median) / spread, bent, and its place between the training part's quantiles.

    With quantiles b_0 < ... < b_T follow e_t = clip((x − b_{t−1}) / (b_t − b_{t−1}), 0, 1): the
    piecewise linear code of Gorishniy et al. 2022, "On Embeddings for Numerical Features". A value
    that is missing is the median, and 1 in a feature of its own where training has missed some.
    """

    kind: ClassVar[str] = "number"
    rules: ClassVar[dict[str, Rule]] = {
        "name": TEXT,
        "median": FINITE,
        "spread": ABOVE_0,
        "quantiles": several(FINITE),
        "missing": BOOLEAN,
    }
    name: str
    median: float
    spread: float
    quantiles: tuple[float, ...]
    missing: bool

    @classmethod
    def of(cls, name: str, x: np.ndarray, intervals: int = INTERVALS) -> Self | None:
        """Learn it from a column's numbers, NaN for missing ones; None where they never change."""
        known = x[~np.isnan(x)]
        if not len(known) or known.min() == known.max():
            return None
        # Values that occur, so that few different ones have an interval each.
        marks = np.quantile(known, np.linspace(0, 1, intervals + 1), method="inverted_cdf")
        low, median, high = np.quantile(known, (0.25, 0.5, 0.75))
        with np.errstate(over="ignore"):  # a spread beyond any float is the largest of them
            spread = min(high - low or known.max() / 2 - known.min() / 2, _LARGEST)
        quantiles = np.unique(marks)
        inner = tuple(quantiles.tolist()) if len(quantiles) > 2 else ()
        missing = len(known) < len(x)
        return cls(name, float(median), float(spread), inner, bool(missing))

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        places = [f"{self.name} from {low:g}" for low in self.quantiles[:-1]]
        return [self.name, *places, *([f"{self.name} is missing"] if self.missing else [])]

    def encoded(self, table: Table) -> np.ndarray:
        """Return its features of every row."""
        return self.of_numbers(table.numbers(self.name))

    def of_numbers(self, x: np.ndarray) -> np.ndarray:
        """Return its features of numbers (N,)."""
        absent = np.isnan(x)
        x = np.where(absent, self.median, x)
        with np.errstate(over="ignore"):  # what is beyond any float is far out
            z = np.clip((x - self.median) / self.spread, -FAR, FAR)
            parts = [(z / np.sqrt(1 + (z / BEND) ** 2))[:, None]]
            if self.quantiles:
                low, high = np.array(self.quantiles[:-1]), np.array(self.quantiles[1:])
                parts.append(np.clip((x[:, None] - low) / (high - low), 0.0, 1.0))
        if self.missing:
            parts.append(absent[:, None].astype(np.float64))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class CategoryCode:
    """A category: 1 in the feature of its own, 0 elsewhere.

    Categories of few rows share the feature `others`, which those that training has not seen have
    as well; without it these are 0 everywhere. None stands for a missing value.
    """

    kind: ClassVar[str] = "category"
    rules: ClassVar[dict[str, Rule]] = {
        "name": TEXT,
        "categories": several(optional(TEXT)),
        "others": BOOLEAN,
    }
    name: str
    categories: tuple[str | None, ...]
    others: bool

    @classmethod
    def of(cls, name: str, texts: Any) -> Self | None:
        """Learn it from an Arrow array of texts; None where they never change, or always."""
        import pyarrow.compute as pc

        counts = pc.value_counts(texts).to_pylist()
        if len(counts) < 2 or len(counts) > max(_MOST_CATEGORIES, len(texts) // 2):
            return None
        order = sorted(counts, key=lambda one: (-one["counts"], str(one["values"])))
        kept = [one["values"] for one in order if one["counts"] >= _FEWEST_ROWS]
        kept = (kept or [order[0]["values"]])[:_MOST_CATEGORIES]
        named = sorted((one for one in kept if one is not None), key=str)
        categories = (*named, *([None] if None in kept else []))
        return cls(name, categories, len(kept) < len(counts))

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        own = [f"{self.name} is {'missing' if c is None else c}" for c in self.categories]
        return [*own, *([f"{self.name} is another"] if self.others else [])]

    def encoded(self, table: Table) -> np.ndarray:
        """Return its features of every row."""
        import pyarrow.compute as pc

        known = arrow().array(self.categories, type=arrow().string())
        ids = pc.index_in(table.texts(self.name), value_set=known)
        found = ids.fill_null(len(known)).to_numpy(zero_copy_only=False)
        rows: np.ndarray = np.eye(len(known) + 1)[found][:, : len(known) + self.others]
        return rows


@dataclass(frozen=True)
class DateCode:
    """A date: its place in time as a number, and the phase of the day, week and year.

    Of each period P in which the dates of training differ follow sin and cos of 2π t / P.
    """

    kind: ClassVar[str] = "date"
    rules: ClassVar[dict[str, Rule]] = {
        **NumberCode.rules,
        "written": one_of(ISO, *DATE_FORMATS),
        "periods": Rule(
            lambda value: isinstance(value, list | tuple) and set(value) <= set(PERIODS),
            "some of day, week, year",
        ),
    }
    name: str
    median: float
    spread: float
    quantiles: tuple[float, ...]
    missing: bool
    written: str
    periods: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, seconds: np.ndarray, written: str, intervals: int = INTERVALS
    ) -> Self | None:
        """Learn it from seconds since 1970, NaN for missing ones; None where they never change."""
        time = NumberCode.of(name, seconds, intervals)
        if time is None:
            return None
        known = seconds[~np.isnan(seconds)]
        span = known.max() - known.min()
        periods = [
            period
            for period, length in PERIODS.items()
            if np.ptp(known % length) > 0 and span >= length / 2
        ]
        own = (time.name, time.median, time.spread, time.quantiles, time.missing)
        return cls(*own, written, tuple(periods))

    @property
    def _time(self) -> NumberCode:
        return NumberCode(self.name, self.median, self.spread, self.quantiles, self.missing)

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        phases = [f"{f} of {self.name}'s {period}" for period in self.periods for f in _WAVES]
        return [*self._time.features, *phases]

    def encoded(self, table: Table) -> np.ndarray:
        """Return its features of every row."""
        seconds = table.dates(self.name, self.written)
        parts = [self._time.of_numbers(seconds)]
        known = np.where(np.isnan(seconds), self.median, seconds)
        for period in self.periods:
            phase = 2 * np.pi * ((known / PERIODS[period]) % 1.0)
            parts.extend(wave(phase)[:, None] for wave in _WAVES.values())
        return np.concatenate(parts, axis=1)


_WAVES = {"sin": np.sin, "cos": np.cos}
CODES: dict[str, type[NumberCode | CategoryCode | DateCode]] = {
    code.kind: code for code in (NumberCode, CategoryCode, DateCode)
}


def code_as_record(code: Code) -> dict[str, Any]:
    """Return a code as plain values, for a run's record."""
    values = {one.name: getattr(code, one.name) for one in fields(code)}  # type: ignore[arg-type]
    listed = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return {"kind": code.kind, **listed}


def code_of_record(record: object) -> Code:
    """Return the code that a record of somebody's file says; raises `ValueError` for none."""
    found = checked(record, {"kind": Rule(lambda value: value in CODES, ", ".join(CODES))})
    kind = CODES[found["kind"]]
    values = checked(found, kind.rules)
    quantiles = values.get("quantiles") or []
    if any(high <= low for low, high in pairwise(quantiles)):
        raise ValueError("quantiles do not rise")
    plain = {name: values[name] for name in kind.rules}
    listed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    return kind(**listed)
