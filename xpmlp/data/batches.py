"""What is drawn for the steps of a run: their examples, and the keys of their dropout masks.

Both are drawn an epoch at a time and moved to the device once. They depend on the seed and
on the step's number alone, so a run may start anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.data.examples import Batch, Examples
from xpmlp.errors import DataError
from xpmlp.randomness import random_stream

# From an epoch's number, from 0, to the permutation of the examples in it, on the host.
Order: TypeAlias = Callable[[int], np.ndarray]


class Batches(Protocol):
    """What training needs of the examples that it is given."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch, the short one included."""
        ...

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        ...


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Return the number of batches in one epoch, the short one included."""
    return -(-examples // batch_size)


def check_batch_size(batch_size: int, examples: int) -> None:
    """Raise `DataError` unless there are enough examples for a batch."""
    if not 1 <= batch_size <= examples:
        raise DataError(
            f"a batch size of {batch_size} does not fit {examples} training examples: "
            f"choose 1 to {examples}, or the full batch"
        )


def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """Return the permutation of the examples in one epoch, counted from 0."""
    return random_stream(seed, "batches", epoch).permutation(examples)


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


class WholeBatches:
    """The full batch: all examples at every step, in the order given."""

    steps_per_epoch = 1

    def __init__(self, whole: Batch) -> None:
        self._whole = whole

    def batch(self, step: int) -> Batch:  # noqa: ARG002
        """Return all examples."""
        return self._whole

    def size_of(self, position: int) -> int:  # noqa: ARG002
        """Return how many examples a batch has."""
        return self._whole.size

    def batch_of(self, rows: Array | None) -> Batch:  # noqa: ARG002
        """Return all examples."""
        return self._whole

    def rows(self, step: int, count: int = 1) -> Array:
        """Refuse: all rows in order are no array of numbers."""
        raise NotImplementedError


class ShuffledBatches:
    """Every epoch a new permutation of the examples, cut into batches; the last may be short.

    `order(epoch)` gives the permutation on the host, `epoch_order` of the seed by default.
    Raises `DataError` for a size that does not fit.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        *,
        seed: int,
        backend: Backend,
        order: Order | None = None,
    ) -> None:
        n = len(examples)
        check_batch_size(batch_size, n)
        self._examples, self._size, self._backend = examples, batch_size, backend
        self._order = _PerEpoch(order or (lambda epoch: epoch_order(seed, epoch, n)), backend)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch, the short one included."""
        return steps_per_epoch(len(self._examples), self._size)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        return self.batch_of(self.rows(step))

    def size_of(self, position: int) -> int:
        """Return how many examples the batch at a position of an epoch has."""
        return min(self._size, len(self._examples) - position * self._size)

    def batch_of(self, rows: Array | None) -> Batch:
        """Return the batch of row numbers on the device."""
        return self._examples.batch(rows, self._backend)

    def rows(self, step: int, count: int = 1) -> Array:
        """Return the row numbers of a step's batch, or of several in an epoch, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self._size
        return self._order(epoch)[start : min(start + count * self._size, len(self._examples))]


class DropoutKeys:
    """The keys of the dropout masks of every step: one 32-bit number a hidden layer."""

    def __init__(self, layers: int, steps_per_epoch: int, *, seed: int, backend: Backend) -> None:
        def draw(epoch: int) -> np.ndarray:
            shape = (steps_per_epoch, layers)
            return random_stream(seed, "dropout", epoch).integers(2**32, size=shape, dtype="u4")

        self._steps_per_epoch, self.layers = steps_per_epoch, layers
        self._keys = _PerEpoch(draw, backend)

    def of(self, step: int, count: int | None = None) -> Array:
        """Return the keys (layers,) of a step, counted from 0, or (count, layers) of several."""
        epoch, position = divmod(step, self._steps_per_epoch)
        if count is None:
            return self._keys(epoch)[position, :]
        return self._keys(epoch)[position : position + count, :]
