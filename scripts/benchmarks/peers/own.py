"""xpmlp itself, on each of its libraries."""

from __future__ import annotations

import numpy as np
from benchmarks.peers import HostParams, Peer, Problem
from benchmarks.timing import Steps

from xpmlp import MLP, OPTIMIZERS, Examples, Inputs, Model, Step, Variables, select_backend
from xpmlp.backends.cpu import fusion
from xpmlp.training.stepper import take_step


class Own(Peer):
    """A step by itself, and an epoch as training takes its steps: many at once where it can."""

    library = "auto"

    def __init__(self, problem: Problem) -> None:
        fusion.WORTH_COMPILING = 0.0  # before anything is timed, as the other libraries compile
        self._backend = select_backend(
            problem.device,
            backend=self.library,
            threads=None if self.library == "jax" else problem.threads,
            graph=problem.graph,
            precision=problem.precision,
        )
        mlp = MLP(problem.sizes, problem.activation, problem.loss)
        optimizer = OPTIMIZERS[problem.optimizer]()
        self._model = Model(mlp, optimizer, problem.learning_rate)
        self._step = Step(mlp, optimizer)
        self._examples = Examples(problem.x, problem.y).to_device(self._backend)
        params = self._backend.all_to_device(problem.params)
        with self._backend.computing():
            self._variables = Variables(params, optimizer.init(params, xp=self._backend.xp))
        self._order = np.arange(len(self._examples))
        self._at_once: dict[int, tuple[Steps, int]] = {}

    def step(self, rows: np.ndarray) -> None:
        backend = self._backend
        there = rows if backend.on_host else backend.to_device(rows)
        inputs = Inputs(self._model.rate, None if len(rows) == len(self._examples) else there)
        with backend.computing(self._model.mlp.step_flop * len(rows)):
            take = backend.compiled(take_step, donated=(1,))
            self._variables, _ = take(self._step, self._variables, self._examples, inputs)

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        if not (self._backend.records or self._backend.compiles):
            super().epoch(order, batch_size)
            return
        if batch_size not in self._at_once:
            batches = self._examples.batches(
                None if batch_size == len(order) else batch_size,
                seed=0,
                backend=self._backend,
                order=lambda _: self._order,
            )
            steps = Steps(self._model, self._variables, batches, self._backend)
            self._at_once[batch_size] = steps, batches.steps_per_epoch
        self._order = order
        steps, left = self._at_once[batch_size]
        steps.variables = self._variables
        while left > 0:
            left -= steps()
        self._variables = steps.variables

    def finish(self) -> None:
        self._backend.synchronize()

    def params(self) -> HostParams:
        return {name: self._backend.to_host(w) for name, w in self._variables.params.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        backend, mlp = self._backend, self._model.mlp
        with backend.computing():
            outputs = mlp.predict(self._variables.params, backend.to_device(x), xp=backend.xp)
            return backend.to_host(backend.xp.argmax(outputs, axis=-1))


class OnJax(Own):
    """The same on JAX."""

    library = "jax"


class OnTorch(Own):
    """The same on PyTorch."""

    library = "torch"
