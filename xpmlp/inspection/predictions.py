"""What a trained network says of examples, one by one: to count, and to look at the mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.errors import UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.training.evaluation import check_fit

# The smallest probability whose logarithm is taken: float64's smallest normal number.
_TINY = 2.3e-308


@dataclass(frozen=True)
class Predictions:
    """Class probabilities (N, C) and true class ids (N,) of examples, on the host."""

    probabilities: np.ndarray
    targets: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The most probable class of each example."""
        found: np.ndarray = self.probabilities.argmax(axis=1)
        return found

    def confusion(self) -> np.ndarray:
        """Return how many examples of class i (row) were taken for class j (column)."""
        count = self.probabilities.shape[1]
        matrix = np.zeros((count, count), dtype=np.int64)
        np.add.at(matrix, (self.targets, self.classes), 1)
        return matrix

    def worst(self, count: int) -> np.ndarray:
        """Return the numbers of the mistakes with the largest losses −ln a_target, worst first."""
        of_target = self.probabilities[np.arange(len(self.targets)), self.targets]
        losses = -np.log(np.maximum(of_target, _TINY))
        order = np.argsort(-losses, kind="stable")
        mistakes: np.ndarray = order[self.classes[order] != self.targets[order]][:count]
        return mistakes


def predict(mlp: MLP, params: Params, examples: Any, *, backend: Backend) -> Predictions:
    """Return what a network predicts for examples with class ids, a piece at a time.

    `params` and `examples` are on the backend's device. Raises `DataError` for examples that do
    not fit the network, `UsageError` for a regression.
    """
    check_fit(mlp, examples, backend)
    if not mlp.loss_function.one_class:
        raise UsageError(f"a network trained on {mlp.loss} gives no class probabilities")
    xp, size = backend.xp, backend.piece_rows(mlp.sizes[0])
    batch = examples.batch(xp=xp)
    probabilities, targets = [], []
    with backend.computing():
        for start in range(0, batch.size, size):
            x, y, _ = batch.read(slice(start, min(start + size, batch.size)))
            probabilities.append(backend.to_host(mlp.predict(params, x, xp=xp)))
            targets.append(backend.to_host(y))
    return Predictions(np.concatenate(probabilities).astype(np.float64), np.concatenate(targets))
