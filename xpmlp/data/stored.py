"""Examples in an open file of which only those that are needed will be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from xpmlp.backends.alone import Ranks
from xpmlp.data.checks import checked_features
from xpmlp.data.examples import Examples
from xpmlp.data.held_out import held_out_rows
from xpmlp.data.shared import SharedExamples, share_of
from xpmlp.data.spans import rows_of
from xpmlp.data.streaming import StreamedExamples
from xpmlp.data.targets import Targets
from xpmlp.parts import pieces, rows_at_a_time


def stored(examples: Any) -> Any:
    """Return examples in a file as rows that will be read into memory; others as they are."""
    if not isinstance(examples, StreamedExamples):
        return examples
    numbers = rows_of(examples.spans)
    places = examples.x_place, examples.y_place
    return StoredExamples(examples.x, examples.y, *places, numbers, examples.targets)


@dataclass(frozen=True)
class StoredExamples:
    """Rows of features x and labels y in an open file, by their numbers; none is read yet."""

    x: Any
    y: Any
    x_place: str
    y_place: str
    numbers: np.ndarray
    targets: Targets

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def features(self) -> int:
        """Number of values stored of an example."""
        return int(np.prod(self.x.shape[1:]))

    def first(self, count: int | None) -> Self:
        """Return the first so many of them, or all for None."""
        return replace(self, numbers=self.numbers[:count])

    def hold_out(self, size: int, seed: int) -> tuple[Self, Self]:
        """Split (training, validation) as examples in memory are split."""
        kept, held = held_out_rows(len(self), size, seed, self._class_ids())
        return replace(self, numbers=self.numbers[kept]), replace(self, numbers=self.numbers[held])

    def _class_ids(self) -> np.ndarray | None:
        """Read the class of every row, None where they are none."""
        if self.targets.task != "classification":
            return None
        found = [
            self.targets.encoded(np.asarray(self.y[rows]), self.y_place, rows.start)
            for rows in pieces(len(self.y), 8 * int(np.prod(self.y.shape[1:])))
        ]
        ids: np.ndarray = np.concatenate(found)[self.numbers]
        return ids

    def read_share(self, ranks: Ranks) -> SharedExamples:
        """Read this rank's own rows into memory."""
        part = share_of(len(self), ranks)
        return SharedExamples(self._read(self.numbers[part]), part.start, len(self))

    def _read(self, numbers: np.ndarray) -> Examples:
        """Read rows by their numbers, which rise: pieces of the file, and of them what is asked."""
        x, y = [], []
        # So many rows of the file at a time, however few of them are wanted.
        width = int(np.prod(self.x.shape[1:]) + np.prod(self.y.shape[1:]))
        edges = np.flatnonzero(np.diff(numbers // rows_at_a_time(8 * width))) + 1
        for some in np.split(numbers, edges) if len(numbers) else []:
            first, last = int(some[0]), int(some[-1]) + 1
            rows = slice(first, last)
            features = checked_features(np.asarray(self.x[rows]), self.x_place, first)
            ids = self.targets.encoded(np.asarray(self.y[rows]), self.y_place, first)
            x.append(features[some - first])
            y.append(ids[some - first])
        if not x:
            return Examples(np.zeros((0, self.features), self.x.dtype), self.targets.empty(0))
        return Examples(np.concatenate(x), np.concatenate(y))
