"""What is trained, and how: two small objects that are checked when they are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

from xpmlp.data.batches import Order, steps_per_epoch
from xpmlp.data.held_out import left_by_folds
from xpmlp.errors import UsageError, check_known
from xpmlp.mathematics.initializers import INITIALIZERS
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import SGD, Optimizer
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import Constant, Schedule
from xpmlp.regularization import AVERAGE, COUNT, Regularization, smoothed
from xpmlp.rules import ABOVE_0, FROM_0, SHARE, check, whole
from xpmlp.training.history import LogRow

# Epochs of a plan that does not say how long.
_EPOCHS = 20
# A sigmoid passes on at most a quarter of a gradient: its layers bear larger learning rates.
_SIGMOID_FACTOR = 5
# What the settings of optimisers may be, as numbers; arrays of a stack are made of such.
_OPTIMIZER_RULES = {
    **dict.fromkeys(("momentum", "decay", "beta1", "beta2"), SHARE),
    "epsilon": ABOVE_0,
    "weight_decay": FROM_0,
}


@dataclass(frozen=True)
class Model:
    """What is trained: a network, and how each of its steps is taken.

    `mlp`: the network. `optimizer`: the update rule. `learning_rate`: α > 0, by default one that
    suits the rule and the activation. `penalty`: on the weights, None for none. `initializer`: the
    name of the distribution of the initial weights, which `seed` ≥ 0 draws, as it does, with that
    of the plan, what `regularization` draws: what makes training harder, such as dropout.
    Raises `UsageError` for anything else.

    >>> from xpmlp import MLP, Adam, Model
    >>> Model(MLP((64, 100, 10)), Adam()).learning_rate
    0.001
    """

    mlp: MLP
    optimizer: Optimizer = field(default_factory=SGD)
    learning_rate: float | None = None
    penalty: Penalty | None = None
    initializer: str = "xavier"
    seed: int = 0
    regularization: Regularization = field(default_factory=Regularization)

    def __post_init__(self) -> None:
        if not isinstance(self.mlp, MLP):
            raise UsageError(f"{self.mlp!r} is no network: give one such as MLP((64, 10))")
        if not isinstance(self.penalty, Penalty | None):
            raise UsageError(f"penalty {self.penalty!r} is none: give one such as Penalty(l2=0.01)")
        if not isinstance(self.optimizer, Optimizer):
            raise UsageError(f"optimizer {self.optimizer!r} is none: give one such as Adam()")
        if taken := {AVERAGE, COUNT}.intersection(self.optimizer.moments):
            raise UsageError(
                f"{type(self.optimizer).__name__} has a moment {taken.pop()!r}, the name of the "
                "average of the weights: give it another name"
            )
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", usual_learning_rate(self.mlp, self.optimizer))
        check("learning_rate", self.learning_rate, ABOVE_0)
        for setting, rule in _OPTIMIZER_RULES.items():
            if isinstance(value := getattr(self.optimizer, setting, None), Real):
                check(setting, value, rule)
        check_known("initialiser", self.initializer, INITIALIZERS)
        check("seed", self.seed, whole(0))
        if not isinstance(self.regularization, Regularization):
            raise UsageError(
                f"regularization is {self.regularization!r}: give one such as "
                "Regularization(dropout=0.5)"
            )
        smoothed(self.mlp.loss, [self.regularization.label_smoothing])  # raises, where it must
        if self.mlp.layers == 1 and (self.regularization.dropout or self.regularization.noise):
            raise UsageError(
                f"dropout and noise are of hidden units, and {self.mlp} has none: leave them out"
            )

    @property
    def rate(self) -> float:
        """The learning rate as a number."""
        return float(self.learning_rate)  # type: ignore[arg-type]


def usual_learning_rate(mlp: MLP, optimizer: Optimizer) -> float:
    """Return a learning rate that suits an update rule and the network's activations."""
    names = {mlp.activation} if isinstance(mlp.activation, str) else set(mlp.activation)
    larger = optimizer.scales_with_gradient and names == {"sigmoid"}
    return optimizer.usual_rate * (_SIGMOID_FACTOR if larger else 1)


@dataclass(frozen=True)
class Plan:
    """How models are trained: for how long, on which batches, and what is looked at on the way.

    `epochs` or `steps`: passes over the training set, or updates (by default 20 epochs).
    `batch_size`: examples per step, None for the full batch. `schedule`: the factor of the
    learning rate, and `momentum` that of the optimiser's momentum, None where it stays.
    `log_every`: steps between two log points, None for an epoch. `patience`: stop a model when so
    many validations in a row were not better than its best before them, None for never. `stop`: a
    rule of your own, stop(history) → whether a model with these log points ends there.
    `train_exact`: evaluate the whole training set at a log point, in place of the mean over the
    steps since the one before; `log_test`: evaluate the test set there, too. `save_every`: save
    after so many steps, and at every log point.
    `folds`: deal the training examples into so many parts; model k of a stack trains on all but one
    of them in turn, and is validated on that one. `seed`: of the batches, the folds, and what
    regularisation draws. `order(epoch)`: another order of the examples in an epoch, a permutation
    on the host; the full batch has none.
    Raises `UsageError` for what no training can be asked.

    >>> from xpmlp import Plan
    >>> Plan(epochs=5, batch_size=100).steps_for(1050)
    55
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = 64
    schedule: Schedule = field(default_factory=Constant)
    momentum: Schedule | None = None
    log_every: int | None = None
    patience: int | None = None
    stop: Callable[[list[LogRow]], bool] | None = None
    train_exact: bool = False
    log_test: bool = False
    save_every: int | None = None
    seed: int = 0
    order: Order | None = None
    folds: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise UsageError(f"{self.epochs} epochs and {self.steps} steps: give one of them")
        for name in (
            "epochs",
            "steps",
            "batch_size",
            "log_every",
            "patience",
            "save_every",
            "folds",
        ):
            if getattr(self, name) is not None:
                check(name, getattr(self, name), whole(1))
        check("seed", self.seed, whole(0))
        for name in ("schedule", "momentum", "stop", "order"):
            value: object = getattr(self, name)
            if not callable(value) and (name == "schedule" or value is not None):
                raise UsageError(f"{name} is {value!r}: give a function, such as Cosine(steps)")

    def steps_for(self, examples: int) -> int:
        """Return the number of steps in all, for so many training examples."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or _EPOCHS) * self.steps_per_epoch(examples)

    def steps_per_epoch(self, examples: int) -> int:
        """Return the number of steps of an epoch, for so many training examples."""
        return steps_per_epoch(self.trained_on(examples), self.batch_size)

    def trained_on(self, examples: int) -> int:
        """Return how many of so many training examples each model trains on: but for its fold."""
        return examples if self.folds is None else left_by_folds(examples, self.folds)


def check_asked(model: object, plan: object) -> None:
    """Raise `UsageError` unless these are a model and a plan."""
    for name, kind, given in (("model", Model, model), ("plan", Plan, plan)):
        if not isinstance(given, kind):
            raise UsageError(f"{name} is a {type(given).__name__}: give a {kind.__name__}(...)")
