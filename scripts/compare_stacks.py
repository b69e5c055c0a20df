#!/usr/bin/env python3
"""Time many models trained as one stack against the same models one after another."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import xpmlp
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    leave_report,
    message,
    new_parser,
    run,
)
from xpmlp.commands.data_flags import add_data_flags, read_source, scaled
from xpmlp.commands.flags import Flags
from xpmlp.commands.hyperparameters import activation_of_all, add_network_flags, network_of
from xpmlp.commands.machine import measured_on
from xpmlp.mathematics.optimizers import OPTIMIZERS


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_network_flags(parser)
    parser.set_defaults(data="mnist", hidden="64")
    group = Flags(parser.add_argument_group("comparison"))
    group.count("--models", "that differ in seed and learning rate", 32)
    group.choice("--optimizer", ("sgd", "momentum", "adam"), "update rule")
    group.count("--batch-size", "examples per step", 32)
    group.count("--steps", "of each model in a round", 500)
    group.count("--rounds", "of both, taking turns", 5)
    group.out("stacks", "stacks.json")
    return parser


def main(arguments: argparse.Namespace) -> int:
    backend = backend_of(arguments)
    data = scaled(arguments, read_source(arguments)).to_device(backend)
    activation_of_all(arguments)
    mlp = network_of(arguments, data)
    rule = OPTIMIZERS[arguments.optimizer]()
    base = 0.001 if arguments.optimizer == "adam" else 0.05
    models = [
        xpmlp.Model(
            mlp,
            rule,
            base * (1 + number / arguments.models),
            initializer=arguments.init,
            seed=number,
        )
        for number in range(arguments.models)
    ]
    plan = xpmlp.Plan(
        steps=arguments.steps, batch_size=arguments.batch_size, log_every=arguments.steps
    )

    def as_stack() -> None:
        xpmlp.StackTraining(models, data.train, plan, backend=backend).run()

    def one_by_one() -> None:
        for model in models:
            xpmlp.Training(model, data.train, plan, backend=backend).run()

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
        "µs per model and step, stack": 1e6 * median(stack) / steps,
        "singly": 1e6 * median(single) / steps,
        "singly / stack": median(ratios),
        "from": min(ratios),
        "to": max(ratios),
    }
    report = {"data": data.name, "rounds": arguments.rounds, **measured_on(backend)}
    report["results"] = [row]
    leave_report(report, [row], arguments.out / "stacks.json", as_json=arguments.json)
    return 0


def seconds_of(work: Callable[[], None], backend: xpmlp.Backend) -> float:
    """Return how long a work takes until the device has done it."""
    start = time.perf_counter()
    work()
    backend.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    run(main, build_parser())
