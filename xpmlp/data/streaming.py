"""Examples that stay in their file: read in pieces while the piece before is trained on.

Memory holds two buffers of rows and no more, however long the file is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np

from xpmlp.arrays import Namespace
from xpmlp.backends import Backend
from xpmlp.data.batches import Batches, Draw, Order, WholeBatch, check_batch_size, steps_per_epoch
from xpmlp.data.checks import checked_features
from xpmlp.data.examples import Batch, Examples
from xpmlp.data.held_out import check_held_out
from xpmlp.data.normalization import Normalization, Rows
from xpmlp.data.spans import Spans, between, cut, joined, rows_of
from xpmlp.data.targets import Targets
from xpmlp.errors import UsageError
from xpmlp.mathematics.step import Piece
from xpmlp.parts import rows_at_a_time
from xpmlp.pools import shared_pool
from xpmlp.randomness import random_stream

# Stored bytes of the rows that are shuffled among each other.
_BUFFER_BYTES = 8 * 2**20
# A buffer is put together from about so many places of the file.
_BLOCKS_PER_BUFFER = 32
# Rows that are held out together for validation.
_HELD_OUT_ROWS = 256


@dataclass(frozen=True)
class StreamedExamples:
    """Features x and labels y in an open file, whatever can be sliced by rows.

    `spans` are the rows (start, stop) that belong to these examples, in order; `targets` what the
    labels mean; `buffer_bytes` those of the rows that are shuffled among each other.
    """

    x: Any
    y: Any
    x_place: str
    y_place: str
    spans: Spans
    targets: Targets
    normalization: Normalization | None = None
    backend: Backend | None = None
    buffer_bytes: int = _BUFFER_BYTES

    __hash__ = None  # type: ignore[assignment]  # no constant: it reads a file

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    @property
    def features(self) -> int:
        """Number of values that the network is given of an example."""
        width = int(np.prod(self.x.shape[1:]))
        return self.normalization.width(width) if self.normalization else width

    @property
    def rows(self) -> Rows:
        """The stored features, to be read a slice of rows at a time."""
        return _StreamedRows(self, "x")

    @property
    def target_rows(self) -> Rows:
        """The stored targets, to be read in the same way."""
        return _StreamedRows(self, "y")

    def outputs(self, _: Backend) -> int:
        """Return how many outputs the targets need: one per class, label or value."""
        return len(self.targets.names)

    def normalized(
        self, normalization: Normalization, target_scaling: Normalization | None = None
    ) -> Self:
        """Return them with another normalization."""
        targets = replace(self.targets, scaling=target_scaling)
        return replace(self, normalization=normalization, targets=targets)

    def first(self, count: int | None) -> Self:
        """Return the first so many of them, or all for None."""
        if count is None or count >= len(self):
            return self
        return replace(self, spans=between(self.spans, 0, count))

    def hold_out(self, size: int, seed: int) -> tuple[Self, Examples]:
        """Split (training, validation): short runs of rows drawn by seed are read into memory."""
        check_held_out(size, len(self))
        blocks = cut(self.spans, _HELD_OUT_ROWS)
        order = random_stream(seed, "validation").permutation(len(blocks))
        held, left, kept = [], size, []
        for start, stop in (blocks[i] for i in order):
            taken = min(left, stop - start)
            left -= taken
            if taken:
                held.append((start, start + taken))
            if start + taken < stop:
                kept.append((start + taken, stop))
        validation = replace(self, spans=tuple(sorted(held))).read(0, size)
        return replace(self, spans=joined(sorted(kept))), validation

    def to_device(self, backend: Backend) -> Self:
        """Leave the rows where they are: they are moved as they are read."""
        return replace(self, backend=backend)

    def read(self, start: int, stop: int) -> Examples:
        """Read examples number `start` to `stop`, counted along the spans, into host memory."""
        count, done = max(0, min(stop, len(self)) - start), 0
        width, labels = (int(np.prod(array.shape[1:])) for array in (self.x, self.y))
        x, y = np.empty((count, width), self.x.dtype), self.targets.empty(count)
        spans = between(self.spans, start, stop)
        # One-hot rows may be much wider than the features.
        for first, last in cut(spans, rows_at_a_time(8 * (width + labels))):
            rows = slice(done, done + last - first)
            x[rows] = checked_features(np.asarray(self.x[first:last]), self.x_place, first)
            y[rows] = self.targets.encoded(np.asarray(self.y[first:last]), self.y_place, first)
            done = rows.stop
        return Examples(x, y, self.normalization, target_scaling=self.targets.scaling)

    def batch(self, rows: None = None, *, xp: Namespace) -> Batch:  # noqa: ARG002
        """Return all of them as one batch, in the order of the file."""
        n, backend = len(self), self.backend
        assert backend is not None, "streamed examples are moved to a backend before they are used"
        ahead: _ReadAhead[tuple[int, int]] = _ReadAhead(lambda rows: self.read(*rows))

        def read(piece: slice) -> Piece:
            start, stop = piece.start, piece.stop
            following = (stop, min(2 * stop - start, n)) if stop < n else None
            examples = ahead.get((start, stop), following).to_device(backend)
            return examples.batch(xp=xp).read(slice(0, stop - start))

        return Batch(n, read)

    def batches(
        self, batch_size: int | None, *, seed: int, backend: Backend, order: Order | None = None
    ) -> Batches:
        """Return the batches of a run; raises `UsageError` for an order: a file has its own."""
        if batch_size is None:
            return WholeBatch(self.to_device(backend), len(self))
        if order is not None:
            raise UsageError("examples in a file come in an order of their own: give none")
        return StreamedBatches(self, batch_size, seed=seed, backend=backend)


@dataclass(frozen=True)
class _StreamedRows:
    examples: StreamedExamples
    what: str

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, rows: slice) -> np.ndarray:
        some = self.examples.read(rows.start, min(rows.stop, len(self)))
        return np.asarray(getattr(some, self.what))


class StreamedBatches:
    """Minibatches of a file's rows, shuffled as far as a buffer reaches.

    In every epoch the file is cut into blocks of neighbouring rows, the blocks are put into a
    random order, and the rows of each buffer full of them are shuffled. A batch is then
    a mixture of rows from about 32 places of the file. All of it is drawn from the seed and the
    numbers of epoch and buffer: the same seed is the same order, from whatever step a run
    starts. The next buffer is read while this one is trained on.
    """

    def __init__(
        self,
        examples: StreamedExamples,
        batch_size: int,
        *,
        seed: int,
        backend: Backend,
    ) -> None:
        check_batch_size(batch_size, len(examples))
        self._examples = examples
        self._size, self._seed, self._backend = batch_size, seed, backend
        row_bytes = max(1, examples.x.dtype.itemsize * int(np.prod(examples.x.shape[1:])))
        # Whole batches in a buffer: none is put together from two.
        self._buffer = batch_size * max(1, examples.buffer_bytes // row_bytes // batch_size)
        self._blocks = cut(examples.spans, max(1, self._buffer // _BLOCKS_PER_BUFFER))
        self._ahead = _ReadAhead(self._load)
        self._key: tuple[int, int] | None = None
        self._current: Examples | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch, the short one included."""
        return steps_per_epoch(len(self._examples), self._size)

    def draw(self, step: int) -> Draw:
        """Return the batch of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        buffer, start = divmod(position * self._size, self._buffer)
        key = (epoch, buffer)
        if key != self._key or self._current is None:
            last = (buffer + 1) * self._buffer >= len(self._examples)
            following = (epoch + 1, 0) if last else (epoch, buffer + 1)
            self._current = None  # two buffers are in memory, not three
            self._current = self._ahead.get(key, following).to_device(self._backend)
            self._key = key
        size = min(self._size, len(self._current) - start)
        return Draw(self._current, self._backend.span(start, size), size)

    def order(self, epoch: int) -> np.ndarray:
        """Return the row numbers of the file in the order of an epoch, to look at."""
        parts = []
        for buffer in range(-(-len(self._examples) // self._buffer)):
            spans, shuffled = self._plan(epoch, buffer)
            parts.append(rows_of(spans)[shuffled])
        return np.concatenate(parts)

    def _plan(self, epoch: int, buffer: int) -> tuple[Spans, np.ndarray]:
        """Return the rows that a buffer holds, and the order that they are put into."""
        blocks = random_stream(self._seed, "blocks", epoch).permutation(len(self._blocks))
        shuffled = tuple(self._blocks[i] for i in blocks)
        start = buffer * self._buffer
        stop = min(start + self._buffer, len(self._examples))
        rng = random_stream(self._seed, "batches", epoch, buffer)
        # In the file's order, which is the quickest to read; they are shuffled anyway.
        return tuple(sorted(between(shuffled, start, stop))), rng.permutation(stop - start)

    def _load(self, key: tuple[int, int]) -> Examples:
        spans, shuffled = self._plan(*key)
        some = replace(self._examples, spans=spans)
        rows = some.read(0, len(some))
        return replace(rows, x=rows.x[shuffled, ...], y=rows.y[shuffled])


Key = TypeVar("Key", bound=Hashable)


class _ReadAhead(Generic[Key]):
    """Loads what is asked for, and in the background what will be asked for next."""

    def __init__(self, load: Callable[[Key], Examples]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._pending: dict[Key, Future[Examples]] = {}
        self._process = os.getpid()

    def get(self, key: Key, following: Key | None) -> Examples:
        with self._lock:
            if self._process != os.getpid():  # forked: what its parent waits for never comes here
                self._process, self._pending = os.getpid(), {}
            pending = self._pending.pop(key, None)
            found = pending.result() if pending is not None else self._load(key)
            if following is not None:
                # One thread: an HDF5 file is read by one at a time in any case.
                reader = shared_pool(1, "xpmlp-reader")
                self._pending = {following: reader.submit(self._load, following)}
            return found
