"""Whatever ends a training early, going on is the training that was never ended."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import write_h5

import xpmlp
from xpmlp import MLP, Adam, Model, Momentum, Plan, StackTraining, Training, TrainingState
from xpmlp.backends.cpu.numpy_backend import NumpyBackend

DATA = xpmlp.load_data("digits", val_size=100)
PLAN = Plan(steps=12, batch_size=50, log_every=4, save_every=3)
MODEL = Model(
    MLP((64, 9, 10), "tanh"),
    Momentum(0.8),
    regularization=xpmlp.Regularization(dropout=0.2, average_decay=0.9),
)
MODELS = [Model(MLP((64, 9, 10), name), Adam(), seed=k) for k, name in enumerate(["tanh", "relu"])]


class Stopped(BaseException):
    """Something that nobody expects, as Ctrl-C is."""


class Fragile(NumpyBackend):
    """Raises at the call of a function of the namespace with a certain number."""

    def __init__(self, threads: int = 1) -> None:
        super().__init__("float32", threads)
        self.calls, self.last = 0, 0
        for name, function in vars(self.xp).items():
            if callable(function) and not isinstance(function, type):
                setattr(self.xp, name, self.counted(function))

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **settings: Any) -> Any:
            self.calls += 1
            if self.calls == self.last:
                raise Stopped
            return function(*values, **settings)

        return call


def outcome(states: list[TrainingState]) -> list[Any]:
    """Return what training brings, without the one thing that differs from run to run."""
    rows = [[{**asdict(row), "seconds": 0} for row in state.history] for state in states]
    arrays = [
        [array.tobytes() for array in (*state.params.values(), *state.result.values())]
        for state in states
    ]
    return [rows, arrays, [state.status for state in states], [state.step for state in states]]


def single(backend: NumpyBackend) -> tuple[Training, Callable[[], list[Any]]]:
    training = Training(MODEL, DATA, PLAN, backend=backend, save=id)
    return training, lambda: outcome([training.state])


def stack(backend: NumpyBackend) -> tuple[StackTraining, Callable[[], list[Any]]]:
    training = StackTraining(MODELS, DATA, PLAN, backend=backend, save=id)
    return training, lambda: outcome(training.states())


@pytest.mark.parametrize("make", [single, stack])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_nth_call_that_fails_changes_nothing(
    make: Callable[[NumpyBackend], Any], threads: int
) -> None:
    backend = Fragile(threads)
    training, found = make(backend)
    begun = backend.calls
    training.run()
    calls = backend.calls - begun
    expected = found()
    stopped = 0
    for number in range(1, calls, 11 if threads == 1 else 31):
        backend = Fragile(threads)
        training, found = make(backend)
        backend.last = backend.calls + number
        try:
            training.run()
        except Stopped:
            stopped += 1
        backend.last = 0
        training.run()
        assert found() == expected, number
    assert stopped > 10


def test_an_interrupt_at_any_moment() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # JAX, where another test has loaded it, is called by it, and loses what is raised
    plan = Plan(steps=60, batch_size=50, log_every=20)
    expected = outcome([Training(MODEL, DATA, plan).run()])
    interrupted = 0
    try:
        for moment in range(25):
            training = Training(MODEL, DATA, plan)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (moment + 1))
                try:
                    training.run()
                finally:  # where the alarm may come, too, before it is off
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert outcome([training.run()]) == expected
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 0


@pytest.mark.parametrize("step", [1, 3, 4, 5, 8, 11, 12])
@pytest.mark.parametrize("where", ["on_step", "save"])
def test_an_exception_of_the_callers_own(step: int, where: str) -> None:
    expected = outcome([Training(MODEL, DATA, PLAN).run()])
    failed: list[Any] = []

    def fail(at: Any) -> None:
        if not failed and (at == step if where == "on_step" else at.step >= step):
            failed.append(at)
            raise Stopped

    training = Training(MODEL, DATA, PLAN, **{where: fail})  # type: ignore[arg-type]
    with pytest.raises(Stopped):
        training.run()
    last_save = where == "save" and step > 9  # the one at the end
    assert training.state.status == ("completed" if last_save else "interrupted")
    assert outcome([training.run()]) == expected


@pytest.mark.parametrize("steps", [4, 6, 8])
def test_no_training_runs_past_its_steps(steps: int) -> None:
    training = Training(MODEL, DATA, PLAN)
    for row in training:
        if row.step == 8:
            break
    again = Training(MODEL, DATA, Plan(steps=steps, batch_size=50), state=training.state)
    assert list(again) == []
    assert (again.state.step, again.state.status) == (8, "completed")
    assert [row.step for row in again.state.history] == [4, 8]
    trained = xpmlp.fit(MODEL, DATA, Plan(steps=steps), state=again.state)
    assert trained.status == "completed"


def test_a_round_that_was_begun_and_left_is_begun_again() -> None:
    expected = outcome([Training(MODEL, DATA, PLAN).run()])
    training = Training(MODEL, DATA, PLAN)
    for _ in range(3):
        next(iter(training), None)
    assert outcome([training.run()]) == expected


def _streamed(path: Path) -> list[Any]:
    data = xpmlp.prepare(xpmlp.read_data(path, stream=True), val_size=10)
    training = Training(Model(MLP((12, 5, 3))), data, Plan(epochs=2, batch_size=10))
    return outcome([training.run()])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_streams_as_its_parent_did(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_h5(tmp_path / "rows.h5", rng.normal(size=(600, 12)), rng.integers(3, size=600))
    expected = _streamed(path)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_streamed, (path,)).get(timeout=60) == expected


@pytest.mark.parametrize("save_every", [None, 3])
def test_divergence_goes_back_to_what_was_settled_last(save_every: int | None) -> None:
    """Weights, moments, step, history and the losses since the last row: all of one moment."""
    rows = np.arange(120) % 60
    x, y = DATA.train.x[rows].astype(np.float32), DATA.train.y[rows]
    x[107] = np.nan

    def ten_a_step(_: int) -> np.ndarray:
        return np.arange(120)

    model = Model(MLP((64, 9, 10), "tanh"), Adam(), learning_rate=0.01)
    plan = Plan(steps=12, batch_size=10, log_every=4, save_every=save_every, order=ten_a_step)
    training = Training(model, xpmlp.Examples(x, y), plan)
    with pytest.raises(xpmlp.DivergedError, match="at step 11"):
        training.run()
    state, last = training.state, 9 if save_every else 8
    good = Training(model, xpmlp.Examples(x, y), replace(plan, steps=last, log_every=4))
    if save_every:
        good = Training(model, xpmlp.Examples(x, y), plan, on_step=lambda step: step == last)
    expected = good.run()
    assert (state.step, state.status) == (last, "diverged")
    assert [row.step for row in state.history] == [4, 8]
    assert state.only.interval == expected.only.interval
    for name, arrays in expected.variables.optimizer_state.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(state.variables.optimizer_state[name][key], array)
    for key, array in expected.params.items():
        np.testing.assert_array_equal(state.params[key], array)


def test_callers_own_rules_for_floating_point_end_nothing() -> None:
    """Where a weight underflows it is 0, and no error."""
    model = Model(MLP((64, 9, 10), "sigmoid"), learning_rate=0.5)
    x = DATA.train.x * np.float32(1e4)
    expected = outcome([Training(model, xpmlp.Examples(x, DATA.train.y), Plan(steps=20)).run()])
    with np.errstate(all="raise"):
        found = outcome([Training(model, xpmlp.Examples(x, DATA.train.y), Plan(steps=20)).run()])
    assert found == expected


def test_a_model_that_left_its_stack_says_when() -> None:
    models = [replace(MODEL, optimizer=xpmlp.SGD(), learning_rate=rate) for rate in (1e-30, 0.1)]
    plan = Plan(steps=12, batch_size=50, log_every=2, patience=1)
    training = StackTraining(models, DATA, plan)
    training.run()
    ended, whole = training.states()
    assert (ended.status, ended.step) == ("early_stopped", 4)
    assert ended.seconds == ended.history[-1].seconds
    assert whole.step == whole.history[-1].step


def test_divergence_names_the_rate_of_its_step() -> None:
    """The schedule halves the rate after each epoch of 4 steps; step 11 is the third."""
    rows = np.arange(40)
    x, y = DATA.train.x[rows].astype(np.float32), DATA.train.y[rows]
    x[22] = np.nan

    def later(epoch: int) -> np.ndarray:
        """Every epoch but the third leaves the poisoned example out."""
        order = np.arange(40)
        if epoch != 2:
            order[22] = 0
        return order

    plan = Plan(steps=16, batch_size=10, order=later, schedule=xpmlp.StepDecay((1, 2, 3)))
    training = Training(replace(MODEL, learning_rate=0.4), xpmlp.Examples(x, y), plan)
    with pytest.raises(xpmlp.DivergedError, match=r"at step 11 with learning rate 0\.1;") as caught:
        training.run()
    assert training.state.only.cause == str(caught.value)
    assert (training.state.step, len(training.state.history)) == (8, 2)
    assert "it began in the features" in str(caught.value)
