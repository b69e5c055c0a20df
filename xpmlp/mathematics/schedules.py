"""Learning-rate schedules: the factor that the initial learning rate is multiplied by.

A schedule is a function of the number of steps already taken and of the steps in an epoch.
Its result is a plain number, so one schedule serves a stack with many learning rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import TypeAlias

from xpmlp.errors import UsageError

# schedule(step, steps_per_epoch): the factor for the step that follows `step` steps.
Schedule: TypeAlias = Callable[[int, int], float]


@dataclass(frozen=True)
class Constant:
    """1 at every step."""

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        return 1.0


@dataclass(frozen=True)
class StepDecay:
    """factor^k after k of the milestones, which count whole epochs.

    (20, 40) changes the rate when 20 and when 40 epochs are done, never inside one.
    """

    milestones: tuple[int, ...]
    factor: float = 0.5

    def __post_init__(self) -> None:
        if not self.milestones:
            raise UsageError("step decay needs at least one milestone")
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones) < 1:
            raise UsageError(f"milestones {self.milestones} must be epochs ≥ 1 in rising order")
        if not self.factor > 0:
            raise UsageError(f"the factor {self.factor} at a milestone must be above 0")

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        epochs_done = step // steps_per_epoch
        return self.factor ** sum(epochs_done >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Exponential:
    """decay^t with t in epochs, at every step."""

    decay: float

    def __post_init__(self) -> None:
        if not self.decay > 0:
            raise UsageError(f"the decay {self.decay} must be above 0")

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        return float(self.decay ** (step / steps_per_epoch))


@dataclass(frozen=True)
class Cosine:
    """½ (1 + cos(π t/T)) from 1 down to 0 over T steps (Loshchilov and Hutter 2017, eq. 5)."""

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"a cosine over {self.steps} steps needs at least 1")

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        return 0.5 * (1 + cos(pi * min(step / self.steps, 1.0)))


@dataclass(frozen=True)
class Warmup:
    """s + (1 − s)(t + 1)/W for the first W steps, times the schedule that it comes before.

    `start` is s, from 0 to 1: the share of the schedule's first value that it rises from. Raises
    `UsageError` for anything else.
    """

    schedule: Schedule
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"a warm-up of {self.steps} steps needs at least 1")
        if not 0 <= self.start <= 1:
            raise UsageError(f"start is {self.start}: choose a share from 0 to 1")

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        done = min((step + 1) / self.steps, 1.0)
        return (self.start + (1.0 - self.start) * done) * self.schedule(step, steps_per_epoch)


# By name: from the steps in all and the decay per epoch, where one is given, to a schedule.
SCHEDULES: dict[str, Callable[[int, float], Schedule]] = {
    "constant": lambda _steps, _decay: Constant(),
    "exponential": lambda _steps, decay: Exponential(decay),
    "cosine": lambda steps, _decay: Cosine(steps),
}
