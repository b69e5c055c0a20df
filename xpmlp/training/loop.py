"""The loop: steps, log points, early stopping, and what to do when a loss is no number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import fsum, isfinite
from time import perf_counter

from xpmlp.arrays import Array, Namespace, Params, copied
from xpmlp.backends import Backend
from xpmlp.data.batches import Batches, DropoutKeys, Order
from xpmlp.data.examples import Batch
from xpmlp.data.source import Source, batches_of
from xpmlp.errors import DivergedError, UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import Constant, Schedule
from xpmlp.training.history import LogRow, best_row, rows_since_best
from xpmlp.training.recording import RecordedSteps, Taken, can_be_recorded
from xpmlp.training.steps import (
    Interval,
    Sums,
    TrainingState,
    check_course,
    check_fit,
    evaluate_unchecked,
    train_step,
)

Save = Callable[[TrainingState], None]
OnStep = Callable[[int], bool | None]

# Losses waiting on the device are joined and read when there are so many.
_MAX_PENDING = 4096


def fit(
    mlp: MLP,
    state: TrainingState,
    train: Source,
    *,
    optimizer: Optimizer,
    learning_rate: float,
    steps: int,
    backend: Backend,
    batch_size: int | None = None,
    order: Order | None = None,
    schedule: Schedule | None = None,
    penalty: Penalty | None = None,
    penalized_loss: bool = False,
    dropout: float = 0.0,
    log_every: int | None = None,
    train_exact: bool = False,
    validation: Source | None = None,
    test: Source | None = None,
    patience: int | None = None,
    on_step: OnStep | None = None,
    save: Save | None = None,
    save_every: int | None = None,
) -> Iterator[LogRow]:
    """Train `state` up to step `steps`, yielding a row every `log_every` steps and at the end.

    Examples are on the backend's device. A `batch_size` of None is the full batch, a
    `log_every` of None an epoch; `order(epoch)` gives another order of the examples than the
    seed's; `dropout` is the share of hidden units left out of a step.
    `penalized_loss` adds the penalty to the training loss of a row.
    Stops early when `patience` validations in a row have not been better than the best before
    them. `state.result` holds the best weights, whatever ended the run.
    `on_step` gets the number of each step that is done, and may return True to end the run.
    `save` gets the state at every row, every `save_every` steps, and when the run ends; a state
    that is no longer finite does not reach it. The device is read at rows and saves alone.
    Raises `DivergedError`, with the state back at its last row or save.
    """
    for examples in (train, validation, test):
        if examples is not None:
            check_fit(mlp, examples, backend)
    batches = batches_of(train, batch_size, seed=state.seed, backend=backend, order=order)
    log_every = log_every or batches.steps_per_epoch
    check_course(steps, log_every, patience, dropout, validation)
    if state.params["layer1.weight"].ndim != 2:
        raise UsageError("fit trains one model: a stack is trained with fit_stack")
    backend.ranks.check_alike(
        {
            "the network": (mlp, mlp.loss),
            "the optimiser": (optimizer, learning_rate, schedule, penalty, dropout),
            "the training": (batch_size, steps, log_every, train_exact, patience, save_every),
            "the state": (state.seed, state.step),
            "the number of training examples": len(train),
            "the number of validation examples": 0 if validation is None else len(validation),
            "the number of test examples": 0 if test is None else len(test),
        }
    )
    keys = DropoutKeys(mlp.layers - 1, batches.steps_per_epoch, seed=state.seed, backend=backend)
    stepper = _Stepper(
        mlp,
        optimizer,
        batches,
        float(learning_rate),
        schedule or Constant(),
        penalty,
        penalized_loss,
        dropout,
        keys if dropout else None,
        backend,
    )
    run = _Run(stepper, state, save)

    def is_stale() -> bool:
        return patience is not None and rows_since_best(state.history) >= patience

    def next_event(step: int) -> int:
        """Return the next step after which there is something to do but to go on."""
        after = [every * (step // every + 1) for every in (log_every, save_every) if every]
        return min([steps, *after])

    # A function of its own: what is wrong above is said at once, not when a row is asked for.
    def rows() -> Iterator[LogRow]:
        state.status = "running" if state.step < steps and not is_stale() else state.status
        while state.status == "running":
            begun = state.step
            run.advance(next_event(begun) - begun if run.recorded else 1)
            stop = False
            if on_step is not None:
                for done in range(begun + 1, state.step + 1):
                    stop = bool(on_step(done)) or stop
            stop = backend.ranks.agreed(stop)
            row = None
            if state.step % log_every == 0 or state.step == steps:
                row = run.log(train if train_exact else None, validation, test)
                if is_stale():
                    state.status = "early_stopped"
                elif state.step == steps:
                    state.status = "completed"
            if stop and state.status == "running":
                state.status = "interrupted"
            due = save_every is not None and state.step % save_every == 0
            if row is not None or due or state.status != "running":
                run.save()
            if row is not None:
                yield row

    return rows()


@dataclass(frozen=True)
class _Stepper:
    """All that decides what a step does; the state and its step's number make it happen."""

    mlp: MLP
    optimizer: Optimizer
    batches: Batches
    learning_rate: float
    schedule: Schedule
    penalty: Penalty | None
    penalized_loss: bool
    dropout: float
    dropout_keys: DropoutKeys | None
    backend: Backend

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.learning_rate * self.schedule(step, self.batches.steps_per_epoch)

    def __call__(self, state: TrainingState) -> tuple[Sums, int]:
        """Take the next step; return the sums over its batch, and the batch's size."""
        batch = self.batches.batch(state.step)
        keys = self.dropout_keys and self.dropout_keys.of(state.step)
        return self._step(state, batch, self.rate(state.step), keys), batch.examples

    def _step(
        self, state: TrainingState, batch: Batch, learning_rate: float | Array, keys: Array | None
    ) -> Sums:
        return train_step(
            self.mlp,
            self.optimizer,
            state,
            batch,
            learning_rate=learning_rate,
            backend=self.backend,
            penalty=self.penalty,
            penalized_loss=self.penalized_loss,
            dropout=self.dropout,
            dropout_keys=keys,
        )

    def recorded(self, state: TrainingState) -> RecordedSteps | None:
        """Return these steps on the arrays of a state as a backend may record them."""
        if not can_be_recorded(self.batches, self.backend):
            return None
        own = replace(state)

        def take(batch: Batch, learning_rate: Array, dropout_keys: Array | None) -> Sums:
            return self._step(own, batch, learning_rate, dropout_keys)

        return RecordedSteps(
            take,
            own.arrays,
            self.batches,  # type: ignore[arg-type]
            self.rate,
            self.dropout_keys,
            self.backend,
        )

    def first_bad_layer(self, state: TrainingState) -> str:
        """Name where the forward pass of the next step stops being finite."""
        xp, batch = self.backend.xp, self.batches.batch(state.step)
        x, _ = batch.read(slice(0, min(batch.size, self.backend.piece_size)))
        with self.backend.computing():
            if not self._finite(x):
                return "the features"
            hidden = self.mlp.hidden_outputs(state.params, x, xp=xp)
            outputs, _ = self.mlp.forward(state.params, x, xp=xp)
            for layer, values in enumerate([*hidden, outputs], start=1):
                for kind in ("weight", "bias"):
                    if not self._finite(state.params[f"layer{layer}.{kind}"]):
                        return f"layer{layer}.{kind}"
                if not self._finite(values):
                    return f"the outputs of layer {layer}"
        return "the loss"

    def finite(self, params: Params) -> bool:
        """Tell whether all parameters are finite; reads the device."""
        with self.backend.computing():
            return all(self._finite(array) for array in params.values())

    def _finite(self, array: Array) -> bool:
        xp = self.backend.xp
        return bool(self.backend.to_host(xp.all(xp.isfinite(array))))


class _Run:
    """Takes steps, and settles from time to time what they have brought."""

    def __init__(self, stepper: _Stepper, state: TrainingState, save: Save | None) -> None:
        self._stepper, self._state, self._save = stepper, state, save
        self._backend = stepper.backend
        # Losses and counts on the device, and the batches' sizes, of steps not yet settled.
        self._pending: list[Taken] = []
        self._waiting = 0
        self._good = self._copy()
        self.recorded = stepper.recorded(state)

    def advance(self, limit: int) -> None:
        """Take a step, or several up to a limit where they are recorded; nothing is read back."""
        start, state = perf_counter(), self._state
        taken = None
        if self.recorded is not None:
            taken = self.recorded.advance(state.step, limit)
        if taken is None:
            self.recorded = None
            sums, size = self._stepper(state)
            taken = Taken(sums.loss, sums.correct, [size])
        else:
            state.step += len(taken.sizes)
        self._pending.append(taken)
        self._waiting += len(taken.sizes)
        state.seconds += perf_counter() - start
        if self._waiting >= _MAX_PENDING:
            self._settle()

    def save(self) -> None:
        """Hand the state over, if all of it is finite."""
        self._settle()
        if self._save is not None:
            self._save(self._state)

    def log(self, train: Source | None, validation: Source | None, test: Source | None) -> LogRow:
        """Add a row to the history, and keep the parameters if they are the best so far."""
        self._settle()
        state, interval = self._state, self._state.interval
        train_loss = fsum(interval.losses) / interval.examples
        train_accuracy = None if interval.correct is None else interval.correct / interval.examples
        if train is not None:
            train_loss, train_accuracy = self._evaluate("training", train)
        val_loss, val_accuracy, test_loss, test_accuracy = None, None, None, None
        if validation:
            val_loss, val_accuracy = self._evaluate("validation", validation)
        if test:
            test_loss, test_accuracy = self._evaluate("test", test)
        row = LogRow(
            step=state.step,
            epoch=state.step / self._stepper.batches.steps_per_epoch,
            learning_rate=self._stepper.rate(state.step - 1),
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=state.seconds,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
        )
        state.history.append(row)
        state.interval = Interval()
        self._good.interval = Interval()
        if best_row(state.history) is row:
            state.best_params = copied(state.params, xp=self._backend.xp)
        return row

    def _evaluate(self, name: str, examples: Source) -> tuple[float, float | None]:
        mlp, state = self._stepper.mlp, self._state
        with self._backend.ranks.untimed():
            loss, accuracy = evaluate_unchecked(mlp, state.params, examples, self._backend)
        if not isfinite(loss):
            self._diverged(state.step, state.step, f"the {name} loss is {loss}")
        return loss, accuracy

    def _settle(self) -> None:
        """Read the waiting losses and counts; roll back and raise where they are not finite."""
        if not self._pending:
            return  # nothing has changed since it was done last
        # A device may still be at work on steps that were handed to it: they count too.
        start = perf_counter()
        self._backend.synchronize()
        self._state.seconds += perf_counter() - start
        state, xp, first = self._state, self._backend.xp, self._state.step - self._waiting
        counts = [taken.counts for taken in self._pending]
        sizes = [size for taken in self._pending for size in taken.sizes]
        with self._backend.computing():
            losses = _joined([taken.losses for taken in self._pending], xp)
            read = self._backend.to_host(losses).tolist()
        self._pending, self._waiting = [], 0
        for number, loss in enumerate(read):
            if not isfinite(loss):
                at = first + number
                self._diverged(at, at + 1, f"the training loss is {loss}")
        state.interval.losses += [loss * n for loss, n in zip(read, sizes, strict=True)]
        state.interval.examples += sum(sizes)
        if counts[0] is None:
            state.interval.correct = None
        elif state.interval.correct is not None:
            with self._backend.computing():
                total = self._backend.to_host(xp.sum(_joined(counts, xp)))
            state.interval.correct += int(total)
        if not self._stepper.finite(self._state.params):
            done = self._state.step
            self._diverged(done, done, "the weights are no longer finite")
        self._good = self._copy()

    def _diverged(self, after: int, step: int, what: str) -> None:
        """Go back to the last good state and raise.

        Before that, the steps up to `after` are taken again, to see where the next forward
        pass first fails.
        """
        self._restore()
        while self._state.step < after:
            self._stepper(self._state)
        where = self._stepper.first_bad_layer(self._state)
        self._restore()
        rate = self._stepper.rate(max(step - 1, 0))
        raise DivergedError(
            f"{what} at step {step} with learning rate {rate:g}; it began in {where}: choose a "
            "smaller learning rate, or scale the features"
        )

    def _copy(self) -> TrainingState:
        """Copy what steps change in place; the rest is replaced and not changed."""
        state, xp = self._state, self._backend.xp
        interval = state.interval
        return replace(
            state,
            params=copied(state.params, xp=xp),
            optimizer_state={k: copied(v, xp=xp) for k, v in state.optimizer_state.items()},
            interval=replace(interval, losses=list(interval.losses)),
        )

    def _restore(self) -> None:
        good, state = self._good, self._state
        state.step, state.interval = good.step, good.interval
        state.params = good.params
        state.optimizer_state = good.optimizer_state
        self._good = self._copy()
        # The arrays are others now.
        self.recorded = self._stepper.recorded(state) if self.recorded else None


def _joined(arrays: list[Array], xp: Namespace) -> Array:
    """Return the values of steps (), or of several (steps,) each, in one array."""
    if all(array.ndim == 0 for array in arrays):
        return xp.stack(arrays)
    return xp.concat([xp.reshape(array, (-1,)) for array in arrays])
