"""Train networks that differ in their seed alone, as one stack, and average their probabilities."""

from __future__ import annotations

import argparse
from dataclasses import replace

import xpmlp
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    print_result,
    save_json,
)
from xpmlp.commands.data_flags import add_data_flags, add_split_flags, prepare_data
from xpmlp.commands.flags import Flags
from xpmlp.commands.hyperparameters import (
    activation_of_all,
    add_network_flags,
    add_optimizer_flags,
    model_of,
)
from xpmlp.commands.machine import measured_on
from xpmlp.commands.plans import add_plan_flags, scheduled
from xpmlp.errors import DataError, DivergedError, UsageError
from xpmlp.plots import require_matplotlib, save_ensemble


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_network_flags(parser)
    add_optimizer_flags(parser)
    group = Flags(parser.add_argument_group("ensemble"))
    group.count("--members", "networks", 10)
    add_plan_flags(group, full=False)
    group.count("--epochs", "passes over the training set", 20)
    group.out("ensemble", "ensemble.json and ensemble.png")
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    backend = backend_of(arguments)
    data = prepare_data(arguments, backend)
    if data.test is None:
        raise DataError("an ensemble is judged on a test set: give --test-data")
    activation_of_all(arguments)
    first = model_of(arguments, data)
    mlp = first.mlp
    if not mlp.loss_function.one_class:
        raise UsageError(
            f"{mlp.loss} has no probabilities to average: choose xpmlp train --members for values"
        )
    members = [replace(first, seed=first.seed + member) for member in range(arguments.members)]
    plan = xpmlp.Plan(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        patience=arguments.patience,
        seed=arguments.seed,
    )
    plan = scheduled(plan, arguments, first.optimizer, len(data.train))
    training = xpmlp.StackTraining(members, data, plan, backend=backend)
    for models in training:
        at_work = sum(model.status == "running" for model in models)
        rows = max((model.history for model in models), key=len)
        if rows:
            done = f"epoch {rows[-1].epoch:g}, {rows[-1].seconds:.1f} s"
            message(f"{done}: {at_work} of {len(models)} train")
    models = training.models
    results = [model.result for model in models if model.status != "diverged"]
    if not results:
        raise DivergedError(f"all members diverged: {models[0].cause}")
    scores = [
        xpmlp.evaluate_ensemble(
            mlp, xpmlp.stacked(results[:count], xp=backend.xp), data.test, backend=backend
        )
        for count in range(1, len(results) + 1)
    ]
    whole = scores[-1]
    report = {
        "network": str(mlp),
        "data": data.name,
        "members": len(results),
        "mean_accuracy_of_members": sum(whole.member_accuracies) / len(results),
        "best_accuracy_of_members": max(whole.member_accuracies),
        "ensemble_accuracy": whole.accuracy,
        "ensemble_loss": whole.loss,
        "train_seconds": max(model.history[-1].seconds for model in models if model.history),
        "member_accuracies": whole.member_accuracies,
        "accuracy_of_the_first_n": [score.accuracy for score in scores],
        **measured_on(backend),
    }
    path = arguments.out / "ensemble.json"
    save_json(report, path)
    together = [score.accuracy for score in scores]
    save_ensemble(whole.member_accuracies, together, arguments.out / "ensemble.png")
    plain = {k: v for k, v in report.items() if not isinstance(v, list | dict)}
    print_result(report if arguments.json else plain, arguments.json)
    return 0
