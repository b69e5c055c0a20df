"""Rows of a table that stays in a file: encoded as they are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import numpy as np

from xpmlp.data.examples import Examples
from xpmlp.data.held_out import BY_CHANCE, Apart, held_out_rows
from xpmlp.data.spans import Spans, between, cut, rows_of, spans_of
from xpmlp.data.streaming import StreamedExamples
from xpmlp.data.tables.encoding import Encoding
from xpmlp.data.tables.rows import LEARNT_FROM, TableExamples
from xpmlp.data.tables.table import Table
from xpmlp.data.targets import Targets

# Encoded bytes of the rows that are shuffled among each other.
_BUFFER_BYTES = 64 * 2**20
# Neighbouring rows that codes are learnt from together.
_SAMPLED_ROWS = 1024


@dataclass(frozen=True)
class StreamedTable:
    """The rows `spans` of a table in a file, to be split before they are encoded.

    `y` are the targets of all its rows, in memory; `targets` what they mean,
    and `apart` says which stay together.
    """

    table: Table
    y: np.ndarray
    targets: Targets
    spans: Spans
    apart: Apart = BY_CHANCE

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    @property
    def features(self) -> int:
        """Number of columns."""
        return len(self.table.names)

    @property
    def sample(self) -> Table:
        """The rows that codes are learnt from, in memory: short runs from all over the file."""
        runs = cut(self.spans, _SAMPLED_ROWS)
        return self.table.of_spans(runs[:: -(-len(self) // LEARNT_FROM)])

    def first(self, count: int | None) -> Self:
        """Return the first so many of them, or all for None."""
        return self if count is None else replace(self, spans=between(self.spans, 0, count))

    def hold_out(self, size: int, seed: int) -> tuple[Self, TableExamples]:
        """Split (training, rest) as examples in memory are split; the rest is read into memory."""
        numbers = rows_of(self.spans)
        ids = self.y[numbers] if self.targets.task == "classification" else None
        parts = held_out_rows(len(self), size, seed, ids, self.apart.some(numbers))
        kept, held = (numbers[rows] for rows in parts)
        rows = self.table.of_spans(spans_of(held))
        rest = TableExamples(rows, self.y[held], self.apart.some(held))
        return replace(self, spans=spans_of(kept)), rest

    def encoded(self, encoding: Encoding) -> StreamedExamples:
        """Return them as features of numbers, which are made whenever they are read."""
        rows, place = EncodedRows(self.table, encoding), self.table.place
        found = EncodedExamples(rows, self.y, place, place, self.spans, self.targets)
        return replace(found, buffer_bytes=_BUFFER_BYTES)


# Rows of a table whose columns are not encoded yet.
TableRows: TypeAlias = TableExamples | StreamedTable


@dataclass(frozen=True)
class EncodedRows:
    """Features of a table's rows, in float32, made of those that are asked for."""

    table: Table
    encoding: Encoding

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self.table), len(self.encoding.features)

    def of_spans(self, spans: Spans) -> np.ndarray:
        """Return the features of some rows."""
        return self.encoding.encoded(self.table.of_spans(spans))


@dataclass(frozen=True)
class EncodedExamples(StreamedExamples):
    """Rows of a table in a file, and their targets in memory, as they are trained on."""

    @property
    def target_rows(self) -> np.ndarray:
        """The targets as they were read."""
        found: np.ndarray = self.y[rows_of(self.spans)]
        return found

    def read(self, start: int, stop: int) -> Examples:
        """Encode examples number `start` to `stop`, counted along the spans."""
        spans = between(self.spans, start, stop)
        x, y = self.x.of_spans(spans), self.y[rows_of(spans)]
        return Examples(x, y, self.normalization, target_scaling=self.targets.scaling)
