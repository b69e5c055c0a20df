"""Many steps at once on memory that stays where it is, which a backend may record and replay.

A recording does what it has seen to the same addresses. So what changes from step to step, the
rows of a batch, its learning rate and the keys of its noise, is written into buffers
before; the losses are found in others afterwards. The variables are the recorder's own: those of
others are copied in, and a step that makes new arrays has them copied back. The step itself is
the same function. Its first steps are taken without a recording, which has to find the same.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from time import perf_counter

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.data.batches import FixedBatches, alike
from xpmlp.mathematics.step import Inputs, Outputs, Variables
from xpmlp.training.state import arrays_of, copied_variables
from xpmlp.training.stepper import Rates, Stepper, Taken

# Steps of one recording: a launch is then a small share of them, and Ctrl-C is not kept waiting.
STEPS = 32
# To make a recording takes as long as about so many steps one by one.
PAYS_AFTER = 64
# CuPy hands over the addresses of more arrays by a copy, which cannot be captured.
_MOST_TOGETHER = 8
# Of the largest value of an array: what a replay may find otherwise.
_SAME = 1e-3


class RecordingStepper:
    """Takes steps through recordings, one for each size of batch and number of steps.

    Where a backend does not record them after all, `plain` takes them one by one.
    """

    def __init__(self, plain: Stepper, batches: FixedBatches) -> None:
        self.plain, self.batches = plain, batches
        self._own: Variables | None = None
        self._recordings: dict[tuple[int, int], _Recording] = {}
        self._plainly: Counter[tuple[int, int]] = Counter()

    @property
    def records(self) -> bool:
        """Whether it still does: a backend says no once it has failed."""
        return self.plain.backend.records

    def advance(self, variables: Variables, number: int, limit: int = 1) -> tuple[Variables, Taken]:
        """Take one step or more from a number on, `limit` at most."""
        kind = self._kind(number, limit)
        if not self.records or self._plainly[kind] < PAYS_AFTER:
            self._plainly[kind] += 1
            return self.plain.advance(variables, number)
        own = self._load(variables)
        with self.plain.backend.computing():
            if kind not in self._recordings:
                self._recordings[kind] = _Recording(self.plain, self.batches, own, *kind)
            return own, self._recordings[kind].advance(number)

    def _kind(self, number: int, limit: int) -> tuple[int, int]:
        """Return the size of the batches from a number on, and how many steps are taken at once."""
        per_epoch = self.batches.steps_per_epoch
        position = number % per_epoch
        # Batches of one size that follow each other: the last of an epoch may be short.
        same = min(alike(self.batches, position), limit)
        count = STEPS if per_epoch > 1 and same >= STEPS else 1
        return self.batches.size_of(position), count

    def _load(self, variables: Variables) -> Variables:
        """Return the recorder's own variables, with the values of those that are given."""
        if variables is self._own:
            return variables
        backend = self.plain.backend
        with backend.computing():
            if self._own is None:
                self._own = copied_variables(variables, xp=backend.xp)
            else:
                _put(arrays_of(variables), self._own)
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
            self._keys = xp.zeros((count, *keys.shape), dtype=xp.uint32, device=device)
        self._rates, self._momenta = (
            None if wanted is None else _Numbers(wanted, count, backend)
            for wanted in (stepper.rates, stepper.momenta)
        )
        stack = np.shape(stepper.rates.on_host)
        self._losses = xp.zeros((*stack, count), dtype=backend.dtype, device=device)

    def advance(self, number: int) -> Taken:
        """Take the steps from a number on, at first one by one: then they are recorded."""
        self._load(number)
        if self._replay is None:
            return self._begin()
        self._replay()
        return self._found()

    def _begin(self) -> Taken:
        """Take the steps, record them, and hold the first replay against them.

        Whatever ends this early, the variables are as they were before.
        """
        backend = self._stepper.backend
        before = self._copied()
        try:
            self._steps()
            found, after = self._found(), self._copied()
            start = perf_counter()
            replay = backend.record(self._steps)
            if replay is not None:
                _put(before, self._own)
                replay()
                again = self._found()
                pairs = [*zip(after, arrays_of(self._own), strict=True), (found[0], again[0])]
                if all(_alike(*pair, backend=backend) for pair in pairs):
                    self._replay = replay
                else:
                    self._give_up()
            _put(after, self._own)
        except BaseException:
            _put(before, self._own)
            raise
        return found._replace(aside=perf_counter() - start)

    def _give_up(self) -> None:
        """Take steps one by one from now on: replays of them cannot be trusted here."""
        self._stepper.backend.records = False
        warnings.warn(
            "a replay of recorded steps does not find what the steps find: they are launched one "
            "by one: graph=False chooses that",
            RuntimeWarning,
            stacklevel=2,
        )

    def _copied(self) -> list[Array]:
        return arrays_of(copied_variables(self._own, xp=self._stepper.backend.xp))

    def _found(self) -> Taken:
        """Return copies of what the steps have found."""
        losses, correct = (
            None if array is None else self._stepper.backend.xp.asarray(array, copy=True)
            for array in (self._losses, self._correct)
        )
        return Taken(losses, correct, [self._size] * self._count)

    def _steps(self) -> None:
        """What is recorded: functions of the namespace on buffers, nothing else."""
        variables, backend = self._own, self._stepper.backend
        found: list[Outputs] = []
        for number in range(self._count):
            rows = None
            if self._rows is not None:
                rows = self._rows[number * self._size : (number + 1) * self._size]
            keys = None if self._keys is None else self._keys[number, ...]
            rate, momentum = (
                None if numbers is None else numbers.on_device[number, ...]
                for numbers in (self._rates, self._momenta)
            )
            inputs = Inputs(rate, rows, keys, momentum)
            variables, outputs = self._stepper.step(
                variables,
                self._batches.data,
                inputs,
                xp=backend.xp,
                add_up=backend.sum_over_examples,
            )
            found.append(outputs)
        _put(arrays_of(variables), self._own)
        self._losses[...] = self._joined([outputs.loss for outputs in found])
        if found[0].correct is not None:
            correct = self._joined([outputs.correct for outputs in found])
            if self._correct is None:  # at the first steps, before the recording
                self._correct = backend.xp.zeros(
                    correct.shape, dtype=correct.dtype, device=backend.device
                )
            self._correct[...] = correct

    def _joined(self, values: list[Array]) -> Array:
        """Return what steps have found (..., steps), put together in few calls of few arrays."""
        xp, most = self._stepper.backend.xp, _MOST_TOGETHER
        parts = [xp.stack(values[k : k + most], axis=-1) for k in range(0, len(values), most)]
        while len(parts) > 1:
            parts = [xp.concat(parts[k : k + most], axis=-1) for k in range(0, len(parts), most)]
        return parts[0]

    def _load(self, number: int) -> None:
        """Write what the steps from a number on will read."""
        count, keys = self._count, self._stepper.keys
        if self._rows is not None:
            self._rows[...] = self._batches.rows(number, count)
        if self._keys is not None and keys is not None:
            self._keys[...] = keys.of_steps(number, count)
        for numbers in (self._rates, self._momenta):
            if numbers is not None:
                numbers.load(number)


class _Numbers:
    """What is scheduled for some steps, in a buffer that is written where it has changed."""

    def __init__(self, wanted: Rates, count: int, backend: Backend) -> None:
        self._wanted, self._count, self._backend = wanted, count, backend
        self._last = self._of_steps(0)
        self.on_device = backend.to_device(self._last)

    def load(self, number: int) -> None:
        """Write those of the steps from a number on."""
        numbers = self._of_steps(number)
        if not np.array_equal(numbers, self._last):
            self.on_device[...] = self._backend.to_device(numbers)
            self._last = numbers

    def _of_steps(self, number: int) -> np.ndarray:
        return np.asarray(self._wanted.of_steps(number, self._count), dtype=np.float64)


def _put(arrays: list[Array], own: Variables) -> None:
    """Write arrays to where the recorder's own lie, but for those that are there."""
    for there, array in zip(arrays_of(own), arrays, strict=True):
        if array is not there:
            there[...] = array


def _alike(expected: Array, found: Array, *, backend: Backend) -> bool:
    """Tell whether two arrays hold the same to rounding; of numbers that overflow nothing."""
    xp = backend.xp
    largest = xp.max(xp.abs(expected))
    difference = xp.max(xp.abs(found - expected))
    same = xp.logical_or(difference <= _SAME * largest, xp.logical_not(xp.isfinite(largest)))
    return bool(backend.to_host(same))
