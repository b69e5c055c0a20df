"""Which examples each step is trained on."""

from __future__ import annotations

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.errors import DataError
from xpmlp.randomness import random_stream


def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """Return the permutation of the examples in one epoch, counted from 0."""
    return random_stream(seed, "batches", epoch).permutation(examples)


class Batches:
    """The batches of a run: every epoch a new permutation, cut into pieces of `batch_size`.

    The last batch of an epoch is short where they do not divide. A `batch_size` of None is
    the full batch, in the order given. A step's batch depends on the seed and the step's
    number alone, so a run may start anywhere. Raises `DataError` for a size that does not fit.
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
        self._seed = seed
        self._backend = backend
        self._epoch = -1
        self._order: Array = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch, the short one included."""
        return -(-self._examples // self._size)

    def size(self, step: int) -> int:
        """Return the number of examples in the batch of a step, counted from 0."""
        start = step % self.steps_per_epoch * self._size
        return min(self._size, self._examples - start)

    def rows(self, step: int) -> Array | None:
        """Return the batch's row numbers on the device, or None for all rows in order.

        The order of an epoch is moved to the device once.
        """
        if self.full:
            return None
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = epoch_order(self._seed, epoch, self._examples)
            self._epoch, self._order = epoch, self._backend.to_device(order)
        start = position * self._size
        return self._order[start : start + self.size(step)]
