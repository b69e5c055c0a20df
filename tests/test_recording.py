"""Steps taken many at a time on fixed memory, as a GPU records them: the same training."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stacks import to_host
from strict_backend import StrictBackend, strict_rules
from trainings import ALL_REGULARIZATION, RULES, fit, fit_stack, initial_state

from xpmlp import (
    MLP,
    SGD,
    Adam,
    Constant,
    Cosine,
    Dataset,
    Examples,
    Model,
    Momentum,
    Penalty,
    Plan,
    StackTraining,
    Step,
    StepDecay,
    Training,
    TrainingState,
    evaluate,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.errors import DivergedError
from xpmlp.inspection.predictions import outputs_of
from xpmlp.training.recording import RecordingStepper
from xpmlp.training.stepper import Rates, Stepper

Steps = Callable[[], None]

NETWORK = MLP((4, 6, 3), "tanh")
RNG = np.random.default_rng(0)
# 8 batches of 5 and one of 3; recordings of a few steps reach across none of the ends.
ROWS = Examples(RNG.normal(size=(43, 4)), RNG.integers(3, size=43))


class Recorder(StrictBackend):
    """Does again what a recording would: the same function on the same memory, and nothing else."""

    records = True

    def __init__(
        self, dtype: str = "float64", *, fails: bool = False, what: Steps | None = None
    ) -> None:
        super().__init__(dtype)
        self.fails, self.what, self.recorded, self.replayed = fails, what, 0, 0

    def record(self, steps: Steps) -> Steps | None:
        if self.fails:
            self.records = False
            return None
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            (self.what or steps)()

        return replay


@pytest.fixture(autouse=True)
def few_steps_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.training.recording.STEPS", 3)
    monkeypatch.setattr("xpmlp.training.recording.PAYS_AFTER", 0)


def trained(backend: Backend, **settings: Any) -> tuple[TrainingState, list[float], Any]:
    optimizer = settings.setdefault("optimizer", SGD())
    defaults = {"learning_rate": 0.2, "steps": 25, "batch_size": 5, "log_every": 10}
    state = initial_state(NETWORK, optimizer, seed=1, backend=backend)
    examples = settings.pop("examples", ROWS).to_device(backend)
    rows = list(fit(NETWORK, state, examples, backend=backend, **defaults | settings))
    losses = [(row.step, row.train_loss, row.train_accuracy, row.learning_rate) for row in rows]
    arrays = to_host(backend, state.params)
    return state, [value for row in losses for value in row if value is not None], arrays


CASES: dict[str, dict[str, Any]] = RULES | {
    "steps down": {"schedule": StepDecay((1, 2), 0.3)},
    "cosine": {"schedule": Cosine(25), "optimizer": Adam(), "learning_rate": 0.01},
    "saves in between": {"save_every": 4, "save": lambda _: None},
    "weights": {"examples": Examples(ROWS.x, ROWS.y, sample_weight=RNG.uniform(size=43))},
}


@pytest.mark.parametrize("case", CASES)
def test_recorded_training_is_the_same(case: str) -> None:
    expected = trained(select_backend("cpu", "float64"), **CASES[case])
    with strict_rules():
        backend = Recorder()
        found = trained(backend, **CASES[case])
    assert backend.replayed > 0
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-10)
    assert found[0].step == expected[0].step
    for name, array in found[2].items():
        np.testing.assert_allclose(array, expected[2][name], rtol=1e-9, atol=1e-12)


def test_a_recording_is_made_once_for_each_size_and_number() -> None:
    with strict_rules():
        backend = Recorder()
        trained(backend, steps=90, log_every=90)
    # Three steps of five, one step of five (8 are no multiple of 3), one short batch.
    assert backend.recorded == 3
    # An epoch: 2 replays of three steps, 2 of one, 1 of the short batch.
    assert backend.replayed == 50


def test_where_nothing_is_recorded_steps_are_taken_one_by_one() -> None:
    expected = trained(select_backend("cpu", "float64"), optimizer=Adam(), learning_rate=0.01)
    with strict_rules():
        backend = Recorder(fails=True)
        found = trained(backend, optimizer=Adam(), learning_rate=0.01)
    assert (backend.recorded, backend.replayed) == (0, 0)
    for name, array in found[2].items():
        np.testing.assert_allclose(array, expected[2][name], rtol=1e-9, atol=1e-12)


def test_replays_that_find_something_else_are_not_used() -> None:
    """As where a captured graph silently does nothing."""
    expected = trained(select_backend("cpu", "float64"))
    with strict_rules():
        backend = Recorder(what=lambda: None)
        with pytest.warns(RuntimeWarning, match="does not find what the steps find") as warned:
            found = trained(backend)
    assert len(warned) == 1
    assert (backend.recorded, backend.replayed, backend.records) == (1, 1, False)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-10)
    for name, array in found[2].items():
        np.testing.assert_allclose(array, expected[2][name], rtol=1e-9, atol=1e-12)


def test_an_interrupt_while_steps_are_recorded_leaves_them_untaken() -> None:
    """Also where the variables are the recorder's own already."""
    with strict_rules():
        backend = Recorder()
        plain = stepper_of(ROWS.to_device(backend), backend)
        stepper = RecordingStepper(plain, plain.batches)
        state = initial_state(NETWORK, SGD(), seed=1, backend=backend)
        variables, taken = stepper.advance(state.variables, 0, 8)
        before = to_host(backend, variables.params)

        def interrupt(_: Steps) -> None:
            raise KeyboardInterrupt

        backend.record = interrupt  # type: ignore[assignment, method-assign]
        with pytest.raises(KeyboardInterrupt):
            stepper.advance(variables, len(taken.sizes), 1)  # one by one: another recording
        for name, array in to_host(backend, variables.params).items():
            np.testing.assert_array_equal(array, before[name])


def test_a_replay_that_was_not_checked_to_the_end_is_not_used() -> None:
    with strict_rules():
        backend = Recorder()
        plain = stepper_of(ROWS.to_device(backend), backend)
        stepper = RecordingStepper(plain, plain.batches)
        state = initial_state(NETWORK, SGD(), seed=1, backend=backend)

        def interrupt() -> None:
            raise KeyboardInterrupt

        backend.what = interrupt
        with pytest.raises(KeyboardInterrupt):
            stepper.advance(state.variables, 0, 8)
        backend.what = None
        stepper.advance(state.variables, 0, 8)
    assert backend.recorded == 2


class OnOneDevice(Recorder):
    """Functions of the namespace are called while its device is the current one, or not at all."""

    def __init__(self, *, records: bool) -> None:
        super().__init__()
        self.records, self.inside = records, 0
        names = vars(StrictBackend.xp)
        self.xp = SimpleNamespace(**{name: self._inside(name, f) for name, f in names.items()})

    def _inside(self, name: str, function: Any) -> Any:
        # Of those that make arrays `asarray` alone asks where.
        if not callable(function) or isinstance(function, type) or name in ("asarray", "isdtype"):
            return function

        def called(*arguments: Any, **settings: Any) -> Any:
            assert self.inside, f"{name} is called outside of computing()"
            return function(*arguments, **settings)

        return called

    @contextmanager
    def computing(self, flop: float | None = None) -> Iterator[None]:
        with super().computing(flop):
            self.inside += 1
            try:
                yield
            finally:
                self.inside -= 1


@pytest.mark.parametrize("records", [False, True])
def test_everything_lands_on_the_device_that_was_chosen(records: bool) -> None:
    settings: dict[str, Any] = {"optimizer": Adam(), "validation": ROWS, "patience": 2}
    with strict_rules():
        backend = OnOneDevice(records=records)
        examples = ROWS.to_device(backend)
        settings["validation"] = examples
        trained(
            backend,
            **settings,
            regularization=ALL_REGULARIZATION,
            penalty=Penalty(l2=0.01),
            save_every=4,
        )
        models = [Model(NETWORK, Adam(), rate, seed=1) for rate in (0.1, 1e9, 0.001)]
        plan = Plan(steps=40, batch_size=5, patience=2, train_exact=True)
        data = Dataset("rows", examples, examples, validation=examples)
        for training in (
            StackTraining(models, data, plan, backend=backend),
            Training(Model(NETWORK, SGD(), 1e200), data, plan, backend=backend),
        ):
            with suppress(DivergedError):
                training.run()
        state = StackTraining(models[:1], data, plan, backend=backend)
        state.run()
        params = state.models[0].result
        evaluate(NETWORK, params, examples, backend=backend)
        outputs_of(NETWORK, params, examples, backend=backend)


def test_a_few_steps_are_not_worth_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.training.recording.PAYS_AFTER", 30)
    with strict_rules():
        backend = Recorder()
        trained(backend, steps=25)
        assert backend.recorded == 0
        trained(backend, steps=90, log_every=90)
    # Three of the usual batches alone, of which there are six in an epoch: no other kind is seen
    # thirty times.
    assert backend.recorded == 1


def test_the_time_to_record_is_no_time_of_training() -> None:
    class Slow(Recorder):
        def record(self, steps: Steps) -> Steps | None:
            time.sleep(0.2)
            return super().record(steps)

    with strict_rules():
        state, _, _ = trained(Slow())
    assert 0 < state.seconds < 0.2


def test_what_records_is_given_back_without_a_garbage_collection() -> None:
    class Weak(Recorder):
        """A graph remembers what is done, and not who has asked for it."""

        def record(self, steps: Any) -> Steps | None:
            found = weakref.WeakMethod(steps)
            return lambda: found()()  # type: ignore[misc]

    with strict_rules():
        backend = Weak()
        plain = stepper_of(ROWS.to_device(backend), backend)
        stepper = RecordingStepper(plain, plain.batches)
        state = initial_state(NETWORK, SGD(), seed=1, backend=backend)
        stepper.advance(state.variables, 0, 8)
        recording = weakref.ref(next(iter(stepper._recordings.values())))
        gc.disable()
        try:
            del stepper
            assert recording() is None
        finally:
            gc.enable()


def stepper_of(examples: Examples, backend: Backend) -> Any:
    batches = examples.batches(5, seed=0, backend=backend)
    rates = Rates(0.2, 0.2, Constant(), batches.steps_per_epoch)
    return Stepper(Step(NETWORK, SGD()), batches, rates, None, backend)


class Elsewhere(Momentum):
    """An update that makes new arrays, as a library with immutable arrays does."""

    takes_products = False

    def step(self, w: Any, g: Any, moments: Any, at: Any) -> Any:
        v = self.momentum * moments["velocity"] + g
        return w - at.rate * v, {"velocity": v}


def test_update_that_makes_new_arrays_is_recorded_too() -> None:
    """What it has made is copied to where the next replay finds it."""
    settings: dict[str, Any] = {"learning_rate": 0.05}
    backend = select_backend("cpu", "float64")
    expected = trained(backend, optimizer=Momentum(0.9), **settings)
    with strict_rules():
        recorder = Recorder()
        found = trained(recorder, optimizer=Elsewhere(0.9), **settings)
    assert recorder.replayed > 0
    for name, array in found[2].items():
        np.testing.assert_allclose(array, expected[2][name], rtol=1e-9, atol=1e-12)


def test_a_trial_that_fails_leaves_the_state_as_it_was() -> None:
    """The variables are the recorder's own: what failed on the way has changed nobody else's."""
    with strict_rules():
        backend = Recorder(fails=True)
        state = initial_state(NETWORK, Momentum(), seed=1, backend=backend)
        before = to_host(backend, state.params)
        seen: list[dict[str, np.ndarray]] = []
        backend.record = lambda *_: seen.append(to_host(backend, state.params))  # type: ignore[method-assign]
        settings: dict[str, Any] = {"optimizer": Momentum(), "learning_rate": 0.1, "steps": 1}
        list(fit(NETWORK, state, ROWS.to_device(backend), backend=backend, **settings))
    for name, array in before.items():
        np.testing.assert_array_equal(seen[0][name], array)


def test_divergence_goes_back_to_the_last_row_and_names_the_step() -> None:
    settings: dict[str, Any] = {"optimizer": Momentum(0.9), "learning_rate": 1e308}
    messages = []
    for backend in (select_backend("cpu", "float64"), Recorder()):
        with strict_rules(), pytest.raises(DivergedError) as error:
            trained(backend, **settings)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_every_step_is_told_and_may_end_the_run() -> None:
    told: list[int] = []

    def on_step(step: int) -> bool:
        told.append(step)
        return step == 7

    with strict_rules():
        state, _, _ = trained(Recorder(), on_step=on_step, log_every=50)
    # The recording that holds step 7 ends with step 8, after which the batches are one by one.
    assert told == list(range(1, state.step + 1))
    assert state.step in (7, 8, 9)
    assert state.status == "interrupted"


def stack_of(backend: Backend, **settings: Any) -> list[dict[str, np.ndarray]]:
    models = [
        Model(NETWORK, Adam(), rate, Penalty(l2=0.01 * k), seed=k)
        for k, rate in enumerate((0.1, 0.3, 0.05))
    ]
    source = ROWS.to_device(backend)
    plan: dict[str, Any] = {"steps": 30, "batch_size": 5, "validation": source.first(20)}
    ended = fit_stack(models, source, backend=backend, **plan | settings)
    return [to_host(backend, model.result) for model in ended]


@pytest.mark.parametrize("patience", [None, 1])
def test_recorded_stack_is_the_same(patience: int | None) -> None:
    expected = stack_of(select_backend("cpu", "float64", threads=1), patience=patience)
    with strict_rules():
        backend = Recorder()
        found = stack_of(backend, patience=patience, schedule=None)
    assert backend.replayed > 0
    for model, wanted in zip(found, expected, strict=True):
        for name, array in model.items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-8, atol=1e-11)


# On a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gpu_records_what_it_computes_one_by_one(case: str, dtype: str) -> None:
    import cupy

    expected = trained(select_backend("cpu", dtype), **CASES[case] | {"steps": 100})
    for graph in (False, True):
        backend = select_backend("gpu", dtype, graph=graph)

        def garbage(_: int) -> bool:
            # Memory handed out and given back between replays must not be theirs.
            cupy.full(10_000, 7.0)
            return False

        found = trained(backend, **CASES[case] | {"steps": 100, "on_step": garbage})
        assert backend.records == graph
        tolerance = 1e-10 if dtype == "float64" else 1e-3
        for name, array in found[2].items():
            np.testing.assert_allclose(array, expected[2][name], rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
def test_gpu_stack_records_what_it_computes_one_by_one() -> None:
    expected = stack_of(select_backend("gpu", "float64", graph=False))
    found = stack_of(select_backend("gpu", "float64"))
    for model, wanted in zip(found, expected, strict=True):
        for name, array in model.items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-9, atol=1e-11)


@pytest.mark.gpu
def test_gpu_resumes_bit_for_bit() -> None:
    backend = select_backend("gpu", "float32")
    whole, _, expected = trained(backend, steps=60, log_every=20)
    state = initial_state(NETWORK, SGD(), seed=1, backend=backend)
    examples = ROWS.to_device(backend)
    settings: dict[str, Any] = {"learning_rate": 0.2, "batch_size": 5, "log_every": 20}
    for steps in (20, 60):
        list(
            fit(NETWORK, state, examples, optimizer=SGD(), steps=steps, backend=backend, **settings)
        )
    for name, array in to_host(backend, state.params).items():
        np.testing.assert_array_equal(array, expected[name])
    assert whole.step == state.step
