"""Examples in an open file of which only those that are needed will be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from xpmlp.backends.alone import Ranks
from xpmlp.data.checks import checked_features, checked_ids
from xpmlp.data.examples import Examples, held_out_rows
from xpmlp.data.shared import SharedExamples, share_of
from xpmlp.data.streaming import StreamedExamples
from xpmlp.parts import rows_at_a_time


def stored(examples: Examples | StreamedExamples) -> Examples | StoredExamples:
    """Return examples in a file as rows that will be read into memory; others as they are."""
    if isinstance(examples, Examples):
        return examples
    numbers = np.concatenate([np.arange(start, stop) for start, stop in examples.spans])
    return StoredExamples(examples.x, examples.y, examples.x_place, examples.y_place, numbers)


@dataclass(frozen=True)
class StoredExamples:
    """Rows of features x and labels y in an open file, by their numbers; none is read yet."""

    x: Any
    y: Any
    x_place: str
    y_place: str
    numbers: np.ndarray

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
        kept, held = held_out_rows(len(self), size, seed)
        return replace(self, numbers=self.numbers[kept]), replace(self, numbers=self.numbers[held])

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
            ids = checked_ids(np.asarray(self.y[rows]), self.y_place, first)
            x.append(features[some - first])
            y.append(ids[some - first])
        if not x:
            return Examples(np.zeros((0, self.features), self.x.dtype), np.zeros(0, "int64"))
        return Examples(np.concatenate(x), np.concatenate(y))
