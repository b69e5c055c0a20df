"""What a run trains: one model, or several members of an ensemble, as one stack.

Both say alike how far they are, and save themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.data.dataset import Dataset
from xpmlp.errors import CheckpointError, DivergedError
from xpmlp.mathematics.step import Variables
from xpmlp.runs.checkpoint import load_checkpoint, load_stack, save_checkpoint, save_stack
from xpmlp.runs.folder import BEST, CHECKPOINT
from xpmlp.training.history import LogRow, best_row
from xpmlp.training.loop import StackTraining, Training
from xpmlp.training.plan import Model, Plan
from xpmlp.training.stacking import stacked
from xpmlp.training.state import ENDED, ModelState, TrainingState, initial_state

OnStep = Callable[[int], bool]


class Members(Protocol):
    """What a run needs of what it trains."""

    @property
    def step(self) -> int:
        """Steps that are taken."""
        ...

    @property
    def seconds(self) -> float:
        """Time that they took."""
        ...

    @property
    def history(self) -> list[LogRow]:
        """The rows so far."""
        ...

    @property
    def status(self) -> str:
        """How the training stands, or has ended."""
        ...

    @property
    def diverged(self) -> int:
        """How many have diverged, and are no part of the result."""
        ...

    @property
    def result(self) -> Params:
        """The best parameters, or without validation the last; of several a stack."""
        ...

    def rows(
        self, data: Dataset, plan: Plan, on_step: OnStep, save: Callable[[], None]
    ) -> Iterator[LogRow]:
        """Train; yield the row of every log point."""
        ...

    def interrupt(self) -> None:
        """Note that the training has been ended before its time."""
        ...

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Write the run's checkpoints."""
        ...


class OneModel:
    """A single model: its last state and, where there is a new best one, that."""

    def __init__(self, model: Model, backend: Backend, checkpoint: Path | None) -> None:
        self.model, self._backend = model, backend
        self.state = (
            initial_state(model, backend)
            if checkpoint is None
            else load_checkpoint(checkpoint).restore(model, backend)
        )
        self._saved_best: int | None = None

    @property
    def step(self) -> int:
        """Steps that are taken."""
        return self.state.step

    @property
    def seconds(self) -> float:
        """Time that they took."""
        return self.state.seconds

    @property
    def history(self) -> list[LogRow]:
        """The rows so far."""
        return self.state.history

    @property
    def status(self) -> str:
        """How the training stands, or has ended."""
        return self.state.status

    @property
    def diverged(self) -> int:
        """None is left out: it is alone."""
        return 0

    @property
    def result(self) -> Params:
        """The best parameters, or without validation the last."""
        return self.state.result

    def rows(
        self, data: Dataset, plan: Plan, on_step: OnStep, save: Callable[[], None]
    ) -> Iterator[LogRow]:
        """Return the training, to be iterated over; raises for what does not fit."""
        return iter(
            Training(
                self.model,
                data,
                plan,
                backend=self._backend,
                state=self.state,
                on_step=on_step,
                save=lambda _: save(),
            )
        )

    def interrupt(self) -> None:
        """Note that the training has been ended before its time."""
        if self.state.status in ("running", "completed"):
            self.state.only.status = "interrupted"

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Write checkpoint.h5, and best.h5 where there is a new best."""
        state, best = self.state, best_row(self.state.history)
        if best is not None and best.step != self._saved_best:
            only = replace(state.only, best_params=None)
            kept = replace(state, variables=Variables(state.result, {}), models=[only])
            save_checkpoint(folder / BEST, kept, record, backend=self._backend)
            self._saved_best = best.step
        save_checkpoint(folder / CHECKPOINT, state, record, backend=self._backend)


class Ensemble:
    """Models that differ in their seed; each stops by itself, and keeps its own best weights.

    A row is the mean of the members' rows at its step. The result is a stack of those that have
    not diverged.
    """

    def __init__(self, models: Sequence[Model], backend: Backend, checkpoint: Path | None) -> None:
        self._models, self._backend = list(models), backend
        self._states: list[TrainingState] | None = None
        if checkpoint is not None:
            kept = load_stack(checkpoint)
            if len(kept) != len(self._models):
                raise CheckpointError(
                    f"{checkpoint} holds {len(kept)} members, and the run has {len(self._models)}"
                )
            self._states = [
                one.restore(model, backend) for one, model in zip(kept, models, strict=True)
            ]
        self._training: StackTraining | None = None

    @property
    def _members(self) -> list[ModelState]:
        if self._training is not None:
            return self._training.models
        return [state.only for state in self._states or []]

    @property
    def step(self) -> int:
        """Steps that are taken by those that have gone furthest."""
        at = [member.history[-1].step for member in self._members if member.history]
        at += [state.step for state in self._states or []]
        return max(at + ([self._training.step] if self._training else [0]))

    @property
    def seconds(self) -> float:
        """Time that they took."""
        return self.history[-1].seconds if self.history else 0.0

    @property
    def history(self) -> list[LogRow]:
        """The means of the members' rows, of those that were at work."""
        by_step: dict[int, list[LogRow]] = {}
        for member in self._members:
            for row in member.history:
                by_step.setdefault(row.step, []).append(row)
        return [_mean_row(by_step[step]) for step in sorted(by_step)]

    @property
    def status(self) -> str:
        """How the training stands, or has ended; "diverged" where all members have."""
        found = {member.status for member in self._members} or {"started"}
        order = ("interrupted", "running", "started", "completed", "early_stopped", "diverged")
        return next(status for status in order if status in found)

    @property
    def diverged(self) -> int:
        """How many have diverged, and are no part of the result; 0 where all have."""
        found = sum(member.status == "diverged" for member in self._members)
        return found if found < len(self._models) else 0

    @property
    def result(self) -> Params:
        """The best parameters of each member that has not diverged, as a stack."""
        states = self._training.states() if self._training is not None else self._states or []
        good = [state.result for state in states if state.only.status != "diverged"]
        if not good:
            raise DivergedError(self._members[0].cause)
        with self._backend.computing():
            return stacked(good, xp=self._backend.xp)

    def rows(
        self, data: Dataset, plan: Plan, on_step: OnStep, save: Callable[[], None]
    ) -> Iterator[LogRow]:
        """Return the training, to be iterated over; raises for what does not fit."""
        training = StackTraining(
            self._models,
            data,
            plan,
            backend=self._backend,
            states=self._states,
            on_step=on_step,
            save=lambda _: save(),
        )
        self._training = training
        return self._iterated(training)

    def _iterated(self, training: StackTraining) -> Iterator[LogRow]:
        said = -1
        for members in training:
            last = [member.history[-1] for member in members if member.history]
            step = max((row.step for row in last), default=-1)
            if step > said:  # those at work may have diverged, and left the row of a step before
                said = step
                yield _mean_row([row for row in last if row.step == step])
        if all(member.status == "diverged" for member in training.models):
            raise DivergedError(training.models[0].cause)

    def interrupt(self) -> None:
        """Note that the training has been ended before its time."""
        for member in self._members:
            if member.status not in ENDED:
                member.status = "interrupted"

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Write checkpoint.h5, with the best weights of each member."""
        assert self._training is not None, "there is nothing to save before the training"
        states = self._training.states()
        save_stack(folder / CHECKPOINT, states, record, backend=self._backend)


def _mean_row(rows: list[LogRow]) -> LogRow:
    """Return the means of rows of one step."""
    found: dict[str, Any] = {}
    for name in (field.name for field in fields(LogRow)):
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        found[name] = sum(values) / len(values) if values else None
    return replace(rows[0], **found | {"step": rows[0].step})


def members_of(models: Sequence[Model], backend: Backend, checkpoint: Path | None) -> Members:
    """Return what trains these models, from a checkpoint of theirs or from their seeds."""
    if len(models) == 1:
        return OneModel(models[0], backend, checkpoint)
    return Ensemble(models, backend, checkpoint)
