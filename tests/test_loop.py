"""What ends a training, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from trainings import ALL_REGULARIZATION, fit, initial_state

from xpmlp import MLP, SGD, Examples, Momentum, TrainingState, select_backend
from xpmlp.backends import Backend
from xpmlp.errors import DivergedError, UsageError
from xpmlp.training.evaluation import evaluate_unchecked
from xpmlp.training.history import LogRow
from xpmlp.training.looping import LoopingStepper
from xpmlp.training.stepper import Stepper

NETWORK = MLP((4, 6, 3), "tanh")


def examples_of(backend: Backend, rows: int = 40) -> Examples:
    rng = np.random.default_rng(0)
    return Examples(rng.normal(size=(rows, 4)), rng.integers(3, size=rows)).to_device(backend)


def start(backend: Backend, **settings: Any) -> tuple[TrainingState, Iterator[LogRow]]:
    state = initial_state(NETWORK, Momentum(), seed=0, backend=backend)
    examples = examples_of(backend)
    defaults: dict[str, Any] = {
        "optimizer": Momentum(),
        "learning_rate": 0.05,
        "steps": 40,
        "batch_size": 10,
        "validation": examples.first(20),
        "backend": backend,
    }
    return state, fit(NETWORK, state, examples, **defaults | settings)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Validation losses to come, in order."""
    losses: list[float] = []
    monkeypatch.setattr("xpmlp.training.group.evaluate_unchecked", lambda *_: (losses.pop(0), 0.5))
    return losses


def test_stops_when_none_of_the_last_were_better(scripted: list[float]) -> None:
    # Best 0.7 at the third; 0.8, 0.7 and 0.75 do not beat it: three in a row end it there.
    scripted += [1.0, 0.9, 0.7, 0.8, 0.7, 0.75, 0.1, 0.1]
    state, rows = start(select_backend("cpu"), patience=3, log_every=2)
    seen = []
    for row in rows:
        seen.append(row.step)
        if row.step == 6:
            best = {name: array.copy() for name, array in state.params.items()}
    assert seen == [2, 4, 6, 8, 10, 12]
    assert state.status == "early_stopped"
    for name, array in state.result.items():
        np.testing.assert_array_equal(array, best[name])
        assert (array != state.params[name]).any()


def test_better_validation_starts_the_count_again(scripted: list[float]) -> None:
    scripted += [1.0, 1.1, 1.2, 0.9, 1.0, 1.0, 0.8, 0.9, 0.9, 0.9, 0.7]
    state, rows = start(select_backend("cpu"), patience=3, log_every=2)
    assert [row.step for row in rows] == list(range(2, 22, 2))
    assert state.status == "early_stopped"


def test_stopped_run_stays_stopped(scripted: list[float]) -> None:
    scripted += [1.0, 1.1, 1.2]
    backend = select_backend("cpu")
    state, rows = start(backend, patience=2, log_every=2)
    assert len(list(rows)) == 3
    again = fit(
        NETWORK,
        state,
        examples_of(backend),
        optimizer=Momentum(),
        learning_rate=0.05,
        steps=40,
        validation=examples_of(backend),
        patience=2,
        backend=backend,
    )
    assert list(again) == []
    assert state.status == "early_stopped"


def test_best_weights_are_kept_whatever_ends_the_run(scripted: list[float]) -> None:
    scripted += [0.5, 0.9, 0.9]
    state, rows = start(select_backend("cpu"), log_every=2, on_step=lambda step: step == 6)
    next(rows)
    best = {name: array.copy() for name, array in state.params.items()}
    assert len(list(rows)) == 2
    assert state.status == "interrupted"
    for name, array in state.result.items():
        np.testing.assert_array_equal(array, best[name])


def test_without_validation_the_last_weights_are_the_result(backend: Backend) -> None:
    state, rows = start(backend, validation=None)
    list(rows)
    assert state.result is state.params


def test_patience_needs_validation() -> None:
    with pytest.raises(UsageError, match="patience of 3 needs a validation set"):
        start(select_backend("cpu"), patience=3, validation=None)


class CountedReads:
    """Counts how often a backend copies to the host."""

    def __init__(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = backend.to_host

        def to_host(array: object) -> np.ndarray:
            self.count += 1
            return original(array)

        monkeypatch.setattr(backend, "to_host", to_host)


def test_seconds_count_steps_and_not_what_is_done_between(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that stands still but when a step is taken, or the caller does something."""
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    def timed(advance: Any) -> Any:
        def timed_advance(*arguments: Any) -> Any:
            variables, taken = advance(*arguments)
            spend(1.0 * len(taken.sizes))
            return variables, taken

        return timed_advance

    looked = evaluate_unchecked

    def timed_evaluation(*arguments: Any) -> Any:
        spend(10_000.0)
        return looked(*arguments)

    monkeypatch.setattr("xpmlp.training.group.evaluate_unchecked", timed_evaluation)
    monkeypatch.setattr("xpmlp.training.group.perf_counter", lambda: now)
    for kind in (Stepper, LoopingStepper):
        monkeypatch.setattr(kind, "advance", timed(kind.advance))
    state, rows = start(backend, log_every=10, on_step=lambda _: spend(100.0))
    for _ in rows:
        spend(1000.0)
    assert [row.seconds for row in state.history] == [10, 20, 30, 40]
    assert state.seconds == 40


def test_device_is_read_at_log_points_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = CountedReads(backend, monkeypatch)
    counts: list[int] = []
    _, rows = start(
        backend,
        log_every=10,
        regularization=ALL_REGULARIZATION,
        on_step=lambda _: counts.append(reads.count),
    )
    list(rows)
    assert len(counts) == 40
    changes = [step for step in range(1, 40) if counts[step] != counts[step - 1]]
    assert changes == [10, 20, 30]


def test_saves_come_at_rows_and_between(backend: Backend) -> None:
    saved: list[int] = []
    _, rows = start(
        backend,
        log_every=10,
        steps=25,
        save=lambda state: saved.append(state.step),
        save_every=4,
    )
    list(rows)
    assert saved == [4, 8, 10, 12, 16, 20, 24, 25]


def poisoned(backend: Backend, batch_value: float) -> Examples:
    """Examples of which number 7 has features that no float32 can take."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4))
    x[7] = batch_value
    return Examples(x, rng.integers(3, size=40)).to_device(backend)


@pytest.mark.parametrize("log_every", [1, 4, 100])
@pytest.mark.parametrize("save_every", [None, 1, 3])
def test_divergence_names_its_step_and_never_reaches_a_save(
    log_every: int, save_every: int | None
) -> None:
    """The same sentence however seldom the device is read, and nothing bad is saved."""
    backend = select_backend("cpu")
    state = initial_state(NETWORK, SGD(), seed=0, backend=backend)
    saved: list[tuple[int, bool]] = []

    def save(state: TrainingState) -> None:
        finite = all(np.isfinite(array).all() for array in state.params.values())
        saved.append((state.step, finite))

    rows = fit(
        NETWORK,
        state,
        poisoned(backend, np.nan),
        optimizer=SGD(),
        learning_rate=0.25,
        steps=40,
        batch_size=5,
        log_every=log_every,
        validation=examples_of(backend),
        save=save,
        save_every=save_every,
        backend=backend,
    )
    with pytest.raises(DivergedError) as caught:
        list(rows)
    message = str(caught.value)
    assert "the training loss is nan at step 3 with learning rate 0.25" in message
    assert "it began in the features" in message
    assert all(finite for _, finite in saved)
    assert all(step < 3 for step, _ in saved)
    assert all(np.isfinite(array).all() for array in state.params.values())
    assert state.step < 3


def test_divergence_names_the_layer(backend: Backend) -> None:
    mlp = MLP((4, 6, 5, 3), "relu")
    state = initial_state(mlp, SGD(), seed=0, backend=backend)
    weight = backend.to_host(state.params["layer2.weight"])
    weight[:] = 1e308
    state.params["layer2.weight"] = backend.to_device(weight)
    rows = fit(
        mlp,
        state,
        examples_of(backend),
        optimizer=SGD(),
        learning_rate=0.1,
        steps=4,
        backend=backend,
    )
    with pytest.raises(DivergedError, match=r"at step 1 .* began in the outputs of layer 2"):
        list(rows)


def test_weights_that_overflow_are_found_before_the_loss_shows_it() -> None:
    backend = select_backend("cpu", "float32")
    mlp = MLP((4, 3), "tanh")
    state = initial_state(mlp, SGD(), seed=0, backend=backend)
    saved: list[int] = []
    rows = fit(
        mlp,
        state,
        examples_of(backend),
        optimizer=SGD(),
        learning_rate=3e39,
        steps=1,
        save=lambda state: saved.append(state.step),
        backend=backend,
    )
    with pytest.raises(DivergedError, match=r"weights are no longer finite at step 1 .*layer1\."):
        list(rows)
    assert saved == []
