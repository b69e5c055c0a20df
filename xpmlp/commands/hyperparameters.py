"""Flags for the network and its training, and the library's objects that they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from xpmlp.commands.flags import Flags, counted, not_negative, positive, share
from xpmlp.commands.regularization_flags import add_regularization_flags, regularization_of
from xpmlp.data import Dataset
from xpmlp.errors import UsageError
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.initializers import INITIALIZERS
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import OPTIMIZERS, Optimizer
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import SCHEDULES
from xpmlp.training.plan import Model

# Flag -> the name that optimisers have for it.
_OPTIMIZER_FLAGS = {
    "momentum": "momentum",
    "rho": "decay",
    "beta1": "beta1",
    "beta2": "beta2",
    "weight_decay": "weight_decay",
}


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Add what the network is made of, and the penalties on its weights."""
    group = Flags(parser.add_argument_group("network"))
    group.value("--hidden", layer_sizes, "units of each hidden layer, or none", "100", "N,N,...")
    group.value(
        "--activation",
        names_of(ACTIVATIONS),
        f"of all hidden layers, or of each: {', '.join(ACTIVATIONS)}",
        "sigmoid",
        "NAME[,NAME,...]",
    )
    group.choice(
        "--loss",
        ("cross_entropy", "mean_squared_error", "binary_cross_entropy"),
        "cross_entropy of a softmax, mean_squared_error of linear outputs to values or to one-hot "
        "rows, or binary_cross_entropy of a sigmoid for each output (default: by the task, in this "
        "order classification, regression, multilabel)",
        None,
    )
    group.choice("--init", INITIALIZERS, "distribution of initial weights", "xavier")
    group.value(
        "--l2",
        not_negative,
        "penalty LAMBDA/2 * (sum of squared weights), biases left out",
        0.0,
        "LAMBDA",
    )
    group.value(
        "--l1",
        not_negative,
        "penalty LAMBDA * (sum of absolute weights), biases left out",
        0.0,
        "LAMBDA",
    )


def add_optimizer_flags(parser: argparse.ArgumentParser) -> None:
    """Add the update rule, its learning rate and schedule, and regularisation."""
    group = add_rule_flags(parser)
    group.value(
        "--lr",
        positive,
        "learning rate (default: 0.5 for sgd with sigmoid layers, 0.1 with others; a tenth of "
        "that for momentum and nesterov; 0.001 for rmsprop, adam and adamw)",
        metavar="RATE",
    )
    group.value(
        "--lr-milestones",
        milestones,
        "multiply the learning rate by --lr-factor when so many epochs are done",
        metavar="EPOCH,...",
    )
    group.value("--lr-factor", positive, "at each milestone (default: 0.5)", metavar="F")
    group.choice(
        "--lr-schedule",
        SCHEDULES,
        "of the learning rate: times --lr-decay per epoch, or a cosine down to 0 at the end",
        "constant",
    )
    group.value("--lr-decay", positive, "of exponential (default: 0.95)", metavar="F")
    group.count("--warmup-steps", "raise the learning rate linearly over the first N steps")
    group.value(
        "--momentum-start",
        share,
        "momentum at the start, which rises evenly to --momentum over --momentum-epochs",
        metavar="GAMMA",
    )
    group.count("--momentum-epochs", "(default: all)")


def add_rule_flags(parser: argparse.ArgumentParser) -> Flags:
    """Add the update rule and regularisation; return the rule's group, without a learning rate."""
    group = Flags(parser.add_argument_group("optimiser"))
    parser.set_defaults(lr=None)
    group.choice("--optimizer", OPTIMIZERS, "update rule", "sgd")
    group.value("--momentum", share, "of momentum and nesterov (default: 0.9)", metavar="GAMMA")
    group.value("--rho", share, "decay of rmsprop's mean square (default: 0.9)")
    group.value("--beta1", share, "of adam and adamw (default: 0.9)")
    group.value("--beta2", share, "of adam and adamw (default: 0.999)")
    group.value("--weight-decay", not_negative, "of adamw (default: 0.01)", metavar="LAMBDA")
    add_regularization_flags(parser)
    return group


def network_of(arguments: argparse.Namespace, data: Dataset) -> MLP:
    """Return the network that the flags describe, for a data set."""
    names = arguments.activation
    activation = names[0] if len(names) == 1 else names
    loss = loss_of(arguments.loss, data)
    return MLP((data.features, *arguments.hidden, data.outputs), activation, loss)


def loss_of(wanted: str | None, data: Dataset) -> str:
    """Return a loss, by default that of the task; raises `UsageError` for one of another task."""
    targets = data.targets
    assert targets is not None, "what is read says what is to be predicted"
    if wanted is None:
        return targets.loss
    if targets.task != "classification" and wanted != targets.loss:
        raise UsageError(f"--loss {wanted} is no loss of a {targets.task}: leave it out")
    return wanted


def activation_of_all(arguments: argparse.Namespace) -> str:
    """Return the one activation of all hidden layers; raises `UsageError` for several."""
    names: tuple[str, ...] = arguments.activation
    if len(names) > 1:
        raise UsageError("--activation: give one for all hidden layers")
    return names[0]


def model_of(arguments: argparse.Namespace, data: Dataset, **other: Any) -> Model:
    """Return the model that the flags describe; `other` are settings of its own."""
    settings = {
        "optimizer": optimizer_of(arguments),
        "learning_rate": arguments.lr,
        "penalty": penalty_of(arguments),
        "initializer": arguments.init,
        "seed": arguments.seed,
        "regularization": regularization_of(arguments, data),
    }
    return Model(network_of(arguments, data), **settings | other)


def penalty_of(arguments: argparse.Namespace) -> Penalty | None:
    """Return the penalty that the flags describe, if there is one."""
    if arguments.l2 or arguments.l1:
        return Penalty(l2=arguments.l2, l1=arguments.l1)
    return None


def optimizer_of(arguments: argparse.Namespace) -> Optimizer:
    """Return the optimiser; raises `UsageError` for a flag that is another optimiser's."""
    kind = OPTIMIZERS[arguments.optimizer]
    settings: dict[str, Any] = {}
    for flag, name in _OPTIMIZER_FLAGS.items():
        value = getattr(arguments, flag)
        if value is None:
            continue
        if name not in _settings_of(kind):
            owners = " or ".join(k for k, v in OPTIMIZERS.items() if name in _settings_of(v))
            raise UsageError(
                f"--{flag.replace('_', '-')} means nothing to --optimizer {arguments.optimizer}: "
                f"choose --optimizer {owners}"
            )
        settings[name] = value
    return kind(**settings)


def _settings_of(kind: type[Optimizer]) -> set[str]:
    return {setting.name for setting in fields(kind)}  # type: ignore[arg-type]


def layer_sizes(text: str) -> tuple[int, ...]:
    """Parse "400,400" to (400, 400), and "none" to no hidden layer at all."""
    return () if text == "none" else _integers(text, "layer sizes like 400,400 (or none)")


def batch_size(text: str) -> int | str:
    """Parse a number of examples, or "full"."""
    return text if text == "full" else int(counted(text))


def batch_sizes(text: str) -> list[int | str]:
    """Parse "64,1000,full"."""
    try:
        return [batch_size(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 64,1000,full") from error


def milestones(text: str) -> tuple[int, ...]:
    """Parse "20,40" to (20, 40)."""
    return _integers(text, "epochs like 20,40")


def _integers(text: str, meaning: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {meaning}")
    return numbers


def names_of(table: dict[str, Any]) -> Callable[[str], tuple[str, ...]]:
    """Return a flag's type: names of a table, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in table:
                raise argparse.ArgumentTypeError(
                    f"{name!r} is not known: choose from {', '.join(table)}"
                )
        return names

    return parse
