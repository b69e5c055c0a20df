from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stacks import stack_of, to_device

from xpmlp import (
    MLP,
    Constant,
    Examples,
    Model,
    Momentum,
    Penalty,
    Piece,
    Plan,
    Regularization,
    Training,
    Variables,
    Warmup,
    diagnose,
    initial_state,
    select_backend,
    summarize,
)
from xpmlp.backends import Backend
from xpmlp.inspection.diagnostics import LayerDiagnostics
from xpmlp.mathematics.initializers import HostParams
from xpmlp.mathematics.step import piece_gradient


def test_saturated_and_dead_units_by_hand(backend: Backend) -> None:
    """Two ReLU units on two examples: one always off, one off at one of them."""
    params = {
        "layer1.weight": np.array([[1.0, 1.0]]),
        "layer1.bias": np.array([-10.0, 0.0]),
        "layer2.weight": np.ones((2, 3)),
        "layer2.bias": np.zeros(3),
    }
    examples = Examples(np.array([[1.0], [-1.0]]), np.array([0, 1]))
    variables = Variables(to_device(backend, params), {})
    backend.piece_size = 1
    model = Model(MLP((1, 2, 3), "relu"))
    layers = diagnose(model, variables, examples.to_device(backend), backend=backend)
    assert (layers[0].saturated, layers[0].dead) == (0.75, 0.5)
    assert (layers[1].saturated, layers[1].dead) == (None, None)
    # Outputs (0, 1) and (0, 0): mean ¼, of their squares ¼; ‖(1, 1)‖ and ‖six ones‖.
    assert layers[0].deviation == pytest.approx(np.sqrt(3 / 16), rel=1e-6)
    assert [layer.weight_norm for layer in layers] == pytest.approx([2**0.5, 6**0.5], rel=1e-6)


def test_norms_are_those_of_the_next_step(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    mlp = MLP((4, 5, 3), "tanh")
    model = Model(mlp, Momentum(0.9), 0.1, Penalty(l2=0.1))
    examples = Examples(rng.normal(size=(40, 4)), rng.integers(3, size=40)).to_device(backend)
    state = initial_state(model, backend)
    before = {name: backend.to_host(w) for name, w in state.params.items()}
    layers = diagnose(model, state.variables, examples, backend=backend)
    for name, w in state.params.items():
        np.testing.assert_array_equal(backend.to_host(w), before[name])
        assert not backend.to_host(state.variables.optimizer_state["velocity"][name]).any()
    piece = Piece(examples.x, examples.y)
    gradients = piece_gradient(mlp, state.params, piece, scale=1 / 40, xp=backend.xp)
    for layer in layers:
        w = before[f"layer{layer.layer}.weight"]
        g = backend.to_host(gradients[f"layer{layer.layer}.weight"]) + 0.1 * w
        assert layer.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-12)
        ratio = 0.1 * np.linalg.norm(g) / np.linalg.norm(w)
        assert layer.update_ratio == pytest.approx(ratio, rel=1e-10)


def test_the_next_step_is_the_one_that_the_training_takes() -> None:
    """With a momentum that rises, smoothed labels and bounded weights."""
    rng = np.random.default_rng(0)
    data = Examples(3 * rng.normal(size=(40, 5)), rng.integers(3, size=40))
    extra = Regularization(max_norm=0.9, label_smoothing=0.4)
    model = Model(MLP((5, 7, 3), "tanh"), Momentum(0.9), 0.1, regularization=extra)
    backend, momentum = select_backend("cpu", "float64"), Warmup(Constant(), 20, 0.1)
    plan = Plan(steps=6, batch_size=None, momentum=momentum)
    state = Training(model, data, plan, backend=backend).run()
    before = {name: w.copy() for name, w in state.params.items()}
    rows = diagnose(
        model,
        state.variables,
        data.to_device(backend),
        backend=backend,
        momentum=0.9 * momentum(6, 1),
    )
    after = Training(model, data, replace(plan, steps=7), backend=backend).run().params
    for row in rows:
        name = f"layer{row.layer}.weight"
        moved = np.linalg.norm(after[name] - before[name]) / np.linalg.norm(before[name])
        assert row.update_ratio == pytest.approx(moved, rel=1e-10)


def test_stack_has_one_value_per_model(backend: Backend) -> None:
    rng, mlp = np.random.default_rng(0), MLP((4, 5, 3), "relu")
    examples = Examples(rng.normal(size=(40, 4)), rng.integers(3, size=40)).to_device(backend)

    def look(params: HostParams) -> list[LayerDiagnostics]:
        variables = Variables(to_device(backend, params), {})
        return diagnose(Model(mlp, learning_rate=0.1), variables, examples, backend=backend)

    models = [mlp.init(np.random.default_rng(seed)) for seed in range(3)]
    together = look(stack_of(models))
    for k, model in enumerate(models):
        for layer, single in zip(together, look(model), strict=True):
            assert layer.gradient_norm[k] == pytest.approx(single.gradient_norm, rel=1e-12)
            assert layer.update_ratio[k] == pytest.approx(single.update_ratio, rel=1e-10)
            if single.dead is not None:
                shares = pytest.approx((single.dead, single.saturated), rel=1e-15, abs=0)
                assert (layer.dead[k], layer.saturated[k]) == shares


def test_gradients_of_a_deep_sigmoid_network_vanish(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    mlp = MLP((20, *[16] * 10, 5))
    examples = Examples(rng.normal(size=(30, 20)), rng.integers(5, size=30)).to_device(backend)
    model = Model(mlp, learning_rate=0.1)
    variables = initial_state(model, backend).variables
    layers = diagnose(model, variables, examples, backend=backend)
    assert layers[0].gradient_norm < 1e-4 * layers[-1].gradient_norm


def test_flop_of_a_step() -> None:
    # Forward 2 · 477,600, weight gradients as many, δ Wᵀ above the first layer 2 · 164,000.
    assert MLP((784, 400, 400, 10)).step_flop == 2_238_400
    assert MLP((784, 400, 400, 10)).forward_flop == 2 * 477_600


def test_summary_shows_layers_and_counts() -> None:
    text = summarize(MLP((784, 100, 200, 50, 10), "tanh"), 64)
    lines = text.splitlines()
    assert len(lines) == 6
    assert "784 x 100" in lines[1]
    assert "tanh" in lines[1]
    assert "softmax" in lines[4]
    assert lines[5].startswith("109,260 parameters")
