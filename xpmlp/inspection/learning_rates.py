"""Which learning rate suits: several are tried at once, as one stack, from the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from xpmlp.backends import Backend, select_backend
from xpmlp.data.prepare import as_dataset
from xpmlp.errors import DivergedError
from xpmlp.rules import ABOVE_0, check, several
from xpmlp.training.history import LogRow
from xpmlp.training.loop import StackTraining
from xpmlp.training.plan import Model, Plan

# Four per factor of ten.
RATES = tuple(10 ** (k / 4) for k in range(-20, 5))
_STEPS = 200
# Deviation of the weights that neighbours count with, in factors of ten.
_WIDTH = 0.25


@dataclass(frozen=True)
class LearningRates:
    """What has come of each of the `rates`: the loss `halfway` and at the `end` of its steps.

    The loss is that of the validation set where there is one, else the mean over the steps of that
    half; infinite after a divergence.
    """

    rates: tuple[float, ...]
    halfway: tuple[float, ...]
    end: tuple[float, ...]
    steps: int

    @property
    def best(self) -> float:
        """The rate with the lowest loss at the end, as a mean that its neighbours count in.

        So it is not the last one before those that diverge, where a loss is a matter of luck.
        """
        logarithms, losses = np.log10(self.rates), np.array(self.end)
        losses = np.minimum(losses, losses[np.isfinite(losses)].max())
        distances = logarithms[:, np.newaxis] - logarithms
        nearness = np.exp(-0.5 * (distances / _WIDTH) ** 2)
        return self.rates[int(np.argmin(nearness @ losses / nearness.sum(axis=1)))]


def find_learning_rate(
    model: Model,
    data: Any,
    plan: Plan | None = None,
    *,
    rates: Sequence[float] = RATES,
    backend: Backend | None = None,
) -> LearningRates:
    """Train a model with each of several learning rates for a short while, and compare.

    `model`: its own rate does not matter. `data`: as for `Training`. `plan`: by default 200 steps
    of batches of 64; its log points and patience are left out. `rates`: from 1e-5 to 10 by
    default. What is best after few steps is a good rate to begin with. Raises `DivergedError` where
    all diverge, `UsageError` and `DataError` as `StackTraining` does.

    >>> import xpmlp
    >>> model, data = xpmlp.Model(xpmlp.MLP((64, 30, 10))), xpmlp.load_data("digits")
    >>> found = find_learning_rate(model, data, rates=(0.001, 1.0, 1000.0))
    >>> found.best
    1.0
    """
    check("rates", list(rates) or None, several(ABOVE_0))
    plan, backend = plan or Plan(steps=_STEPS), backend or select_backend()
    models, data = [replace(model, learning_rate=float(r)) for r in rates], as_dataset(data)
    half = max(1, plan.steps_for(len(data.train)) // 2)
    short = replace(plan, epochs=None, steps=2 * half, log_every=half, patience=None, stop=None)
    trained = StackTraining(models, data, short, backend=backend).run()
    found = [[_loss(row) for row in one.history] + [inf, inf] for one in trained]
    halfway, end = (tuple(losses[k] for losses in found) for k in (0, 1))
    if min(end) == inf:
        raise DivergedError(f"every learning rate diverged: {trained[0].cause}")
    return LearningRates(tuple(rates), halfway, end, 2 * half)


def _loss(row: LogRow) -> float:
    return row.train_loss if row.val_loss is None else row.val_loss
