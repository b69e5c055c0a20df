"""A stack in `StackTraining` is its models trained one by one by `Training`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stacks import to_host
from threadpoolctl import threadpool_limits
from trainings import fit, fit_stack, initial_state

from xpmlp import (
    MLP,
    SGD,
    Adam,
    Dataset,
    Examples,
    Model,
    ModelState,
    Momentum,
    Penalty,
    Plan,
    Regularization,
    RMSprop,
    StackTraining,
    StepDecay,
    TrainingState,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.errors import DataError, DivergedError, UsageError
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.runs.checkpoint import load_stack, save_stack

SIZES = (6, 9, 7, 4)


def examples(count: int, seed: int, backend: Backend) -> Examples:
    """Classes that overlap: validation losses turn upwards again."""
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=count)
    x = np.eye(4, 6)[y] + rng.normal(0, 0.8, (count, 6))
    return Examples(x, y).to_device(backend)


def plan_of(backend: Backend) -> dict[str, Any]:
    return {
        "steps": 60,
        "batch_size": 7,
        "log_every": 4,
        "validation": examples(40, 1, backend),
        "patience": 3,
        "schedule": StepDecay((3, 5)),
        "backend": backend,
    }


def alone(model: Model, backend: Backend, **changed: Any) -> TrainingState:
    """Train one model by itself, on the batches of seed 0."""
    state = initial_state(
        model.mlp,
        model.optimizer,
        seed=model.seed,
        backend=backend,
        initializer=model.initializer,
    )
    for _ in fit(
        model.mlp,
        state,
        examples(45, 0, backend),
        optimizer=model.optimizer,
        learning_rate=model.rate,
        penalty=model.penalty,
        regularization=model.regularization,
        **plan_of(backend) | {"seed": 0} | changed,
    ):
        pass
    return state


def models_with(rules: list[Optimizer], rates: list[float]) -> list[Model]:
    activations, initializers = ("tanh", "relu", "sigmoid"), ("xavier", "he", "lecun")
    return [
        Model(
            MLP(SIZES, activations[k % 3]),
            rule,
            rate,
            Penalty(0.01 * (k % 2), 0.001 * (k % 3)) if k % 6 else None,
            initializers[k % 3],
            seed=k,
        )
        for k, (rule, rate) in enumerate(zip(rules, rates, strict=True))
    ]


RULES: dict[str, tuple[list[Optimizer], list[float]]] = {
    "sgd": ([SGD()] * 5, [2.0, 0.5, 0.1, 1.0, 0.3]),
    "momentum": ([Momentum(m) for m in (0.9, 0.5, 0.0, 0.8, 0.3)], [0.3, 0.5, 0.1, 0.2, 0.05]),
    "rmsprop": ([RMSprop(d) for d in (0.9, 0.5, 0.99)], [0.05, 0.01, 0.002]),
    "adam": ([Adam(b) for b in (0.9, 0.5, 0.8, 0.9)], [0.1, 0.01, 0.03, 0.003]),
}


def assert_same(model: ModelState, state: TrainingState, backend: Backend) -> None:
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
    models = models_with(*RULES[rule])
    if backend.compiles:  # each number of models that are left is a program of its own
        models = models[:3]
    ended = fit_stack(models, examples(45, 0, backend), **plan_of(backend))
    states = [alone(model, backend) for model in models]
    for member, state in zip(ended, states, strict=True):
        assert_same(member, state, backend)
    # Otherwise this test has not tried what it is for.
    assert len({state.step for state in states}) > 1


def test_dropout_and_full_batch(backend: Backend) -> None:
    models = models_with(*RULES["sgd"])
    models = [
        replace(model, regularization=Regularization(dropout=share))
        for model, share in zip(models[:3], (0.3, 0.0, 0.5), strict=True)
    ]
    changed = {"batch_size": None, "patience": None, "log_every": None}
    ended = fit_stack(models, examples(45, 0, backend), **plan_of(backend) | changed)
    for member, model in zip(ended, models, strict=True):
        assert_same(member, alone(model, backend, **changed), backend)


def test_what_a_single_model_can_a_stack_can(backend: Backend) -> None:
    """Its own order, exact training figures, test figures."""
    models, train = models_with(*RULES["momentum"])[:3], examples(45, 0, backend)

    def order(epoch: int) -> np.ndarray:
        return np.roll(np.arange(45), epoch)

    changed = {"order": order, "train_exact": True, "log_test": True}
    plan = plan_of(backend) | changed
    data = Dataset("examples", train, train.first(30), validation=plan.pop("validation"))
    plan.pop("backend")
    ended = StackTraining(models, data, Plan(**plan), backend=backend).run()
    for member, model in zip(ended, models, strict=True):
        changed = {"order": order, "train_exact": True, "test": train.first(30)}
        state = alone(model, backend, **changed)
        assert_same(member, state, backend)
        for ours, theirs in zip(member.history, state.history, strict=True):
            assert ours.test_loss == pytest.approx(theirs.test_loss, rel=1e-10)
            assert ours.test_accuracy == theirs.test_accuracy


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_models_are_shared_out_over_threads(threads: int) -> None:
    """Each thread has a stack of its own: results differ by nothing at all."""
    with threadpool_limits(None):
        backend = select_backend("cpu", "float64", threads=threads)
        one = select_backend("cpu", "float64", threads=1)
        models = models_with(*RULES["momentum"])
        both = [
            fit_stack(models, examples(45, 0, each), **plan_of(each)) for each in (backend, one)
        ]
    for ours, theirs in zip(*both, strict=True):
        assert ours.status == theirs.status
        for name, array in theirs.result.items():
            np.testing.assert_allclose(ours.result[name], array, rtol=1e-12, atol=1e-14)


def test_a_model_that_diverges_leaves_the_others_alone(backend: Backend) -> None:
    """And says, as it would alone, at which step and in which layer it began."""
    models = models_with(*RULES["sgd"])
    models[1] = replace(models[1], learning_rate=1e200)
    ended = fit_stack(models, examples(45, 0, backend), **plan_of(backend))
    assert ended[1].status == "diverged"
    with pytest.raises(DivergedError) as single:
        alone(models[1], backend)
    assert ended[1].cause == str(single.value)
    assert "with learning rate 1e+200; it began in" in ended[1].cause
    with pytest.raises(DivergedError, match="at step"):
        print(ended[1].result)
    for k in (0, 2, 3, 4):
        assert_same(ended[k], alone(models[k], backend), backend)
    assert all(np.isfinite(w).all() for w in to_host(backend, ended[1].params or {}).values())


@pytest.mark.parametrize("stop_after", [1, 4, 18, 31])
@pytest.mark.parametrize("threads", [(1, 1), (2, 2), (2, 1), (1, 3)])
@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_interrupted_stack_goes_on_bit_for_bit(
    tmp_path: Path, rule: str, threads: tuple[int, int], stop_after: int
) -> None:
    """Between log points and at them, after models have left; other threads differ by rounding."""
    models = models_with(*RULES[rule])

    def training(backend: Backend, stop: int | None, states: Any = None) -> StackTraining:
        plan = plan_of(backend) | {"seed": 2}
        data = Dataset("e", examples(45, 0, backend), validation=plan.pop("validation"))
        plan.pop("backend")
        return StackTraining(
            models,
            data,
            Plan(**plan),
            backend=backend,
            states=states,
            on_step=lambda step: step == stop,
        )

    with threadpool_limits(None):
        first, second = (select_backend("cpu", "float64", threads=n) for n in threads)
        whole = training(first, None).run()
        stopped = training(first, stop_after)
        assert "interrupted" in {model.status for model in stopped.run()}
        save_stack(tmp_path / "stack.h5", stopped.states(), {}, backend=first)
        kept = load_stack(tmp_path / "stack.h5")
        states = [c.restore(model, second) for c, model in zip(kept, models, strict=True)]
        resumed = training(second, None, states).run()
    for ours, theirs in zip(resumed, whole, strict=True):
        assert ours.status == theirs.status
        rows = [[replace(row, seconds=0.0) for row in m.history] for m in (ours, theirs)]
        assert [row.step for row in rows[0]] == [row.step for row in rows[1]]
        assert threads[0] != threads[1] or rows[0] == rows[1]
        tolerance = 0.0 if threads[0] == threads[1] else 1e-12
        for name, array in theirs.result.items():
            np.testing.assert_allclose(ours.result[name], array, rtol=tolerance, atol=tolerance)


def test_saves_come_at_rows_and_between_with_every_model(backend: Backend) -> None:
    saved: list[list[int]] = []
    models = models_with(*RULES["momentum"])
    train = examples(45, 0, backend)
    plan = Plan(steps=25, batch_size=7, log_every=10, save_every=4)
    StackTraining(
        models,
        train,
        plan,
        backend=backend,
        save=lambda states: saved.append([state.step for state in states]),
    ).run()
    assert saved == [[step] * 5 for step in (4, 8, 10, 12, 16, 20, 24, 25)]


def test_what_makes_no_stack(backend: Backend) -> None:
    train, mlp = examples(20, 0, backend), MLP(SIZES)
    common: dict[str, Any] = {"steps": 2, "backend": backend}
    mixed = [Model(mlp, Momentum()), Model(mlp)]
    with pytest.raises(UsageError, match="Momentum and SGD make no stack"):
        fit_stack(mixed, train, **common)
    other = [Model(mlp, Adam(epsilon=e)) for e in (1e-8, 1e-7)]
    with pytest.raises(UsageError, match="epsilon"):
        fit_stack(other, train, **common)
    with pytest.raises(UsageError, match="their layers or losses differ"):
        fit_stack([Model(mlp), Model(MLP((6, 4)))], train, **common)
    with pytest.raises(UsageError, match="a list of one or more Model"):
        fit_stack([], train, **common)
    wrong_rates: list[Any] = [0, -1.0, float("nan"), "0.1"]
    for rate in wrong_rates:
        with pytest.raises(UsageError, match="learning_rate is"):
            Model(mlp, learning_rate=rate)
    for penalty in ({"l2": -1.0}, {"l1": float("inf")}):
        with pytest.raises(UsageError, match=next(iter(penalty))):
            Penalty(**penalty)
    with pytest.raises(UsageError, match="optimizer 'adam' is none"):
        Model(mlp, optimizer="adam")  # type: ignore[arg-type]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"patience": 2}, "patience of 2 needs a validation set"),
        ({"steps": 0}, "steps is 0"),
        ({"log_every": 0}, "log_every is 0"),
        ({"epochs": 3}, "3 epochs and 2 steps: give one of them"),
    ]
    for changed, said in wrong:
        with pytest.raises(UsageError, match=said):
            fit_stack([Model(mlp)], train, **common | changed)
    with pytest.raises(DataError, match="5 features"):
        fit_stack([Model(MLP((5, 4)))], train, **common)
