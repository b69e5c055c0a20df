"""xpmlp itself."""

from __future__ import annotations

import numpy as np

from peers import HostParams, Peer, Problem
from xpmlp import MLP, SGD, Examples, select_backend
from xpmlp.training import TrainingState, train_step


class Own(Peer):
    """`train_step` on numpy."""

    def __init__(self, problem: Problem) -> None:
        self._backend = select_backend("cpu", threads=problem.threads)
        self._mlp, self._rule = MLP(problem.sizes, problem.activation), SGD()
        self._rate = problem.learning_rate
        self._examples = Examples(problem.x, problem.y).to_device(self._backend)
        params = {name: self._backend.to_device(w) for name, w in problem.params.items()}
        self._state = TrainingState(params, {}, seed=0)

    def step(self, rows: np.ndarray) -> None:
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
        return {name: self._backend.to_host(w) for name, w in self._state.params.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        outputs = self._mlp.predict(self._state.params, x, xp=self._backend.xp)
        return np.asarray(outputs.argmax(axis=-1))
