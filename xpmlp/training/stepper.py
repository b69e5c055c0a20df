"""Takes steps: one after another, or as many at once as a backend records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from numbers import Real
from typing import Any, NamedTuple

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.data.batches import Batches, NoiseKeys
from xpmlp.errors import UsageError
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import Schedule
from xpmlp.mathematics.step import Inputs, Outputs, Step, Variables
from xpmlp.regularization import key_count, placed, smoothed
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
    """Learning rates, or momenta, by step: `base`, one number or one per model, times a factor.

    `on_host` are the base's numbers, and `base` the same as a step takes them; all are to stay
    `below` some number.
    """

    base: float | Array
    on_host: float | list[float]
    schedule: Schedule
    steps_per_epoch: int
    below: float = inf

    def factor(self, step: int) -> float:
        """Return the schedule's factor for the step that follows `step` steps.

        Raises `UsageError` where it gives something else.
        """
        factor: object = self.schedule(step, self.steps_per_epoch)
        if not isinstance(factor, Real):
            raise UsageError(f"a schedule gives {factor!r} at step {step}: let it give a number")
        if self.below < inf:
            of_each = self.on_host if isinstance(self.on_host, list) else [self.on_host]
            most = float(factor) * max(of_each)
            if not 0 <= most < self.below:
                raise UsageError(
                    f"the momentum is {most:g} at step {step}: let its schedule keep it from 0 to "
                    f"below {self.below:g}"
                )
        return factor  # type: ignore[return-value]

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

    def of_steps(self, number: int, count: int) -> list[Any]:
        """Return the numbers of several steps, from one on."""
        return [self.numbers(number + later) for later in range(count)]


class Stepper:
    """Takes the steps of one training, each by a call of the step function.

    `keys` are those of noise, None without any; `momenta` the optimiser's momentum by step, None
    where it stays. `backend` may be exchanged between two steps.
    """

    def __init__(
        self,
        step: Step,
        batches: Batches,
        rates: Rates,
        keys: NoiseKeys | None,
        backend: Backend,
        momenta: Rates | None = None,
    ) -> None:
        self.step, self.batches, self.rates, self.keys = step, batches, rates, keys
        self.backend, self.momenta = backend, momenta
        self._flop = step.mlp.step_flop / backend.ranks.count

    def advance(self, variables: Variables, number: int, limit: int = 1) -> tuple[Variables, Taken]:  # noqa: ARG002
        """Take step `number`, counted from 0; return the variables after it and what it found.

        Others may take several at once, up to `limit`. Nothing is read back from the device.
        """
        backend = self.backend
        with backend.computing():
            data, rows, size = self.batches.draw(number)
            keys = None if self.keys is None else self.keys.of_step(number)
            momentum = None if self.momenta is None else self.momenta.at(number)
            inputs = Inputs(self.rates.at(number), rows, keys, momentum)
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
    with backend.computing():
        step = _step(wanted, like, backend)
        if like is None:
            base: float | Array = wanted[0].rate
            on_host: float | list[float] = wanted[0].rate
        else:
            on_host = [0.0 if model.status in ENDED else model.model.rate for model in models]
            base = per_model_values(on_host, like=like, xp=backend.xp)
    per_epoch, keys, momenta = batches.steps_per_epoch, None, None
    if any(model.regularization.is_random for model in wanted):
        count, seeds = key_count(step.mlp.layers), [model.seed for model in wanted]
        keys = NoiseKeys(count, per_epoch, seed=plan.seed, models=seeds, backend=backend)
    if plan.momentum is not None:
        of_each = [_momentum_of(model.optimizer) for model in wanted]
        on_host_too = of_each[0] if like is None else of_each
        momenta = Rates(
            _momentum_of(step.optimizer), on_host_too, plan.momentum, per_epoch, below=1.0
        )
    rates = Rates(base, on_host, plan.schedule, per_epoch)
    return Stepper(step, batches, rates, keys, backend, momenta)


def _momentum_of(optimizer: Optimizer) -> Any:
    """Return an optimiser's momentum, one value per model of a stack; raises where it has none."""
    try:
        return optimizer.momentum  # type: ignore[attr-defined]
    except AttributeError:
        name = type(optimizer).__name__
        raise UsageError(
            f"momentum is scheduled, and {name} has none: choose Momentum or Nesterov"
        ) from None


def _step(models: list[Model], like: Array | None, backend: Backend) -> Step:
    """Return the step of one model, or of a stack whose arrays are `like` one of them.

    Hyperparameters that differ in a stack are arrays, one value per model.
    """
    xp, first, alone = backend.xp, models[0], like is None
    some = xp.zeros((), dtype=backend.dtype, device=backend.device) if alone else like
    regularizations = [model.regularization for model in models]
    shares = [each.label_smoothing for each in regularizations]
    extra = placed(regularizations, first.mlp.sizes[0], like=some, xp=xp)
    mlp = first.mlp if alone else stacked_mlp([model.mlp for model in models])
    mlp = replace(mlp, loss=smoothed(mlp.loss, shares)) if any(shares) else mlp
    if alone:
        return Step(mlp, first.optimizer, first.penalty, extra)
    # One kind for all; a model without one has the strength 0.
    kind = next((type(model.penalty) for model in models if model.penalty), Penalty)
    penalties = [model.penalty or kind() for model in models]
    l2, l1 = (
        per_model_values([getattr(p, name) for p in penalties], like=some, xp=xp)
        for name in ("l2", "l1")
    )
    return Step(
        mlp,
        stacked_optimizer([model.optimizer for model in models], like=some, xp=xp),
        kind(l2, l1) if any(p.l2 or p.l1 for p in penalties) else None,
        extra,
    )
