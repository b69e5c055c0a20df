"""Training: one step, and the loop that turns examples into a history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter
from typing import Self

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.backends import Backend
from xpmlp.data.batches import Batches
from xpmlp.data.dataset import Examples
from xpmlp.errors import DivergedError, UsageError
from xpmlp.losses import softmax_cross_entropy
from xpmlp.metrics import count_correct
from xpmlp.mlp import MLP
from xpmlp.optimizers import Optimizer, OptimizerState
from xpmlp.randomness import random_stream


@dataclass
class Sums:
    """What is added up over examples: loss, correct predictions, gradients."""

    loss: Array
    correct: Array
    gradients: Params = field(default_factory=dict)

    def __iadd__(self, other: Self) -> Self:
        self.loss += other.loss
        self.correct += other.correct
        for name, gradient in other.gradients.items():
            self.gradients[name] += gradient
        return self


def loss_and_gradients(
    mlp: MLP, params: Params, x: Array, y: Array, *, examples: int, xp: Namespace
) -> Sums:
    """Return the share of x in the mean loss over `examples`, and in its gradients.

    A pure function of parameters and a slice: the results of slices that cover a batch add
    up to the batch's mean loss and gradients, however it was cut.
    """
    logits, backprop = mlp.forward(params, x, xp=xp)
    loss, dlogits = softmax_cross_entropy(logits, y, scale=1 / examples, xp=xp)
    return Sums(loss, count_correct(logits, y, xp=xp), backprop(dlogits))


def evaluate(
    mlp: MLP, params: Params, examples: Examples, *, backend: Backend
) -> tuple[float, float]:
    """Return mean loss and accuracy over examples, read back to the host."""
    n, xp = len(examples), backend.xp

    def sums_of(piece: slice) -> Sums:
        x, y = examples.x[piece, ...], examples.y[piece]
        logits, _ = mlp.forward(params, x, xp=xp)
        loss, _ = softmax_cross_entropy(logits, y, scale=1 / n, xp=xp)
        return Sums(loss, count_correct(logits, y, xp=xp))

    with backend.computing():
        sums = backend.sum_over_examples(sums_of, n)
    return float(backend.to_host(sums.loss)), float(backend.to_host(sums.correct)) / n


@dataclass
class TrainingState:
    """Everything that a step changes."""

    params: Params
    optimizer_state: OptimizerState
    step: int = 0
    seconds: float = 0.0


def initial_state(
    mlp: MLP, optimizer: Optimizer, *, seed: int, backend: Backend, initializer: str = "xavier"
) -> TrainingState:
    """Draw the initial weights of a seed and move them to the backend's device."""
    drawn = mlp.init(random_stream(seed, "weights"), initializer)
    params = {name: backend.to_device(array) for name, array in drawn.items()}
    return TrainingState(params, optimizer.init(params, xp=backend.xp))


@dataclass(frozen=True)
class LogRow:
    """One log point. `seconds` are spent in training steps, evaluations left out.

    With `train_exact`, training loss and accuracy are of the whole training set at this
    step; else they are means over the examples trained on since the previous row.
    """

    step: int
    epoch: float
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    test_loss: float | None = None
    test_accuracy: float | None = None


def train_step(
    mlp: MLP,
    optimizer: Optimizer,
    state: TrainingState,
    train: Examples,
    rows: Array | None,
    *,
    learning_rate: float | Array,
    backend: Backend,
) -> Sums:
    """Train on the examples that `rows` names (all, in order, for None); return their sums.

    The mean gradient over the batch is put together from slices of it, scheduled by the
    backend. Nothing is read back from the device.
    """
    xp = backend.xp
    n = len(train) if rows is None else int(rows.shape[0])

    def sums_of(piece: slice) -> Sums:
        if rows is None:
            x, y = train.x[piece, ...], train.y[piece]
        else:
            x, y = (xp.take(array, rows[piece], axis=0) for array in (train.x, train.y))
        return loss_and_gradients(mlp, state.params, x, y, examples=n, xp=xp)

    with backend.computing():
        sums = backend.sum_over_examples(sums_of, n)
        state.params, state.optimizer_state = optimizer.update(
            state.params,
            sums.gradients,
            state.optimizer_state,
            learning_rate=learning_rate,
            xp=xp,
        )
    state.step += 1
    return sums


def fit(
    mlp: MLP,
    state: TrainingState,
    train: Examples,
    *,
    optimizer: Optimizer,
    learning_rate: float,
    batches: Batches,
    steps: int,
    backend: Backend,
    log_every: int | None = None,
    train_exact: bool = False,
    validation: Examples | None = None,
    test: Examples | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[LogRow]:
    """Train `state` up to step `steps`, yielding a row every `log_every` steps and at the end.

    Examples are on the backend's device. `log_every` is an epoch by default, `on_step` is
    called with the step's number after each step. The device is read at log points alone.
    Raises `DivergedError` at the log point where the training loss is no longer finite.
    """
    log_every = log_every or batches.steps_per_epoch
    if steps < 1 or log_every < 1:
        raise UsageError(f"steps ({steps}) and log_every ({log_every}) must be at least 1")
    means = _RunningMeans()
    started = perf_counter()
    while state.step < steps:
        rows = batches.rows(state.step)
        size = batches.size(state.step)
        sums = train_step(
            mlp, optimizer, state, train, rows, learning_rate=learning_rate, backend=backend
        )
        means.add(sums, size)
        if on_step is not None:
            on_step(state.step)
        if state.step % log_every and state.step < steps:
            continue

        backend.synchronize()
        state.seconds += perf_counter() - started
        if train_exact:
            train_loss, train_accuracy = evaluate(mlp, state.params, train, backend=backend)
        else:
            train_loss, train_accuracy = means.read(backend)
        if not isfinite(train_loss):
            raise DivergedError(
                f"the training loss is {train_loss} at step {state.step} with learning rate "
                f"{learning_rate:g}: choose a smaller learning rate, or scale the features"
            )
        (val_loss, val_accuracy), (test_loss, test_accuracy) = (
            evaluate(mlp, state.params, examples, backend=backend) if examples else (None, None)
            for examples in (validation, test)
        )
        yield LogRow(
            step=state.step,
            epoch=state.step / batches.steps_per_epoch,
            learning_rate=learning_rate,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=state.seconds,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
        )
        means = _RunningMeans()
        started = perf_counter()


class _RunningMeans:
    """Loss and accuracy over the examples of several batches, added up on the device."""

    def __init__(self) -> None:
        self._examples = 0
        self._loss: Array = 0.0
        self._correct: Array = 0

    def add(self, sums: Sums, size: int) -> None:
        self._examples += size
        self._loss = self._loss + size * sums.loss
        self._correct = self._correct + sums.correct

    def read(self, backend: Backend) -> tuple[float, float]:
        loss, correct = backend.to_host(self._loss), backend.to_host(self._correct)
        return float(loss) / self._examples, float(correct) / self._examples
