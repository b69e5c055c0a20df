"""Where examples come from, in memory or in a file, is all the same to training."""

from __future__ import annotations

from typing import TypeAlias

from xpmlp.backends import Backend
from xpmlp.data.batches import Batches, ShuffledBatches, WholeBatches
from xpmlp.data.examples import Examples
from xpmlp.data.streaming import StreamedBatches, StreamedExamples

Source: TypeAlias = Examples | StreamedExamples


def batches_of(source: Source, batch_size: int | None, *, seed: int, backend: Backend) -> Batches:
    """Return the batches of a run; a `batch_size` of None is the full batch.

    Raises `DataError` for a size that does not fit.
    """
    if batch_size is None:
        return WholeBatches(source.whole(backend))
    kind = StreamedBatches if isinstance(source, StreamedExamples) else ShuffledBatches
    return kind(source, batch_size, seed=seed, backend=backend)  # type: ignore[arg-type]
