"""Where examples come from, in memory or in a file, is all the same to training."""

from __future__ import annotations

from typing import TypeAlias

from xpmlp.backends import Backend
from xpmlp.backends.alone import Ranks
from xpmlp.data.batches import Batches, Order, ShuffledBatches, WholeBatches
from xpmlp.data.examples import Examples
from xpmlp.data.shared import SharedBatches, SharedExamples, shared
from xpmlp.data.stored import StoredExamples
from xpmlp.data.streaming import StreamedBatches, StreamedExamples
from xpmlp.errors import UsageError

# All examples of a data set, before they are shared out.
Unshared: TypeAlias = Examples | StreamedExamples
Source: TypeAlias = Examples | StreamedExamples | SharedExamples


def shared_out(source: Examples | StoredExamples, ranks: Ranks) -> SharedExamples:
    """Return this rank's share of examples, on the host."""
    if isinstance(source, StoredExamples):
        return source.read_share(ranks)
    return shared(source, ranks)


def batches_of(
    source: Source,
    batch_size: int | None,
    *,
    seed: int,
    backend: Backend,
    order: Order | None = None,
) -> Batches:
    """Return the batches of a run; a `batch_size` of None is the full batch.

    `order` replaces the seed's, of examples in memory. Raises `DataError` for a size that does
    not fit, `UsageError` for an order of examples in a file, which has its own.
    """
    if batch_size is None:
        return WholeBatches(source.whole(backend))
    if isinstance(source, Examples):
        return ShuffledBatches(source, batch_size, seed=seed, backend=backend, order=order)
    if isinstance(source, SharedExamples):
        return SharedBatches(source, batch_size, seed=seed, backend=backend, order=order)
    if order is not None:
        raise UsageError("examples in a file come in an order of their own: give none")
    return StreamedBatches(source, batch_size, seed=seed, backend=backend)
