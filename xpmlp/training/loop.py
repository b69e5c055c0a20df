"""The one loop: from log point to log point, for one model or a stack, until they have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from xpmlp.backends import Backend, select_backend
from xpmlp.data.dataset import Dataset
from xpmlp.errors import DivergedError, UsageError
from xpmlp.mathematics.step import Variables
from xpmlp.regularization import check_in_stack
from xpmlp.training.group import Group, OnStep
from xpmlp.training.history import LogRow
from xpmlp.training.plan import Model, Plan
from xpmlp.training.shares import of_images, prepared, shares_of
from xpmlp.training.stacking import check_stackable, stacked_mlp
from xpmlp.training.state import (
    ENDED,
    ModelState,
    TrainingState,
    check_state_of,
    check_states_of,
    initial_stack,
    initial_state,
    restacked,
    settle_average,
    variables_of,
)

Save: TypeAlias = Callable[[TrainingState], object]
SaveStack: TypeAlias = Callable[[list[TrainingState]], object]


class _Loop:
    """Groups of models that train side by side, to the same steps."""

    def __init__(
        self,
        data: Dataset,
        plan: Plan,
        backend: Backend,
        groups: list[tuple[TrainingState, Dataset]],
        on_step: OnStep | None,
    ) -> None:
        self._data, self._plan, self._backend, self._on_step = data, plan, backend, on_step
        self.groups = [Group(state, own, plan, backend) for state, own in groups]
        self.steps = plan.steps_for(len(data.train))
        per_epoch = self.groups[0].batches.steps_per_epoch if groups else 1
        self._log_every = plan.log_every or per_epoch
        self._stopping = False
        self._meet()

    def rounds(self, save: Callable[[], object] | None) -> Iterator[None]:
        """Train, and yield at every log point; `save` is called there, when due, and at the end.

        Whatever ends it early, the states are left as they were when they were last settled.
        """
        self._stopping = False
        self._meet()  # a wish to stop was for the steps before
        for group in self.groups:
            group.begin(self.steps)
        settled = [group.settled() for group in self.groups]
        while at_work := [group for group in self.groups if group.running]:
            try:
                at_row, until = self._round(at_work)
                # All groups, or where this is interrupted none.
                settled = [
                    group.settled() if group in at_work else before
                    for group, before in zip(self.groups, settled, strict=True)
                ]
                self._save(save, at_row, until)
            except DivergedError:
                raise  # the state is back already, and says so
            except BaseException:
                for group, before in zip(self.groups, settled, strict=True):
                    group.restore(before)
                raise
            if at_row:
                yield

    def _meet(self) -> None:
        """Raise `UsageError` unless all ranks are about to train the same."""
        data, models = self._data, [m.model for group in self.groups for m in group.state.models]
        parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
        sizes = {
            f"the number of {name} examples": 0 if part is None else len(part)
            for name, part in parts.items()
        }
        steps = [group.state.step for group in self.groups]
        described = {"the model": models, "the plan": self._plan, "the step": steps}
        self._backend.ranks.check_alike(described | sizes)

    def _round(self, at_work: list[Group]) -> tuple[bool, int]:
        """Train to the next event; return whether it is a log point, and its step."""
        run_apart = self._backend.run_apart
        for group in at_work:
            group.turns = len(at_work) / self._backend.shares(len(at_work))
        until = self._next_event(at_work[0].state.step)
        run_apart([partial(self._advance, group, until) for group in at_work])
        if self._stopping:
            # Groups that were not as far catch up: all models are saved at one step.
            until = max(group.state.step for group in at_work)
            run_apart([partial(group.advance, until) for group in at_work])
        at_row = until % self._log_every == 0 or until == self.steps
        run_apart([partial(self._settle, group, at_row) for group in at_work])
        if self._stopping:
            for model in (model for group in at_work for model in group.running):
                model.status = "interrupted"
        return at_row, until

    def _save(self, save: Callable[[], object] | None, at_row: bool, step: int) -> None:
        due = self._plan.save_every is not None and step % self._plan.save_every == 0
        ended = not any(group.running for group in self.groups)
        if save is not None and (at_row or due or ended):
            save()

    def _next_event(self, step: int) -> int:
        """Return the next step after which there is something to do but to go on."""
        intervals = (self._log_every, self._plan.save_every)
        return min([self.steps, *(n * (step // n + 1) for n in intervals if n)])

    def _advance(self, group: Group, until: int, backend: Backend) -> None:
        first = group is next(each for each in self.groups if each.running)
        on_step = self._on_step
        if not first:  # one of several: the first has been told of the step
            on_step = None if on_step is None else lambda _: self._stopping
        try:
            self._stopping = group.advance(until, backend, on_step) or self._stopping
        except BaseException:
            self._stopping = True  # the others need not go on to the end of the round
            raise

    def _settle(self, group: Group, at_row: bool, backend: Backend) -> None:  # noqa: ARG002
        if at_row:
            group.log(last=group.state.step == self.steps)
        else:
            group.settle()


class Training:
    """One model in training: iterate for a row at every log point, break off, and go on.

    `model`: what is trained. `data`: a data set whose parts are scaled alike, or training examples
    alone; it is moved to the device. `plan`: how. `backend`: where, numpy on the CPU by default.
    `state`: one to go on from, by default that of the model's seed; it is changed. `on_step` gets
    the number of each step that is done, and may return True to end the training there. `save`
    gets the state at every log point, when the plan says so, and when the training ends; a state
    that is no longer finite does not reach it. The device is read at log points and saves alone.
    An exception, Ctrl-C among them, leaves the state as it was at the last log point or save:
    iterate again, and what comes is what would have come.

    Raises `DataError` for data that do not fit the model, `UsageError` for what cannot be done or
    a state of another model; while it is iterated over `DivergedError`, with the state back at its
    last log point or save, and status "diverged".

    >>> import xpmlp
    >>> model = xpmlp.Model(xpmlp.MLP((64, 10)), learning_rate=0.1)
    >>> training = xpmlp.Training(model, xpmlp.load_data("digits"), xpmlp.Plan(epochs=2))
    >>> [row.step for row in training], training.state.status
    ([21, 42], 'completed')
    """

    def __init__(
        self,
        model: Model,
        data: Any,
        plan: Plan,
        *,
        backend: Backend | None = None,
        state: TrainingState | None = None,
        on_step: OnStep | None = None,
        save: Save | None = None,
    ) -> None:
        self.model, self.plan = model, plan
        self.backend = backend = backend or select_backend()
        if plan.folds is not None:
            raise UsageError(f"{plan.folds} folds are for the models of a stack: leave them out")
        self.data = prepared(data, model, plan, backend)
        model = of_images(model, self.data)
        state = initial_state(model, backend) if state is None else state
        if state.is_stack:
            raise UsageError("Training is of one model: a stack is trained by StackTraining")
        check_state_of(state, model, backend)
        state.only.model = model
        settle_average(state, backend)
        self._save = None if save is None else partial(save, state)
        self.state = state
        self._loop = _Loop(self.data, plan, backend, [(state, self.data)], on_step)
        self.steps = self._loop.steps

    def __iter__(self) -> Iterator[LogRow]:
        for _ in self._loop.rounds(self._save):
            yield self.state.history[-1]

    def run(self) -> TrainingState:
        """Train to the end, and return the state."""
        for _ in self:
            pass
        return self.state


class StackTraining:
    """Models of one shape that train together; iterate for all of them at every log point.

    `models` differ in activation, learning rate, penalty, initialiser, seed, and what their
    optimisers, of one kind, allow. Each is trained as `Training` would train it alone, on the same
    batches. The plan's `patience` ends a model by itself; the others go on. One that diverges says
    so in its `cause`. The models are shared out over the backend's threads. `data`, `plan`,
    `backend` and `on_step` are those of `Training`. `save` gets the state of each model, in their
    order, as if it had been trained alone; `states` are such states, to go on from.
    Raises `UsageError` for models that make no stack, `DataError` for data that do not fit.

    >>> import xpmlp
    >>> rates, mlp = (0.1, 0.3), xpmlp.MLP((64, 10))
    >>> models = [xpmlp.Model(mlp, learning_rate=rate) for rate in rates]
    >>> training = xpmlp.StackTraining(models, xpmlp.load_data("digits"), xpmlp.Plan(epochs=2))
    >>> [model.status for model in training.run()]
    ['completed', 'completed']
    """

    def __init__(
        self,
        models: Sequence[Model],
        data: Any,
        plan: Plan,
        *,
        backend: Backend | None = None,
        states: Sequence[TrainingState] | None = None,
        on_step: OnStep | None = None,
        save: SaveStack | None = None,
    ) -> None:
        models = list(models) if isinstance(models, Iterable) else []
        if not models or not all(isinstance(model, Model) for model in models):
            raise UsageError("a stack is a list of one or more Model: give such a list")
        check_stackable([model.optimizer for model in models])
        check_in_stack([model.regularization for model in models])
        stacked_mlp([model.mlp for model in models])
        self.backend = backend = backend or select_backend()
        self.plan, self.data = plan, prepared(data, models[0], plan, backend)
        models = [of_images(model, self.data) for model in models]
        shares = shares_of(models, self.data, plan, backend)
        if states is None:
            groups = [
                (initial_stack([models[k] for k in some], backend), own) for some, own in shares
            ]
            of_groups = [model for group, _ in groups for model in group.models]
            order = [k for some, _ in shares for k in some]
            members = dict(zip(order, of_groups, strict=True))
            self.models = [members[k] for k in range(len(models))]
        else:
            check_states_of(states, models, backend)
            self.models = [state.only for state in states]
            at_work = [k for k, state in enumerate(states) if state.status not in ENDED]
            shares = shares_of(models, self.data, plan, backend, at_work)
            groups = [(restacked([states[k] for k in some], backend), own) for some, own in shares]
        self._loop = _Loop(self.data, plan, backend, groups, on_step)
        self._save = None if save is None else lambda: save(self.states())

    def __iter__(self) -> Iterator[list[ModelState]]:
        for _ in self._loop.rounds(self._save):
            yield self.models

    def run(self) -> list[ModelState]:
        """Train to the end, and return the models."""
        for _ in self:
            pass
        return self.models

    @property
    def step(self) -> int:
        """Steps that are taken by those that have gone furthest."""
        return max((group.state.step for group in self._loop.groups), default=0)

    def states(self) -> list[TrainingState]:
        """Return the state of each model as if it had been trained alone, with copied arrays."""
        return [self._state_of(model) for model in self.models]

    def _state_of(self, model: ModelState) -> TrainingState:
        if model.status in ENDED and model.params is not None:  # it has left the stack
            last = model.history[-1] if model.history else None
            step, seconds = (last.step, last.seconds) if last else (0, 0.0)
            return TrainingState(Variables(model.params, {}), [model], step, seconds)
        stack, place = next(
            (group.state, place)
            for group in self._loop.groups
            for place, member in enumerate(group.state.models)
            if member is model
        )
        with self.backend.computing():
            variables = variables_of(stack.variables, place, xp=self.backend.xp)
        return TrainingState(variables, [model], stack.step, stack.seconds)
