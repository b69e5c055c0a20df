"""Networks that suit a table, where nothing else is said: docs/tables.md says how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpmlp.data.dataset import Dataset
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import AdamW
from xpmlp.training.plan import Model, Plan


@dataclass(frozen=True)
class Tabular:
    """Settings of an ensemble for a table; each member stops by itself and keeps its best weights.

    `hidden`: units of the hidden layers, of ReLU. `members`: networks, whose predictions are
    averaged. `learning_rate` and `weight_decay` of AdamW, `dropout` of hidden units, examples per
    step, most `epochs`, and `patience` with the validation part.
    """

    hidden: tuple[int, ...] = (192, 192)
    members: int = 6
    learning_rate: float = 0.003
    weight_decay: float = 0.1
    dropout: float = 0.1
    batch_size: int = 256
    epochs: int = 100
    patience: int = 16

    activation = "relu"
    initializer = "he"

    def models(self, data: Dataset, seed: int = 0) -> list[Model]:
        """Return the members for a data set, of seeds that follow each other."""
        assert data.targets is not None, "what is read says what is to be predicted"
        sizes = (data.features, *self.hidden, data.outputs)
        mlp = MLP(sizes, self.activation, data.targets.loss)
        rule, rate = AdamW(weight_decay=self.weight_decay), self.learning_rate
        return [
            Model(mlp, rule, rate, initializer=self.initializer, seed=seed + member)
            for member in range(self.members)
        ]

    def plan(self, data: Dataset, seed: int = 0) -> Plan:
        """Return how they are trained."""
        return Plan(
            epochs=self.epochs,
            batch_size=min(self.batch_size, len(data.train)),
            dropout=self.dropout if self.hidden else 0.0,
            patience=None if data.validation is None else self.patience,
            seed=seed,
        )

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
        }
