"""A stack in `fit_stack` is its models trained one by one by `fit`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from stacks import to_host
from threadpoolctl import threadpool_limits

from xpmlp import (
    MLP,
    SGD,
    Adam,
    Examples,
    Momentum,
    Penalty,
    RMSprop,
    StepDecay,
    fit,
    initial_state,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.errors import DataError, DivergedError, UsageError
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.training.stack_loop import ModelSetting, StackModel, fit_stack
from xpmlp.training.steps import TrainingState

SIZES = (6, 9, 7, 4)


def examples(count: int, seed: int, backend: Backend) -> Examples:
    """Classes that overlap: validation losses turn upwards again."""
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=count)
    x = np.eye(4, 6)[y] + rng.normal(0, 0.8, (count, 6))
    return Examples(x, y).to_device(backend)


def course(backend: Backend) -> dict[str, Any]:
    return {
        "steps": 60,
        "batch_size": 7,
        "log_every": 4,
        "validation": examples(40, 1, backend),
        "patience": 3,
        "schedule": StepDecay((3, 5)),
        "backend": backend,
    }


def alone(setting: ModelSetting, backend: Backend, **changed: Any) -> TrainingState:
    """Train one model by itself, on the batches of seed 0."""
    mlp = MLP(SIZES, setting.activation)
    state = initial_state(
        mlp, setting.optimizer, seed=setting.seed, backend=backend, initializer=setting.initializer
    )
    state.seed = 0
    for _ in fit(
        mlp,
        state,
        examples(45, 0, backend),
        optimizer=setting.optimizer,
        learning_rate=setting.learning_rate,
        penalty=Penalty(l2=setting.l2, l1=setting.l1) if setting.l2 or setting.l1 else None,
        **course(backend) | changed,
    ):
        pass
    return state


def settings_with(rules: list[Optimizer], rates: list[float]) -> list[ModelSetting]:
    activations, initializers = ("tanh", "relu", "sigmoid"), ("xavier", "he", "lecun")
    return [
        ModelSetting(
            activation=activations[k % 3],
            initializer=initializers[k % 3],
            seed=k,
            learning_rate=rate,
            optimizer=rule,
            l2=0.01 * (k % 2),
            l1=0.001 * (k % 3),
        )
        for k, (rule, rate) in enumerate(zip(rules, rates, strict=True))
    ]


RULES: dict[str, tuple[list[Optimizer], list[float]]] = {
    "sgd": ([SGD()] * 5, [2.0, 0.5, 0.1, 1.0, 0.3]),
    "momentum": ([Momentum(m) for m in (0.9, 0.5, 0.0, 0.8, 0.3)], [0.3, 0.5, 0.1, 0.2, 0.05]),
    "rmsprop": ([RMSprop(d) for d in (0.9, 0.5, 0.99)], [0.05, 0.01, 0.002]),
    "adam": ([Adam(b) for b in (0.9, 0.5, 0.8, 0.9)], [0.1, 0.01, 0.03, 0.003]),
}


def assert_same(model: StackModel, state: TrainingState, backend: Backend) -> None:
    assert model.status == state.status
    assert [row.step for row in model.history] == [row.step for row in state.history]
    for ours, theirs in zip(model.history, state.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-10)
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=1e-10)
        assert ours.learning_rate == pytest.approx(theirs.learning_rate, rel=1e-12)
        assert (ours.train_accuracy, ours.val_accuracy) == (
            theirs.train_accuracy,
            theirs.val_accuracy,
        )
    assert model.params is not None
    for mine, single in ((model.params, state.params), (model.result, state.result)):
        for name, array in to_host(backend, single).items():
            found = backend.to_host(mine[name])
            np.testing.assert_allclose(found, array, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_stack_equals_single_runs(backend: Backend, rule: str) -> None:
    """With models that stop at different times, and are dropped from the stack."""
    settings = settings_with(*RULES[rule])
    *_, models = fit_stack(SIZES, settings, examples(45, 0, backend), **course(backend))
    states = [alone(setting, backend) for setting in settings]
    for model, state in zip(models, states, strict=True):
        assert_same(model, state, backend)
    # Otherwise this test has not tried what it is for.
    assert len({state.step for state in states}) > 1


def test_dropout_and_full_batch(backend: Backend) -> None:
    settings = settings_with(*RULES["sgd"])
    changed = {"dropout": 0.3, "batch_size": None, "patience": None, "log_every": None}
    train = examples(45, 0, backend)
    *_, models = fit_stack(SIZES, settings, train, **course(backend) | changed)
    for model, setting in zip(models, settings, strict=True):
        assert_same(model, alone(setting, backend, **changed), backend)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_models_are_shared_out_over_threads(threads: int) -> None:
    """Each thread has a stack of its own: results differ by nothing at all."""
    with threadpool_limits(None):
        backend = select_backend("cpu", "float64", threads=threads)
        one = select_backend("cpu", "float64", threads=1)
        settings = settings_with(*RULES["momentum"])
        both = []
        for each in (backend, one):
            *_, found = fit_stack(SIZES, settings, examples(45, 0, each), **course(each))
            both.append(found)
    for ours, theirs in zip(*both, strict=True):
        assert ours.status == theirs.status
        for name, array in theirs.result.items():
            np.testing.assert_allclose(ours.result[name], array, rtol=1e-12, atol=1e-14)


def test_a_model_that_diverges_leaves_the_others_alone(backend: Backend) -> None:
    settings = settings_with(*RULES["sgd"])
    settings[1] = replace(settings[1], learning_rate=1e200)
    *_, models = fit_stack(SIZES, settings, examples(45, 0, backend), **course(backend))
    assert models[1].status == "diverged"
    with pytest.raises(DivergedError, match="before its first log point"):
        print(models[1].result)
    for k in (0, 2, 3, 4):
        assert_same(models[k], alone(settings[k], backend), backend)


def test_what_makes_no_stack(backend: Backend) -> None:
    train = examples(20, 0, backend)
    common: dict[str, Any] = {"steps": 2, "backend": backend}
    mixed = [ModelSetting(optimizer=Momentum()), ModelSetting()]
    with pytest.raises(UsageError, match="Momentum and SGD make no stack"):
        fit_stack(SIZES, mixed, train, **common)
    other = [ModelSetting(optimizer=Adam(epsilon=e)) for e in (1e-8, 1e-7)]
    with pytest.raises(UsageError, match="epsilon"):
        fit_stack(SIZES, other, train, **common)
    with pytest.raises(UsageError, match="no settings"):
        fit_stack(SIZES, [], train, **common)
    for setting in ({"learning_rate": 0}, {"learning_rate": float("nan")}, {"l2": -1.0}):
        with pytest.raises(UsageError, match=next(iter(setting))):
            ModelSetting(**setting)
    with pytest.raises(UsageError, match="optimizer 'adam' is none"):
        ModelSetting(optimizer="adam")  # type: ignore[arg-type]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"patience": 2}, "patience of 2 needs a validation set"),
        ({"steps": 0}, "steps is 0"),
        ({"log_every": 0}, "log_every is 0"),
        ({"dropout": 1.0}, "dropout of 1.0"),
    ]
    for changed, said in wrong:
        with pytest.raises(UsageError, match=said):
            fit_stack(SIZES, [ModelSetting()], train, **common | changed)
    with pytest.raises(DataError, match="5 features"):
        fit_stack((5, 4), [ModelSetting()], train, **common)
