from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import pytest
from trainings import ALL_REGULARIZATION, fit, initial_state

from xpmlp import (
    MLP,
    Adam,
    Examples,
    Model,
    Momentum,
    TrainingState,
    Variables,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.errors import CheckpointError, UsageError
from xpmlp.files import write_whole
from xpmlp.mathematics.optimizers import OPTIMIZERS, Optimizer
from xpmlp.mathematics.schedules import StepDecay
from xpmlp.runs.checkpoint import (
    copy_checkpoint,
    load_checkpoint,
    load_result,
    parse_checkpoint,
    save_checkpoint,
)
from xpmlp.runs.containers import FORMAT
from xpmlp.runs.stored_state import arrays_of_state, checked_history, checked_numbers
from xpmlp.training.history import LogRow, history_arrays, rows_of_arrays
from xpmlp.training.state import Interval, initial_state as state_of_seed

MLP_ = MLP((6, 5, 4, 3), ("tanh", "sigmoid"))


@pytest.fixture
def examples() -> Examples:
    rng = np.random.default_rng(0)
    return Examples(rng.normal(size=(43, 6)), rng.integers(3, size=43))


def train(
    state: TrainingState,
    examples: Examples,
    backend: Backend,
    optimizer: Optimizer,
    stop_after: int | None = None,
) -> TrainingState:
    """Train to step 30 with all that a resume could forget, or stop inside."""
    moved = examples.to_device(backend)
    rows = fit(
        MLP_,
        state,
        moved,
        optimizer=optimizer,
        learning_rate=0.1,
        schedule=StepDecay((2, 4)),
        regularization=ALL_REGULARIZATION,
        batch_size=10,
        steps=30,
        log_every=4,
        validation=moved.first(15),
        on_step=lambda step: step == stop_after,
        backend=backend,
    )
    list(rows)
    return state


def save_and_load(state: TrainingState, path: Path, backend: Backend) -> TrainingState:
    save_checkpoint(path, state, {"normalization": 1}, backend=backend)
    checkpoint = load_checkpoint(path)
    assert checkpoint.mlp == MLP_
    assert checkpoint.record == {"normalization": 1}
    return checkpoint.restore(state.only.model, backend)


def without_seconds(rows: list[LogRow]) -> list[LogRow]:
    return [replace(row, seconds=0.0) for row in rows]


def assert_same(one: TrainingState, other: TrainingState, backend: Backend) -> None:
    """Bit for bit, but for the time it took."""
    arrays = [(one.params, other.params), (one.best_params or {}, other.best_params or {})]
    moments = [state.variables.optimizer_state for state in (one, other)]
    arrays += [(moments[0][k], moments[1][k]) for k in moments[0]]
    for mine, its in arrays:
        assert mine.keys() == its.keys()
        for name, array in mine.items():
            np.testing.assert_array_equal(backend.to_host(array), backend.to_host(its[name]))
            assert array.dtype == its[name].dtype
    assert (one.step, one.only.interval) == (other.step, other.only.interval)
    assert without_seconds(one.history) == without_seconds(other.history)


@pytest.mark.parametrize("stop_after", [1, 4, 5, 6, 10, 17, 29])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_run_is_the_uninterrupted_one(
    backend: Backend, examples: Examples, tmp_path: Path, name: str, stop_after: int
) -> None:
    """At log points and between, at batch boundaries and across epochs of 5 steps."""
    if backend.compiles and stop_after not in (4, 17):
        pytest.skip("compiled steps come several at a time")
    optimizer = OPTIMIZERS[name]()
    whole = train(
        initial_state(MLP_, optimizer, seed=3, backend=backend), examples, backend, optimizer
    )
    state = initial_state(MLP_, optimizer, seed=3, backend=backend)
    train(state, examples, backend, optimizer, stop_after)
    assert state.status == "interrupted"
    assert state.step == stop_after or (backend.compiles and stop_after < state.step < 20)
    resumed = save_and_load(state, tmp_path / "checkpoint.h5", backend)
    assert_same(train(resumed, examples, backend, optimizer), whole, backend)
    assert resumed.status == "completed"


def test_weights_alone_are_not_enough(examples: Examples, tmp_path: Path) -> None:
    """The test above would notice if moments, step or history were forgotten."""
    backend, optimizer = select_backend("cpu", "float64"), Adam()

    def stopped() -> TrainingState:
        state = initial_state(MLP_, optimizer, seed=3, backend=backend)
        train(state, examples, backend, optimizer, 17)
        return save_and_load(state, tmp_path / "checkpoint.h5", backend)

    whole = train(stopped(), examples, backend, optimizer)
    fresh = Variables(stopped().params, optimizer.init(stopped().params, xp=backend.xp))
    other_seed = stopped()
    other_seed.only.model = replace(other_seed.only.model, seed=4)  # also that of the batches
    for state in (replace(stopped(), variables=fresh), replace(stopped(), step=15), other_seed):
        other = train(state, examples, backend, optimizer)
        assert (other.params["layer1.weight"] != whole.params["layer1.weight"]).any()


def test_run_moves_to_another_backend(backend: Backend, examples: Examples, tmp_path: Path) -> None:
    cpu, optimizer = select_backend("cpu", "float64"), Momentum()
    whole = train(initial_state(MLP_, optimizer, seed=3, backend=cpu), examples, cpu, optimizer)
    state = initial_state(MLP_, optimizer, seed=3, backend=cpu)
    train(state, examples, cpu, optimizer, 13)
    save_checkpoint(tmp_path / "checkpoint.h5", state, {}, backend=cpu)
    moved = load_checkpoint(tmp_path / "checkpoint.h5").restore(state.only.model, backend)
    train(moved, examples, backend, optimizer)
    for name, array in whole.params.items():
        np.testing.assert_allclose(
            backend.to_host(moved.params[name]), array, rtol=1e-10, atol=1e-12
        )


@pytest.fixture
def saved(examples: Examples, tmp_path: Path) -> Path:
    backend, optimizer = select_backend("cpu"), Momentum()
    state = initial_state(MLP_, optimizer, seed=3, backend=backend)
    train(state, examples, backend, optimizer, 17)
    save_checkpoint(tmp_path / "checkpoint.h5", state, {"a": 1}, backend=backend)
    return tmp_path / "checkpoint.h5"


def test_any_tool_opens_the_file(saved: Path) -> None:
    with h5py.File(saved) as file:
        assert file["params/layer1.weight"].shape == (6, 5)
        assert list(file["params"]) == [
            f"layer{n}.{k}" for n in (1, 2, 3) for k in ("weight", "bias")
        ]


def test_one_changed_byte_is_noticed(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    for place in range(len(content)):
        content[place] ^= 1 + place % 255
        with pytest.raises(CheckpointError, match=r"checkpoint\.h5"):
            parse_checkpoint(bytes(content), saved)
        content[place] ^= 1 + place % 255
    assert parse_checkpoint(bytes(content), saved).numbers["step"] == 17


def test_truncation_and_growth_are_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for changed in [content[:length] for length in range(0, len(content), 97)] + [content + b"\0"]:
        saved.write_bytes(changed)
        with pytest.raises(CheckpointError):
            load_checkpoint(saved)


def test_what_is_refused_says_why(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "absent.h5")
    checkpoint = load_checkpoint(saved)
    with pytest.raises(CheckpointError, match=r"of the network 6-5-4-3, .* and not of 6-5-3"):
        checkpoint.restore(Model(MLP((6, 5, 3))), select_backend())
    for other in (
        MLP(MLP_.sizes, ("sigmoid", "tanh")),
        MLP(MLP_.sizes, MLP_.activation, "squared_error"),
    ):
        with pytest.raises(CheckpointError, match=r"of the network 6-5-4-3, .* and not of 6-5-4-3"):
            checkpoint.restore(Model(other), select_backend())
    later = saved.read_bytes().replace(b"version %d" % FORMAT, b"version 9", 1)
    saved.write_bytes(later)
    with pytest.raises(CheckpointError, match="of format 9, and this xpmlp reads up to 1: update"):
        load_checkpoint(saved)
    saved.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(CheckpointError, match="not a checkpoint of xpmlp"):
        load_checkpoint(saved)


class FailingFile:
    """A file whose n-th call of any kind finds the disk full."""

    def __init__(self, file: Any, fail: Callable[[], None]) -> None:
        self._file, self._fail = file, fail

    def write(self, piece: bytes) -> int:
        self._fail()
        return int(self._file.write(piece))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_failed_write_leaves_the_checkpoint_before(
    saved: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Every write, sync and rename fails once; each time the old file loads as it was."""
    before, backend = saved.read_bytes(), select_backend("cpu")
    state = load_checkpoint(saved).restore(Model(MLP_, Momentum()), backend)
    state.step = 18
    monkeypatch.setattr("xpmlp.files._PIECE", 2000)
    left = 0

    def fail() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(code, os.strerror(code))

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            fail()
            return function(*arguments, **settings)

        return call

    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda *a, **k: FailingFile(guarded(opened)(*a, **k), fail))
    monkeypatch.setattr(os, "fsync", guarded(os.fsync))
    monkeypatch.setattr(Path, "replace", guarded(Path.replace))
    for failures in range(1000):
        left = failures
        error = refusal_of(lambda: save_checkpoint(saved, state, {}, backend=backend))
        if error is None:
            break
        left = 1000
        # The last call syncs the folder, when the new file is in place already.
        assert saved.read_bytes() == before or load_checkpoint(saved).numbers["step"] == 18
        assert os.strerror(code) in error
        assert "then resume" in error
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert failures > 8
    left = 1000
    assert load_checkpoint(saved).numbers["step"] == 18


def refusal_of(action: Callable[[], None]) -> str | None:
    try:
        action()
    except CheckpointError as error:
        return str(error)
    return None


def test_history_survives_value_for_value() -> None:
    rows = [
        LogRow(3, 1 / 3, 0.1, 2.0, 0.5, None, None, 0.25),
        LogRow(6, 2 / 3, 0.05, 1e-300, None, 0.1, 0.2, 0.5, 0.3, 0.4),
    ]
    columns = history_arrays(rows)
    assert columns["step"].tolist() == [3, 6]
    whole = history_arrays([LogRow(3, 1, 1, 2, 1, None, None, 0)])
    for found in (columns, whole):
        kinds = {name: column.dtype.str for name, column in found.items()}
        assert kinds.pop("step") == "<i8"
        assert set(kinds.values()) == {"<f8"}
    assert np.isnan(columns["val_loss"][0])
    assert rows_of_arrays(columns) == rows


def test_a_file_is_synced_before_its_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut could leave a file of that name that is empty, or none."""
    calls: list[str] = []
    sync, replace_ = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        calls.append(f"{path.name} -> {target.name}")
        return replace_(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "file", b"content")
    assert calls == ["file.part", "file.part -> file", tmp_path.name]


def test_paths_may_be_texts(tmp_path: Path) -> None:
    model, backend = Model(MLP((3, 2))), select_backend()
    state = state_of_seed(model, backend)
    save_checkpoint(f"{tmp_path}/one.h5", state, {}, backend=backend)
    copy_checkpoint(f"{tmp_path}/one.h5", f"{tmp_path}/two.safetensors")
    found = load_checkpoint(f"{tmp_path}/two.safetensors")
    assert found.mlp == load_result(f"{tmp_path}/one.h5").mlp == model.mlp


def a_state(mlp: MLP, backend: Backend) -> TrainingState:
    """Three rows, and two steps of ten examples since."""
    state = state_of_seed(Model(mlp, Adam(), seed=3), backend)
    only = state.only
    only.history = [LogRow(k, k / 5, 0.1, 2.0, None, None, None, 0.1 * k) for k in (2, 4, 6)]
    only.interval = Interval([3.0, 4.0], None, 20)
    state.step, state.seconds, only.first_loss = 8, 2.5, 7.0
    return state


def test_a_state_comes_back_with_all_that_it_is_of(tmp_path: Path) -> None:
    """A regression with one input and one unit, which has diverged."""
    backend = select_backend("cpu", "float64")
    mlp = MLP((1, 1, 2), ("relu",), "mean_squared_error")
    state = a_state(mlp, backend)
    state.only.status, state.only.cause = "diverged", "the loss is inf"
    save_checkpoint(tmp_path / "c.h5", state, {}, backend=backend)
    found = load_checkpoint(tmp_path / "c.h5")
    assert found.mlp == mlp
    back = found.restore(state.only.model, backend)
    assert (back.step, back.seconds, back.status) == (8, 2.5, "diverged")
    assert (back.only.cause, back.only.first_loss) == ("the loss is inf", 7.0)
    assert back.only.interval == state.only.interval
    assert back.only.history == state.only.history
    assert back.only.params is not None
    for name, array in state.params.items():
        np.testing.assert_array_equal(back.only.params[name], array)
    state.only.status = "running"
    save_checkpoint(tmp_path / "c.h5", state, {}, backend=backend)
    running = load_checkpoint(tmp_path / "c.h5").restore(state.only.model, backend)
    assert (running.status, running.only.params) == ("running", None)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("interval/losses", np.ones((2, 1)), "^the losses since the last log point are no finite"),
        ("interval/losses", np.ones(2, "f4"), "^the losses since the last log point are no finite"),
        ("interval/losses", np.array([1, np.inf]), "are no finite numbers$"),
        ("interval/losses", np.ones(0), "^0 losses of 20 examples$"),
        ("history/step", np.array([2, 4, 4]), "^the steps of its history do not rise$"),
        ("history/step", np.array([2, 4]), "^the columns of its history are not as long as each"),
        ("history/epoch", np.ones((3, 1)), "columns of its history are not as long as each other$"),
    ],
)
def test_arrays_that_no_state_has_are_refused(name: str, value: np.ndarray, said: str) -> None:
    backend = select_backend("cpu", "float64")
    arrays = arrays_of_state(a_state(MLP((2, 3)), backend), backend)
    checked_numbers(arrays)
    checked_history(arrays)
    with pytest.raises(ValueError, match=said):
        (checked_numbers if name.startswith("interval") else checked_history)(
            arrays | {name: value}
        )


def test_a_single_example_is_one() -> None:
    backend = select_backend("cpu", "float64")
    state = a_state(MLP((2, 3)), backend)
    state.only.interval = Interval([3.0], 1, 1)
    assert checked_numbers(arrays_of_state(state, backend))["examples"] == 1


def test_a_checkpoint_has_the_ending_of_its_form(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"c.txt names no form: .* ends in \.h5 or \.safetensors$"):
        copy_checkpoint(saved, tmp_path / "c.txt")
    copy_checkpoint(saved, tmp_path / "c.safetensors")
    one, other = load_checkpoint(saved), load_checkpoint(tmp_path / "c.safetensors")
    assert (one.mlp, one.record, one.numbers) == (other.mlp, other.record, other.numbers)
