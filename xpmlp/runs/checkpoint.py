"""Training state to one HDF5 file and back, bit for bit, or not at all.

The file is an HDF5 file behind a block of 512 bytes that HDF5 leaves to its users. The block
says the format's version and the SHA-256 of everything behind it, so that one changed byte is
noticed. It is written beside its place, synced and renamed: whatever happens, the last complete
one is there.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from xpmlp.backends import Backend
from xpmlp.data.normalization import Normalization
from xpmlp.errors import CheckpointError, OutputError
from xpmlp.files import write_whole
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.step import Variables
from xpmlp.training.history import COLUMNS, history_arrays, rows_of_arrays
from xpmlp.training.plan import Model
from xpmlp.training.state import ENDED, Interval, ModelState, TrainingState

Found = TypeVar("Found")

FORMAT = 1
_BLOCK = 512
_MAGIC = b"xpmlp checkpoint\nversion "


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
        """What the training was for: the best parameters, or without validation the last."""
        return self.params if self.best_params is None else self.best_params

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
            cause=numbers.get("cause", ""),
        )
        if only.status in ENDED:
            only.params = backend.all_to_device(self.params)
        variables = Variables(backend.all_to_device(self.params), moments)
        return TrainingState(variables, [only], numbers["step"], numbers["seconds"])


def scaling_of(checkpoint: Checkpoint) -> Normalization:
    """Return the scaling that a network was trained with, whatever the data is now."""
    record = checkpoint.record.get("settings", {}).get("normalization")
    return Normalization.from_record(record) if record else Normalization()


def save_checkpoint(
    path: Path, state: TrainingState, record: Mapping[str, Any], *, backend: Backend
) -> None:
    """Write a state, with a record of plain values, in place of the file that is there.

    Raises `CheckpointError` where it cannot be written; the file that was there is untouched.
    """
    _write(path, [("", state)], record, state.step, backend)


def save_stack(
    path: Path, states: Sequence[TrainingState], record: Mapping[str, Any], *, backend: Backend
) -> None:
    """Write the states of a stack's models into one file, as `save_checkpoint` writes one."""
    named = [(f"model{number}/", state) for number, state in enumerate(states)]
    _write(path, named, record, max(state.step for state in states), backend)


def _write(
    path: Path,
    named: list[tuple[str, TrainingState]],
    record: Mapping[str, Any],
    step: int,
    backend: Backend,
) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for prefix, state in named:
            _write_state(file, prefix, state, backend)
        _write_json(file, "record", record)
    content = buffer.getvalue()
    try:
        write_whole(path, _header(FORMAT, content) + content)
    except OutputError as error:
        before = "the one before it is untouched" if path.exists() else "there is none before it"
        cause = error.__cause__
        raise CheckpointError(
            f"{path} cannot be written at step {step} ({getattr(cause, 'strerror', cause)}); "
            f"{before}: make room, then resume"
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a file; raises `CheckpointError` where it is missing, damaged or of a later format."""
    return parse_checkpoint(_read_bytes(path), path)


def load_stack(path: Path) -> list[Checkpoint]:
    """Read what `save_stack` wrote; raises `CheckpointError` as `load_checkpoint` does."""

    def read(file: h5py.File) -> list[Checkpoint]:
        names = [name for name in file if name.startswith("model")]
        return [_read(file, f"model{number}/") for number in range(len(names))]

    return _parsed(_read_bytes(path), path, read)


def parse_checkpoint(raw: bytes, path: Path) -> Checkpoint:
    """Return what the content of a file holds; `path` is for the errors."""
    return _parsed(raw, path, lambda file: _read(file, ""))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: there is no checkpoint ({error.strerror})") from error


def _parsed(raw: bytes, path: Path, read: Callable[[h5py.File], Found]) -> Found:
    if not raw.startswith(_MAGIC):
        raise CheckpointError(f"{path}: not a checkpoint of xpmlp, or its beginning is damaged")
    version = raw[len(_MAGIC) : _BLOCK].split(b"\n")[0]
    if version.isdigit() and int(version) > FORMAT:
        raise CheckpointError(
            f"{path}: a checkpoint of format {int(version)}, and this xpmlp reads up to {FORMAT}: "
            "update xpmlp"
        )
    content = raw[_BLOCK:]
    if raw[:_BLOCK] != _header(FORMAT, content):
        raise CheckpointError(
            f"{path}: damaged, its checksum does not match: take an older copy, or start again"
        )
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            return read(file)
    except Exception as error:  # intact, as the checksum says, and yet not what is expected
        raise CheckpointError(f"{path}: not a complete checkpoint ({error})") from error


def _header(version: int, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    text = _MAGIC + f"{version}\nsha256 {digest}\n".encode()
    return text.ljust(_BLOCK, b"\0")


def _write_state(file: h5py.File, prefix: str, state: TrainingState, backend: Backend) -> None:
    only, mlp = state.only, state.only.mlp
    arrays: dict[str, Mapping[str, Any]] = {"params": state.params}
    arrays |= {f"optimizer/{k}": moments for k, moments in state.variables.optimizer_state.items()}
    if only.best_params is not None:
        arrays["best"] = only.best_params
    for group, named in arrays.items():
        file.create_group(prefix + group, track_order=True)  # layer 10 after layer 9
        for name, array in named.items():
            file[f"{prefix}{group}/{name}"] = backend.to_host(array)
    for name, column in history_arrays(only.history).items():
        file[f"{prefix}history/{name}"] = column
    file[prefix + "interval/losses"] = np.array(only.interval.losses, dtype=np.float64)
    numbers = {
        "step": state.step,
        "seed": only.model.seed,
        "seconds": state.seconds,
        "status": only.status,
        "cause": only.cause,
        "correct": only.interval.correct,
        "examples": only.interval.examples,
    }
    network = {"sizes": mlp.sizes, "activation": mlp.activation, "loss": mlp.loss}
    _write_json(file, prefix + "numbers", numbers)
    _write_json(file, prefix + "network", network)


def _write_json(file: h5py.File, name: str, value: Mapping[str, Any]) -> None:
    # As an array of bytes: an attribute is limited to 64 kB.
    file[name] = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def _read(root: h5py.File, prefix: str) -> Checkpoint:
    file = root[prefix] if prefix else root
    network = _json(file["network"])
    activation = network["activation"]
    return Checkpoint(
        mlp=MLP(
            tuple(network["sizes"]),
            activation if isinstance(activation, str) else tuple(activation),
            network["loss"],
        ),
        params=_arrays(file["params"]),
        optimizer_state={kind: _arrays(group) for kind, group in file.get("optimizer", {}).items()},
        best_params=_arrays(file["best"]) if "best" in file else None,
        numbers=_json(file["numbers"]),
        history={name: file[f"history/{name}"][()] for name in COLUMNS},
        losses=file["interval/losses"][()],
        record=_json(root["record"]),
    )


def _json(data: h5py.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data[()].tobytes())
    return found


def _arrays(group: h5py.Group) -> dict[str, np.ndarray]:
    return {name: np.asarray(data[()]) for name, data in group.items()}
