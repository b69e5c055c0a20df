"""What steps have found, on the device until somebody asks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpmlp.arrays import Array, Params
from xpmlp.backends import Backend
from xpmlp.training.stepper import Taken

# Losses that wait on the device are joined and read when there are so many.
MOST_PENDING = 4096


class Found(NamedTuple):
    """Of each model: the losses of the steps, how many were right, whether its weights are finite.

    `right` is None in a regression; `sizes` are the batches'.
    """

    losses: list[list[float]]
    right: list[int] | None
    finite: list[bool]
    sizes: list[int]


class Pending:
    """Losses and counts of steps that are not accounted for yet."""

    def __init__(self) -> None:
        self._taken: list[Taken] = []
        self.steps = 0

    def add(self, taken: Taken) -> None:
        """Keep what one step, or several, have found."""
        self._taken.append(taken)
        self.steps += len(taken.sizes)

    def clear(self) -> None:
        """Forget them."""
        self._taken, self.steps = [], 0

    def read(self, params: Params, models: int, backend: Backend) -> Found:
        """Read them from the device, and whether the parameters are finite; then forget them."""
        losses, correct = ([each[k] for each in self._taken] for k in (0, 1))
        stack_axes = params["layer1.weight"].ndim - 2
        with backend.computing():
            found = backend.compiled(_found)(losses, correct, params, stack_axes)
            read, finite, right = (
                None if each is None else np.reshape(backend.to_host(each), (models, -1))
                for each in found
            )
        assert read is not None
        assert finite is not None
        sizes = [size for taken in self._taken for size in taken.sizes]
        self.clear()
        counts = None if right is None else right[:, 0].tolist()
        return Found(read.tolist(), counts, finite[:, 0].tolist(), sizes)


def _found(
    losses: list[Array], correct: list[Array], params: Params, stack_axes: int, *, backend: Backend
) -> tuple[Array, Array, Array | None]:
    """Return all losses (..., steps), whether the weights are finite, and how many were right."""
    xp = backend.xp
    finite = [
        xp.all(xp.isfinite(w), axis=tuple(range(stack_axes, w.ndim))) for w in params.values()
    ]
    right = None if correct[0] is None else xp.sum(_joined(correct, stack_axes, xp), axis=-1)
    return _joined(losses, stack_axes, xp), xp.all(xp.stack(finite), axis=0), right


def _joined(arrays: list[Array], stack_axes: int, xp: Any) -> Array:
    """Return the values of steps (...), or of several (..., steps) each, as (..., all steps)."""
    if all(array.ndim == stack_axes for array in arrays):
        return xp.stack(arrays, axis=-1)
    shape = arrays[0].shape[:stack_axes]
    return xp.concat([xp.reshape(array, (*shape, -1)) for array in arrays], axis=-1)
