"""Train every combination of some settings, those of one shape as one stack, and rank them."""

from __future__ import annotations

import argparse
import json
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.backends import Backend
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    print_table,
    selection_of,
)
from xpmlp.commands.data_flags import add_data_flags, add_split_flags, read_source, scaled
from xpmlp.commands.flags import Flags, positive
from xpmlp.commands.grids import add_grid_flags, grid_model, grid_of, seeds_of
from xpmlp.commands.hyperparameters import milestones
from xpmlp.commands.machine import measured_on
from xpmlp.commands.plans import add_plan_flags
from xpmlp.commands.sweep_results import best_outcome, report_of, write_results
from xpmlp.data import Dataset, split
from xpmlp.data.batches import check_batch_size
from xpmlp.errors import DataError, DivergedError, InterruptedSweepError, UsageError
from xpmlp.files import as_json, make_folder, write_whole
from xpmlp.mathematics.optimizers import OPTIMIZERS
from xpmlp.mathematics.schedules import Constant, StepDecay
from xpmlp.plots import require_matplotlib
from xpmlp.randomness import random_stream
from xpmlp.runs.folder import CONFIG, METRICS, read_config
from xpmlp.runs.lock import FolderLock
from xpmlp.runs.stop_signals import StopSignals
from xpmlp.runs.sweep import Outcome, StackJob, model_bytes, run_stacks, stacks_of
from xpmlp.trained import load
from xpmlp.training.plan import Model, Plan


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_grid_flags(parser)
    training = Flags(parser.add_argument_group("training (the same for all)"))
    training.choice("--optimizer", OPTIMIZERS, "update rule", "sgd")
    add_plan_flags(training)
    training.count("--epochs", "", 20)
    training.value("--lr-milestones", milestones, "where the rate is halved", metavar="EPOCH,...")
    training.count(
        "--folds",
        "cross-validation: each of K parts of the training set is held out once",
        metavar="K",
    )
    work = Flags(parser.add_argument_group("work"))
    work.count("--jobs", "processes that share the stacks", 1)
    work.value(
        "--memory",
        positive,
        "that the models of a stack may occupy; larger stacks are split",
        4.0,
        "GB",
    )
    work.path("--out", "folder for the results", Path("sweep"))
    again = Flags(work.group.add_mutually_exclusive_group())
    again.switch("--resume", "train the stacks not finished yet")
    again.switch("--overwrite", "replace the sweep in the folder")
    return parser


def main(arguments: argparse.Namespace) -> int:
    with ExitStack() as hold:
        return carry_out(arguments, hold)


def carry_out(arguments: argparse.Namespace, hold: ExitStack) -> int:
    """Train what the flags ask for, with the folder held by this process."""
    require_matplotlib()
    backend = backend_of(arguments)
    points, varied = grid_of(arguments)
    if arguments.folds and (arguments.group or arguments.time):
        raise UsageError("--folds are drawn by chance: leave out --group and --time, or --folds")
    dataset = read_source(arguments)
    if dataset.streamed:
        raise DataError("a sweep trains on data in memory: leave out --stream")
    sizes = {"train_size": arguments.train_size, "test_size": arguments.test_size}
    own_test = dataset.test is not None
    dataset = split(dataset, val_size=0, seed=arguments.seed, **sizes)
    folds = folds_of(arguments, dataset)
    # What was decided is part of what is kept, so that it is found again.
    held_out = {
        "test_size": 0 if own_test else len(dataset.test or ()),
        "val_size": 0 if arguments.folds else len(folds[0].validation or ()),
    }
    smallest = min(len(fold.train) for fold in folds)
    if arguments.batch_size != "full":
        check_batch_size(arguments.batch_size, smallest)
    candidates = [(point, seed) for point in points for seed in seeds_of(arguments)]
    # Of a table each split has features of its own.
    models = [
        [grid_model(arguments, point, seed, fold) for point, seed in candidates] for fold in folds
    ]
    prepare_folder(arguments, hold)
    jobs = jobs_of(arguments, models, folds, held_out, backend)
    with StopSignals(message) as signals:

        def on_stack(found: list[Outcome]) -> None:
            message(f"stack {found[0].stack + 1} of {len(jobs)}: {len(found)} models")

        def stop() -> bool:
            return signals.received is not None

        try:
            outcomes = run_stacks(jobs, arguments.jobs, on_stack, stop)
        except InterruptedSweepError as error:
            message(f"{error}: go on with --resume")
            return signals.exit_code
        except KeyboardInterrupt:
            message(f"finished stacks are kept in {arguments.out}: go on with --resume")
            raise
    report = report_of(arguments, points, varied, outcomes)
    report = {"data": dataset.name, **measured_on(backend), **report}
    best = best_outcome(outcomes)
    if best is not None:
        shutil.copy(arguments.out / f"stack-{best.stack}.h5", arguments.out / "best.h5")
        report["best"] |= test_of(arguments, dataset, backend)
    write_results(arguments.out, report, points, varied, outcomes, seeds_of(arguments))
    if best is None:
        raise DivergedError(
            f"all {len(outcomes)} models diverged, the first so: {outcomes[0].cause} (--lr)"
        )
    if arguments.json:
        print(json.dumps(report))
    else:
        print_table(report["configurations"])
        print("best by validation: " + ", ".join(f"{k} {v}" for k, v in report["best"].items()))
    return 0


def jobs_of(
    arguments: argparse.Namespace,
    models_of: list[list[Model]],
    folds: list[Dataset],
    held_out: dict[str, int],
    backend: Backend,
) -> list[StackJob]:
    """Return the stacks to train on each split, and say how large they are.

    `models_of` each split are alike but for their inputs; `held_out`: how many examples are.
    """
    models = models_of[0]
    full = arguments.batch_size == "full"
    size = min(len(folds[0].train) if full else arguments.batch_size, backend.piece_size)
    value_bytes = 4 if arguments.dtype == "float32" else 8
    memory = 1e9 * arguments.memory
    stacks = stacks_of(models, batch_size=size, value_bytes=value_bytes, memory=memory)
    need = max(len(stack) * model_bytes(models[stack[0]], size, value_bytes) for stack in stacks)
    message(
        f"{len(models)} models ({len(models) // arguments.seeds} combinations, {arguments.seeds} "
        f"seeds) in {len(stacks)} stacks on {len(folds)} splits; a stack's models occupy "
        f"{need / 1e6:,.1f} MB"
    )
    plan = Plan(
        epochs=arguments.epochs,
        batch_size=None if full else arguments.batch_size,
        schedule=StepDecay(arguments.lr_milestones) if arguments.lr_milestones else Constant(),
        patience=arguments.patience,
        seed=arguments.seed,
    )
    settings, selection = record_of(arguments) | held_out, selection_of(arguments)
    return [
        StackJob(
            number=number,
            numbers=tuple(stack),
            models=tuple(models_of[fold_number][k] for k in stack),
            fold_number=fold_number,
            data=fold,
            plan=plan,
            selection=selection,
            folder=arguments.out,
            record={"settings": settings | fold.preparation.as_record()},
        )
        for number, (fold_number, fold, stack) in enumerate(
            (f, fold, stack) for f, fold in enumerate(folds) for stack in stacks
        )
    ]


def folds_of(arguments: argparse.Namespace, dataset: Dataset) -> list[Dataset]:
    """Return the splits that are trained on, each scaled by numbers of its own training part."""
    if arguments.folds is None:
        if arguments.val_size == 0:
            raise UsageError("a sweep is decided by validation: give --val-size above 0")
        own = {"val_size": arguments.val_size, "seed": arguments.seed}
        fold = scaled(arguments, replace(dataset, test=None), **own)
        if fold.validation is None:
            raise UsageError("a sweep is decided by validation: give --val-size above 0")
        return [fold]
    if arguments.val_size is not None:
        raise UsageError("--val-size and --folds exclude each other: give one of them")
    source = dataset.train
    if not 2 <= arguments.folds <= len(source):
        raise UsageError(f"--folds {arguments.folds}: choose 2 to {len(source)}")
    order = random_stream(arguments.seed, "folds").permutation(len(source))
    folds = []
    for part in np.array_split(order, arguments.folds):
        held = np.sort(part)
        train, validation = (source.some(rows) for rows in (np.setdiff1d(order, held), held))
        parts = replace(dataset, train=train, validation=validation, test=None)
        folds.append(scaled(arguments, parts))
    return folds


def record_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that decide what is computed, as JSON would give them back."""
    here = {"out", "resume", "overwrite", "json", "debug", "jobs", "threads", "device", "backend"}
    kept = {name: value for name, value in vars(arguments).items() if name not in here}
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def prepare_folder(arguments: argparse.Namespace, hold: ExitStack) -> None:
    """Make the folder ready and `hold` it; refuse one with a sweep, or with another one."""
    path = arguments.out / CONFIG
    config = record_of(arguments)
    make_folder(arguments.out)
    hold.enter_context(FolderLock(arguments.out))
    if (arguments.out / METRICS).exists():
        raise UsageError(f"{arguments.out} holds a training run: choose another --out")
    if path.exists() and arguments.resume:
        before = read_config(arguments.out)
        other = [name for name in config if before.get(name) != config[name]]
        if other:
            flags = ", ".join("--" + name.replace("_", "-") for name in other)
            raise UsageError(f"{path} is of another sweep ({flags}): give it the same flags")
    elif path.exists() and not arguments.overwrite:
        raise UsageError(
            f"{arguments.out} already holds a sweep: choose another --out, go on with --resume, or "
            "replace it with --overwrite"
        )
    elif path.exists():
        results = ("sweep.json", "sweep.csv", "best.h5", "curves.png", "heat_map.png")
        for old in (*arguments.out.glob("stack-*"), *(arguments.out / name for name in results)):
            old.unlink(missing_ok=True)
    write_whole(path, as_json(config))


def test_of(arguments: argparse.Namespace, dataset: Dataset, backend: Backend) -> dict[str, Any]:
    """Return loss and accuracy of the best model on the test set, if there is one."""
    if dataset.test is None:
        return {}
    best = load(arguments.out / "best.h5", device=backend.device_name, backend=backend.name)
    loss, accuracy = best.evaluate(dataset.test)
    return {"test_loss": loss, "test_accuracy": accuracy}
