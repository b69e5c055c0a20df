from __future__ import annotations

import dataclasses
from math import sqrt
from typing import Any

import numpy as np
import pytest

from xpmlp.arrays import Array, Params
from xpmlp.backends import Backend
from xpmlp.mathematics.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
)
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.products import Sums

NAME = "layer1.weight"


def run(
    optimizer: Optimizer,
    start: np.ndarray,
    gradient: Any,
    steps: int,
    backend: Backend,
    learning_rate: float | Array,
) -> list[np.ndarray]:
    """Take steps along gradient(w), a function on the host; return w after each."""
    xp = backend.xp
    params: Params = {NAME: backend.to_device(start)}
    state = optimizer.init(params, xp=xp)
    path = []
    for _ in range(steps):
        g = backend.to_device(gradient(backend.to_host(params[NAME])))
        params, state = optimizer.update(
            params, {NAME: g}, state, learning_rate=learning_rate, xp=xp
        )
        path.append(backend.to_host(params[NAME]))
    return path


# C = w²/2 from w = 1, so g = w; rate 0.1. By hand, three steps:
BY_HAND: dict[str, tuple[Optimizer, list[float]]] = {
    # w ← 0.9 w: 0.9, 0.81, 0.729
    "sgd": (SGD(), [0.9, 0.81, 0.729]),
    # γ = 0.5. v: 1; 0.5 + 0.9 = 1.4; 0.7 + 0.76 = 1.46. w: 0.9; 0.9 − 0.14 = 0.76;
    # 0.76 − 0.146 = 0.614
    "momentum": (Momentum(0.5), [0.9, 0.76, 0.614]),
    # γ = 0.5. v: 1; 0.5 + 0.85 = 1.35; 0.675 + 0.6975 = 1.3725.
    # w: 1 − 0.1 (1 + 0.5) = 0.85; 0.85 − 0.1 (0.85 + 0.675) = 0.6975;
    # 0.6975 − 0.1 (0.6975 + 0.68625) = 0.559125
    "nesterov": (Nesterov(0.5), [0.85, 0.6975, 0.559125]),
    # ρ = 0.75, ε = 0. s: 0.25; 0.1875 + 0.25 · 0.64 = 0.3475. w: 1 − 0.1/0.5 = 0.8;
    # 0.8 − 0.08/√0.3475; then s = 0.260625 + 0.25 w²
    "rmsprop": (
        RMSprop(0.75, epsilon=0.0),
        [
            0.8,
            w2 := 0.8 - 0.08 / sqrt(0.3475),
            w2 - 0.1 * w2 / sqrt(0.260625 + 0.25 * w2**2),
        ],
    ),
    # β₁ = β₂ = 0.5, ε = 0. t=1: m = 0.5, m̂ = 1, v = 0.5, v̂ = 1: w = 0.9.
    # t=2: m = 0.25 + 0.45 = 0.7, m̂ = 0.7/0.75; v = 0.25 + 0.405 = 0.655, v̂ = 0.655/0.75.
    # t=3: m = 0.35 + w/2, v = 0.3275 + w²/2, both over 0.875
    "adam": (
        Adam(0.5, 0.5, epsilon=0.0),
        [
            0.9,
            w2 := 0.9 - 0.1 * (0.7 / 0.75) / sqrt(0.655 / 0.75),
            w2 - 0.1 * ((0.35 + w2 / 2) / 0.875) / sqrt((0.3275 + w2**2 / 2) / 0.875),
        ],
    ),
    # As Adam, but w ← 0.99 w comes first (λ = 0.1): t=1: 0.99 − 0.1 = 0.89.
    # t=2: m = 0.25 + 0.445 = 0.695, v = 0.25 + 0.5 · 0.7921 = 0.64605.
    # t=3: m = 0.3475 + w/2, v = 0.323025 + w²/2
    "adamw": (
        AdamW(0.5, 0.5, epsilon=0.0, weight_decay=0.1),
        [
            0.89,
            w2 := 0.99 * 0.89 - 0.1 * (0.695 / 0.75) / sqrt(0.64605 / 0.75),
            0.99 * w2 - 0.1 * ((0.3475 + w2 / 2) / 0.875) / sqrt((0.323025 + w2**2 / 2) / 0.875),
        ],
    ),
}


def test_every_optimizer_is_worked_out_by_hand() -> None:
    assert BY_HAND.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_steps_by_hand(backend: Backend, name: str) -> None:
    optimizer, expected = BY_HAND[name]
    path = run(optimizer, np.array([[1.0]]), lambda w: w, 3, backend, 0.1)
    np.testing.assert_allclose(np.ravel(path), expected, rtol=1e-13)


def parabola(w: np.ndarray) -> np.ndarray:
    """Gradient of ½ (w₀ − 1)² + 5 (w₁ + 2)², whose minimum is (1, −2)."""
    return np.array([w[..., 0] - 1, 10 * (w[..., 1] + 2)]).T


def rosenbrock(w: np.ndarray) -> np.ndarray:
    """Gradient of (1 − w₀)² + 100 (w₁ − w₀²)², whose minimum is (1, 1)."""
    x, y = w[..., 0], w[..., 1]
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]).T


CONVERGENCE = {
    # optimiser: rate and steps on the parabola, rate and steps on Rosenbrock's function
    "sgd": (0.1, 400, 1e-3, 40_000),
    "momentum": (0.02, 600, 2e-4, 20_000),
    "nesterov": (0.02, 600, 2e-4, 20_000),
    "rmsprop": (0.01, 2_000, 5e-5, 60_000),
    "adam": (0.1, 600, 0.02, 10_000),
    "adamw": (0.1, 600, 0.02, 10_000),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("function", [parabola, rosenbrock])
def test_every_optimizer_converges(name: str, function: Any) -> None:
    from xpmlp import select_backend

    rate, steps, rosenbrock_rate, rosenbrock_steps = CONVERGENCE[name]
    minimum = [1.0, -2.0]
    if function is rosenbrock:
        rate, steps, minimum = rosenbrock_rate, rosenbrock_steps, [1.0, 1.0]
    optimizer = AdamW(weight_decay=0.0) if name == "adamw" else OPTIMIZERS[name]()
    backend = select_backend("cpu", "float64")
    path = run(optimizer, np.array([[-1.0, 1.0]]), function, steps, backend, rate)
    np.testing.assert_allclose(path[-1], [minimum], atol=0.02)


HYPERPARAMETERS: dict[str, dict[str, tuple[float, float]]] = {
    "sgd": {},
    "momentum": {"momentum": (0.5, 0.9)},
    "nesterov": {"momentum": (0.5, 0.9)},
    "rmsprop": {"decay": (0.8, 0.95)},
    "adam": {"beta1": (0.8, 0.9), "beta2": (0.9, 0.99)},
    "adamw": {"beta1": (0.8, 0.9), "beta2": (0.9, 0.99), "weight_decay": (0.0, 0.3)},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_hyperparameter_a_model(backend: Backend, name: str) -> None:
    """A stack with arrays of hyperparameters is its models with their numbers."""
    kind, settings = OPTIMIZERS[name], HYPERPARAMETERS[name]
    starts = np.random.default_rng(0).normal(size=(2, 3, 2))
    rates = (0.1, 0.02)
    arrays = {key: backend.to_device(np.array(values)) for key, values in settings.items()}
    together = run(
        kind(**arrays), starts, lambda w: w**3, 4, backend, backend.to_device(np.array(rates))
    )[-1]
    for k in range(2):
        numbers = {key: values[k] for key, values in settings.items()}
        alone = run(kind(**numbers), starts[k], lambda w: w**3, 4, backend, rates[k])[-1]
        np.testing.assert_allclose(together[k], alone, rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zero_dimensional_hyperparameters(backend: Backend, name: str) -> None:
    kind = OPTIMIZERS[name]
    start = np.array([[1.0, 2.0]])
    numbers = {key: values[0] for key, values in HYPERPARAMETERS[name].items()}
    arrays = {key: backend.to_device(np.array(value)) for key, value in numbers.items()}
    expected = run(kind(**numbers), start, lambda w: w, 3, backend, 0.1)
    path = run(kind(**arrays), start, lambda w: w, 3, backend, backend.to_device(np.array(0.1)))
    np.testing.assert_allclose(path, expected, rtol=1e-14)


def test_moments_belong_to_one_training(backend: Backend) -> None:
    optimizer, xp = Momentum(), backend.xp
    params = {NAME: backend.to_device(np.ones((1, 1)))}
    one, other = optimizer.init(params, xp=xp), optimizer.init(params, xp=xp)
    gradients = {NAME: backend.to_device(np.ones((1, 1)))}
    optimizer.update(params, gradients, one, learning_rate=0.1, xp=xp)
    assert backend.to_host(other["velocity"][NAME]) == 0
    assert dataclasses.fields(optimizer)[0].name == "momentum"


def test_decay_of_adamw_leaves_biases_alone(backend: Backend) -> None:
    xp = backend.xp
    params = {f"layer1.{kind}": backend.to_device(np.ones((1, 1))) for kind in ("weight", "bias")}
    gradients = {name: backend.to_device(np.zeros((1, 1))) for name in params}
    optimizer = AdamW(weight_decay=0.5)
    state = optimizer.init(params, xp=xp)
    params, _ = optimizer.update(params, gradients, state, learning_rate=0.1, xp=xp)
    assert backend.to_host(params["layer1.weight"]) == 0.95
    assert backend.to_host(params["layer1.bias"]) == 1


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop"])
def test_epsilon_stands_beside_the_corrected_root(backend: Backend, name: str) -> None:
    """One step from w = 1 with g = 3: m̂ = 3 and √v̂ = 3 for Adam; √s = 1.5 for RMSprop."""
    optimizer = OPTIMIZERS[name](epsilon=0.5)  # type: ignore[call-arg]
    if name == "rmsprop":
        optimizer = RMSprop(0.75, epsilon=0.5)
    if name == "adamw":
        optimizer = AdamW(epsilon=0.5, weight_decay=0.0)
    path = run(optimizer, np.array([[1.0]]), lambda w: 3 * w, 1, backend, 0.1)
    expected = 1 - 0.1 * 3 / ((1.5 if name == "rmsprop" else 3) + 0.5)
    np.testing.assert_allclose(path[0], [[expected]], rtol=1e-13)


def test_decay_of_adamw_comes_before_the_gradient_is_multiplied_out(backend: Backend) -> None:
    """An L2 penalty's part of the gradient is of the weight as it was, not as it has decayed."""
    xp, w = backend.xp, np.array([[2.0]])
    rule = AdamW(0.5, 0.5, epsilon=0.0, weight_decay=0.5)
    params: Params = {NAME: backend.to_device(w)}
    sums = Sums({NAME: backend.to_device(np.array([[0.0]]))}, xp=xp)
    Penalty(l2=1.0).penalize(sums, params, scale=1.0, xp=xp)
    params, state = rule.update(params, sums, rule.init(params, xp=xp), learning_rate=0.1, xp=xp)
    # g = 1 · 2, so m = 0.5 · 2, the sum of gradients 2; w = 2 · 0.95 − 0.1 · 1
    total = backend.to_host(state["gradient_sum"][NAME])
    np.testing.assert_allclose(total, [[2.0]], rtol=1e-14)
    np.testing.assert_allclose(backend.to_host(params[NAME]), [[1.8]], rtol=1e-14)
