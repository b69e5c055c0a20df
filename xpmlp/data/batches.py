"""What is drawn for the steps of a run: their examples, and the keys of their noise.

Both are drawn an epoch at a time and moved to the device once. They depend on the seed and
on the step's number alone, so a run may start anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.errors import DataError, UsageError
from xpmlp.randomness import random_stream

# From an epoch's number, from 0, to the permutation of the examples in it, on the host.
Order: TypeAlias = Callable[[int], np.ndarray]


class Draw(NamedTuple):
    """A step's batch: some rows of data on the device, or all for None; `size` on all ranks."""

    data: Any
    rows: Any
    size: int


class Batches(Protocol):
    """What training needs of the examples that it is given."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch, the short one included."""
        ...

    def draw(self, step: int) -> Draw:
        """Return the batch of a step, counted from 0."""
        ...


@runtime_checkable
class FixedBatches(Batches, Protocol):
    """Batches of data that stay where they are, as a recording of several steps needs them."""

    @property
    def data(self) -> Any:
        """What all batches are rows of."""
        ...

    def size_of(self, position: int) -> int:
        """Return how many examples the batch at a position of an epoch has."""
        ...

    def rows(self, step: int, count: int = 1) -> Array | None:
        """Return the rows of a step's batch, or of several in an epoch; None for all rows."""
        ...

    def order(self, step: int) -> Array | None:
        """Return the rows of a step's epoch, one batch after another; None for all in order."""
        ...


def alike(batches: FixedBatches, position: int) -> int:
    """Return how many batches follow from a position of an epoch that have the same size."""
    last = batches.steps_per_epoch - 1
    return last + 1 - position - (batches.size_of(last) != batches.size_of(position))


def steps_per_epoch(examples: int, batch_size: int | None) -> int:
    """Return the number of batches in one epoch, the short one included; None is the full batch."""
    return 1 if batch_size is None else -(-examples // batch_size)


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


def drawn_order(order: Order | None, seed: int, examples: int, epoch: int) -> np.ndarray:
    """Return an epoch's order: the seed's, or one's own; raises `UsageError` if it is none."""
    if order is None:
        return epoch_order(seed, epoch, examples)
    rows = np.asarray(order(epoch))
    whole = rows.shape == (examples,) and rows.dtype.kind in "iu"
    if not whole or rows.min() < 0 or rows.max() >= examples:
        raise UsageError(
            f"order({epoch}) is no order of {examples} examples: return their numbers, 0 to "
            f"{examples - 1}, as many as there are"
        )
    return rows


class _PerEpoch:
    """What `draw(epoch)` returns, on the device, for the epoch asked for last."""

    def __init__(self, draw: Callable[[int], np.ndarray], backend: Backend) -> None:
        self._draw = draw
        self._backend = backend
        # One assignment: an interrupt cannot come between the number and its array.
        self._drawn: tuple[int, Array] = (-1, None)

    def __call__(self, epoch: int) -> Array:
        if epoch != self._drawn[0]:
            self._drawn = epoch, self._backend.to_device(self._draw(epoch))
        return self._drawn[1]


class WholeBatch:
    """The full batch: all examples at every step, in the order given."""

    steps_per_epoch = 1

    def __init__(self, data: Any, size: int) -> None:
        self._drawn = Draw(data, None, size)

    def draw(self, step: int) -> Draw:  # noqa: ARG002
        """Return all examples."""
        return self._drawn


class FixedWholeBatch(WholeBatch):
    """The full batch of examples that stay where they are."""

    @property
    def data(self) -> Any:
        """All examples."""
        return self._drawn.data

    def size_of(self, position: int) -> int:  # noqa: ARG002
        """Return how many there are."""
        return self._drawn.size

    def rows(self, step: int, count: int = 1) -> None:  # noqa: ARG002
        """Return None: all rows, in order."""
        return

    def order(self, step: int) -> None:  # noqa: ARG002
        """Return None: all rows, in order."""
        return


class ShuffledBatches:
    """Every epoch a new permutation of the examples, cut into batches; the last may be short.

    `order(epoch)` gives the permutation of the `examples` on the host, `epoch_order` of the seed
    by default. Raises `DataError` for a size that does not fit.
    """

    def __init__(
        self,
        data: Any,
        examples: int,
        batch_size: int,
        *,
        seed: int,
        backend: Backend,
        order: Order | None = None,
    ) -> None:
        check_batch_size(batch_size, examples)
        self.data, self._count, self._size = data, examples, batch_size
        self._of_epoch = _PerEpoch(partial(drawn_order, order, seed, examples), backend)
        self.steps_per_epoch = steps_per_epoch(examples, batch_size)

    def draw(self, step: int) -> Draw:
        """Return the batch of a step, counted from 0."""
        rows = self.rows(step)
        return Draw(self.data, rows, int(rows.shape[0]))

    def size_of(self, position: int) -> int:
        """Return how many examples the batch at a position of an epoch has."""
        return min(self._size, self._count - position * self._size)

    def rows(self, step: int, count: int = 1) -> Array:
        """Return the row numbers of a step's batch, or of several in an epoch, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self._size
        return self._of_epoch(epoch)[start : min(start + count * self._size, self._count)]

    def order(self, step: int) -> Array:
        """Return the row numbers of a step's epoch, on the device."""
        return self._of_epoch(step // self.steps_per_epoch)


class NoiseKeys:
    """The keys that masks, noise and deformations of every step are drawn from: 32-bit numbers.

    `seed` is that of the plan, and `models` are those of the models. Each has keys of its own, so
    that a stack draws what its models would draw alone; where all have one seed they share them.
    """

    def __init__(
        self,
        count: int,
        steps_per_epoch: int,
        *,
        seed: int,
        models: Sequence[int],
        backend: Backend,
    ) -> None:
        def of_model(own: int, epoch: int) -> np.ndarray:
            drawn = random_stream(seed, "noise", own, epoch)
            return drawn.integers(2**32, size=(steps_per_epoch, count), dtype="u4")

        shared = len(set(models)) == 1

        def draw(epoch: int) -> np.ndarray:
            if shared:
                return of_model(models[0], epoch)
            return np.stack([of_model(own, epoch) for own in models], axis=-1)

        self._steps_per_epoch = steps_per_epoch
        # Of one step: (count,), or (count, models).
        self.shape = (count,) if shared else (count, len(models))
        self._keys = _PerEpoch(draw, backend)

    def of_step(self, step: int) -> Array:
        """Return the keys of a step, counted from 0."""
        return self.of_steps(step, 1)[0, ...]

    def of_steps(self, step: int, steps: int) -> Array:
        """Return the keys (steps, ...) of several steps of one epoch."""
        position = step % self._steps_per_epoch
        return self.of_epoch(step)[position : position + steps, ...]

    def of_epoch(self, step: int) -> Array:
        """Return the keys (steps, ...) of all steps of a step's epoch."""
        return self._keys(step // self._steps_per_epoch)
