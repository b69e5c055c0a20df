"""Which class a network of two features gives where, at log points: how its boundary moves."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.data.dataset import Dataset
from xpmlp.data.examples import Examples
from xpmlp.data.formats.npz import read_arrays
from xpmlp.errors import DataError
from xpmlp.files import write_whole
from xpmlp.inspection.predictions import outputs_of
from xpmlp.mathematics.mlp import MLP
from xpmlp.runs.folder import BOUNDARY

_SIDE, _MOST, _POINTS = 64, 60, 400
# Classes that can be told apart, and kept as bytes.
_COLOURS = 255
# Of the range of the features that is shown beyond it on each side.
_MARGIN = 0.08


class Frames(NamedTuple):
    """Classes on a grid (frames, side, side), from the lowest to the highest of each feature.

    `steps` (frames,) are those that they were seen after, `ranges` the ends (2, 2) of the features;
    `x` (points, 2) and `y` (points,) some of the training examples.
    """

    steps: np.ndarray
    classes: np.ndarray
    ranges: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Boundary:
    """Collects frames of a run: at most sixty, every second one is dropped where there are more.

    `examples` are training examples of two features on the backend's device. What has been done to
    them is undone for what is shown.
    """

    def __init__(
        self, folder: Path, examples: Examples, backend: Backend, *, resumed: int | None = None
    ) -> None:
        self._path, self._examples, self._backend = folder / BOUNDARY, examples, backend
        x, y = (backend.to_host(array) for array in (examples.x, examples.y))
        low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
        margin = _MARGIN * np.where(high > low, high - low, 1.0)
        ends = np.stack([low - margin, high + margin], axis=1)
        grid = np.meshgrid(*(np.linspace(start, end, _SIDE) for start, end in ends))
        points = np.stack([axis.reshape(-1) for axis in grid], axis=1)
        ids = np.zeros(len(points), dtype=np.int64)
        there = {"x": backend.to_device(points), "y": backend.to_device(ids)}
        self._grid = replace(examples, **there, sample_weight=None)
        self._ranges = self._as_read(ends.T).T
        self._x, self._y = self._as_read(x[:_POINTS]), y[:_POINTS].astype(np.int64)
        self._steps: list[int] = []
        self._classes: list[np.ndarray] = []
        if resumed is not None and self._path.exists():
            before = read_frames(folder)
            kept = before.steps <= resumed
            self._steps, self._classes = before.steps[kept].tolist(), list(before.classes[kept])

    def add(self, step: int, mlp: MLP, params: Params) -> None:
        """Look at the network after a step."""
        if len(self._steps) >= _MOST:
            self._steps, self._classes = self._steps[1::2], self._classes[1::2]
        outputs = outputs_of(mlp, params, self._grid, backend=self._backend).predicted
        classes = outputs.argmax(axis=1)  # of a mean squared error, too
        self._steps.append(step)
        self._classes.append(classes.reshape(_SIDE, _SIDE).astype(np.uint8))

    def _as_read(self, x: np.ndarray) -> np.ndarray:
        """Return features (N, 2) as they were before what has been done to them already."""
        whole, left = self._examples.of_raw, self._examples.normalization
        if whole is None:
            return x.astype(np.float64)
        if left is not None:
            x = (x - np.asarray(left.shift)) / np.asarray(left.scale)
        return np.asarray(x * np.asarray(whole.scale) + np.asarray(whole.shift), dtype=np.float64)

    def write(self) -> None:
        """Write what was collected into the run's folder."""
        frames = Frames(
            np.array(self._steps, dtype=np.int64),
            np.array(self._classes, dtype=np.uint8).reshape(-1, _SIDE, _SIDE),
            self._ranges.astype(np.float64),
            self._x,
            self._y,
        )
        content = BytesIO()
        arrays: dict[str, Any] = frames._asdict()
        np.savez(content, **arrays)
        write_whole(self._path, content.getvalue())


def boundary_of(
    data: Dataset, folder: Path, backend: Backend, *, resumed: int | None = None
) -> Boundary | None:
    """Return what follows a run on classes of two features; None on other data."""
    train, targets = data.train, data.targets
    if not isinstance(train, Examples) or targets is None or targets.task != "classification":
        return None
    if train.features != 2 or train.x.shape[1] != 2 or len(targets.names) > _COLOURS:
        return None
    return Boundary(folder, train.to_device(backend), backend, resumed=resumed)


def read_frames(folder: Path) -> Frames:
    """Read a run's frames; raises `DataError` for a file that holds none."""
    path = folder / BOUNDARY
    frames = Frames(*read_arrays(path, Frames._fields))
    count, points = len(frames.steps), len(frames.x)
    shapes = [array.shape for array in frames]
    if shapes != [(count,), (count, _SIDE, _SIDE), (2, 2), (points, 2), (points,)]:
        raise DataError(f"{path}: its arrays are no frames of a boundary: train the run again")
    return frames
