"""xpmlp itself."""

from __future__ import annotations

import numpy as np

from peers import Problem
from xpmlp import MLP, SGD, Examples, select_backend
from xpmlp.initializers import HostParams
from xpmlp.training import TrainingState, train_step


class Own:
    """`train_step` on numpy."""

    def __init__(self, problem: Problem) -> None:
        self._backend = select_backend("cpu", threads=problem.threads)
        self._mlp, self._rule = MLP(problem.sizes, "sigmoid"), SGD()
        self._rate = problem.learning_rate
        self._examples = Examples(problem.x, problem.y).to_device(self._backend)
        params = {name: self._backend.to_device(w) for name, w in problem.params.items()}
        self._state = TrainingState(params, {}, seed=0)

    def step(self, rows: np.ndarray) -> None:
        """Train on some rows; all of them are not gathered, as in `fit`."""
        whole = len(rows) == len(self._examples)
        batch = self._examples.batch(None if whole else rows, self._backend)
        train_step(
            self._mlp,
            self._rule,
            self._state,
            batch,
            learning_rate=self._rate,
            backend=self._backend,
        )

    def params(self) -> HostParams:
        """Return a copy of the weights."""
        return {name: self._backend.to_host(w) for name, w in self._state.params.items()}
