"""The loop around the steps against steps taken by hand: rows, rates, masks, ends, and going on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp import MLP, SGD, Adam, Examples, Model, Penalty, Plan, StackTraining, Training
from xpmlp.backends import Backend
from xpmlp.data import Dataset
from xpmlp.data.batches import NoiseKeys
from xpmlp.mathematics.dropout import kept
from xpmlp.mathematics.step import Inputs, Step, Variables
from xpmlp.randomness import random_stream
from xpmlp.regularization import PlacedRegularization, Regularization, key_count
from xpmlp.training.evaluation import evaluate
from xpmlp.training.history import LogRow, best_row
from xpmlp.training.looping import stepper_for
from xpmlp.training.state import ModelState, initial_params, initial_state
from xpmlp.training.stepper import stepper_of

NET = MLP((3, 6, 2), "tanh")
LINEAR = MLP((3, 2), loss="mean_squared_error")
BATCH, COUNT = 4, 10


def classes(seed: int = 0, count: int = COUNT) -> Examples:
    rng = np.random.default_rng(seed)
    return Examples(rng.normal(size=(count, 3)), rng.integers(2, size=count))


def values(seed: int = 0, scale: float = 1.0) -> Examples:
    rng = np.random.default_rng(seed)
    return Examples(rng.normal(size=(COUNT, 3)), scale * rng.normal(size=(COUNT, 2)))


def backend_of(threads: int = 1) -> Backend:
    return xpmlp.select_backend("cpu", "float64", threads=threads)


def halved(step: int, _: int) -> float:
    """1, ½, ¼, ... step by step."""
    return 0.5**step


def test_rows_are_those_of_steps_taken_by_hand() -> None:
    extra = Regularization(dropout=0.3)
    model = Model(NET, SGD(), 0.5, Penalty(l2=0.1), "he", seed=3, regularization=extra)
    backend = backend_of()
    orders = [np.random.default_rng(e).permutation(COUNT) for e in range(2)]
    plan = Plan(
        epochs=2,
        batch_size=BATCH,
        schedule=halved,
        log_test=True,
        seed=5,
        order=lambda epoch: orders[epoch],
    )
    data = Dataset("hand", classes(), test=classes(2), validation=classes(1))
    training = Training(model, data, plan, backend=backend)
    assert training.steps == 6
    drawn = NET.init(random_stream(3, "weights"), "he")
    for name, array in training.state.params.items():
        np.testing.assert_array_equal(array, drawn[name])
    rows = list(training)
    # The same with the step alone.
    step = Step(NET, SGD(), Penalty(l2=0.1), PlacedRegularization(dropout=kept(0.3)))
    keys = NoiseKeys(key_count(2), 3, seed=5, models=[3], backend=backend)
    variables = Variables(backend.all_to_device(drawn), {})
    examples = {
        name: e.to_device(backend)
        for name, e in (("train", classes()), ("val", classes(1)), ("test", classes(2)))
    }
    number = 0
    for epoch, row in enumerate(rows):
        losses, correct = [], 0
        for start in range(0, COUNT, BATCH):
            batch = orders[epoch][start : start + BATCH]
            inputs = Inputs(0.5 * halved(number, 3), batch, keys.of_step(number))
            variables, outputs = step(
                variables,
                examples["train"],
                inputs,
                xp=backend.xp,
                add_up=backend.sum_over_examples,
            )
            losses.append(float(outputs.loss) * len(batch))
            correct += int(outputs.correct or 0)
            number += 1
        assert (row.step, row.epoch) == (number, epoch + 1)
        assert row.learning_rate == 0.5 * halved(number - 1, 3)
        assert row.train_loss == pytest.approx(sum(losses) / COUNT, rel=1e-12)
        assert row.train_accuracy == correct / COUNT
        for name in ("val", "test"):
            loss, accuracy = evaluate(NET, variables.params, examples[name], backend=backend)
            assert getattr(row, f"{name}_loss") == pytest.approx(loss, rel=1e-12)
            assert getattr(row, f"{name}_accuracy") == accuracy
    assert rows[1].seconds > rows[0].seconds > 0
    for name, array in variables.params.items():
        np.testing.assert_array_equal(training.state.params[name], array)


def test_masks_and_penalties_of_a_stack_are_those_of_its_members() -> None:
    """One model has the one penalty, another the other, the third none."""
    models = [
        Model(
            NET,
            SGD(),
            0.3,
            penalty,
            initializer,
            seed=seed,
            regularization=Regularization(dropout=0.4),
        )
        for seed, (penalty, initializer) in enumerate(
            [(Penalty(l2=0.2), "he"), (Penalty(l1=0.1), "normal"), (None, "lecun")]
        )
    ]
    plan = Plan(epochs=3, batch_size=BATCH, schedule=halved)
    found = StackTraining(models, classes(), plan, backend=backend_of()).run()
    for model, member in zip(models, found, strict=True):
        alone = Training(model, classes(), plan, backend=backend_of()).run()
        for name, array in alone.params.items():
            np.testing.assert_allclose(member.result[name], array, rtol=1e-10, atol=1e-13)
        rates = [row.learning_rate for row in member.history]
        assert rates == [row.learning_rate for row in alone.history]


def test_a_stack_of_regressions_has_no_accuracies() -> None:
    models = [Model(LINEAR, learning_rate=rate) for rate in (0.1, 0.2)]
    data = Dataset("values", values(), validation=values(1))
    for member in StackTraining(models, data, Plan(epochs=2, batch_size=5)).run():
        assert member.history[-1].val_loss is not None
        assert member.history[-1].val_accuracy is None
        assert member.history[-1].train_accuracy is None


def test_what_diverges_is_told_by_step_rate_and_place() -> None:
    """With the rates of the schedule; traced from the last log point, not from the start."""

    def schedule(step: int, _: int) -> float:
        return (1.0 + step) * 1e199 if step >= 7 else 1.0 + step / 100

    def run(**plan: Any) -> str:
        model = Model(LINEAR, SGD(), 0.01)
        training = Training(model, values(), Plan(schedule=schedule, **plan), backend=backend_of())
        with pytest.raises(xpmlp.DivergedError) as found:
            training.run()
        assert training.state.only.cause == str(found.value)
        assert training.state.step == 5
        return str(found.value)

    # The step of 8e197 is the eighth; the loss after it is infinite.
    said = run(steps=20, batch_size=None, log_every=5)
    assert said.startswith("the training loss is inf at step 9 with learning rate 9e+197; it began")
    assert "in the loss" in said


def test_a_validation_loss_that_is_infinite_is_a_divergence() -> None:
    far = Examples(np.full((2, 3), 1e200), np.zeros((2, 2)))
    data = Dataset("far", values(), validation=far)
    plan = Plan(steps=4, batch_size=None, schedule=halved)
    training = Training(Model(LINEAR, SGD(), 0.01), data, plan, backend=backend_of())
    said = r"^the validation loss is inf at step 1 with learning rate 0\.01;"
    with pytest.raises(xpmlp.DivergedError, match=said):
        training.run()


def test_a_loss_of_a_thousand_times_the_first_is_a_divergence_however_small() -> None:
    """The first loss is 1e-12, and the last a thousandth."""

    def schedule(step: int, _: int) -> float:
        return 0.0 if step == 0 else 1e4

    data = values(scale=1e-7)
    params = {"layer1.weight": np.zeros((3, 2)), "layer1.bias": np.zeros(2)}
    model, backend = Model(LINEAR, SGD(), 0.01), backend_of()
    state = initial_state(model, backend)
    state.variables = Variables(backend.all_to_device(params), {})
    plan = Plan(steps=3, batch_size=None, schedule=schedule, log_every=3)
    first = float(np.mean(data.y**2))
    assert first < 1e-13
    said = rf"^the training loss is \S+e-\d+ and was {first:g} at the start at step 3 with learn"
    with pytest.raises(xpmlp.DivergedError, match=said):
        Training(model, data, plan, backend=backend, state=state).run()


def test_a_loss_of_nothing_at_the_start_is_no_measure() -> None:
    """The first batch is of zeros, and any loss after it is more than a thousand times as much."""
    x, y = np.zeros((4, 3)), np.zeros((4, 2))
    x[2:], y[2:] = 1.0, 3.0
    params = {"layer1.weight": np.zeros((3, 2)), "layer1.bias": np.zeros(2)}
    model, backend = Model(LINEAR, SGD(), 0.01), backend_of()
    state = initial_state(model, backend)
    state.variables = Variables(backend.all_to_device(params), {})
    plan = Plan(steps=4, batch_size=2, order=lambda _: np.arange(4))
    trained = Training(model, Examples(x, y), plan, backend=backend, state=state).run()
    assert trained.only.first_loss == 0
    assert trained.status == "completed"


def test_models_that_have_ended_are_not_moved_on() -> None:
    models = [ModelState(Model(NET, SGD(), rate)) for rate in (0.1, 0.2, 0.3)]
    models[1].status = "early_stopped"
    backend = backend_of()
    like = backend.to_device(np.zeros((3, 2, 2)))
    batches = classes().to_device(backend).batches(BATCH, seed=0, backend=backend)
    found = stepper_of(models, Plan(epochs=1, batch_size=BATCH), batches, backend, like=like)
    assert found.rates.on_host == [0.1, 0.0, 0.3]


def test_a_test_set_is_kept_where_it_is_asked_for() -> None:
    data = Dataset("hand", classes(), test=classes(1))
    for wanted in (False, True):
        plan = Plan(epochs=1, batch_size=BATCH, log_test=wanted)
        training = Training(Model(NET), data, plan, backend=backend_of())
        assert (training.data.test is not None) == wanted


def test_a_state_at_its_last_step_knows_how_it_ended() -> None:
    data = Dataset("hand", classes(), validation=classes(1))
    model, backend = Model(NET, SGD(), 0.5), backend_of()
    rising = LogRow(3, 1.0, 0.5, 0.3, 0.9, 0.1, 0.9, 0.1)
    for losses, status in (((0.1, 0.2, 0.3), "early_stopped"), ((0.3, 0.2), "completed")):
        state = initial_state(model, backend)
        state.only.history[:] = [
            replace(rising, step=k + 1, val_loss=loss) for k, loss in enumerate(losses)
        ]
        state.step, state.only.status = 3 * len(losses), "running"
        plan = Plan(epochs=len(losses), batch_size=BATCH, patience=2)
        assert Training(model, data, plan, backend=backend, state=state).run().status == status


@pytest.mark.parametrize("others", [1, 5])
def test_members_go_on_though_one_before_them_has_ended(others: int) -> None:
    """With one other it leaves the stack, and among five it stays there."""
    data = Dataset("hand", classes(), validation=classes(1))
    models = [Model(NET, SGD(), rate) for rate in (8.0, *[0.01] * others)]

    def third_of_the_fast(rows: list[LogRow]) -> bool:
        return len(rows) > 2 and rows[-1].learning_rate > 1

    stop = {"at": 15}
    training = StackTraining(
        models,
        data,
        Plan(epochs=10, batch_size=BATCH, stop=third_of_the_fast),
        backend=backend_of(),
        on_step=lambda step: step == stop["at"],
    )
    training.run()
    assert [m.status for m in training.models] == ["early_stopped", *["interrupted"] * others]
    ended = training.models[0].history[-1].step
    # Each as if it had been trained alone: one is at the step where it ended.
    assert [state.step for state in training.states()] == [ended, *[15] * others]
    assert len(training.models[0].history) > 1
    stop["at"] = 0
    training.run()
    assert [m.status for m in training.models] == ["early_stopped", *["completed"] * others]
    assert training.models[1].history[-1].step == 30


def test_what_is_stopped_is_saved_where_it_stands() -> None:
    saved: list[tuple[int, str]] = []
    training = Training(
        Model(NET),
        classes(),
        Plan(epochs=5, batch_size=BATCH),
        backend=backend_of(),
        on_step=lambda step: step == 5,
        save=lambda state: saved.append((state.step, state.status)),
    )
    training.run()
    assert saved == [(3, "running"), (5, "interrupted")]


def test_groups_stop_together() -> None:
    """The second group stops as soon as the first was told to, and catches up with it."""
    seen: list[int] = []

    def on_step(step: int) -> bool:
        seen.append(step)
        return step == 2

    models = [Model(NET, seed=seed) for seed in range(2)]
    plan = Plan(epochs=9, batch_size=2, folds=2)
    training = StackTraining(models, classes(), plan, backend=backend_of(), on_step=on_step)
    training.run()
    assert training.step == 2
    assert seen == [1, 2]
    assert {member.status for member in training.models} == {"interrupted"}


def test_a_cause_outlives_an_exception() -> None:
    # One of ten stays in the stack, as the others are most of it.
    models = [Model(LINEAR, learning_rate=rate) for rate in (*[0.01] * 9, 1e200)]

    def on_step(step: int) -> None:
        if step == 9:
            raise KeyboardInterrupt

    plan = Plan(steps=12, batch_size=None, log_every=2)
    training = StackTraining(models, values(), plan, backend=backend_of(), on_step=on_step)
    with pytest.raises(KeyboardInterrupt):
        training.run()
    assert training.models[9].status == "diverged"
    assert "with learning rate 1e+200" in training.models[9].cause


def test_states_that_are_put_together_stay_as_they_are() -> None:
    models, backend = [Model(NET, Adam(), 0.01, seed=s) for s in range(2)], backend_of()
    half = Plan(epochs=1, batch_size=BATCH)
    first = StackTraining(models, classes(), half, backend=backend)
    first.run()
    states = first.states()
    before = [float(s.variables.optimizer_state["time"]["steps"]) for s in states]
    seconds = states[0].seconds
    assert before == [3.0, 3.0]
    assert seconds > 0
    again = StackTraining(
        models, classes(), replace(half, epochs=2), backend=backend, states=states
    )
    again.run()
    assert [float(s.variables.optimizer_state["time"]["steps"]) for s in states] == before
    assert [float(s.variables.optimizer_state["time"]["steps"]) for s in first.states()] == before
    assert again.states()[0].seconds > seconds


def test_the_lowest_loss_may_be_zero() -> None:
    row = LogRow(1, 1.0, 0.5, 0.3, 0.9, 0.5, 0.9, 0.1)
    rows = [row, replace(row, step=2, val_loss=0.0), replace(row, step=3, val_loss=0.7)]
    assert best_row(rows) is rows[1]


def test_a_cpu_takes_its_steps_one_by_one() -> None:
    backend, model = backend_of(), Model(NET)
    state = initial_state(model, backend)
    batches = classes().to_device(backend).batches(None, seed=0, backend=backend)
    plain = stepper_of(state.models, Plan(batch_size=None), batches, backend)
    assert stepper_for(plain) is plain


def test_weights_are_drawn_by_the_rule_of_xavier_where_none_is_named() -> None:
    backend = backend_of()
    for name, array in initial_params(NET, seed=2, backend=backend).items():
        np.testing.assert_array_equal(array, NET.init(random_stream(2, "weights"), "xavier")[name])


def test_ranks_are_asked_whether_they_train_alike() -> None:
    asked: list[dict[str, object]] = []

    class Asking:
        count, rank = 1, 0

        def check_alike(self, described: dict[str, object]) -> None:
            asked.append(described)

        def __getattr__(self, name: str) -> Any:
            return getattr(xpmlp.backends.alone.ALONE, name)

    backend, model, plan = backend_of(), Model(NET), Plan(epochs=1, batch_size=BATCH)
    backend.ranks = Asking()  # type: ignore[assignment]
    data = Dataset("hand", classes(), validation=classes(1, 4))
    training = Training(model, data, plan, backend=backend)
    described = {
        "the model": [model],
        "the plan": plan,
        "the step": [0],
        "the number of train examples": 10,
        "the number of validation examples": 4,
        "the number of test examples": 0,
    }
    assert asked == [described]
    training.run()  # a wish to stop before is over
    assert asked == [described] * 2


def of(mlp: MLP) -> dict[str, np.ndarray]:
    return mlp.init(np.random.default_rng(0))


def begin(model: Any, plan: Plan | None = None, **more: Any) -> Training:
    return Training(model, classes(), plan or Plan(batch_size=BATCH), backend=backend_of(), **more)


def states_at(*steps: int) -> list[xpmlp.TrainingState]:
    backend, found = backend_of(), []
    for step in steps:
        state = initial_state(Model(NET), backend)
        state.step = step
        found.append(state)
    return found


def adam_state_without(*kinds: str) -> xpmlp.TrainingState:
    state = initial_state(Model(NET, Adam()), backend_of())
    for kind in kinds:
        del state.variables.optimizer_state[kind]
    return state


WRONG: dict[str, tuple[Any, str]] = {
    "another network": (
        lambda: begin(Model(MLP((3, 2))), state=states_at(0)[0]),
        "the state is of the network 3-6-2, tanh, cross_entropy, and not of 3-2, linear, "
        "cross_entropy: give the model that it is of, or begin anew",
    ),
    "parameters of another": (
        lambda: xpmlp.TrainingState(Variables(of(MLP((3, 5, 4, 2))), {}), states_at(0)[0].models),
        "the parameters are those of a network 3-5-4-2, and not of 3-6-2, tanh: give that network, "
        "or begin anew",
    ),
    "no layers": (
        lambda: xpmlp.TrainingState(
            Variables({"layer1.weight": np.zeros((3, 9))}, {}), states_at(0)[0].models
        ),
        "the parameters are those of a network without layers, and not of 3-6-2, tanh: give that "
        "network, or begin anew",
    ),
    "another optimiser": (
        lambda: begin(Model(NET, Adam()), state=states_at(0)[0]),
        "the state is of the optimiser SGD, and not of Adam: give the one that it is of, or begin "
        "anew",
    ),
    "what its optimiser remembers": (
        lambda: begin(Model(NET, Adam()), state=adam_state_without("gradient_sum", "time")),
        "the state has no gradient_sum and no time, which Adam remembers: no training can go on "
        "from it",
    ),
    "states of several steps": (
        lambda: StackTraining(
            [Model(NET)] * 2,
            classes(),
            Plan(batch_size=BATCH),
            backend=backend_of(),
            states=states_at(3, 6),
        ),
        "the states have come to the steps 3, 6: a stack goes on from one step that all have come "
        "to",
    ),
    "a stack in a training": (
        lambda: begin(
            Model(NET), state=xpmlp.training.state.initial_stack([Model(NET)] * 2, backend_of())
        ),
        "Training is of one model: a stack is trained by StackTraining",
    ),
    "features": (
        lambda: begin(Model(MLP((4, 2)))),
        "the network takes 4 features and the data has 3: they do not fit",
    ),
    "a seed": (lambda: Model(NET, seed=-1), "seed is -1: choose 0 or more, a whole number"),
    "an initialiser": (
        lambda: Model(NET, initializer="x"),
        "initialiser 'x' is not known: choose from uniform, normal, lecun, lecun_normal, "
        "lecun_uniform, xavier, xavier_normal, xavier_uniform, he, he_normal, he_uniform",
    ),
    "no schedule": (
        lambda: Plan(schedule=None),  # type: ignore[arg-type]
        "schedule is None: give a function, such as Cosine(steps)",
    ),
    "a penalty": (
        lambda: Model(NET, penalty=0.1),  # type: ignore[arg-type]
        "penalty 0.1 is none: give one such as Penalty(l2=0.01)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_full(case: str) -> None:
    make, said = WRONG[case]
    with pytest.raises(xpmlp.XpmlpError) as found:
        make()
    assert str(found.value) == said
