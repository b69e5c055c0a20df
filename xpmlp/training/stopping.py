"""When a training ends by itself: one rule of patience, with two settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Self


@dataclass
class Patience:
    """Counts the scores in a row that have not improved on the best before them.

    A score improves on the best if it is greater, or with a `tolerance` if it is at least so much
    greater. Scores are better the larger they are: a loss is watched with its sign changed.
    `limit` is how many of them in a row exhaust the patience.

    >>> patience = Patience(limit=2)
    >>> [patience.note(score) for score in (0.1, 0.3, 0.3, 0.2)]
    [True, True, False, False]
    >>> patience.exhausted
    True
    """

    limit: float
    tolerance: float | None = None
    best: float = -inf
    waiting: int = 0

    def note(self, score: float) -> bool:
        """Note a score; tell whether it is the greatest so far."""
        better = score > self.best
        improved = better if self.tolerance is None else score >= self.best + self.tolerance
        self.waiting = 0 if improved else self.waiting + 1
        if better:
            self.best = score
        return better

    def after(self, scores: Iterable[float]) -> Self:
        """Note several scores, and return the patience itself."""
        for score in scores:
            self.note(score)
        return self

    @property
    def exhausted(self) -> bool:
        """Whether it has waited for long enough."""
        return self.waiting >= self.limit
