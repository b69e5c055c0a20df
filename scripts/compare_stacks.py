#!/usr/bin/env python3
"""Time many models trained as one stack against the same models one after another."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    positive,
    print_table,
    run,
    save_json,
)
from data_flags import add_data_flags, load_source, normalization_of
from hyperparameters import activation_of_all, add_network_flags, network_of
from machine import measured_on

import xpmlp
from xpmlp.data import Source
from xpmlp.mathematics.optimizers import Optimizer


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_network_flags(parser)
    parser.set_defaults(data="mnist", hidden="64")
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--models",
        type=positive(int),
        default=32,
        metavar="N",
        help="that differ in seed and learning rate",
    )
    group.add_argument(
        "--optimizer", choices=("sgd", "momentum", "adam"), default="sgd", help="update rule"
    )
    group.add_argument(
        "--batch-size", type=positive(int), default=32, metavar="N", help="examples a step"
    )
    group.add_argument(
        "--steps", type=positive(int), default=500, metavar="N", help="of each model in a round"
    )
    group.add_argument(
        "--rounds", type=positive(int), default=5, metavar="N", help="of both, taking turns"
    )
    group.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for stacks.json (default: here)",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    backend = backend_of(arguments)
    dataset = load_source(arguments)
    scale = normalization_of(arguments, dataset, dataset.train)
    train = dataset.train.normalized(scale).to_device(backend)
    mlp = network_of(arguments, train.features, dataset.classes)
    activation = activation_of_all(arguments)
    kind: Optimizer = {"sgd": xpmlp.SGD, "momentum": xpmlp.Momentum, "adam": xpmlp.Adam}[
        arguments.optimizer
    ]()
    base = 0.001 if arguments.optimizer == "adam" else 0.05
    settings = [
        xpmlp.ModelSetting(
            activation=activation,
            initializer=arguments.init,
            seed=number,
            learning_rate=base * (1 + number / arguments.models),
            optimizer=kind,
        )
        for number in range(arguments.models)
    ]
    course = {"steps": arguments.steps, "log_every": arguments.steps, "backend": backend}
    course["batch_size"] = arguments.batch_size

    def as_stack() -> None:
        *_, _ = xpmlp.fit_stack(mlp.sizes, settings, train, loss=mlp.loss, **course)

    def one_by_one() -> None:
        for setting in settings:
            train_one(mlp, setting, train, course)

    stack: list[float] = []
    single: list[float] = []
    for number in range(arguments.rounds):
        turns = [(as_stack, stack), (one_by_one, single)]
        for work, times in turns if number % 2 else turns[::-1]:
            times.append(seconds_of(work, backend))
        message(f"round {number + 1}: {stack[-1]:.2f} s as a stack, {single[-1]:.2f} s singly")
    steps = arguments.models * arguments.steps
    ratios = [one / all_ for one, all_ in zip(single, stack, strict=True)]
    row = {
        "models": arguments.models,
        "network": str(mlp),
        "optimizer": arguments.optimizer,
        "batch_size": arguments.batch_size,
        "µs a model and step, stack": 1e6 * median(stack) / steps,
        "singly": 1e6 * median(single) / steps,
        "singly / stack": median(ratios),
        "from": min(ratios),
        "to": max(ratios),
    }
    report = {"data": dataset.name, "rounds": arguments.rounds, **measured_on(backend)}
    report["results"] = [row]
    save_json(report, arguments.out / "stacks.json")
    if arguments.json:
        print(json.dumps(report))
    else:
        print_table([row])
    return 0


def train_one(
    mlp: xpmlp.MLP, setting: xpmlp.ModelSetting, train: Source, course: dict[str, object]
) -> None:
    """Train one model by itself, on the batches that the stack has."""
    backend = course["backend"]
    assert isinstance(backend, xpmlp.Backend)
    state = xpmlp.initial_state(
        mlp,
        setting.optimizer,
        seed=setting.seed,
        backend=backend,
        initializer=setting.initializer,
    )
    state.seed = 0
    rule, rate = setting.optimizer, setting.learning_rate
    for _ in xpmlp.fit(mlp, state, train, optimizer=rule, learning_rate=rate, **course):  # type: ignore[arg-type]
        pass


def seconds_of(work: Callable[[], None], backend: xpmlp.Backend) -> float:
    """Return how long a work takes until the device has done it."""
    start = time.perf_counter()
    work()
    backend.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    run(main, build_parser())
