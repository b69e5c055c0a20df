"""Training: one step, and the loop that turns examples into a history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter
from typing import Self

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.backends import Backend
from xpmlp.data.batches import DropoutKeys
from xpmlp.data.examples import Batch, Examples
from xpmlp.data.source import Source, batches_of
from xpmlp.dropout import dropout_mask
from xpmlp.errors import DataError, DivergedError, UsageError
from xpmlp.metrics import count_correct
from xpmlp.mlp import MLP, Masks
from xpmlp.optimizers import Optimizer, OptimizerState
from xpmlp.penalties import Penalty
from xpmlp.randomness import random_stream
from xpmlp.schedules import Constant, Schedule


@dataclass
class Sums:
    """What is added up over examples: loss, correct predictions, gradients.

    There is nothing to count in a regression: `correct` is None.
    """

    loss: Array
    correct: Array | None
    gradients: Params = field(default_factory=dict)

    def __iadd__(self, other: Self) -> Self:
        self.loss += other.loss
        if self.correct is not None:
            self.correct += other.correct
        for name, gradient in other.gradients.items():
            self.gradients[name] += gradient
        return self


def loss_and_gradients(
    mlp: MLP,
    params: Params,
    x: Array,
    y: Array,
    *,
    examples: int,
    xp: Namespace,
    masks: Masks | None = None,
) -> Sums:
    """Return the share of x in the mean loss over `examples`, and in its gradients.

    A pure function of parameters and a slice: the results of slices that cover a batch add
    up to the batch's mean loss and gradients, however it was cut.
    """
    outputs, backprop = mlp.forward(params, x, xp=xp, masks=masks)
    loss, doutputs = mlp.loss_function(outputs, y, scale=1 / examples, xp=xp)
    return Sums(loss, _correct(outputs, y, xp), backprop(doutputs))


def evaluate(
    mlp: MLP, params: Params, examples: Source, *, backend: Backend
) -> tuple[float, float | None]:
    """Return mean loss and accuracy over examples; a regression has no accuracy.

    Raises `DataError` for examples that do not fit the network.
    """
    check_fit(mlp, examples, backend)
    return _evaluate(mlp, params, examples, backend)


def _evaluate(
    mlp: MLP, params: Params, examples: Source, backend: Backend
) -> tuple[float, float | None]:
    batch, xp = examples.whole(backend), backend.xp

    def sums_of(piece: slice) -> Sums:
        x, y = batch.read(piece)
        outputs, _ = mlp.forward(params, x, xp=xp)
        loss, _ = mlp.loss_function(outputs, y, scale=1 / batch.size, xp=xp)
        return Sums(loss, _correct(outputs, y, xp))

    with backend.computing():
        sums = backend.sum_over_examples(sums_of, batch.size)
    return _means(sums.loss, sums.correct, 1, batch.size, backend)


def check_fit(mlp: MLP, examples: Source, backend: Backend) -> None:
    """Raise `DataError` unless the network has an input a feature and an output a class.

    Looks at all labels once.
    """
    features, outputs = mlp.sizes[0], mlp.sizes[-1]
    if examples.features != features:
        raise DataError(
            f"the network takes {features} features and the data has {examples.features}: they do "
            "not fit"
        )
    needed = examples.outputs(backend)
    exactly = isinstance(examples, Examples) and examples.y.ndim == 2
    if needed > outputs or (exactly and needed < outputs):
        raise DataError(
            f"the network has {outputs} outputs and the data needs {needed}: they do not fit"
        )


def _correct(outputs: Array, y: Array, xp: Namespace) -> Array | None:
    return count_correct(outputs, y, xp=xp) if xp.isdtype(y.dtype, "integral") else None


def _means(
    loss: Array, correct: Array | None, loss_examples: int, examples: int, backend: Backend
) -> tuple[float, float | None]:
    """Read sums back to the host and divide them by their examples."""
    mean = float(backend.to_host(loss)) / loss_examples
    return mean, None if correct is None else float(backend.to_host(correct)) / examples


@dataclass
class TrainingState:
    """Everything that a step changes, and the seed that decides what is drawn for it."""

    params: Params
    optimizer_state: OptimizerState
    seed: int
    step: int = 0
    seconds: float = 0.0


def initial_state(
    mlp: MLP, optimizer: Optimizer, *, seed: int, backend: Backend, initializer: str = "xavier"
) -> TrainingState:
    """Draw the initial weights of a seed and move them to the backend's device."""
    drawn = mlp.init(random_stream(seed, "weights"), initializer)
    params = {name: backend.to_device(array) for name, array in drawn.items()}
    return TrainingState(params, optimizer.init(params, xp=backend.xp), seed)


@dataclass(frozen=True)
class LogRow:
    """One log point. `seconds` are spent in training steps, evaluations left out.

    Training loss and accuracy are means over the examples trained on since the previous
    row, or, with `train_exact`, of the whole training set at this step. Losses are of the
    data alone, without penalties, so that training and validation can be compared.
    """

    step: int
    epoch: float
    learning_rate: float
    train_loss: float
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    test_loss: float | None = None
    test_accuracy: float | None = None


def train_step(
    mlp: MLP,
    optimizer: Optimizer,
    state: TrainingState,
    batch: Batch,
    *,
    learning_rate: float | Array,
    backend: Backend,
    penalty: Penalty | None = None,
    dropout: float = 0.0,
    dropout_keys: Array = None,
) -> Sums:
    """Train on a batch and return the sums over its examples.

    The mean gradient is put together from slices of the batch, scheduled by the backend.
    Nothing is read back from the device.
    """
    xp = backend.xp

    def sums_of(piece: slice) -> Sums:
        x, y = batch.read(piece)

        def masks(layer: int, a: Array) -> Array:
            key = dropout_keys[layer - 1, ...]
            return dropout_mask(key, a, dropout, first_row=piece.start, xp=xp)

        return loss_and_gradients(
            mlp,
            state.params,
            x,
            y,
            examples=batch.size,
            xp=xp,
            masks=masks if dropout else None,
        )

    with backend.computing():
        sums = backend.sum_over_examples(sums_of, batch.size)
        if penalty is not None:
            penalty.add_gradients(sums.gradients, state.params, xp=xp)
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
    train: Source,
    *,
    optimizer: Optimizer,
    learning_rate: float,
    steps: int,
    backend: Backend,
    batch_size: int | None = None,
    schedule: Schedule | None = None,
    penalty: Penalty | None = None,
    dropout: float = 0.0,
    log_every: int | None = None,
    train_exact: bool = False,
    validation: Source | None = None,
    test: Source | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[LogRow]:
    """Train `state` up to step `steps`, yielding a row every `log_every` steps and at the end.

    Examples are on the backend's device. A `batch_size` of None is the full batch; `dropout`
    the share of hidden units left out of a step; `log_every` an epoch by default. `on_step`
    is called with the step's number after each step. The device is read at log points alone.
    Raises `DivergedError` at the log point where the training loss is no longer finite.
    """
    for examples in (train, validation, test):
        if examples is not None:
            check_fit(mlp, examples, backend)
    batches = batches_of(train, batch_size, seed=state.seed, backend=backend)
    epoch_steps = batches.steps_per_epoch
    log_every = log_every or epoch_steps
    schedule = schedule or Constant()
    if steps < 1 or log_every < 1:
        raise UsageError(f"steps ({steps}) and log_every ({log_every}) must be at least 1")
    if not 0 <= dropout < 1:
        raise UsageError(f"a dropout of {dropout} is not a share of units: choose 0 to below 1")
    keys = DropoutKeys(mlp.layers - 1, epoch_steps, seed=state.seed, backend=backend)

    # A function of its own: what is wrong above is said at once, not when a row is asked for.
    def rows() -> Iterator[LogRow]:
        means = _RunningMeans()
        started = perf_counter()
        while state.step < steps:
            step = state.step
            rate = learning_rate * schedule(step, epoch_steps)
            batch = batches.batch(step)
            sums = train_step(
                mlp,
                optimizer,
                state,
                batch,
                learning_rate=rate,
                backend=backend,
                penalty=penalty,
                dropout=dropout,
                dropout_keys=keys.of(step) if dropout else None,
            )
            means.add(sums, batch.size)
            if on_step is not None:
                on_step(state.step)
            if state.step % log_every and state.step < steps:
                continue

            backend.synchronize()
            state.seconds += perf_counter() - started
            if train_exact:
                train_loss, train_accuracy = _evaluate(mlp, state.params, train, backend)
            else:
                train_loss, train_accuracy = means.read(backend)
            if not isfinite(train_loss):
                raise DivergedError(
                    f"the training loss is {train_loss} at step {state.step} with learning rate "
                    f"{rate:g}: choose a smaller learning rate, or scale the features"
                )
            (val_loss, val_accuracy), (test_loss, test_accuracy) = (
                _evaluate(mlp, state.params, examples, backend) if examples else (None, None)
                for examples in (validation, test)
            )
            yield LogRow(
                step=state.step,
                epoch=state.step / epoch_steps,
                learning_rate=rate,
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

    return rows()


class _RunningMeans:
    """Loss and accuracy over the examples of several batches, added up on the device."""

    def __init__(self) -> None:
        self._examples = 0
        self._loss: Array = 0.0
        self._correct: Array = 0

    def add(self, sums: Sums, size: int) -> None:
        self._examples += size
        self._loss = self._loss + size * sums.loss
        self._correct = None if sums.correct is None else self._correct + sums.correct

    def read(self, backend: Backend) -> tuple[float, float | None]:
        return _means(self._loss, self._correct, self._examples, self._examples, backend)
