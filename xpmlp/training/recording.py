"""Many steps at once on memory that stays where it is, which a backend may record and replay.

A recording does what it has seen to the same addresses. So what changes from step to step, the
rows of a batch, its learning rate and the keys of its dropout masks, is written into buffers
before; the losses are found in others afterwards. The variables are the recorder's own: those of
others are copied in, and a step that makes new arrays has them copied back. The step itself is
the same function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xpmlp.arrays import Array
from xpmlp.data.batches import FixedBatches, alike
from xpmlp.mathematics.step import Inputs, Variables
from xpmlp.training.state import arrays_of, copied_variables
from xpmlp.training.stepper import Stepper, Taken

# Steps of one recording: a launch is then a small share of them, and Ctrl-C is not kept waiting.
STEPS = 32


class RecordingStepper:
    """Takes steps through recordings, one for each size of batch and number of steps.

    Where a backend does not record them after all, `plain` takes them one by one.
    """

    def __init__(self, plain: Stepper, batches: FixedBatches) -> None:
        self.plain, self.batches = plain, batches
        self._own: Variables | None = None
        self._recordings: dict[tuple[int, int], _Recording] = {}

    @property
    def records(self) -> bool:
        """Whether it still does: a backend says no once it has failed."""
        return self.plain.backend.records

    def advance(self, variables: Variables, number: int, limit: int = 1) -> tuple[Variables, Taken]:
        """Take one step or more from a number on, `limit` at most."""
        if not self.records:
            return self.plain.advance(variables, number)
        recording = self._recording(variables, number, limit)
        if recording is None:
            return self.plain.advance(variables, number)
        own = self._load(variables)
        return own, recording.replay(number)

    def _recording(self, variables: Variables, number: int, limit: int) -> _Recording | None:
        per_epoch = self.batches.steps_per_epoch
        position = number % per_epoch
        size = self.batches.size_of(position)
        # Batches of one size that follow each other: the last of an epoch may be short.
        same = min(alike(self.batches, position), limit)
        count = STEPS if per_epoch > 1 and same >= STEPS else 1
        found = self._recordings.get((size, count))
        if found is None:
            found = _Recording(self.plain, self.batches, self._load(variables), size, count)
            if not found.record(number):
                return None
            self._recordings[size, count] = found
        return found

    def _load(self, variables: Variables) -> Variables:
        """Return the recorder's own variables, with the values of those that are given."""
        if variables is self._own:
            return variables
        backend = self.plain.backend
        with backend.computing():
            if self._own is None:
                self._own = copied_variables(variables, xp=backend.xp)
            else:
                for own, array in zip(arrays_of(self._own), arrays_of(variables), strict=True):
                    own[...] = array
        return self._own


class _Recording:
    """Some steps on batches of one size, and the buffers that they read and fill."""

    def __init__(
        self, stepper: Stepper, batches: FixedBatches, own: Variables, size: int, count: int
    ) -> None:
        self._stepper, self._batches, self._own = stepper, batches, own
        self._size, self._count = size, count
        self._replay: Callable[[], None] | None = None
        backend, xp = stepper.backend, stepper.backend.xp
        device, keys, rows = backend.device, stepper.keys, batches.rows(0)
        self._rows: Array | None = None
        self._keys: Array | None = None
        self._correct: Array | None = None
        if rows is not None:
            self._rows = xp.zeros((count * size,), dtype=xp.int64, device=device)
        if keys is not None:
            self._keys = xp.zeros((count, keys.layers), dtype=xp.uint32, device=device)
        self._rates = backend.to_device(self._rates_from(0))
        self._last_rates: np.ndarray | None = None
        stack = tuple(self._rates.shape[1:])
        self._losses = xp.zeros((*stack, count), dtype=backend.dtype, device=device)

    def record(self, number: int) -> bool:
        """Record the steps, with the variables as they were before; tell whether that works."""
        backend = self._stepper.backend
        with backend.computing():
            before = arrays_of(copied_variables(self._own, xp=backend.xp))
            self._load(number)

            def restore() -> None:
                for array, value in zip(arrays_of(self._own), before, strict=True):
                    array[...] = value

            self._replay = backend.record(self._steps, restore)
            if self._replay is None:
                restore()  # a trial may have come half the way
        return self._replay is not None

    def replay(self, number: int) -> Taken:
        """Take the steps from a number on."""
        backend = self._stepper.backend
        assert self._replay is not None
        with backend.computing():
            self._load(number)
            self._replay()
            losses, correct = (
                None if array is None else backend.xp.asarray(array, copy=True)
                for array in (self._losses, self._correct)
            )
        return Taken(losses, correct, [self._size] * self._count)

    def _steps(self) -> None:
        """What is recorded: functions of the namespace on buffers, nothing else."""
        variables, backend = self._own, self._stepper.backend
        for number in range(self._count):
            rows = None
            if self._rows is not None:
                rows = self._rows[number * self._size : (number + 1) * self._size]
            keys = None if self._keys is None else self._keys[number, ...]
            inputs = Inputs(self._rates[number, ...], rows, keys)
            variables, outputs = self._stepper.step(
                variables,
                self._batches.data,
                inputs,
                xp=backend.xp,
                add_up=backend.sum_over_examples,
            )
            self._losses[..., number] = outputs.loss
            if outputs.correct is not None:
                self._count_correct(outputs.correct, number)
        for own, array in zip(arrays_of(self._own), arrays_of(variables), strict=True):
            if array is not own:
                own[...] = array

    def _count_correct(self, correct: Array, number: int) -> None:
        if self._correct is None:  # in the trial that comes before the recording
            backend, shape = self._stepper.backend, self._losses.shape
            self._correct = backend.xp.zeros(shape, dtype=correct.dtype, device=backend.device)
        self._correct[..., number] = correct

    def _load(self, number: int) -> None:
        """Write what the steps from a number on will read."""
        count, keys = self._count, self._stepper.keys
        if self._rows is not None:
            self._rows[...] = self._batches.rows(number, count)
        if self._keys is not None and keys is not None:
            self._keys[...] = keys.of_steps(number, count)
        rates = self._rates_from(number)
        if self._last_rates is None or not np.array_equal(rates, self._last_rates):
            self._rates[...] = self._stepper.backend.to_device(rates)
            self._last_rates = rates

    def _rates_from(self, number: int) -> np.ndarray:
        rates = [self._stepper.rates.numbers(number + later) for later in range(self._count)]
        return np.asarray(rates, dtype=np.float64)
