from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from stacks import stack_of, to_device
from trainings import fit, initial_state

from xpmlp import (
    SGD,
    Adam,
    Examples,
    Model,
    Momentum,
    Plan,
    Training,
    TrainingState,
    Variables,
    evaluate,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.data import read_data
from xpmlp.errors import DataError, DivergedError, UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.training.history import LogRow
from xpmlp.training.state import initial_stack


@pytest.fixture
def examples() -> Examples:
    """203 digits, so that batches of 20 leave a last one of 3."""
    digits = read_data("digits").train
    assert isinstance(digits, Examples)
    return Examples(digits.x[:203] / 16, digits.y[:203])


def train(
    backend: Backend,
    examples: Examples,
    *,
    batch_size: int | None = 20,
    steps: int = 100,
    seed: int = 5,
    learning_rate: float = 0.5,
    log_every: int | None = None,
    train_exact: bool = False,
    validation: Examples | None = None,
    schedule: Any = None,
) -> tuple[TrainingState, list[LogRow]]:
    mlp = MLP((64, 20, 15, 10))
    state = initial_state(mlp, SGD(), seed=seed, backend=backend)
    rows = fit(
        mlp,
        state,
        examples.to_device(backend),
        optimizer=SGD(),
        learning_rate=learning_rate,
        batch_size=batch_size,
        steps=steps,
        backend=backend,
        log_every=log_every,
        train_exact=train_exact,
        schedule=schedule,
        validation=validation.to_device(backend) if validation else None,
    )
    return state, list(rows)


@pytest.mark.parametrize("batch_size", [20, None])
def test_every_backend_trains_alike(
    backend: Backend, examples: Examples, batch_size: int | None
) -> None:
    """One seed: the same weights and batches; after 100 steps the same network to 1e-10."""
    state, rows = train(backend, examples, batch_size=batch_size)
    expected, expected_rows = train(
        select_backend("cpu", "float64"), examples, batch_size=batch_size
    )
    for name, array in expected.params.items():
        np.testing.assert_allclose(
            backend.to_host(state.params[name]), array, rtol=1e-10, atol=1e-10
        )
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert row.train_loss == pytest.approx(expected_row.train_loss, abs=1e-10)
        assert row.train_accuracy == expected_row.train_accuracy


def test_training_learns(backend: Backend, examples: Examples) -> None:
    _, rows = train(backend, examples, steps=800)
    assert (rows[0].train_accuracy or 1) < 0.5
    assert (rows[-1].train_accuracy or 0) > 0.95


def test_short_last_batch_counts_its_examples(examples: Examples) -> None:
    """At rates of 0 the running means over an epoch are those of the whole set."""
    backend = select_backend("cpu", "float64")
    state, rows = train(backend, examples, schedule=lambda *_: 0.0, steps=11)
    loss, accuracy = evaluate(
        MLP((64, 20, 15, 10)), state.params, examples.to_device(backend), backend=backend
    )
    assert rows[-1].step == 11
    assert rows[-1].train_loss == pytest.approx(loss, rel=1e-12)
    assert rows[-1].train_accuracy == accuracy


def test_full_batch_in_pieces_is_one_batch(examples: Examples) -> None:
    """A backend that cuts the sum into other pieces takes the same steps."""
    whole, pieces = select_backend("cpu", "float64"), select_backend("cpu", "float64")
    pieces.piece_size = 13
    expected, _ = train(whole, examples, batch_size=None, steps=30)
    state, _ = train(pieces, examples, batch_size=None, steps=30)
    for name, array in expected.params.items():
        np.testing.assert_allclose(state.params[name], array, rtol=1e-10, atol=1e-13)


def test_log_points_and_their_figures(examples: Examples) -> None:
    backend = select_backend("cpu", "float64")
    state, rows = train(
        backend, examples, steps=25, log_every=10, train_exact=True, validation=examples
    )
    assert [row.step for row in rows] == [10, 20, 25]
    assert [row.epoch for row in rows] == [10 / 11, 20 / 11, 25 / 11]
    for row in rows:
        assert (row.val_loss, row.val_accuracy) == (row.train_loss, row.train_accuracy)
        assert row.test_loss is None
    assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)
    assert state.step == 25


def test_training_goes_on_where_it_stopped(examples: Examples) -> None:
    backend = select_backend("cpu", "float64")
    expected, _ = train(backend, examples, steps=25)
    mlp = MLP((64, 20, 15, 10))
    state = initial_state(mlp, SGD(), seed=5, backend=backend)
    for steps in (7, 25):
        rows = fit(
            mlp,
            state,
            examples.to_device(backend),
            optimizer=SGD(),
            learning_rate=0.5,
            batch_size=20,
            steps=steps,
            backend=backend,
        )
        assert [row.step for row in rows][-1] == steps
    for name, array in expected.params.items():
        np.testing.assert_array_equal(state.params[name], array)


def test_divergence_is_an_error_that_names_the_step(examples: Examples) -> None:
    damaged = dataclasses.replace(examples, x=examples.x.copy())
    damaged.x[3, 3] = np.nan
    with pytest.raises(DivergedError, match=r"nan at step 5 .*it began in the features"):
        train(select_backend("cpu"), damaged)


def test_data_that_do_not_fit_the_network_are_refused(examples: Examples) -> None:
    backend = select_backend("cpu")
    narrow = Examples(examples.x[:, :60], examples.y)
    with pytest.raises(DataError, match="takes 64 features and the data has 60"):
        train(backend, narrow)
    with pytest.raises(DataError, match="takes 64 features and the data has 60"):
        train(backend, examples, validation=narrow)
    more = Examples(examples.x, examples.y + 1)
    with pytest.raises(DataError, match="has 10 outputs and the data needs 11"):
        train(backend, more)
    with pytest.raises(DataError, match="has 10 outputs and the data needs 4"):
        train(backend, Examples(examples.x, np.eye(4)[examples.y % 4]))


def test_targets_of_another_shape_are_refused(examples: Examples) -> None:
    backend = select_backend("cpu")
    for y in (examples.y.astype(float), np.eye(10, dtype=int)[examples.y]):
        with pytest.raises(DataError, match=r"targets of shape .*: class ids are integers \(N,\)"):
            train(backend, Examples(examples.x, y))


def test_learning_rate_of_numpy_does_not_widen_float32(examples: Examples) -> None:
    backend = select_backend("cpu", "float32")
    one, _ = train(backend, examples, learning_rate=0.1, steps=20)
    other, _ = train(backend, examples, learning_rate=np.float64(0.1), steps=20)
    for name, array in one.params.items():
        np.testing.assert_array_equal(array, other.params[name])


def test_evaluation_of_a_stack_has_one_value_per_model(
    backend: Backend, examples: Examples
) -> None:
    mlp = MLP((64, 8, 10))
    models = [mlp.init(np.random.default_rng(seed)) for seed in range(3)]
    moved = examples.to_device(backend)
    losses, accuracies = evaluate(mlp, to_device(backend, stack_of(models)), moved, backend=backend)
    for k, model in enumerate(models):
        loss, accuracy = evaluate(mlp, to_device(backend, model), moved, backend=backend)
        assert losses[k] == pytest.approx(loss, rel=1e-12)
        assert accuracies[k] == accuracy


def test_a_state_of_something_else_is_refused(examples: Examples) -> None:
    backend, mlp, plan = select_backend("cpu"), MLP((64, 8, 10)), Plan(steps=1)
    model, train = Model(mlp, Momentum()), examples.to_device(backend)

    def refused(state: TrainingState, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            Training(model, train, plan, backend=backend, state=state)

    refused(initial_stack([model, model], backend), "of one model: a stack is trained by Stack")
    other = initial_state(MLP((64, 9, 10)), Momentum(), backend=backend)
    refused(other, r"of the network 64-9-10, .* and not of 64-8-10")
    for rule in (SGD(), Adam()):
        name = type(rule).__name__
        refused(initial_state(mlp, rule, backend=backend), f"optimiser {name}, and not of Momentum")
    bare = initial_state(mlp, Momentum(), backend=backend)
    weights = dataclasses.replace(bare, variables=Variables(bare.params, {}))
    refused(weights, "the state has no velocity")
    other = initial_state(MLP((64, 8, 6, 10)), backend=backend)
    with pytest.raises(UsageError, match="those of a network 64-8-10, and not of 64-8-6-10"):
        dataclasses.replace(bare, models=other.models)


def test_regression_has_a_loss_and_no_accuracy(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    examples = Examples(x, np.stack([x[:, 0] - x[:, 1], x[:, 2]], axis=1)).to_device(backend)
    mlp = MLP((3, 12, 2), "tanh", "mean_squared_error")
    state = initial_state(mlp, SGD(), seed=0, backend=backend)
    rows = list(
        fit(
            mlp,
            state,
            examples,
            optimizer=SGD(),
            learning_rate=0.2,
            steps=400,
            batch_size=25,
            log_every=100,
            validation=examples,
            backend=backend,
        )
    )
    assert rows[-1].train_loss < 0.1 * rows[0].train_loss
    assert rows[-1].train_accuracy is None
    assert rows[-1].val_accuracy is None


def test_no_steps_are_refused(examples: Examples) -> None:
    with pytest.raises(UsageError, match="steps is 0: choose 1 or more"):
        train(select_backend("cpu"), examples, steps=0)
