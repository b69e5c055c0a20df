"""The state of a training in one file, and back: bit for bit, or not at all.

A file is written beside its place, synced and renamed: whatever happens, the last complete one is
there. Its form is that of its ending, `.h5` or `.safetensors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xpmlp.backends import Backend
from xpmlp.data.preparation import Preparation
from xpmlp.errors import CheckpointError, OutputError, UsageError
from xpmlp.files import read_whole, write_whole
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.step import Variables
from xpmlp.regularization import averaged
from xpmlp.runs.containers import CONTAINERS, Container, read_container
from xpmlp.runs.stored_state import (
    Arrays,
    arrays_of_state,
    checked_history,
    checked_moments,
    checked_network,
    checked_numbers,
    checked_params,
    checked_record,
    json_array,
)
from xpmlp.training.history import LogRow, rows_of_arrays
from xpmlp.training.plan import Model
from xpmlp.training.state import ENDED, Interval, ModelState, TrainingState

Found = TypeVar("Found")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: a network and the state of its training, on the host.

    `record` is what the run keeps with it: its settings, the scaling of its features.
    """

    mlp: MLP
    params: dict[str, np.ndarray]
    optimizer_state: dict[str, dict[str, np.ndarray]]
    best_params: dict[str, np.ndarray] | None
    numbers: dict[str, Any]
    history: dict[str, np.ndarray]
    losses: np.ndarray
    record: dict[str, Any]

    @property
    def result(self) -> dict[str, np.ndarray]:
        """What the training was for: the best parameters, or without validation the last.

        Of the weights that is their average, where the training has kept one.
        """
        last = averaged(self.params, self.optimizer_state)
        return last if self.best_params is None else self.best_params

    def restore(self, model: Model, backend: Backend) -> TrainingState:
        """Return the state of a model's training on a backend, of this device or another.

        Raises `CheckpointError` for a model of another network.
        """
        if self.mlp != model.mlp:
            raise CheckpointError(
                f"the checkpoint is of the network {self.mlp}, {self.mlp.loss}, and not of "
                f"{model.mlp}, {model.mlp.loss}: choose another run, or its settings"
            )
        numbers = self.numbers
        moments = {kind: backend.all_to_device(a) for kind, a in self.optimizer_state.items()}
        only = ModelState(
            model,
            status=numbers["status"],
            history=rows_of_arrays(self.history),
            interval=Interval(self.losses.tolist(), numbers["correct"], numbers["examples"]),
            best_params=None
            if self.best_params is None
            else backend.all_to_device(self.best_params),
            cause=numbers.get("cause") or "",
            first_loss=numbers.get("first_loss"),
        )
        if only.status in ENDED:
            only.params = backend.all_to_device(averaged(self.params, self.optimizer_state))
        variables = Variables(backend.all_to_device(self.params), moments)
        return TrainingState(variables, [only], numbers["step"], numbers["seconds"])


class Result(NamedTuple):
    """What a training was for, on the host: the best parameters, of several models a stack.

    `numbers` and `history` are those of the only model, or of the one that has gone furthest.
    """

    mlp: MLP
    params: dict[str, np.ndarray]
    record: dict[str, Any]
    numbers: dict[str, Any]
    history: list[LogRow]


def preparation_of(checkpoint: Checkpoint | Result) -> Preparation:
    """Return what a network was trained with, whatever the data is now."""
    return Preparation.from_record(checkpoint.record.get("settings") or {}, checkpoint.mlp)


def save_checkpoint(
    path: str | Path, state: TrainingState, record: Mapping[str, Any], *, backend: Backend
) -> None:
    """Write a state, with a record of plain values, in place of the file that is there.

    Raises `CheckpointError` where it cannot be written; the file that was there is untouched.
    """
    _write(Path(path), [("", state)], record, state.step, backend)


def save_stack(
    path: str | Path,
    states: Sequence[TrainingState],
    record: Mapping[str, Any],
    *,
    backend: Backend,
) -> None:
    """Write the states of a stack's models into one file, as `save_checkpoint` writes one."""
    named = [(f"model{number}/", state) for number, state in enumerate(states)]
    _write(Path(path), named, record, max(state.step for state in states), backend)


def _write(
    path: Path,
    named: list[tuple[str, TrainingState]],
    record: Mapping[str, Any],
    step: int,
    backend: Backend,
) -> None:
    container = _container(path)
    arrays: Arrays = {}
    for prefix, state in named:
        arrays |= {prefix + name: a for name, a in arrays_of_state(state, backend).items()}
    arrays["record"] = json_array(record)
    try:
        write_whole(path, container.write(arrays))
    except OutputError as error:
        before = "the one before it is untouched" if path.exists() else "there is none before it"
        cause = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise CheckpointError(
            f"{path} cannot be written at step {step} ({cause}); {before}: make room, then resume"
        ) from error


def _container(path: Path) -> Container:
    if path.suffix not in CONTAINERS:
        known = " or ".join(CONTAINERS)
        raise UsageError(f"{path} names no form: choose a file that ends in {known}")
    return CONTAINERS[path.suffix]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file; raises `CheckpointError` where it is missing, damaged or of a later format.

    A stranger's `.safetensors` is safe to open. An `.h5` is read by HDF5's own library, which has
    had faults that a file could make use of.
    """
    path = Path(path)
    return parse_checkpoint(_read_bytes(path), path)


def copy_checkpoint(path: str | Path, out: str | Path) -> None:
    """Write a checkpoint again, in the form of another ending; raises as loading and saving do."""
    path, out = Path(path), Path(out)
    raw = _read_bytes(path)
    _parsed(raw, path, _read_all)
    write_whole(out, _container(out).write(read_container(raw)))


def load_stack(path: str | Path) -> list[Checkpoint]:
    """Read what `save_stack` wrote; raises `CheckpointError` as `load_checkpoint` does."""
    path = Path(path)
    return _parsed(_read_bytes(path), path, _read_stack)


def _read_stack(arrays: Arrays) -> list[Checkpoint]:
    models = {name.partition("/")[0] for name in arrays if name.startswith("model")}
    return [_read(arrays, f"model{number}/") for number in range(len(models))]


def _read_all(arrays: Arrays) -> list[Checkpoint]:
    return _read_stack(arrays) or [_read(arrays, "")]


def parse_checkpoint(raw: bytes, path: Path) -> Checkpoint:
    """Return what the content of a file holds; `path` is for the errors."""
    return _parsed(raw, path, lambda arrays: _read(arrays, ""))


def load_result(path: str | Path) -> Result:
    """Return what the file of a run was for; raises `CheckpointError` as `load_checkpoint` does."""
    path = Path(path)
    kept = _parsed(_read_bytes(path), path, _read_all)
    good = [one for one in kept if one.numbers["status"] != "diverged"] or kept
    last = max(good, key=lambda one: int(one.numbers["step"]))
    params = good[0].result
    if len(kept) > 1:
        params = {name: np.stack([one.result[name] for one in good]) for name in params}
    return Result(last.mlp, params, last.record, last.numbers, rows_of_arrays(last.history))


def _read_bytes(path: Path) -> bytes:
    try:
        return read_whole(path)
    except OSError as error:
        raise CheckpointError(f"{path}: there is no checkpoint ({error.strerror})") from error


def _parsed(raw: bytes, path: Path, read: Callable[[Arrays], Found]) -> Found:
    try:
        return read(read_container(raw))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # intact, as its checksum says, and yet nothing that a parser knows
        raise CheckpointError(f"{path}: not a complete checkpoint ({error})") from error


def _read(arrays: Arrays, prefix: str) -> Checkpoint:
    own = {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}
    mlp = checked_network(own)
    params = checked_params(own, mlp)
    validated = any(name.startswith("best/") for name in own)
    return Checkpoint(
        mlp=mlp,
        params=params,
        optimizer_state=checked_moments(own, params),
        best_params=checked_params(own, mlp, "best") if validated else None,
        numbers=checked_numbers(own),
        history=checked_history(own),
        losses=own["interval/losses"],
        record=checked_record(arrays, mlp),
    )
