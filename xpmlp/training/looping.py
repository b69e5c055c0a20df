"""Many steps in one call, where a backend compiles: their loop is part of the program.

Learning rates, rows and keys go in as arrays and the number of steps as one, so that no schedule
and no log point makes another program.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from xpmlp.arrays import Array, some_rows
from xpmlp.backends import Backend
from xpmlp.data.batches import FixedBatches, alike
from xpmlp.mathematics.step import Inputs, Outputs, Step, Variables
from xpmlp.training.recording import RecordingStepper
from xpmlp.training.stepper import Rates, Stepper, Taken

AnyStepper: TypeAlias = "Stepper | RecordingStepper | LoopingStepper"

# Steps of one call, at most: starting it is then a small share of them.
STEPS = 64


class Run(NamedTuple):
    """`count` steps of one epoch from the batch `first` on, of `size` examples each.

    `start` is the place of their first example in `rows`, the epoch's order, None for all of them
    as they are. `rates` (STEPS, ...) begin with theirs, and `momenta`, None where momentum stays;
    `keys` are those of the epoch's noise, None without any.
    """

    first: Array
    start: Array
    count: Array
    size: int
    rates: Array
    rows: Array | None
    keys: Array | None
    momenta: Array | None


def take_steps(
    step: Step, variables: Variables, data: Any, run: Run, *, backend: Backend
) -> tuple[Variables, Outputs]:
    """Return the variables after some steps, and what each has found (..., STEPS)."""
    xp = backend.xp

    def take(number: Array, variables: Variables) -> tuple[Variables, Outputs]:
        rows = keys = momentum = None
        if run.rows is not None:
            at = backend.span(run.start + number * run.size, run.size)
            rows = some_rows(run.rows, at, xp=xp)
        if run.keys is not None:
            keys = run.keys[run.first + number, ...]
        if run.momenta is not None:
            momentum = run.momenta[number, ...]
        inputs = Inputs(run.rates[number, ...], rows, keys, momentum)
        return step(variables, data, inputs, xp=xp, add_up=backend.sum_over_examples)

    variables, found = backend.repeat(take, variables, run.rates.shape[0], run.count)
    each = [None if array is None else xp.moveaxis(array, 0, -1) for array in found]
    return variables, Outputs(*each)


class LoopingStepper:
    """Takes steps on batches that stay where they are, many in one call of a program.

    As many as a device does in a moment: Ctrl-C is not kept waiting.
    """

    def __init__(self, plain: Stepper, batches: FixedBatches) -> None:
        self.plain, self.batches = plain, batches
        self._take = plain.backend.compiled(take_steps, donated=(1,))

    def advance(self, variables: Variables, number: int, limit: int = 1) -> tuple[Variables, Taken]:
        """Take one step or more from a number on, `limit` at most."""
        plain, batches, backend = self.plain, self.batches, self.plain.backend
        first = number % batches.steps_per_epoch
        size = batches.size_of(first)
        flop = plain.step.mlp.step_flop * size * np.size(plain.rates.on_host)
        moment = int(backend.flop_at_once / flop)
        count = min(alike(batches, first), limit, max(1, min(STEPS, moment)))
        rates, momenta = (
            None if wanted is None else self._numbers(wanted, number, count)
            for wanted in (plain.rates, plain.momenta)
        )
        keys = None if plain.keys is None else plain.keys.of_epoch(number)
        at, start, steps = map(np.asarray, (first, first * batches.size_of(0), count))
        with backend.computing():
            run = Run(at, start, steps, size, rates, batches.order(number), keys, momenta)
            variables, found = self._take(plain.step, variables, batches.data, run)
            losses, correct = (None if each is None else each[..., :count] for each in found)
        return variables, Taken(losses, correct, [size] * count)

    def _numbers(self, wanted: Rates, number: int, count: int) -> np.ndarray:
        """Return (STEPS, ...): what some steps have from a number on, and then 0."""
        found = np.zeros((STEPS, *np.shape(wanted.on_host)), dtype=self.plain.backend.dtype_name)
        found[:count] = wanted.of_steps(number, count)
        return found


def stepper_for(plain: Stepper) -> AnyStepper:
    """Return what takes steps best on their backend, where all that they read stays."""
    if isinstance(plain.batches, FixedBatches):
        if plain.backend.records:
            return RecordingStepper(plain, plain.batches)
        if plain.backend.compiles:
            return LoopingStepper(plain, plain.batches)
    return plain
