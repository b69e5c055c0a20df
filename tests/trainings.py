"""Trainings by keywords: what a test is about is named, and the rest is put together here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xpmlp import (
    MLP,
    SGD,
    Adam,
    AdamW,
    Constant,
    Dataset,
    Examples,
    LogRow,
    Model,
    ModelState,
    Momentum,
    Nesterov,
    Optimizer,
    Penalty,
    Plan,
    Regularization,
    RMSprop,
    StackTraining,
    Training,
    TrainingState,
    Warmup,
    initial_state as state_of,
)
from xpmlp.backends import Backend
from xpmlp.data.batches import Draw
from xpmlp.mathematics.step import Inputs, Outputs, Step

# Everything that there is but deformations, which are of images.
ALL_REGULARIZATION = Regularization(
    dropout=0.3,
    input_dropout=0.2,
    noise=0.2,
    input_noise=0.1,
    label_smoothing=0.1,
    max_norm=1.5,
    average_decay=0.9,
)
# Of the three models of a stack, one with less, and one with nothing but the average.
EACH_ITS_OWN = (
    ALL_REGULARIZATION,
    Regularization(dropout=0.1, noise=0.3, max_norm=2.0, average_decay=0.5),
    Regularization(average_decay=0.99),
)
# What a training may do at its steps, for `fit`: each way of taking steps is tried on all of it.
RULES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"optimizer": Momentum(0.9), "learning_rate": 0.05},
    "nesterov": {"optimizer": Nesterov(0.9), "learning_rate": 0.05},
    "rmsprop": {"optimizer": RMSprop(), "learning_rate": 0.01},
    "adam": {"optimizer": Adam(), "learning_rate": 0.01},
    "adamw": {"optimizer": AdamW(), "learning_rate": 0.01},
    "dropout": {"regularization": Regularization(dropout=0.4)},
    "all regularisation": {"regularization": ALL_REGULARIZATION},
    "momentum that rises": {
        "optimizer": Momentum(0.9),
        "learning_rate": 0.05,
        "momentum": Warmup(Constant(), 15, 0.5),
    },
    "penalties": {"penalty": Penalty(l2=0.1, l1=0.01)},
    "full batch": {"batch_size": None},
}


def initial_state(
    mlp: MLP,
    optimizer: Optimizer | None = None,
    *,
    seed: int = 0,
    backend: Backend,
    initializer: str = "xavier",
) -> TrainingState:
    """Return the state before the first step."""
    model = Model(mlp, optimizer or SGD(), initializer=initializer, seed=seed)
    return state_of(model, backend)


def fit(
    mlp: MLP,
    state: TrainingState,
    train: Any,
    *,
    optimizer: Optimizer,
    learning_rate: float,
    steps: int,
    backend: Backend,
    penalty: Penalty | None = None,
    regularization: Regularization | None = None,
    validation: Examples | None = None,
    test: Examples | None = None,
    on_step: Any = None,
    save: Any = None,
    **plan: Any,
) -> Iterator[LogRow]:
    """Return the rows of a training, by default of the full batch; batches are of the seed."""
    model = Model(
        mlp,
        optimizer,
        learning_rate,
        penalty,
        regularization=regularization or Regularization(),
        seed=state.models[0].model.seed,
    )
    settings: dict[str, Any] = {"batch_size": None, "seed": model.seed}
    settings["log_test"] = test is not None
    settings |= {name: value for name, value in plan.items() if name != "schedule" or value}
    return iter(
        Training(
            model,
            Dataset("examples", train, test, validation=validation),
            Plan(steps=steps, **settings),
            backend=backend,
            state=state,
            on_step=on_step,
            save=save,
        )
    )


def fit_stack(
    models: Sequence[Model],
    train: Examples,
    *,
    backend: Backend,
    validation: Examples | None = None,
    **plan: Any,
) -> list[ModelState]:
    """Return models trained together to their end; by default on the full batch."""
    data = Dataset("examples", train, validation=validation)
    settings: dict[str, Any] = {"batch_size": None}
    settings |= {name: value for name, value in plan.items() if name != "schedule" or value}
    return StackTraining(models, data, Plan(**settings), backend=backend).run()


def take_step(
    step: Step, state: TrainingState, drawn: Draw, rate: Any, backend: Backend, keys: Any = None
) -> Outputs:
    """Take one step, and put the variables after it into the state."""
    with backend.computing():
        state.variables, outputs = step(
            state.variables,
            drawn.data,
            Inputs(rate, drawn.rows, keys),
            xp=backend.xp,
            add_up=backend.sum_over_examples,
        )
    return outputs
