"""scikit-learn's MLPs as they are, and ours in their place."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.peers import HostParams, Peer, Problem
from sklearn import neural_network
from threadpoolctl import threadpool_limits

import xpmlp

_ACTIVATIONS = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}


class AsItIs(Peer):
    """`partial_fit` on a batch: one step without its penalty."""

    library: Any = neural_network

    def __init__(self, problem: Problem) -> None:
        threadpool_limits(problem.threads)
        self._x, self._y = problem.x, problem.y
        rate, given, kind = problem.learning_rate, {}, self.library.MLPClassifier
        if problem.loss == "mean_squared_error":
            kind, self._y = self.library.MLPRegressor, problem.y[:, 0]
            # Its loss is half of the squared error, which Adam does not notice.
            rate *= 1 if problem.optimizer == "adam" else 2
        else:
            given = {"classes": np.arange(problem.sizes[-1])}
        self._model = kind(
            hidden_layer_sizes=problem.sizes[1:-1],
            activation=_ACTIVATIONS[problem.activation],
            solver="adam" if problem.optimizer == "adam" else "sgd",
            alpha=0.0,
            learning_rate_init=rate,
            momentum=0.9 if problem.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
            shuffle=False,
            batch_size=10,
        )
        # Weights exist after a first step only: take one on a few rows, then put ours there.
        self._model.partial_fit(self._x[:10], self._y[:10], **given)
        self._forget()
        for number in range(1, len(problem.sizes)):
            self._model.coefs_[number - 1][...] = problem.params[f"layer{number}.weight"]
            self._model.intercepts_[number - 1][...] = problem.params[f"layer{number}.bias"]

    def _forget(self) -> None:
        """Forget what the optimiser remembers of that step."""
        del self._model._optimizer

    def step(self, rows: np.ndarray) -> None:
        x, y = self._x, self._y
        if len(rows) < len(x):
            x, y = x[rows], y[rows]
        self._model.set_params(batch_size=len(rows))
        self._model.partial_fit(x, y)

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        """One call, which cuts the batches itself."""
        self._model.set_params(batch_size=batch_size)
        self._model.partial_fit(self._x[order], self._y[order])

    def params(self) -> HostParams:
        found = {}
        for number, (w, b) in enumerate(
            zip(self._model.coefs_, self._model.intercepts_, strict=True), start=1
        ):
            found[f"layer{number}.weight"], found[f"layer{number}.bias"] = w.copy(), b.copy()
        return found

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._model.predict(x))


class InItsPlace(AsItIs):
    """The same calls of our estimators."""

    library = xpmlp

    def _forget(self) -> None:
        self._model._optimizer_state = None
