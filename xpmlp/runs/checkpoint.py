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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.errors import CheckpointError
from xpmlp.files import write_whole
from xpmlp.mathematics.mlp import MLP
from xpmlp.training.history import COLUMNS, history_arrays, rows_of_arrays
from xpmlp.training.steps import Interval, TrainingState

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

    def restore(self, backend: Backend) -> TrainingState:
        """Return the training state on a backend, of this device or another."""
        numbers = self.numbers
        return TrainingState(
            params=_to_device(self.params, backend),
            optimizer_state={
                kind: _to_device(arrays, backend) for kind, arrays in self.optimizer_state.items()
            },
            seed=numbers["seed"],
            step=numbers["step"],
            seconds=numbers["seconds"],
            history=rows_of_arrays(self.history),
            interval=Interval(self.losses.tolist(), numbers["correct"], numbers["examples"]),
            best_params=None if self.best_params is None else _to_device(self.best_params, backend),
            status=numbers["status"],
        )

    @property
    def result(self) -> dict[str, np.ndarray]:
        """What the training was for: the best parameters, or without validation the last."""
        return self.params if self.best_params is None else self.best_params

    def require(self, mlp: MLP, path: Path) -> None:
        """Raise `CheckpointError` unless it is of this network."""
        if self.mlp != mlp:
            raise CheckpointError(
                f"{path} is of the network {self.mlp}, {self.mlp.loss}, and not of {mlp}, "
                f"{mlp.loss}: choose another run, or its settings"
            )


def save_checkpoint(
    path: Path, mlp: MLP, state: TrainingState, record: Mapping[str, Any], *, backend: Backend
) -> None:
    """Write a state, with a record of plain values, in place of the file that is there.

    Raises `CheckpointError` where it cannot be written; the file that was there is untouched.
    """
    content = _image(mlp, state, record, backend)
    header = _header(FORMAT, content)
    try:
        write_whole(path, header + content)
    except OSError as error:
        kept = "the one before it is untouched" if path.exists() else "there is none before it"
        raise CheckpointError(
            f"{path} cannot be written at step {state.step} ({error.strerror or error}); {kept}: "
            "make room, then go on with --resume"
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a file; raises `CheckpointError` where it is missing, damaged or of a later format."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: there is no checkpoint ({error.strerror})") from error
    return parse_checkpoint(raw, path)


def parse_checkpoint(raw: bytes, path: Path) -> Checkpoint:
    """Return what the content of a file holds; `path` is for the errors."""
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
            return _read(file)
    except Exception as error:  # intact, as the checksum says, and yet not what is expected
        raise CheckpointError(f"{path}: not a complete checkpoint ({error})") from error


def _header(version: int, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    text = _MAGIC + f"{version}\nsha256 {digest}\n".encode()
    return text.ljust(_BLOCK, b"\0")


def _image(mlp: MLP, state: TrainingState, record: Mapping[str, Any], backend: Backend) -> bytes:
    """Return the content of the HDF5 file."""
    arrays: dict[str, Mapping[str, Any]] = {"params": state.params}
    arrays |= {f"optimizer/{kind}": moments for kind, moments in state.optimizer_state.items()}
    if state.best_params is not None:
        arrays["best"] = state.best_params
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for group, named in arrays.items():
            file.create_group(group, track_order=True)  # layer 10 after layer 9
            for name, array in named.items():
                file[f"{group}/{name}"] = backend.to_host(array)
        for name, column in history_arrays(state.history).items():
            file[f"history/{name}"] = column
        file["interval/losses"] = np.array(state.interval.losses, dtype=np.float64)
        numbers = {
            "step": state.step,
            "seed": state.seed,
            "seconds": state.seconds,
            "status": state.status,
            "correct": state.interval.correct,
            "examples": state.interval.examples,
        }
        network = {"sizes": mlp.sizes, "activation": mlp.activation, "loss": mlp.loss}
        for name, value in (("numbers", numbers), ("network", network), ("record", record)):
            # As an array of bytes: an attribute is limited to 64 kB.
            file[name] = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
    return buffer.getvalue()


def _read(file: h5py.File) -> Checkpoint:
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
        record=_json(file["record"]),
    )


def _json(data: h5py.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data[()].tobytes())
    return found


def _arrays(group: h5py.Group) -> dict[str, np.ndarray]:
    return {name: np.asarray(data[()]) for name, data in group.items()}


def _to_device(arrays: Mapping[str, np.ndarray], backend: Backend) -> Params:
    return {name: backend.to_device(array) for name, array in arrays.items()}
