"""The processes that share one training: by default one, which agrees with itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np


class Ranks:
    """One process alone; `MpiRanks` is several. All ranks call all but `end` in the same order."""

    rank = 0
    count = 1
    # Seconds that sums of training steps have taken, waiting for the slowest rank included.
    seconds = 0.0

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sums over all ranks of host arrays of one shape."""
        return values

    def largest(self, value: float) -> float:
        """Return the largest of the ranks' values."""
        return value

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """Leave the sums made inside out of `seconds`."""
        before = self.seconds
        try:
            yield
        finally:
            self.seconds = before

    def costs(self) -> dict[str, float]:
        """Return what the sums of steps have cost since the start, on average over the ranks."""
        return {}

    def agreed(self, wish: bool) -> bool:
        """Return whether any rank has wished to stop, the same answer on all ranks."""
        return wish

    def wait_for_all(self) -> None:
        """Return when all ranks are here."""
        self.largest(0.0)

    def check_alike(self, described: Mapping[str, object]) -> None:
        """Raise `UsageError` naming what differs from rank to rank."""

    def end(self, text: str, code: int) -> None:
        """End all ranks for an error on this one; alone there is nobody to end."""


ALONE = Ranks()
