"""JAX: the whole step jitted, its parameters donated; or an epoch of them."""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.peers import HostParams, Peer, Problem
from jax.scipy.ndimage import map_coordinates

_ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


def _sgd(rate: float, gradients: Any, params: Any) -> Any:
    return (jax.tree.map(lambda w, g: w - rate * g, params, gradients),)


def _momentum(rate: float, gradients: Any, params: Any, velocity: Any) -> Any:
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients)
    return jax.tree.map(lambda w, v: w - rate * v, params, velocity), velocity


def _adam(rate: float, gradients: Any, params: Any, m: Any, v: Any, t: Any) -> Any:
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
    first, second = 1 - 0.9**t, 1 - 0.999**t

    def moved(w: Any, m: Any, v: Any) -> Any:
        return w - rate * (m / first) / (jnp.sqrt(v / second) + 1e-8)

    return jax.tree.map(moved, params, m, v), m, v, t


def _left_out(h: Any, probability: float, key: Any) -> Any:
    if key is None or not probability:
        return h
    kept = jax.random.bernoulli(key, 1 - probability, h.shape)
    return jnp.where(kept, h / (1 - probability), 0)


def _bent(x: Any, pixels: float, key: Any) -> Any:
    """Bend square images by random displacements that a Gaussian of 4 smooths."""
    side = isqrt(x.shape[1])
    at = jnp.arange(side)
    smoothing = jnp.exp(-((at - at[:, None]) ** 2) / (2 * 4.0**2))
    smoothing /= jnp.linalg.norm(smoothing, axis=1, keepdims=True)
    drawn = jax.random.uniform(key, (len(x), 2, side, side), minval=-1, maxval=1)
    moved = pixels * 3**0.5 * (smoothing @ drawn @ smoothing.T)  # an even number's variance is 1/3
    places = jnp.stack(jnp.meshgrid(at, at, indexing="ij")) + moved

    def one(image: Any, places: Any) -> Any:
        return map_coordinates(image, list(places), order=1, mode="nearest")

    return jax.vmap(one)(x.reshape(-1, side, side), places).reshape(x.shape)


def _zeros(params: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, params)


_STEPS: dict[str, Any] = {"sgd": _sgd, "momentum": _momentum, "adam": _adam}
_BEGINNINGS: dict[str, Any] = {
    "sgd": lambda _: (),
    "momentum": lambda params: (_zeros(params),),
    "adam": lambda params: (_zeros(params), _zeros(params), jnp.zeros(())),
}


class Jitted(Peer):
    """value_and_grad and the update in one jitted function."""

    def __init__(self, problem: Problem) -> None:
        # Of itself it multiplies float32 on a GPU in fewer bits.
        precision = "tensorfloat32" if problem.precision == "tf32" else "highest"
        jax.config.update("jax_default_matmul_precision", precision)
        self._layers = len(problem.sizes) - 1
        params: Any = {k: jnp.asarray(v) for k, v in problem.params.items()}
        # The weights, then what the optimiser remembers.
        self._state: Any = (params, *_BEGINNINGS[problem.optimizer](params))
        self._x, self._y = jnp.asarray(problem.x), jnp.asarray(problem.y)
        layers, f = self._layers, _ACTIVATIONS[problem.activation]
        step_of, rate = _STEPS[problem.optimizer], problem.learning_rate
        rates = jnp.asarray([rate * factor for factor in problem.factors])
        draws = bool(problem.dropout or problem.input_dropout or problem.elastic)
        counts = draws or bool(problem.factors)  # the steps
        if counts:
            self._state = (*self._state, jnp.zeros((), dtype=int))

        def forward(params: Any, x: Any, key: Any = None) -> Any:
            keys = [None] * (layers + 1) if key is None else jax.random.split(key, layers + 1)
            h = x if key is None or not problem.elastic else _bent(x, problem.elastic, keys[layers])
            h = _left_out(h, problem.input_dropout, keys[0])
            for number in range(1, layers):
                h = f(h @ params[f"layer{number}.weight"] + params[f"layer{number}.bias"])
                h = _left_out(h, problem.dropout, keys[number])
            return h @ params[f"layer{layers}.weight"] + params[f"layer{layers}.bias"]

        def loss(params: Any, x: Any, y: Any, key: Any = None) -> Any:
            logits = forward(params, x, key)
            if problem.loss == "mean_squared_error":
                return jnp.mean((logits - y) ** 2)
            logarithms, smoothing = jax.nn.log_softmax(logits), problem.label_smoothing
            of_target = jnp.mean(jnp.take_along_axis(logarithms, y[:, None], axis=1))
            return -((1 - smoothing) * of_target + smoothing * jnp.mean(logarithms))

        def update(state: Any, x: Any, y: Any) -> Any:
            if not counts:
                return step_of(rate, jax.grad(loss)(state[0], x, y), *state)
            *state, number = state  # of the step comes last
            key = jax.random.fold_in(jax.random.key(0), number) if draws else None
            at = rates[number] if problem.factors else rate
            return (*step_of(at, jax.grad(loss)(state[0], x, y, key), *state), number + 1)

        @partial(jax.jit, donate_argnums=0)
        def on_rows(state: Any, x: Any, y: Any, rows: Any) -> Any:
            return update(state, x[rows], y[rows])

        def over_batches(state: Any, x: Any, y: Any, rows: Any) -> Any:
            def one(state: Any, some: Any) -> Any:
                return update(state, x[some], y[some]), None

            return jax.lax.scan(one, state, rows)[0]

        self._over_batches = partial(jax.jit, donate_argnums=0)(over_batches)
        self._on_rows, self._on_all = on_rows, partial(jax.jit, donate_argnums=0)(update)
        self._classes = jax.jit(lambda params, x: jnp.argmax(forward(params, x), axis=1))

    def step(self, rows: np.ndarray) -> None:
        if len(rows) < len(self._x):
            self._state = self._on_rows(self._state, self._x, self._y, rows)
        else:
            self._state = self._on_all(self._state, self._x, self._y)

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        """The order is on a GPU once; on a CPU it is not moved."""
        if self._x.device.platform == "cpu":
            super().epoch(order, batch_size)
            return
        if batch_size == len(order):
            self._state = self._on_all(self._state, self._x, self._y)
            return
        index = jnp.asarray(order)
        for start in range(0, len(order), batch_size):
            rows = index[start : start + batch_size]
            self._state = self._on_rows(self._state, self._x, self._y, rows)

    def finish(self) -> None:
        jax.block_until_ready(self._state)

    def params(self) -> HostParams:
        return {name: np.array(w) for name, w in self._state[0].items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._classes(self._state[0], x))


class Scanned(Jitted):
    """All full batches of an epoch in one call, by lax.scan."""

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        if batch_size == len(order):
            self.step(order)
            return
        whole = len(order) // batch_size * batch_size
        rows = jnp.asarray(order[:whole].reshape(-1, batch_size))
        self._state = self._over_batches(self._state, self._x, self._y, rows)
        if whole < len(order):
            self.step(order[whole:])
