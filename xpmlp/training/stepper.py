"""Takes steps: one after another, or as many at once as a backend records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.data.batches import Batches, DropoutKeys
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import Schedule
from xpmlp.mathematics.step import Inputs, Outputs, Step, Variables
from xpmlp.training.plan import Model, Plan
from xpmlp.training.stacking import per_model_values, stacked_mlp, stacked_optimizer
from xpmlp.training.state import ENDED, ModelState


class Taken(NamedTuple):
    """Steps that were taken: losses and counts (..., steps), or (...) of one; sizes of batches.

    `aside`: seconds that went into something else, which later steps gain by.
    """

    losses: Array
    correct: Array | None
    sizes: list[int]
    aside: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Learning rates by step: `base`, a number or one per model, times the schedule's factor.

    `on_host` are the base's numbers, and `base` the same as a step takes them.
    """

    base: float | Array
    on_host: float | list[float]
    schedule: Schedule
    steps_per_epoch: int

    def factor(self, step: int) -> float:
        """Return the schedule's factor for the step that follows `step` steps."""
        return self.schedule(step, self.steps_per_epoch)

    def at(self, step: int) -> float | Array:
        """Return the rate of a step, or those of a stack's models."""
        factor = self.factor(step)
        return self.base if factor == 1 else factor * self.base

    def numbers(self, step: int) -> Any:
        """Return the same as numbers on the host."""
        factor = self.factor(step)
        if isinstance(self.on_host, list):
            return [factor * rate for rate in self.on_host]
        return factor * self.on_host


class Stepper:
    """Takes the steps of one training, each by a call of the step function.

    `keys` are those of the dropout masks, None without dropout. `backend` may be exchanged
    between two steps.
    """

    def __init__(
        self, step: Step, batches: Batches, rates: Rates, keys: DropoutKeys | None, backend: Backend
    ) -> None:
        self.step, self.batches, self.rates, self.keys = step, batches, rates, keys
        self.backend = backend
        self._flop = step.mlp.step_flop / backend.ranks.count

    def advance(self, variables: Variables, number: int, limit: int = 1) -> tuple[Variables, Taken]:  # noqa: ARG002
        """Take step `number`, counted from 0; return the variables after it and what it found.

        Others may take several at once, up to `limit`. Nothing is read back from the device.
        """
        backend = self.backend
        with backend.computing():
            data, rows, size = self.batches.draw(number)
            keys = None if self.keys is None else self.keys.of_step(number)
        inputs = Inputs(self.rates.at(number), rows, keys)
        with backend.computing(self._flop * size):
            take = backend.compiled(take_step, donated=(1,))
            variables, outputs = take(self.step, variables, data, inputs)
        return variables, Taken(outputs.loss, outputs.correct, [size])


def take_step(
    step: Step, variables: Variables, data: Any, inputs: Inputs, *, backend: Backend
) -> tuple[Variables, Outputs]:
    """Return the variables after a step, and what it has found."""
    return step(variables, data, inputs, xp=backend.xp, add_up=backend.sum_over_examples)


def stepper_of(
    models: Sequence[ModelState],
    plan: Plan,
    batches: Batches,
    backend: Backend,
    *,
    like: Array | None = None,
) -> Stepper:
    """Return the steps of one model by itself, or of a stack whose arrays are `like` one of them.

    A model of a stack that has ended has the rate 0.
    """
    wanted = [model.model for model in models]
    if like is None:
        (model,) = wanted
        step = Step(model.mlp, model.optimizer, model.penalty, plan.dropout)
        base: float | Array = model.rate
        on_host: float | list[float] = model.rate
    else:
        on_host = [0.0 if model.status in ENDED else model.model.rate for model in models]
        with backend.computing():
            step = _stacked_step(wanted, plan.dropout, like, backend)
            base = per_model_values(on_host, like=like, xp=backend.xp)
    per_epoch, keys = batches.steps_per_epoch, None
    if plan.dropout:
        keys = DropoutKeys(step.mlp.layers - 1, per_epoch, seed=plan.seed, backend=backend)
    return Stepper(step, batches, Rates(base, on_host, plan.schedule, per_epoch), keys, backend)


def _stacked_step(models: list[Model], dropout: float, like: Array, backend: Backend) -> Step:
    """Return the step of a stack: hyperparameters that differ are arrays, one value per model."""
    xp = backend.xp
    # One kind for all; a model without one has the strength 0.
    kind = next((type(model.penalty) for model in models if model.penalty), Penalty)
    penalties = [model.penalty or kind() for model in models]
    l2, l1 = (
        per_model_values([getattr(p, name) for p in penalties], like=like, xp=xp)
        for name in ("l2", "l1")
    )
    return Step(
        stacked_mlp([model.mlp for model in models]),
        stacked_optimizer([model.optimizer for model in models], like=like, xp=xp),
        kind(l2, l1) if any(p.l2 or p.l1 for p in penalties) else None,
        dropout,
    )
