"""Examples shared out over ranks: each holds its own rows, and knows how many there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from xpmlp.arrays import Array, Namespace
from xpmlp.backends import Backend
from xpmlp.backends.alone import Ranks
from xpmlp.data.batches import (
    Batches,
    Draw,
    Order,
    WholeBatch,
    check_batch_size,
    drawn_order,
    steps_per_epoch,
)
from xpmlp.data.examples import Batch, Examples, is_exact
from xpmlp.data.normalization import Normalization, Rows
from xpmlp.errors import UsageError
from xpmlp.parts import even_parts


@dataclass(frozen=True)
class SharedExamples:
    """The rows `start`, `start` + 1, ... of `total`, which are on this rank; `own` holds them."""

    own: Examples
    start: int
    total: int

    def __len__(self) -> int:
        return self.total

    @property
    def features(self) -> int:
        """Number of values that the network is given of an example."""
        return self.own.features

    @property
    def rows(self) -> Rows:
        """The stored features of this rank's own rows."""
        return self.own.rows

    @property
    def target_rows(self) -> Rows:
        """The targets of this rank's own rows, as they were read."""
        return self.own.target_rows

    @property
    def y(self) -> Array:
        """The targets of this rank's own rows."""
        return self.own.y

    def outputs(self, backend: Backend) -> int:
        """Return how many outputs the targets of all ranks need."""
        mine = self.own.outputs(backend) if len(self.own) else 0
        return int(backend.ranks.largest(mine))

    def normalized(
        self, normalization: Normalization, target_scaling: Normalization | None = None
    ) -> Self:
        """Return them with another normalization."""
        return replace(self, own=self.own.normalized(normalization, target_scaling))

    def first(self, count: int | None) -> Self:
        """Return the first so many of all, or all for None."""
        if count is None or count >= self.total:
            return self
        mine = min(max(count - self.start, 0), len(self.own))
        return replace(self, own=self.own.first(mine), total=count)

    def to_device(self, backend: Backend) -> Self:
        """Copy this rank's rows to its device, scaled as those of all others are."""
        if self.own.dtype is not None:
            return self
        here = is_exact(np.asarray(self.own.x), backend.dtype_name)
        exact = backend.ranks.largest(0.0 if here else 1.0) == 0
        return replace(self, own=self.own.to_device(backend, exact))

    def batch(self, rows: None = None, *, xp: Namespace) -> Batch:  # noqa: ARG002
        """Return all of them as one batch, of which this rank has its rows."""
        device = self.own.y.device

        def places(piece: slice) -> Array:
            start, stop = self.start + piece.start, self.start + piece.stop
            return xp.arange(start, stop, dtype=xp.uint32, device=device)

        return self.own.batch(xp=xp)._replace(of_all=self.total, places=places)

    def batches(
        self, batch_size: int | None, *, seed: int, backend: Backend, order: Order | None = None
    ) -> Batches:
        """Return the batches of a run, of which each rank has the rows that it holds."""
        if batch_size is None:
            return WholeBatch(self, self.total)
        return SharedBatches(self, batch_size, seed=seed, backend=backend, order=order)


@dataclass(frozen=True)
class SharedPart:
    """The rows of one batch that a rank has: `places` (rows,) are theirs in the whole batch."""

    own: Examples
    places: Array
    total: int

    def batch(self, rows: Array = None, *, xp: Namespace) -> Batch:
        """Return the batch of some of the rank's own rows."""
        places = self.places
        batch = self.own.batch(rows, xp=xp)
        return batch._replace(of_all=self.total, places=lambda piece: places[piece])


def share_of(count: int, ranks: Ranks) -> slice:
    """Return the rows of so many that are this rank's own."""
    return even_parts(count, ranks.count)[ranks.rank]


def rank_share(examples: Examples, ranks: Ranks) -> SharedExamples:
    """Return this rank's share of examples that all ranks have read."""
    if examples.sample_weight is not None:
        raise UsageError("examples with weights are not shared out: train on one rank")
    part = share_of(len(examples), ranks)
    # Copies: the rest is not kept in memory for the sake of a view.
    own = replace(examples, x=examples.x[part].copy(), y=examples.y[part].copy())
    return SharedExamples(own, part.start, len(examples))


class SharedBatches:
    """The batches of `ShuffledBatches`, of which each rank has the rows that it holds.

    The order of the examples is that of one machine, whatever the number of ranks.
    """

    def __init__(
        self,
        examples: SharedExamples,
        batch_size: int,
        *,
        seed: int,
        backend: Backend,
        order: Order | None = None,
    ) -> None:
        total = len(examples)
        check_batch_size(batch_size, total)
        self._examples, self._size, self._backend = examples, batch_size, backend
        self._order = partial(drawn_order, order, seed, total)
        self._epoch = -1
        self._rows: Array = None
        self._places: Array = None
        self._bounds: list[int] = []

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch, the short one included."""
        return steps_per_epoch(len(self._examples), self._size)

    def draw(self, step: int) -> Draw:
        """Return this rank's part of the batch of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._draw(epoch)
        mine = slice(self._bounds[position], self._bounds[position + 1])
        size = min(self._size, len(self._examples) - position * self._size)
        return Draw(
            SharedPart(self._examples.own, self._places[mine], size), self._rows[mine], size
        )

    def _draw(self, epoch: int) -> None:
        """Find this rank's rows of an epoch: which they are, and their places in their batches."""
        order, start = self._order(epoch), self._examples.start
        held = (order >= start) & (order < start + len(self._examples.own))
        at = np.flatnonzero(held)
        edges = np.arange(self.steps_per_epoch + 1) * self._size
        self._bounds = np.searchsorted(at, edges).tolist()
        to_device: Callable[[Any], Array] = self._backend.to_device
        self._rows = to_device(order[at] - start)
        self._places = to_device((at % self._size).astype(np.uint32))
        self._epoch = epoch
