"""Rows of a table as examples, until its columns are encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from xpmlp.data.examples import Examples
from xpmlp.data.held_out import BY_CHANCE, Apart, held_out_rows
from xpmlp.data.tables.encoding import Encoding
from xpmlp.data.tables.table import Table

# Rows that codes are learnt from, evenly spaced, at most.
LEARNT_FROM = 500_000


@dataclass(frozen=True)
class TableExamples:
    """Rows of a table and their targets y, on the host, to be split before they are encoded.

    `apart` says which of them stay together.
    """

    table: Table
    y: np.ndarray
    apart: Apart = BY_CHANCE

    def __len__(self) -> int:
        return len(self.table)

    @property
    def features(self) -> int:
        """Number of columns."""
        return len(self.table.names)

    def first(self, count: int | None) -> Self:
        """Return the first so many of them, or all for None."""
        if count is None or count >= len(self):
            return self
        rows = slice(count)
        return replace(self, table=self.table[rows], y=self.y[rows], apart=self.apart.some(rows))

    def hold_out(self, size: int, seed: int) -> tuple[Self, Self]:
        """Split (training, rest) as examples in memory are split."""
        ids = self.y if np.issubdtype(self.y.dtype, np.integer) else None
        kept, held = held_out_rows(len(self), size, seed, ids, self.apart)
        return self.some(kept), self.some(held)

    def some(self, rows: np.ndarray) -> Self:
        """Return those of some row numbers."""
        return replace(
            self, table=self.table.take(rows), y=self.y[rows], apart=self.apart.some(rows)
        )

    @property
    def sample(self) -> Table:
        """The rows that codes are learnt from."""
        step = -(-len(self) // LEARNT_FROM)
        return self.table if step <= 1 else self.table.take(np.arange(0, len(self), step))

    def encoded(self, encoding: Encoding) -> Examples:
        """Return them as features of numbers, in memory."""
        return Examples(encoding.encoded(self.table), self.y)
