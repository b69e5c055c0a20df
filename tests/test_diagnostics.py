from __future__ import annotations

import numpy as np
import pytest
from stacks import stack_of, to_device

from xpmlp import MLP, SGD, Examples, Momentum, Penalty, diagnose, initial_state, summarize
from xpmlp.backends import Backend
from xpmlp.inspection.diagnostics import LayerDiagnostics
from xpmlp.mathematics.initializers import HostParams
from xpmlp.training.steps import TrainingState, loss_and_gradients


def test_saturated_and_dead_units_by_hand(backend: Backend) -> None:
    """Two ReLU units on two examples: one always off, one off at one of them."""
    params = {
        "layer1.weight": np.array([[1.0, 1.0]]),
        "layer1.bias": np.array([-10.0, 0.0]),
        "layer2.weight": np.ones((2, 3)),
        "layer2.bias": np.zeros(3),
    }
    examples = Examples(np.array([[1.0], [-1.0]]), np.array([0, 1]))
    state = TrainingState(to_device(backend, params), {}, seed=0)
    backend.piece_size = 1
    layers = diagnose(
        MLP((1, 2, 3), "relu"),
        state,
        examples.to_device(backend),
        optimizer=SGD(),
        learning_rate=0.1,
        backend=backend,
    )
    assert (layers[0].saturated, layers[0].dead) == (0.75, 0.5)
    assert (layers[1].saturated, layers[1].dead) == (None, None)


def test_norms_are_those_of_the_next_step(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    mlp, rule, penalty = MLP((4, 5, 3), "tanh"), Momentum(0.9), Penalty(l2=0.1)
    examples = Examples(rng.normal(size=(40, 4)), rng.integers(3, size=40)).to_device(backend)
    state = initial_state(mlp, rule, seed=0, backend=backend)
    before = {name: backend.to_host(w) for name, w in state.params.items()}
    layers = diagnose(
        mlp,
        state,
        examples,
        optimizer=rule,
        learning_rate=0.1,
        backend=backend,
        penalty=penalty,
    )
    for name, w in state.params.items():
        np.testing.assert_array_equal(backend.to_host(w), before[name])
        assert not backend.to_host(state.optimizer_state["velocity"][name]).any()
    gradients = loss_and_gradients(
        mlp, state.params, examples.x, examples.y, scale=1 / 40, xp=backend.xp
    ).gradients
    for layer in layers:
        w = before[f"layer{layer.layer}.weight"]
        g = backend.to_host(gradients[f"layer{layer.layer}.weight"]) + 0.1 * w
        assert layer.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-12)
        ratio = 0.1 * np.linalg.norm(g) / np.linalg.norm(w)
        assert layer.update_ratio == pytest.approx(ratio, rel=1e-10)


def test_stack_has_a_value_a_model(backend: Backend) -> None:
    rng, mlp = np.random.default_rng(0), MLP((4, 5, 3), "relu")
    examples = Examples(rng.normal(size=(40, 4)), rng.integers(3, size=40)).to_device(backend)

    def look(params: HostParams) -> list[LayerDiagnostics]:
        state = TrainingState(to_device(backend, params), {}, seed=0)
        return diagnose(mlp, state, examples, optimizer=SGD(), learning_rate=0.1, backend=backend)

    models = [mlp.init(np.random.default_rng(seed)) for seed in range(3)]
    together = look(stack_of(models))
    for k, model in enumerate(models):
        for layer, single in zip(together, look(model), strict=True):
            assert layer.gradient_norm[k] == pytest.approx(single.gradient_norm, rel=1e-12)
            assert layer.update_ratio[k] == pytest.approx(single.update_ratio, rel=1e-10)
            if single.dead is not None:
                assert (layer.dead[k], layer.saturated[k]) == (single.dead, single.saturated)


def test_gradients_of_a_deep_sigmoid_network_vanish(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    mlp = MLP((20, *[16] * 10, 5))
    examples = Examples(rng.normal(size=(30, 20)), rng.integers(5, size=30)).to_device(backend)
    state = initial_state(mlp, SGD(), seed=0, backend=backend)
    layers = diagnose(mlp, state, examples, optimizer=SGD(), learning_rate=0.1, backend=backend)
    assert layers[0].gradient_norm < 1e-4 * layers[-1].gradient_norm


def test_flop_of_a_step() -> None:
    # Forward 2 · 477,600, weight gradients as many, δ Wᵀ above the first layer 2 · 164,000.
    assert MLP((784, 400, 400, 10)).step_flop() == 2_238_400
    assert MLP((784, 400, 400, 10)).step_flop(60_000) == 2_238_400 * 60_000


def test_summary_shows_layers_and_counts() -> None:
    text = summarize(MLP((784, 100, 200, 50, 10), "tanh"), 64)
    lines = text.splitlines()
    assert len(lines) == 6
    assert "784 x 100" in lines[1]
    assert "tanh" in lines[1]
    assert "softmax" in lines[4]
    assert lines[5].startswith("109,260 parameters")
