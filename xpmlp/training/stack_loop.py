"""Many models of one shape trained together, each with its own settings, history and end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import fsum, isfinite
from numbers import Real
from operator import mul
from time import perf_counter
from typing import Any

from xpmlp.arrays import Array, Params
from xpmlp.backends import Backend
from xpmlp.data.batches import DropoutKeys
from xpmlp.data.examples import Batch
from xpmlp.data.source import Source, batches_of
from xpmlp.errors import DivergedError, UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import SGD, Optimizer
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import Constant, Schedule
from xpmlp.parts import even_parts
from xpmlp.training.history import LogRow, best_row, rows_since_best
from xpmlp.training.recording import RecordedSteps, Taken, can_be_recorded
from xpmlp.training.stacking import (
    check_alike,
    kept,
    mlp_of,
    model_of,
    optimizer_of,
    stacked,
    together,
)
from xpmlp.training.steps import (
    Sums,
    TrainingState,
    check_course,
    check_fit,
    evaluate_unchecked,
    initial_params,
    train_step,
)

# A stack is rid of its stopped models when fewer than this share of them still train: to
# gather the others costs about a step.
_WORTH_KEEPING = 0.8


@dataclass(frozen=True)
class ModelSetting:
    """What may differ from model to model in a stack; the optimisers are of one kind."""

    activation: str = "sigmoid"
    initializer: str = "xavier"
    seed: int = 0
    learning_rate: float = 0.1
    optimizer: Optimizer = field(default_factory=SGD)
    l2: float = 0.0
    l1: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise UsageError(f"optimizer {self.optimizer!r} is none: give one such as Adam()")
        for name, zero in (("learning_rate", False), ("l2", True), ("l1", True)):
            value = getattr(self, name)
            number = isinstance(value, Real) and isfinite(value)
            if not number or value < 0 or (value == 0 and not zero):
                allowed = "from 0 up" if zero else "above 0"
                raise UsageError(f"{name} is {value!r}: choose a number {allowed}")


@dataclass
class StackModel:
    """One model of a stack: its setting, what it has come to, and how it ended.

    `params` are the last parameters, set when the model has ended, and `best_params` those of
    the lowest validation loss so far, on the device; `status` is "running", or then "completed",
    "early_stopped" or "diverged".
    """

    setting: ModelSetting
    mlp: MLP
    status: str = "running"
    history: list[LogRow] = field(default_factory=list)
    params: Params | None = None
    best_params: Params | None = None

    @property
    def result(self) -> Params:
        """The best parameters, or without validation the last.

        Raises `DivergedError` for a model that has diverged before it was any good.
        """
        if self.status == "diverged" and self.best_params is None:
            raise DivergedError(
                f"the model with learning rate {self.setting.learning_rate:g} diverged before its "
                "first log point: choose a smaller one"
            )
        found = self.params if self.best_params is None else self.best_params
        if found is None:
            raise UsageError("the model has not been trained to its end")
        return found


def fit_stack(
    sizes: tuple[int, ...],
    settings: Sequence[ModelSetting],
    train: Source,
    *,
    steps: int,
    backend: Backend,
    batch_size: int | None = None,
    loss: str = "cross_entropy",
    schedule: Schedule | None = None,
    dropout: float = 0.0,
    log_every: int | None = None,
    validation: Source | None = None,
    patience: int | None = None,
    seed: int = 0,
) -> Iterator[list[StackModel]]:
    """Train a model a setting, all on the same batches; yield them at every log point.

    Each is trained as `fit` would train it alone with `seed` for its batches and the setting's
    seed for its weights. `patience` ends a model by itself; the others go on. The models are
    shared out over the backend's threads. Arguments are those of `fit`.
    Raises `UsageError` for settings that make no stack, `DataError` for data that do not fit.
    """
    settings = list(settings)
    if not settings:
        raise UsageError("there are no settings to train: give one or more")
    check_course(steps, log_every, patience, dropout, validation)
    check_alike([setting.optimizer for setting in settings])
    models = [StackModel(s, MLP(sizes, s.activation, loss)) for s in settings]
    for examples in (train, validation):
        if examples is not None:
            check_fit(models[0].mlp, examples, backend)
    # Neighbours of the same activation are worked on together.
    order = sorted(range(len(models)), key=lambda k: settings[k].activation)
    course = _Course(train, validation, batch_size, schedule or Constant(), dropout, patience, seed)
    groups = [
        _Group([models[k] for k in order[part]], course, backend)
        for part in even_parts(len(models), backend.shares(len(models)))
    ]
    every = log_every or batches_of(train, batch_size, seed=seed, backend=backend).steps_per_epoch

    def rounds() -> Iterator[list[StackModel]]:
        step = 0
        while step < steps and any(group.alive for group in groups):
            step = min(step + every - step % every, steps)
            at_work = [group for group in groups if group.alive]
            backend.run_apart([partial(group.advance, step, step == steps) for group in at_work])
            yield models

    return rounds()


@dataclass(frozen=True)
class _Course:
    """What all models have in common."""

    train: Source
    validation: Source | None
    batch_size: int | None
    schedule: Schedule
    dropout: float
    patience: int | None
    seed: int


class _Group:
    """A stack in training: neighbours on one thread, or all models on a GPU."""

    def __init__(self, models: list[StackModel], course: _Course, backend: Backend) -> None:
        self.alive = models
        self._course, self._backend = course, backend
        xp = backend.xp
        singles = [
            initial_params(
                m.mlp, seed=m.setting.seed, backend=backend, initializer=m.setting.initializer
            )
            for m in models
        ]
        params = stacked(singles, xp=xp)
        self._stack = list(models)
        with backend.computing():
            self._configure(params["layer1.weight"])
            state = self._optimizer.init(params, xp=xp)
        self._state = TrainingState(params, state, course.seed)
        self._batches = batches_of(
            course.train, course.batch_size, seed=course.seed, backend=backend
        )
        mlp = models[0].mlp
        keys = DropoutKeys(
            mlp.layers - 1, self._batches.steps_per_epoch, seed=course.seed, backend=backend
        )
        self._keys = keys if course.dropout else None
        self._seen: list[Taken] = []
        self._recorded: RecordedSteps | None = None

    def _configure(self, like: Array) -> None:
        """Put the hyperparameters of the stack's models together; a stopped one has rate 0."""
        settings, xp = [m.setting for m in self._stack], self._backend.xp
        self._mlp = mlp_of([model.mlp for model in self._stack])
        self._optimizer = optimizer_of([s.optimizer for s in settings], like=like, xp=xp)
        rates = [m.setting.learning_rate if m.status == "running" else 0.0 for m in self._stack]
        self._rates = together(rates, like=like, xp=xp)
        strengths = [
            together([getattr(s, n) for s in settings], like=like, xp=xp) for n in ("l2", "l1")
        ]
        self._penalty = (
            Penalty(strengths[0], strengths[1]) if any(s.l2 or s.l1 for s in settings) else None
        )

    def advance(self, step: int, last: bool, backend: Backend) -> None:
        """Train up to a step, on a backend, and log it."""
        state = self._state
        start = perf_counter()
        if self._recorded is None and can_be_recorded(self._batches, backend):
            self._recorded = self._record(backend)
        while state.step < step:
            taken = None
            if self._recorded is not None:
                taken = self._recorded.advance(state.step, step - state.step)
            if taken is None:
                self._recorded = None
                batch = self._batches.batch(state.step)
                factor = self._factor(state.step)
                rates = self._rates if factor == 1 else factor * self._rates
                keys = self._keys and self._keys.of(state.step)
                sums = self._step(state, batch, rates, keys, backend)
                with backend.computing():
                    taken = self._one(sums, batch.examples, backend)
            else:
                state.step += len(taken.sizes)
            self._seen.append(taken)
        factor = self._factor(state.step - 1)
        backend.synchronize()
        state.seconds += perf_counter() - start
        self._log(factor, backend)
        self._end(last, backend)

    def _factor(self, step: int) -> float:
        return self._course.schedule(step, self._batches.steps_per_epoch)

    def _step(
        self,
        state: TrainingState,
        batch: Batch,
        rates: float | Array,
        keys: Array | None,
        backend: Backend,
    ) -> Sums:
        return train_step(
            self._mlp,
            self._optimizer,
            state,
            batch,
            learning_rate=rates,
            backend=backend,
            penalty=self._penalty,
            dropout=self._course.dropout,
            dropout_keys=keys,
        )

    @staticmethod
    def _one(sums: Sums, size: int, backend: Backend) -> Taken:
        """Return one step's sums (models,) as those of several (models, 1)."""
        xp = backend.xp
        counts = None if sums.correct is None else xp.expand_dims(sums.correct, axis=-1)
        return Taken(xp.expand_dims(sums.loss, axis=-1), counts, [size])

    def _record(self, backend: Backend) -> RecordedSteps:
        """Return the stack's steps as a backend may record them."""
        own = replace(self._state)

        def take(batch: Batch, learning_rate: Array, dropout_keys: Array | None) -> Sums:
            return self._step(own, batch, learning_rate, dropout_keys, backend)

        def rates(step: int) -> list[float]:
            factor = self._factor(step)
            return [
                factor * m.setting.learning_rate if m.status == "running" else 0.0
                for m in self._stack
            ]

        return RecordedSteps(
            take,
            own.arrays,
            self._batches,  # type: ignore[arg-type]
            rates,
            self._keys,
            backend,
        )

    def _log(self, factor: float, backend: Backend) -> None:
        """Add a row to the history of each model that trains, and keep its best parameters."""
        state, course, xp = self._state, self._course, backend.xp
        losses, counts = ([getattr(t, name) for t in self._seen] for name in ("losses", "counts"))
        sizes = [size for taken in self._seen for size in taken.sizes]
        self._seen = []
        with backend.computing():
            read = backend.to_host(xp.concat(losses, axis=-1)).tolist()
            right = None
            if counts[0] is not None:
                right = backend.to_host(xp.sum(xp.concat(counts, axis=-1), axis=-1)).tolist()
        total = sum(sizes)
        found: tuple[Any, Any] = (None, None)
        if course.validation is not None:
            found = evaluate_unchecked(self._mlp, state.params, course.validation, backend)
        for place, model in enumerate(self._stack):
            if model.status != "running":
                continue
            row = LogRow(
                step=state.step,
                epoch=state.step / self._batches.steps_per_epoch,
                learning_rate=factor * model.setting.learning_rate,
                train_loss=fsum(map(mul, read[place], sizes)) / total,
                train_accuracy=right and right[place] / total,
                val_loss=found[0] and found[0][place],
                val_accuracy=found[1] and found[1][place],
                seconds=state.seconds,
            )
            if not (isfinite(row.train_loss) and isfinite(row.val_loss or 0.0)):
                model.status = "diverged"
                continue
            model.history.append(row)
            if best_row(model.history) is row:
                with backend.computing():
                    model.best_params = model_of(state.params, place, xp=xp)

    def _end(self, last: bool, backend: Backend) -> None:
        """End the models whose time has come; rid the stack of them where that pays."""
        patience, xp = self._course.patience, backend.xp
        for place, model in enumerate(self._stack):
            if model.status == "running":
                if patience is not None and rows_since_best(model.history) >= patience:
                    model.status = "early_stopped"
                elif last:
                    model.status = "completed"
            if model.status != "running" and model.params is None:
                with backend.computing():
                    model.params = model_of(self._state.params, place, xp=xp)
        before, self.alive = len(self.alive), [m for m in self.alive if m.status == "running"]
        if len(self.alive) == before or not self.alive:
            return
        state = self._state
        if len(self.alive) < _WORTH_KEEPING * len(self._stack):
            places = [place for place, m in enumerate(self._stack) if m.status == "running"]
            like = state.params["layer1.weight"]
            numbers = xp.asarray(places, dtype=xp.int64, device=like.device)
            with backend.computing():
                state.params = kept(state.params, numbers, xp=xp)
                state.optimizer_state = {
                    name: kept(arrays, numbers, xp=xp)
                    for name, arrays in state.optimizer_state.items()
                }
            self._stack = list(self.alive)
        with backend.computing():
            self._configure(state.params["layer1.weight"])
        self._recorded = None  # rates, or arrays, are others now
