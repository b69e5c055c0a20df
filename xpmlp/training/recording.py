"""Many steps at once on memory that stays where it is, which a backend may record and replay.

A recording does what it has seen to the same addresses. So what changes from step to step, the
rows of a batch, its learning rate and the keys of its dropout masks, is written into buffers
before; the losses are found in others afterwards. The step itself is the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.data.batches import Batches, DropoutKeys, ShuffledBatches, WholeBatches
from xpmlp.data.examples import Batch

# Steps of one recording: a launch is then a small share of them, and Ctrl-C is not kept waiting.
_STEPS = 32


class TakeStep(Protocol):
    """One training step, in place, on the arrays that it has always worked on."""

    def __call__(self, batch: Batch, learning_rate: Array, dropout_keys: Array | None) -> Any:
        """Take it; return the sums over the batch, its `loss` and how many are `correct`."""
        ...


class Taken(NamedTuple):
    """Steps that were taken: their losses (..., steps), counts (..., steps), and batch sizes."""

    losses: Array
    counts: Array | None
    sizes: list[int]


class RecordedSteps:
    """Takes steps through recordings, one for each size of batch and number of steps.

    `arrays()` returns all that a step changes, which must stay the same arrays. `rates(step)` is
    the learning rate of a step, or those of a stack's models.
    """

    def __init__(
        self,
        take: TakeStep,
        arrays: Callable[[], Sequence[Array]],
        batches: ShuffledBatches | WholeBatches,
        rates: Callable[[int], float | list[float]],
        keys: DropoutKeys | None,
        backend: Backend,
    ) -> None:
        self._take, self._batches = take, batches
        self._arrays, self._arrays_now = list(arrays()), arrays
        self._rates, self._keys, self._backend = rates, keys, backend
        self._recordings: dict[tuple[int, int], _Recording] = {}

    def check_in_place(self) -> None:
        """Raise `RuntimeError` where a step has made new arrays: a recording would miss them."""
        if any(a is not b for a, b in zip(self._arrays, self._arrays_now(), strict=True)):
            raise RuntimeError("the update is not in place")

    def advance(self, step: int, limit: int) -> Taken | None:
        """Take one step or more from number `step` on, `limit` at most; None where it cannot be."""
        per_epoch = self._batches.steps_per_epoch
        position = step % per_epoch
        size = self._batches.size_of(position)
        # Batches of one size that follow each other: the last of an epoch may be short.
        alike = per_epoch - position - (self._batches.size_of(per_epoch - 1) != size)
        count = _STEPS if per_epoch > 1 and min(alike, limit) >= _STEPS else 1
        recording = self._recordings.get((size, count))
        if recording is None:
            recording = _Recording(self, size, count)
            if not recording.record(step):
                return None
            self._recordings[size, count] = recording
        return recording.replay(step)


class _Recording:
    """Some steps on batches of one size, and the buffers that they read and fill."""

    def __init__(self, of: RecordedSteps, size: int, count: int) -> None:
        self._of, self._size, self._count = of, size, count
        backend, xp = of._backend, of._backend.xp
        self._replay: Callable[[], None] | None = None
        whole = isinstance(of._batches, WholeBatches)
        device = backend.device
        self._rows = None if whole else xp.zeros((count * size,), dtype=xp.int64, device=device)
        self._rates = backend.to_device(self._rates_from(0))
        self._last_rates: np.ndarray | None = None
        self._keys = None
        if of._keys is not None:
            shape = (count, of._keys.layers)
            self._keys = xp.zeros(shape, dtype=xp.uint32, device=device)
        stack = tuple(self._rates.shape[1:])
        self._losses = xp.zeros((*stack, count), dtype=backend.dtype, device=device)
        self._counts: Array | None = None

    def record(self, step: int) -> bool:
        """Record the steps, with the arrays as they were before; tell whether that works."""
        of, backend = self._of, self._of._backend
        xp = backend.xp
        with backend.computing():
            before = [xp.asarray(array, copy=True) for array in of._arrays]
            self._load(step)

            def restore() -> None:
                for array, value in zip(of._arrays, before, strict=True):
                    array[...] = value

            self._replay = backend.record(self._steps, restore)
            if self._replay is None:
                restore()  # a trial may have come half the way
        return self._replay is not None

    def replay(self, step: int) -> Taken:
        """Take the steps from a number on."""
        xp = self._of._backend.xp
        assert self._replay is not None
        with self._of._backend.computing():
            self._load(step)
            self._replay()
            counts = None if self._counts is None else xp.asarray(self._counts, copy=True)
            losses = xp.asarray(self._losses, copy=True)
        return Taken(losses, counts, [self._size] * self._count)

    def _steps(self) -> None:
        """What is recorded: functions of the namespace on buffers, nothing else."""
        of = self._of
        xp = of._backend.xp
        for number in range(self._count):
            rows = None
            if self._rows is not None:
                rows = self._rows[number * self._size : (number + 1) * self._size]
            keys = None if self._keys is None else self._keys[number, ...]
            sums = of._take(of._batches.batch_of(rows), self._rates[number, ...], keys)
            self._losses[..., number] = sums.loss
            if sums.correct is not None:
                if self._counts is None:  # in the trial that comes before the recording
                    shape, dtype = self._losses.shape, sums.correct.dtype
                    self._counts = xp.zeros(shape, dtype=dtype, device=self._losses.device)
                self._counts[..., number] = sums.correct
        of.check_in_place()

    def _load(self, step: int) -> None:
        """Write what the steps from a number on will read."""
        of, count = self._of, self._count
        if self._rows is not None:
            self._rows[...] = of._batches.rows(step, count)
        if self._keys is not None and of._keys is not None:
            self._keys[...] = of._keys.of(step, count)
        rates = self._rates_from(step)
        if self._last_rates is None or not np.array_equal(rates, self._last_rates):
            self._rates[...] = of._backend.to_device(rates)
            self._last_rates = rates

    def _rates_from(self, step: int) -> np.ndarray:
        rates = [self._of._rates(step + number) for number in range(self._count)]
        return np.asarray(rates, dtype=np.float64)


def can_be_recorded(batches: Batches, backend: Backend) -> bool:
    """Tell whether steps on these batches find all that they read at the same addresses."""
    return backend.records and isinstance(batches, ShuffledBatches | WholeBatches)
