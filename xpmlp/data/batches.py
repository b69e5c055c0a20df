"""What is drawn for the steps of a run: their examples, and the keys of their dropout masks.

Both are drawn an epoch at a time and moved to the device once. They depend on the seed and
on the step's number alone, so a run may start anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.errors import DataError
from xpmlp.randomness import random_stream


class _PerEpoch:
    """What `draw(epoch)` returns, on the device, for the epoch asked for last."""

    def __init__(self, draw: Callable[[int], np.ndarray], backend: Backend) -> None:
        self._draw = draw
        self._backend = backend
        self._epoch = -1
        self._array: Array = None

    def __call__(self, epoch: int) -> Array:
        if epoch != self._epoch:
            self._epoch, self._array = epoch, self._backend.to_device(self._draw(epoch))
        return self._array


def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """Return the permutation of the examples in one epoch, counted from 0."""
    return random_stream(seed, "batches", epoch).permutation(examples)


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Return the number of batches in one epoch, the short one included."""
    return -(-examples // batch_size)


class Batches:
    """The batches of a run: every epoch a new permutation, cut into pieces of `batch_size`.

    The last batch of an epoch is short where they do not divide. A `batch_size` of None is
    the full batch, in the order given. Raises `DataError` for a size that does not fit.
    """

    def __init__(
        self, examples: int, batch_size: int | None, *, seed: int, backend: Backend
    ) -> None:
        if batch_size is not None and not 1 <= batch_size <= examples:
            raise DataError(
                f"a batch size of {batch_size} does not fit {examples} training examples: "
                f"choose 1 to {examples}, or the full batch"
            )
        self.full = batch_size is None
        self._examples = examples
        self._size = batch_size or examples
        self._order = _PerEpoch(lambda epoch: epoch_order(seed, epoch, examples), backend)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch, the short one included."""
        return steps_per_epoch(self._examples, self._size)

    def size(self, step: int) -> int:
        """Return the number of examples in the batch of a step, counted from 0."""
        start = step % self.steps_per_epoch * self._size
        return min(self._size, self._examples - start)

    def rows(self, step: int) -> Array | None:
        """Return the batch's row numbers on the device, or None for all rows in order."""
        if self.full:
            return None
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self._size
        return self._order(epoch)[start : start + self.size(step)]


class DropoutKeys:
    """The keys of the dropout masks of every step: one 32-bit number a hidden layer."""

    def __init__(self, layers: int, steps_per_epoch: int, *, seed: int, backend: Backend) -> None:
        def draw(epoch: int) -> np.ndarray:
            shape = (steps_per_epoch, layers)
            return random_stream(seed, "dropout", epoch).integers(2**32, size=shape, dtype="u4")

        self._steps_per_epoch = steps_per_epoch
        self._keys = _PerEpoch(draw, backend)

    def of(self, step: int) -> Array:
        """Return the keys (layers,) of a step, counted from 0."""
        epoch, position = divmod(step, self._steps_per_epoch)
        return self._keys(epoch)[position, :]
