#!/usr/bin/env python3
"""Train networks that differ in their seed alone, as one stack, and average their probabilities."""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    positive,
    print_result,
    run,
    save_json,
)
from data_flags import add_data_flags, add_split_flags, prepare_data
from hyperparameters import (
    activation_of_all,
    add_network_flags,
    add_optimizer_flags,
    learning_rate_of,
    network_of,
    optimizer_of,
    schedule_of,
)
from machine import measured_on

import xpmlp
from xpmlp.data.batches import steps_per_epoch
from xpmlp.errors import DataError, DivergedError, UsageError
from xpmlp.plots import require_matplotlib, save_ensemble


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_network_flags(parser)
    add_optimizer_flags(parser)
    group = parser.add_argument_group("ensemble")
    group.add_argument("--members", type=positive(int), default=10, metavar="N", help="networks")
    group.add_argument(
        "--batch-size", type=positive(int), default=64, metavar="N", help="examples a step"
    )
    group.add_argument(
        "--epochs", type=positive(int), default=20, metavar="N", help="passes over the training set"
    )
    group.add_argument(
        "--patience",
        type=positive(int),
        metavar="N",
        help="end a member when N validations were not better than its best before them",
    )
    group.add_argument("--seed", type=int, default=0, help="of batches, split and first member")
    group.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for ensemble.json and ensemble.png (default: here)",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    backend = backend_of(arguments)
    data = prepare_data(arguments, backend)
    if data.test is None:
        raise DataError("an ensemble is judged on a test set: give --test-data")
    mlp = network_of(arguments, data.train.features, data.dataset.classes)
    if mlp.loss != "cross_entropy":
        raise UsageError(f"--loss {mlp.loss} has no probabilities to average: leave it out")
    activation = activation_of_all(arguments)
    optimizer, rate = optimizer_of(arguments), learning_rate_of(arguments)
    settings = [
        xpmlp.ModelSetting(
            activation=activation,
            initializer=arguments.init,
            seed=arguments.seed + member,
            learning_rate=rate,
            optimizer=optimizer,
            l2=arguments.l2,
            l1=arguments.l1,
        )
        for member in range(arguments.members)
    ]
    steps = arguments.epochs * steps_per_epoch(len(data.train), arguments.batch_size)
    models: list[xpmlp.StackModel] = []
    for models in xpmlp.fit_stack(
        mlp.sizes,
        settings,
        data.train,
        steps=steps,
        backend=backend,
        batch_size=arguments.batch_size,
        loss=mlp.loss,
        schedule=schedule_of(arguments, steps),
        dropout=arguments.dropout,
        validation=data.validation,
        patience=arguments.patience,
        seed=arguments.seed,
    ):
        training = sum(model.status == "running" for model in models)
        rows = max((model.history for model in models), key=len)
        if rows:
            done = f"epoch {rows[-1].epoch:g}, {rows[-1].seconds:.1f} s"
            message(f"{done}: {training} of {len(models)} train")
    results = [model.result for model in models if model.status != "diverged"]
    if not results:
        raise DivergedError(f"all members diverged with learning rate {rate:g}: choose a smaller")
    scores = [
        xpmlp.evaluate_ensemble(
            mlp, xpmlp.stacked(results[:count], xp=backend.xp), data.test, backend=backend
        )
        for count in range(1, len(results) + 1)
    ]
    whole = scores[-1]
    report = {
        "network": str(mlp),
        "data": data.dataset.name,
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


if __name__ == "__main__":
    run(main, build_parser())
