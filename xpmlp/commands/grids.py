"""Grids: flags that take several values, and every combination of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from xpmlp.commands.flags import Flags
from xpmlp.commands.hyperparameters import layer_sizes, loss_of, names_of
from xpmlp.commands.run_settings import WORDS, in_words
from xpmlp.data import Dataset
from xpmlp.errors import UsageError
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.initializers import INITIALIZERS
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import OPTIMIZERS, Optimizer
from xpmlp.mathematics.penalties import Penalty
from xpmlp.regularization import Regularization
from xpmlp.training.plan import Model

# The grid's axes, by flag.
_AXES = ("hidden", "activation", "init", "lr", "momentum", "l2", "l1")
# Those of regularisation, which a model may do without.
_REGULARIZATION = {
    "dropout": "share of hidden units left out",
    "input_dropout": "share of features left out",
    "noise": "standard deviation of noise on hidden layers' outputs",
    "input_noise": "standard deviation of noise on features",
    "label_smoothing": "share of each target that belongs to all classes",
    "max_norm": "largest norm of a unit's incoming weights",
}


def numbers(text: str) -> list[float]:
    """Parse "0.03,0.1,0.3"."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [-1.0]
    if not all(0 <= value < float("inf") for value in found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 0 up")
    return found


def add_grid_flags(parser: argparse.ArgumentParser) -> None:
    """Add the axes of the grid."""
    grid = Flags(parser.add_argument_group("grid (every combination is trained)"))
    grid.value(
        "--hidden",
        layer_sizes,
        "units of each hidden layer; several shapes are separated by spaces (default: 100)",
        [(100,)],
        "N,N,...",
        nargs="+",
    )
    grid.value("--activation", names_of(ACTIVATIONS), "of all hidden layers", "sigmoid", "NAME,...")
    grid.value(
        "--init", names_of(INITIALIZERS), "distribution of initial weights", "xavier", "NAME,..."
    )
    grid.value("--lr", numbers, "learning rate", "0.1", "RATE,...")
    grid.value("--momentum", numbers, "of --optimizer momentum or nesterov", metavar="GAMMA,...")
    grid.value("--l2", numbers, "penalty", "0", "LAMBDA,...")
    grid.value("--l1", numbers, "penalty", "0", "LAMBDA,...")
    for name, meaning in _REGULARIZATION.items():
        grid.value("--" + name.replace("_", "-"), numbers, meaning, metavar="NUMBER,...")
    grid.count("--seeds", "initial weights of each", 1)


@dataclass(frozen=True)
class Point:
    """A combination of the grid: the value of each of its axes."""

    values: dict[str, Any]

    def label(self, varied: Sequence[str]) -> str:
        """Return what tells it from the others."""
        if not varied:
            return "all models"
        return ", ".join(f"{WORDS.get(k, k)} {in_words(self.values[k])}" for k in varied)


def grid_of(arguments: argparse.Namespace) -> tuple[list[Point], list[str]]:
    """Return every combination, and the axes that have more than one value."""
    axes: dict[str, Sequence[Any]] = {
        name: list(dict.fromkeys(getattr(arguments, name)))
        for name in (*_AXES, *_REGULARIZATION)
        if getattr(arguments, name) is not None
    }
    kind = OPTIMIZERS[arguments.optimizer]
    if "momentum" in axes and arguments.optimizer not in ("momentum", "nesterov"):
        raise UsageError(f"--momentum means nothing to --optimizer {arguments.optimizer}")
    if max(axes.get("momentum", [0.0])) >= 1:
        raise UsageError("--momentum needs numbers from 0 to below 1")
    if min(axes["lr"]) <= 0:
        raise UsageError("--lr needs rates above 0")
    if "velocity" in kind.moments:
        axes.setdefault("momentum", [0.9])
    points = [Point(dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    return points, [name for name, values in axes.items() if len(values) > 1]


def seeds_of(arguments: argparse.Namespace) -> range:
    return range(arguments.seed, arguments.seed + arguments.seeds)


def grid_model(arguments: argparse.Namespace, point: Point, seed: int, data: Dataset) -> Model:
    """Return the model of a combination and a seed."""
    values, loss = point.values, loss_of(None, data)
    kind: Callable[..., Optimizer] = OPTIMIZERS[arguments.optimizer]
    rule = kind(momentum=values["momentum"]) if "momentum" in values else kind()
    return Model(
        MLP((data.features, *values["hidden"], data.outputs), values["activation"], loss),
        rule,
        values["lr"],
        Penalty(values["l2"], values["l1"]) if values["l2"] or values["l1"] else None,
        values["init"],
        seed,
        Regularization(**{name: values[name] for name in _REGULARIZATION if name in values}),
    )
