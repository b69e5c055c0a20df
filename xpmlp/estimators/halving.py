"""Successive halving: the worst candidates of a search end early (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, isfinite
from typing import Any, NamedTuple

import numpy as np

from xpmlp.estimators.stacked import Ended
from xpmlp.rules import check, whole


class Outcome(NamedTuple):
    """A candidate after its training on a split."""

    estimator: Any
    ended: Ended = Ended()


class Halving:
    """After each round one of `factor` candidates goes on, the best by mean score over the splits.

    The last round ends with all epochs, every one before it with 1/factor of the next one's; there
    are as many as it takes until a candidate or two are left, or a round is of one epoch.
    `score(estimator, split)` is how good a candidate is on the test part of a split.
    """

    def __init__(
        self,
        factor: int,
        candidates: int,
        splits: int,
        epochs: int,
        score: Callable[[Any, int], float],
    ) -> None:
        check("factor", factor, whole(2))
        self._factor, self._splits, self._score = factor, splits, score
        rounds = 0
        while factor ** (rounds + 1) <= min(candidates, epochs):
            rounds += 1
        self.shares = [float(factor) ** -left for left in range(rounds, -1, -1)]
        self.at_work = list(range(candidates))
        self.rounds = np.zeros(candidates, dtype=int)  # those that each has been through
        self.scores = np.full(candidates, np.nan)

    def best(self, outcomes: Mapping[tuple[int, int], Outcome]) -> set[int]:
        """Return the candidates that go on after a round; call it once for each."""
        for candidate in self.at_work:
            self.scores[candidate] = np.mean(
                [self._of(outcomes[candidate, split], split) for split in range(self._splits)]
            )
            self.rounds[candidate] += 1
        ranked = sorted(self.at_work, key=lambda k: (-self._known(k), k))
        self.at_work = ranked[: ceil(len(ranked) / self._factor)]
        return set(self.at_work)

    def winner(self, scores: np.ndarray) -> int:
        """Return the best of the candidates that went through all rounds, by given scores."""
        last = np.flatnonzero(self.rounds == self.rounds.max())
        known = np.where(np.isfinite(scores[last]), scores[last], -np.inf)
        return int(last[known.argmax()])

    def _known(self, candidate: int) -> float:
        score = float(self.scores[candidate])
        return score if isfinite(score) else -np.inf

    def _of(self, outcome: Outcome, split: int) -> float:
        if outcome is None or outcome.ended.error is not None:
            return np.nan
        return self._score(outcome.estimator, split)
