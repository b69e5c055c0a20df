"""JAX: the whole step jitted, its parameters donated; or an epoch of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.peers import HostParams, Peer, Problem

_ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


class Jitted(Peer):
    """value_and_grad and the update in one jitted function."""

    def __init__(self, problem: Problem) -> None:
        self._layers = len(problem.sizes) - 1
        self._params: Any = {k: jnp.asarray(v) for k, v in problem.params.items()}
        self._x, self._y = jnp.asarray(problem.x), jnp.asarray(problem.y)
        rate, layers, f = problem.learning_rate, self._layers, _ACTIVATIONS[problem.activation]

        def forward(params: Any, x: Any) -> Any:
            h = x
            for number in range(1, layers):
                h = f(h @ params[f"layer{number}.weight"] + params[f"layer{number}.bias"])
            return h @ params[f"layer{layers}.weight"] + params[f"layer{layers}.bias"]

        def loss(params: Any, x: Any, y: Any) -> Any:
            logits = forward(params, x)
            of_target = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
            return -jnp.mean(of_target)

        def update(params: Any, x: Any, y: Any) -> Any:
            gradients = jax.grad(loss)(params, x, y)
            return jax.tree.map(lambda w, g: w - rate * g, params, gradients)

        @partial(jax.jit, donate_argnums=0)
        def on_rows(params: Any, x: Any, y: Any, rows: Any) -> Any:
            return update(params, x[rows], y[rows])

        def over_batches(params: Any, x: Any, y: Any, rows: Any) -> Any:
            def one(params: Any, some: Any) -> Any:
                return update(params, x[some], y[some]), None

            return jax.lax.scan(one, params, rows)[0]

        self._over_batches = partial(jax.jit, donate_argnums=0)(over_batches)
        self._on_rows, self._on_all = on_rows, partial(jax.jit, donate_argnums=0)(update)
        self._classes = jax.jit(lambda params, x: jnp.argmax(forward(params, x), axis=1))

    def step(self, rows: np.ndarray) -> None:
        if len(rows) < len(self._x):
            self._params = self._on_rows(self._params, self._x, self._y, rows)
        else:
            self._params = self._on_all(self._params, self._x, self._y)

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        """The order is on a GPU once; on a CPU it is not moved."""
        if self._x.device.platform == "cpu":
            super().epoch(order, batch_size)
            return
        if batch_size == len(order):
            self._params = self._on_all(self._params, self._x, self._y)
            return
        index = jnp.asarray(order)
        for start in range(0, len(order), batch_size):
            rows = index[start : start + batch_size]
            self._params = self._on_rows(self._params, self._x, self._y, rows)

    def finish(self) -> None:
        jax.block_until_ready(self._params)

    def params(self) -> HostParams:
        return {name: np.array(w) for name, w in self._params.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._classes(self._params, x))


class Scanned(Jitted):
    """All full batches of an epoch in one call, by lax.scan."""

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        if batch_size == len(order):
            self.step(order)
            return
        whole = len(order) // batch_size * batch_size
        rows = jnp.asarray(order[:whole].reshape(-1, batch_size))
        self._params = self._over_batches(self._params, self._x, self._y, rows)
        if whole < len(order):
            self.step(order[whole:])
