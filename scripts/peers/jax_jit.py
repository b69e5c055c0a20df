"""JAX: the whole step jitted, its parameters donated."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from peers import Problem
from xpmlp.initializers import HostParams


class Jitted:
    """value_and_grad and the update in one jitted function."""

    def __init__(self, problem: Problem) -> None:
        self._layers = len(problem.sizes) - 1
        self._params: Any = {k: jnp.asarray(v) for k, v in problem.params.items()}
        self._x, self._y = jnp.asarray(problem.x), jnp.asarray(problem.y)
        rate, layers = problem.learning_rate, self._layers

        def loss(params: Any, x: Any, y: Any) -> Any:
            h = x
            for number in range(1, layers):
                h = jax.nn.sigmoid(
                    h @ params[f"layer{number}.weight"] + params[f"layer{number}.bias"]
                )
            logits = h @ params[f"layer{layers}.weight"] + params[f"layer{layers}.bias"]
            of_target = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
            return -jnp.mean(of_target)

        def update(params: Any, x: Any, y: Any) -> Any:
            gradients = jax.grad(loss)(params, x, y)
            return jax.tree.map(lambda w, g: w - rate * g, params, gradients)

        @partial(jax.jit, donate_argnums=0)
        def on_rows(params: Any, x: Any, y: Any, rows: Any) -> Any:
            return update(params, x[rows], y[rows])

        self._on_rows, self._on_all = on_rows, partial(jax.jit, donate_argnums=0)(update)

    def step(self, rows: np.ndarray) -> None:
        """Train on some rows; all of them are not gathered."""
        if len(rows) < len(self._x):
            self._params = self._on_rows(self._params, self._x, self._y, rows)
        else:
            self._params = self._on_all(self._params, self._x, self._y)
        for array in self._params.values():
            array.block_until_ready()

    def params(self) -> HostParams:
        """Return a copy of the weights."""
        return {name: np.array(w) for name, w in self._params.items()}
