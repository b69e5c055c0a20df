"""xpmlp itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from timing import training_steps

from peers import HostParams, Peer, Problem
from xpmlp import MLP, SGD, Examples, select_backend
from xpmlp.data import batches_of
from xpmlp.training.steps import TrainingState, train_step


class Own(Peer):
    """`train_step` on numpy or CuPy; an epoch on a GPU by recorded steps."""

    def __init__(self, problem: Problem) -> None:
        self._backend = select_backend(
            problem.device,
            threads=problem.threads,
            graph=problem.graph,
            precision=problem.precision,
        )
        self._mlp, self._rule = MLP(problem.sizes, problem.activation), SGD()
        self._rate = problem.learning_rate
        self._examples = Examples(problem.x, problem.y).to_device(self._backend)
        params = {name: self._backend.to_device(w) for name, w in problem.params.items()}
        self._state = TrainingState(params, {}, seed=0)
        self._order = np.arange(len(self._examples))
        self._recorded: dict[int, tuple[Callable[[], int], int]] = {}

    def step(self, rows: np.ndarray) -> None:
        whole = len(rows) == len(self._examples)
        on_host = self._backend.name == "numpy"
        there = rows if on_host else self._backend.to_device(rows)
        batch = self._examples.batch(None if whole else there, self._backend)
        train_step(
            self._mlp,
            self._rule,
            self._state,
            batch,
            learning_rate=self._rate,
            backend=self._backend,
        )

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        if not self._backend.records:
            super().epoch(order, batch_size)
            return
        if batch_size not in self._recorded:
            whole = batch_size == len(order)
            batches = batches_of(
                self._examples,
                None if whole else batch_size,
                seed=0,
                backend=self._backend,
                order=lambda _: self._order,
            )
            steps = training_steps(
                self._mlp,
                self._state,
                batches,
                learning_rate=self._rate,
                backend=self._backend,
            )
            self._recorded[batch_size] = steps, batches.steps_per_epoch
        self._order = order
        steps, left = self._recorded[batch_size]
        while left > 0:
            left -= steps()

    def finish(self) -> None:
        self._backend.synchronize()

    def params(self) -> HostParams:
        return {name: self._backend.to_host(w) for name, w in self._state.params.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        backend = self._backend
        with backend.computing():
            outputs = self._mlp.predict(self._state.params, backend.to_device(x), xp=backend.xp)
            return backend.to_host(backend.xp.argmax(outputs, axis=-1))
