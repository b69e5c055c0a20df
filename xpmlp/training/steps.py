"""Training: loss and gradients of examples, their evaluation, and one step along them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.backends import Backend, Summable
from xpmlp.data.examples import Batch, Examples
from xpmlp.data.shared import SharedExamples
from xpmlp.data.source import Source
from xpmlp.errors import DataError, UsageError
from xpmlp.mathematics.dropout import dropout_mask
from xpmlp.mathematics.metrics import count_correct
from xpmlp.mathematics.mlp import MLP, Masks, Multiply
from xpmlp.mathematics.optimizers import Optimizer, OptimizerState
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.products import Product, accumulate, multiplied
from xpmlp.randomness import random_stream
from xpmlp.training.history import LogRow


@dataclass
class Sums(Summable):
    """What is added up over examples: loss, correct predictions, gradients.

    There is nothing to count in a regression: `correct` is None. Gradients may be products
    that are not multiplied out; the first addition does that, and later ones add to it.
    """

    loss: Array
    correct: Array | None
    gradients: dict[str, Any] = field(default_factory=dict)
    xp: Namespace = None

    def add(self, other: Self) -> None:
        """Add the sums over other examples."""
        self.loss += other.loss
        if self.correct is not None:
            self.correct += other.correct
        for name, gradient in other.gradients.items():
            total = multiplied(self.gradients[name], xp=self.xp)
            self.gradients[name] = accumulate(total, gradient, xp=self.xp)

    def complete(self) -> None:
        """Multiply out the gradients."""
        self.gradients = {name: multiplied(g, xp=self.xp) for name, g in self.gradients.items()}

    def arrays(self) -> list[Array]:
        """Loss, correct predictions if they are counted, gradients."""
        counted = [] if self.correct is None else [self.correct]
        return [self.loss, *counted, *self.gradients.values()]

    def take(self, arrays: list[Array]) -> None:
        """Take other values for them."""
        rest = iter(arrays)
        self.loss = next(rest)
        if self.correct is not None:
            self.correct = next(rest)
        self.gradients = dict(zip(self.gradients, rest, strict=True))


def loss_and_gradients(
    mlp: MLP,
    params: Params,
    x: Array,
    y: Array,
    *,
    scale: float | Array,
    xp: Namespace,
    weights: Array | None = None,
    masks: Masks | None = None,
    multiply: Multiply | None = None,
) -> Sums:
    """Return `scale` times the sum of the losses of x, and its gradients.

    A pure function of parameters and a slice: with 1/N the results of slices that cover a batch
    of N add up to its mean loss and gradients, however it was cut. `weights` (N,) says how many
    times each example counts. Gradients are arrays, unless `multiply` says otherwise.
    """
    outputs, backprop = mlp.forward(params, x, xp=xp, masks=masks)
    loss, doutputs = mlp.loss_function(outputs, y, scale=scale, weights=weights, xp=xp)
    gradients = backprop(doutputs, multiply) if multiply else backprop(doutputs)
    return Sums(loss, _correct(outputs, y, xp), gradients, xp)


def evaluate(
    mlp: MLP, params: Params, examples: Source, *, backend: Backend
) -> tuple[float, float | None]:
    """Return mean loss and accuracy over examples; a regression has no accuracy.

    Of a stack both are lists, with a value a model.

    Raises `DataError` for examples that do not fit the network.
    """
    check_fit(mlp, examples, backend)
    return evaluate_unchecked(mlp, params, examples, backend)


def evaluate_unchecked(
    mlp: MLP, params: Params, examples: Source, backend: Backend
) -> tuple[float, float | None]:
    """Evaluate examples that have been found to fit already."""
    batch, xp = examples.whole(backend), backend.xp

    def sums_of(piece: slice) -> Sums:
        x, y = batch.read(piece)
        weights = batch.weights_of(piece)
        outputs, _ = mlp.forward(params, x, xp=xp)
        loss, _ = mlp.loss_function(outputs, y, scale=scale, weights=weights, xp=xp)
        return Sums(loss, _correct(outputs, y, xp, weights))

    with backend.computing():
        scale = batch.scale(xp=xp)
        sums = backend.sum_over_examples(sums_of, batch.size, mlp.step_flop() / 3)
        if sums.correct is None:
            return backend.to_host(sums.loss).tolist(), None
        if batch.weights is not None:
            sums.correct *= scale
    loss, correct = (backend.to_host(array) for array in (sums.loss, sums.correct))
    if batch.weights is None:
        correct = correct / batch.examples
    return loss.tolist(), correct.tolist()


def check_fit(mlp: MLP, examples: Source, backend: Backend) -> None:
    """Raise `DataError` unless the network has an input a feature and an output a class.

    Looks at all labels once. Raises `UsageError` for examples that ranks have not shared out.
    """
    check_shared_out(examples, backend)
    features, outputs = mlp.sizes[0], mlp.sizes[-1]
    if examples.features != features:
        raise DataError(
            f"the network takes {features} features and the data has {examples.features}: they do "
            "not fit"
        )
    needed = examples.outputs(backend)
    exactly = isinstance(examples, Examples | SharedExamples) and examples.y.ndim == 2
    if needed > outputs or (exactly and needed < outputs):
        raise DataError(
            f"the network has {outputs} outputs and the data needs {needed}: they do not fit"
        )


def check_shared_out(examples: Source, backend: Backend) -> None:
    """Raise `UsageError` for examples that every rank would add to the same sum."""
    if backend.ranks.count > 1 and not isinstance(examples, SharedExamples):
        raise UsageError(
            f"{backend.ranks.count} ranks would each count all examples: share them out with "
            "xpmlp.data.shared_out(examples, backend.ranks), validation and test sets too"
        )


def check_course(
    steps: int,
    log_every: int | None,
    patience: int | None,
    dropout: float,
    validation: Source | None,
) -> None:
    """Raise `UsageError` for what no training can be asked to do."""
    for name, value in (("steps", steps), ("log_every", log_every), ("patience", patience)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}: choose 1 or more")
    if not 0 <= dropout < 1:
        raise UsageError(f"a dropout of {dropout} is not a share of units: choose 0 to below 1")
    if patience is not None and validation is None:
        raise UsageError(f"a patience of {patience} needs a validation set to wait for")


def _correct(outputs: Array, y: Array, xp: Namespace, weights: Array | None = None) -> Array | None:
    if not xp.isdtype(y.dtype, "integral"):
        return None
    return count_correct(outputs, y, xp=xp, weights=weights)


@dataclass
class Interval:
    """What the steps since the last log point have brought, on the host.

    `losses` are the steps' mean losses times their examples; `correct` is None in a regression.
    """

    losses: list[float] = field(default_factory=list)
    correct: int | None = 0
    examples: int = 0


@dataclass
class TrainingState:
    """Everything that training changes, and the seed that decides what is drawn for it.

    `best_params` are the parameters at the lowest validation loss so far, None without one.
    `status` is "started", "running", or how `fit` ended: "completed", "early_stopped" or
    "interrupted".
    """

    params: Params
    optimizer_state: OptimizerState
    seed: int
    step: int = 0
    seconds: float = 0.0
    history: list[LogRow] = field(default_factory=list)
    interval: Interval = field(default_factory=Interval)
    best_params: Params | None = None
    status: str = "started"

    def arrays(self) -> list[Array]:
        """Return all that a step changes: parameters and what the optimiser remembers."""
        moments = [array for arrays in self.optimizer_state.values() for array in arrays.values()]
        return [*self.params.values(), *moments]

    @property
    def result(self) -> Params:
        """What the training is for: the best parameters, or without validation the last."""
        return self.params if self.best_params is None else self.best_params


def initial_params(mlp: MLP, *, seed: int, backend: Backend, initializer: str = "xavier") -> Params:
    """Draw the initial weights of a seed and move them to the backend's device."""
    drawn = mlp.init(random_stream(seed, "weights"), initializer)
    return {name: backend.to_device(array) for name, array in drawn.items()}


def initial_state(
    mlp: MLP, optimizer: Optimizer, *, seed: int, backend: Backend, initializer: str = "xavier"
) -> TrainingState:
    """Return the state before the first step, with the initial weights of a seed."""
    params = initial_params(mlp, seed=seed, backend=backend, initializer=initializer)
    with backend.computing():
        return TrainingState(params, optimizer.init(params, xp=backend.xp), seed)


def train_step(
    mlp: MLP,
    optimizer: Optimizer,
    state: TrainingState,
    batch: Batch,
    *,
    learning_rate: float | Array,
    backend: Backend,
    penalty: Penalty | None = None,
    penalized_loss: bool = False,
    dropout: float = 0.0,
    dropout_keys: Array = None,
) -> Sums:
    """Train on a batch and return the sums over its examples.

    The mean gradient is put together from slices of the batch, scheduled by the backend. The
    loss is that of the data, and with `penalized_loss` of the penalty too. Nothing is read
    back from the device.
    """
    xp = backend.xp
    if dropout and dropout_keys is None:
        raise UsageError("dropout needs the keys of its masks (DropoutKeys)")

    def sums_of(piece: slice) -> Sums:
        x, y = batch.read(piece)

        def masks(layer: int, a: Array) -> Array:
            key = dropout_keys[layer - 1, ...]
            rows = batch.rows(piece, like=a, xp=xp)
            return dropout_mask(key, a, dropout, rows=rows, xp=xp)

        return loss_and_gradients(
            mlp,
            state.params,
            x,
            y,
            scale=scale,
            weights=batch.weights_of(piece),
            xp=xp,
            masks=masks if dropout else None,
            multiply=Product,
        )

    flop = mlp.step_flop()
    with backend.computing(flop * batch.size):
        scale = batch.scale(xp=xp)
        sums = backend.sum_over_examples(sums_of, batch.size, flop)
        if penalty is not None:
            penalty = penalty.in_a_batch(scale)
            if penalized_loss:
                sums.loss += penalty.loss(state.params, xp=xp)
            sums.gradients = penalty.added_to(sums.gradients, state.params, xp=xp)
        state.params, state.optimizer_state = optimizer.update(
            state.params,
            sums.gradients,
            state.optimizer_state,
            learning_rate=learning_rate,
            xp=xp,
        )
    state.step += 1
    return sums
