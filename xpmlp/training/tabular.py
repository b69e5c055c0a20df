"""Networks that suit a table, where nothing else is said: docs/tables.md says how good they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.backends import Backend
from xpmlp.data.dataset import Dataset
from xpmlp.data.held_out import left_by_folds
from xpmlp.data.prepare import prepare
from xpmlp.data.tables.codes import INTERVALS
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import AdamW
from xpmlp.regularization import Regularization
from xpmlp.training.loop import StackTraining
from xpmlp.training.plan import Model, Plan

# With fewer examples than so many there are no folds.
_FEWEST = 24
# Settings are tried in three folds, or of few rows in six. Of more rows than these a part would
# not tell: with more to learn from, the rich code wins (diamonds, 43,000 rows: 553 against 588).
_MOST_TRIED, _FEW = 10_000, 2_000


@dataclass(frozen=True)
class Tabular:
    """Settings of an ensemble for a table; each member stops by itself and keeps its best weights.

    `hidden`: units of the hidden layers, of ReLU. `members`: networks, whose predictions are
    averaged. `learning_rate` and `weight_decay` of AdamW, `dropout` of hidden units, examples per
    step, most `epochs`, and `patience` with the validation loss. `intervals`: between quantiles
    that a number is coded by, at most. Without a validation set each member leaves out another
    fold of the training examples, which validates it.
    """

    hidden: tuple[int, ...] = (192, 192)
    members: int = 6
    learning_rate: float = 0.003
    weight_decay: float = 0.1
    dropout: float = 0.1
    batch_size: int = 256
    epochs: int = 100
    patience: int = 16
    intervals: int = INTERVALS

    activation = "relu"
    initializer = "he"

    def models(self, data: Dataset, seed: int = 0) -> list[Model]:
        """Return the members for a data set, of seeds that follow each other."""
        assert data.targets is not None, "what is read says what is to be predicted"
        sizes = (data.features, *self.hidden, data.outputs)
        mlp = MLP(sizes, self.activation, data.targets.loss)
        rule, rate = AdamW(weight_decay=self.weight_decay), self.learning_rate
        return [
            Model(
                mlp,
                rule,
                rate,
                initializer=self.initializer,
                seed=seed + member,
                regularization=Regularization(dropout=self.dropout if self.hidden else 0.0),
            )
            for member in range(self.members)
        ]

    def plan(self, data: Dataset, seed: int = 0) -> Plan:
        """Return how they are trained."""
        folds, count = self.folds(data), len(data.train)
        count = count if folds is None else left_by_folds(count, folds)
        validated = folds is not None or data.validation is not None
        return Plan(
            epochs=self.epochs,
            batch_size=min(self.batch_size, count),
            patience=self.patience if validated else None,
            folds=folds,
            seed=seed,
        )

    def folds(self, data: Dataset) -> int | None:
        """Return how many folds there are, None where the members share a validation set."""
        alone = self.members < 2 or len(data.train) < _FEWEST
        return None if alone or data.validation is not None or data.streamed else self.members

    def flags(self, data: Dataset) -> dict[str, Any]:
        """Return the same as settings of a run."""
        plan = self.plan(data)
        return {
            "hidden": self.hidden,
            "activation": (self.activation,),
            "init": self.initializer,
            "optimizer": "adamw",
            "lr": self.learning_rate,
            "weight_decay": self.weight_decay,
            "dropout": self.dropout,
            "batch_size": plan.batch_size,
            "epochs": self.epochs,
            "patience": plan.patience,
            "members": self.members,
            "folds": plan.folds,
            "intervals": self.intervals,
        }


def candidates(usual: Tabular) -> list[Tabular]:
    """Return settings of which one or the other suits a table: a rich code, and a plain one."""
    return [usual, replace(usual, intervals=2, weight_decay=1.0)]


def is_tried(raw: Dataset, usual: Tabular) -> bool:
    """Tell whether a table has rows enough to try settings on, and not too many for it."""
    return usual.folds(raw) is not None and len(raw.train) <= _MOST_TRIED


def suited(raw: Dataset, usual: Tabular, *, seed: int, backend: Backend) -> Tabular:
    """Return the candidate whose members err least on rows that they have not been trained on.

    `raw` is a table whose columns are not encoded yet: its training rows are dealt into three
    folds, 2,000 at most into six, and each is predicted by a network that was trained on the
    others.
    """
    alone = replace(raw, validation=None, test=None)
    tried = candidates(replace(usual, members=3 if len(raw.train) > _FEW else 6))
    losses = [_loss_of(one, alone, seed=seed, backend=backend) for one in tried]
    return replace(tried[int(np.argmin(losses))], members=usual.members)


def _loss_of(candidate: Tabular, raw: Dataset, *, seed: int, backend: Backend) -> float:
    data = prepare(raw, intervals=candidate.intervals, seed=seed, val_size=0, test_size=0)
    models, plan = candidate.models(data, seed), candidate.plan(data, seed)
    trained = StackTraining(models, data, plan, backend=backend).run()
    losses = [[row.val_loss or 0.0 for row in one.history] or [np.inf] for one in trained]
    return float(np.mean([min(some) for some in losses]))
