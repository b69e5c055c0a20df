"""What a user may do next, or get wrong: it works, or is one sentence, and nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp import (
    MLP,
    Adam,
    DataError,
    Examples,
    Model,
    Momentum,
    Optimizer,
    Penalty,
    Plan,
    UsageError,
    fit,
)

MLP_ = MLP((64, 10, 10))
DATA = xpmlp.load_data("digits", val_size=200)
WITHOUT = xpmlp.load_data("digits", val_size=0)


def stack_of(count: int, **settings: Any) -> list[Model]:
    return [Model(MLP_, Adam(), seed=seed, **settings) for seed in range(count)]


def far_away() -> xpmlp.Dataset:
    """Wide features with a mean that float32 would lose, so that they are scaled on the host."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)) * 3 + 1e5
    y = (x[:, 0] > 1e5).astype(int)
    arrays = xpmlp.dataset_of_arrays(x[:300], y[:300], x[300:], y[300:])
    return xpmlp.prepare(arrays, val_size=50)


def test_examples_on_a_device_keep_the_scaling_of_raw_features() -> None:
    data, backend, model = far_away(), xpmlp.select_backend(), Model(MLP((6, 8, 2), "tanh"))
    whole = fit(model, data, Plan(epochs=20))
    assert whole.evaluate(data.test)[1] == 1.0
    assert whole.evaluate(data.test.to_device(backend)) == whole.evaluate(data.test)
    moved = fit(model, data.train.to_device(backend), Plan(epochs=20))
    assert (moved.predict(data.test.x) == data.test.y).all()
    other = xpmlp.prepare(xpmlp.dataset_of_arrays(data.train.x, data.train.y), val_size=0)
    with pytest.raises(DataError, match="are scaled already: give them as they were read"):
        whole.evaluate(other.train.to_device(backend))


def test_a_completed_stack_goes_on_with_its_moments() -> None:
    models = stack_of(3)
    half = xpmlp.StackTraining(models, WITHOUT, Plan(epochs=2))
    half.run()
    on = xpmlp.StackTraining(models, WITHOUT, Plan(epochs=4), states=half.states()).run()
    whole = xpmlp.StackTraining(models, WITHOUT, Plan(epochs=4)).run()
    for mine, its in zip(on, whole, strict=True):
        for name, array in its.result.items():
            np.testing.assert_array_equal(mine.result[name], array)


def test_a_stack_goes_on_with_the_models_that_it_is_given() -> None:
    half = xpmlp.StackTraining(stack_of(2, learning_rate=0.001), DATA, Plan(epochs=1))
    half.run()
    other = stack_of(2, learning_rate=0.002, penalty=Penalty(0.1))
    on = xpmlp.StackTraining(other, DATA, Plan(epochs=2), states=half.states()).run()
    assert [row.learning_rate for row in on[0].history] == [0.001, 0.002]
    assert on[1].model is other[1]


def test_states_that_make_no_stack() -> None:
    models, plan = stack_of(2), Plan(epochs=4)
    states = [
        xpmlp.Training(m, DATA, Plan(epochs=e)).run() for m, e in zip(models, (1, 3), strict=True)
    ]
    with pytest.raises(UsageError, match="come to the steps 20, 60"):
        xpmlp.StackTraining(models, DATA, plan, states=states)
    for wrong in ([states[0], states[0]], states[:1]):
        with pytest.raises(UsageError, match="states for 2 models: give each its own"):
            xpmlp.StackTraining(models, DATA, plan, states=wrong)
    with pytest.raises(UsageError, match=r"the state is of .*float32, and the backend of float64"):
        fit(models[0], DATA, plan, dtype="float64", state=states[0])


def test_going_on_without_validation_ends_with_the_last_weights() -> None:
    state = xpmlp.Training(Model(MLP_), DATA, Plan(epochs=1)).run()
    training = xpmlp.Training(Model(MLP_), WITHOUT, Plan(epochs=3), state=state)
    training.run()
    assert training.state.result is training.state.params


def test_a_validation_set_of_ones_own_is_kept() -> None:
    again = xpmlp.prepare(DATA)
    assert (len(again.train), len(again.validation)) == (1237, 200)
    np.testing.assert_array_equal(again.validation.x, DATA.validation.x)
    with pytest.raises(DataError, match="has a validation set already"):
        xpmlp.prepare(DATA, val_size=10)


def test_models_that_diverge_between_log_points_leave_the_stack() -> None:
    """30 of 32 do in their first steps; those who remain make a smaller stack."""
    mlp = MLP((64, 20, 10), "relu")
    models = [Model(mlp, learning_rate=rate) for rate in [0.1] * 2 + [1e30] * 30]
    backend = xpmlp.select_backend(threads=1)
    training = xpmlp.StackTraining(models, DATA, Plan(epochs=3), backend=backend)
    next(iter(training))
    assert [len(group.state.models) for group in training._loop.groups] == [2]


X, Y = WITHOUT.train.x[:100], WITHOUT.train.y[:100]
EXAMPLES = {
    "negative": (Examples(X, Y - 1), "there is the class id -1"),
    "more labels": (Examples(X, WITHOUT.train.y), r"100 rows of features, .* \[1437\]"),
    "fewer labels": (Examples(X, Y[:50]), r"\[50\]"),
    "fewer weights": (Examples(X, Y, sample_weight=np.ones(5)), r"\[100, 5\]"),
    "none": (Examples(X[:0], Y[:0]), "0 rows of features"),
    "negative weights": (Examples(X, Y, sample_weight=-np.ones(100)), "negative, NaN or infinite"),
    "weights of nan": (Examples(X, Y, sample_weight=np.full(100, np.nan)), "negative, NaN or inf"),
    "rows that sum to 2": (Examples(X, np.full((100, 10), 0.2)), "add up to 1 but for 1, and"),
    "negative rows": (Examples(X, np.eye(10)[Y] * 3 - 0.2), "go from -0.2 to 2.8, and cross_entr"),
    "rows of nan": (Examples(X, np.full((100, 10), np.nan)), "targets hold NaN or infinity"),
}


@pytest.mark.parametrize(("examples", "said"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples_that_do_not_belong_together(examples: Examples, said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit(Model(MLP_), examples, Plan(epochs=1, batch_size=10))


NONSENSE: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"epochs": float("nan")}, "epochs is nan: choose 1 or more, a whole number"),
    "fraction": ({"steps": 1.5}, "steps is 1.5"),
    "text": ({"epochs": "3"}, "epochs is '3'"),
    "no seed": ({"seed": None}, "seed is None: choose 0 or more"),
    "schedule": ({"schedule": "cosine"}, "schedule is 'cosine': give a function"),
    "order": ({"order": [1]}, r"order is \[1\]: give a function"),
    "momentum": ({"momentum": 0.9}, "momentum is 0.9: give a function"),
}


@pytest.mark.parametrize(("settings", "said"), NONSENSE.values(), ids=NONSENSE)
def test_plans_are_checked_when_they_are_made(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Plan(**settings)


@pytest.mark.parametrize("order", [np.arange(5), None, np.ones(1437, bool), np.full(1437, 1437)])
def test_an_order_that_is_none(order: Any) -> None:
    with pytest.raises(UsageError, match=r"order\(0\) is no order of 1437 examples"):
        fit(Model(MLP_), WITHOUT, Plan(epochs=1, order=lambda _: order))


def test_probabilities_at_their_ends_are_taken() -> None:
    """0 and 1 are probabilities; a sum may be off by what half precision rounds."""
    halves = np.full((100, 10), np.float16(0.1)).astype(np.float64)
    assert halves[0].sum() != 1
    for targets in (np.eye(10)[Y], halves):
        fit(Model(MLP_), Examples(X, targets), Plan(steps=1))
    for wrong, said in ((1.5, "go from 0 to 1.5"), (np.inf, "hold NaN or infinity")):
        targets = np.eye(10)[Y]
        targets[7, 3] = wrong
        with pytest.raises(DataError, match=said):
            fit(Model(MLP_), Examples(X, targets), Plan(steps=1))
    with pytest.raises(DataError) as caught:
        fit(Model(MLP_), Examples(X, np.eye(10)[Y] * 0.75), Plan(steps=1))
    assert str(caught.value) == (
        "the targets of an example add up to 1 but for 0.25, and cross_entropy takes the "
        "probabilities of its classes, which add up to 1"
    )


def test_negative_counts_have_no_deviance() -> None:
    counts = Examples(X, np.full((100, 10), -1.0))
    with pytest.raises(DataError, match="from -1 to -1, and poisson_deviance takes counts, from 0"):
        fit(Model(MLP((64, 10), loss="poisson_deviance")), counts, Plan(epochs=1))
    linear = MLP((64, 10), loss="mean_squared_error")
    fit(Model(linear, learning_rate=1e-4), counts, Plan(epochs=1))


OPTIMIZERS: list[tuple[Optimizer, str]] = [
    (xpmlp.Momentum(2.0), "momentum is 2.0: choose a number from 0 to below 1"),
    (Adam(beta2=1.0), "beta2 is 1.0: choose a number from 0 to below 1"),
    (Adam(epsilon=0.0), "epsilon is 0.0: choose a number above 0"),
    (xpmlp.AdamW(weight_decay=-1.0), "weight_decay is -1.0: choose a number from 0 up"),
    (xpmlp.RMSprop(decay=float("nan")), "decay is nan"),
]


@pytest.mark.parametrize(("optimizer", "said"), OPTIMIZERS)
def test_settings_of_optimisers_are_checked(optimizer: Optimizer, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Model(MLP_, optimizer)


def test_things_of_another_kind() -> None:
    wrong: list[tuple[Any, Any, Any, str]] = [
        (Model(MLP_), [X, Y], None, "data is a list: give a data set"),
        (Model(MLP_), "digits", None, "data is a str"),
        (MLP_, DATA, None, r"model is a MLP: give a Model\(...\)"),
        (Model(MLP_), DATA, 5, r"plan is a int: give a Plan\(...\)"),
    ]
    for model, data, plan, said in wrong:
        with pytest.raises(UsageError, match=said):
            fit(model, data, plan)
    name: Any = "digits"
    with pytest.raises(UsageError, match="dataset is a str: give what read_data"):
        xpmlp.prepare(name)
    network: Any = (64, 10)
    with pytest.raises(UsageError, match="is no network"):
        Model(network)
    trained = xpmlp.fit_stack((Model(MLP_, seed=s) for s in range(2)), DATA, Plan(steps=2))  # type: ignore[arg-type]
    assert len(trained) == 2
    with pytest.raises(
        UsageError, match=r"a Dataset is no examples: give some, such as data\.test"
    ):
        trained[0].evaluate(DATA)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("factor", "said"),
    [(None, "a schedule gives None at step 0"), (1.2, "the momentum is 1.08 at step 0")],
)
def test_a_schedule_that_gives_what_no_momentum_is(factor: Any, said: str) -> None:
    model = Model(MLP_, Momentum(0.9))
    with pytest.raises(UsageError, match=said):
        fit(model, DATA, Plan(steps=3, momentum=lambda step, epoch: factor))  # noqa: ARG005


def test_the_average_of_the_weights_has_its_name_for_itself() -> None:
    class Centred(Momentum):
        moments = ("velocity", "average")  # type: ignore[assignment]

    with pytest.raises(UsageError, match="Centred has a moment 'average'"):
        Model(MLP_, Centred())


def test_one_model_has_one_share_of_smoothed_labels() -> None:
    mlp = MLP((64, 10), loss="smoothed_cross_entropy(0.1,0.2)")
    with pytest.raises(UsageError, match="2 label_smoothing for one model"):
        fit(Model(mlp), DATA, Plan(steps=1))


def test_a_stack_keeps_what_has_ended_alone() -> None:
    """A state that has stopped early has no arrays of a stack, and is returned as it was."""
    early = xpmlp.Training(
        Model(MLP_, learning_rate=9.0), DATA, Plan(steps=90, log_every=1, patience=1)
    )
    ended, backend = early.run(), early.backend
    assert ended.status == "early_stopped"
    other = xpmlp.Training(Model(MLP_, seed=1), DATA, Plan(steps=3), backend=backend).run()
    models = [state.models[0].model for state in (ended, other)]
    stack = xpmlp.StackTraining(models, DATA, Plan(steps=6), backend=backend, states=[ended, other])
    stack.run()
    first, second = stack.states()
    assert (first.status, second.step) == ("early_stopped", 6)
    for name, array in ended.params.items():
        np.testing.assert_array_equal(first.params[name], array)


def test_a_run_that_was_left_at_what_is_its_end_now() -> None:
    training = xpmlp.Training(Model(MLP_), DATA, Plan(steps=9), on_step=lambda step: step == 4)
    state = training.run()
    assert (state.status, state.step) == ("interrupted", 4)
    again = xpmlp.Training(state.models[0].model, DATA, Plan(steps=4), state=state)
    assert again.run().status == "completed"
