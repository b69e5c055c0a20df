#!/usr/bin/env python3
"""Train every combination of some settings, those of one shape as one stack, and rank them."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    positive,
    print_table,
    run,
)
from data_flags import add_data_flags, add_split_flags, load_source, normalization_of
from grids import add_grid_flags, candidate_of, grid_of, seeds_of
from hyperparameters import batch_size, milestones
from machine import measured_on
from sweep_results import best_outcome, report_of, write_results

import xpmlp
from xpmlp.data import Examples
from xpmlp.data.batches import check_batch_size, steps_per_epoch
from xpmlp.errors import DataError, DivergedError, UsageError
from xpmlp.mathematics.optimizers import OPTIMIZERS
from xpmlp.plots import require_matplotlib
from xpmlp.randomness import random_stream
from xpmlp.runs.checkpoint import load_checkpoint
from xpmlp.runs.folder import CONFIG, METRICS, read_config
from xpmlp.runs.sweep import Fold, Outcome, StackJob, model_bytes, run_stacks, stacks_of


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_grid_flags(parser)
    course = parser.add_argument_group("training (the same for all)")
    course.add_argument("--optimizer", default="sgd", choices=OPTIMIZERS, help="update rule")
    course.add_argument(
        "--batch-size", type=batch_size, default="64", metavar="N|full", help="examples a step"
    )
    course.add_argument("--epochs", type=positive(int), default=20, metavar="N")
    course.add_argument(
        "--lr-milestones", type=milestones, metavar="EPOCH,...", help="where the rate is halved"
    )
    course.add_argument(
        "--patience",
        type=positive(int),
        metavar="N",
        help="end a model when N validations were not better than its best before them",
    )
    course.add_argument("--seed", type=int, default=0, help="of batches, split and first weights")
    course.add_argument(
        "--folds",
        type=positive(int),
        metavar="K",
        help="cross-validation: each of K parts of the training set is held out once",
    )
    work = parser.add_argument_group("work")
    work.add_argument(
        "--jobs", type=positive(int), default=1, metavar="N", help="processes that share the stacks"
    )
    work.add_argument(
        "--memory",
        type=positive(float),
        default=4.0,
        metavar="GB",
        help="that the models of a stack may occupy; larger stacks are split",
    )
    work.add_argument(
        "--out", type=Path, default=Path("sweep"), metavar="DIR", help="folder for the results"
    )
    again = work.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="train the stacks not finished yet")
    again.add_argument("--overwrite", action="store_true", help="replace the sweep in the folder")
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    backend = backend_of(arguments)
    points, varied = grid_of(arguments)
    candidates = [candidate_of(arguments, p, seed) for p in points for seed in seeds_of(arguments)]
    dataset = load_source(arguments)
    if not isinstance(dataset.train, Examples):
        raise DataError("a sweep trains on data in memory: leave out --stream")
    folds = folds_of(arguments, dataset)
    if arguments.batch_size != "full":
        check_batch_size(arguments.batch_size, min(len(fold.train) for fold in folds))
    prepare_folder(arguments)
    size = len(folds[0].train) if arguments.batch_size == "full" else arguments.batch_size
    value_bytes = 4 if arguments.dtype == "float32" else 8
    features = folds[0].train.features
    stacks = stacks_of(
        candidates,
        features=features,
        outputs=dataset.classes,
        batch_size=min(size, backend.piece_size),
        value_bytes=value_bytes,
        memory=1e9 * arguments.memory,
    )
    need = max(
        len(stack)
        * model_bytes(
            candidates[stack[0]],
            features,
            dataset.classes,
            min(size, backend.piece_size),
            value_bytes,
        )
        for stack in stacks
    )
    message(
        f"{len(candidates)} models ({len(points)} combinations, {arguments.seeds} seeds) in "
        f"{len(stacks)} stacks on {len(folds)} splits; a stack's models occupy {need / 1e6:,.1f} MB"
    )
    schedule = xpmlp.StepDecay(arguments.lr_milestones) if arguments.lr_milestones else None
    settings = record_of(arguments)
    jobs = [
        StackJob(
            number=number,
            numbers=tuple(stack),
            candidates=tuple(candidates[k] for k in stack),
            fold_number=fold_number,
            fold=fold,
            outputs=dataset.classes,
            course={
                "steps": arguments.epochs * steps_of_an_epoch(arguments, fold),
                "batch_size": None if arguments.batch_size == "full" else size,
                "patience": arguments.patience,
                "schedule": schedule,
                "seed": arguments.seed,
            },
            device=arguments.device,
            dtype=arguments.dtype,
            threads=arguments.threads,
            folder=arguments.out,
            record={"settings": settings | {"normalization": scaling_of(fold)}},
        )
        for number, (fold_number, fold, stack) in enumerate(
            (f, fold, stack) for f, fold in enumerate(folds) for stack in stacks
        )
    ]

    def on_stack(found: list[Outcome]) -> None:
        message(f"stack {found[0].stack + 1} of {len(jobs)}: {len(found)} models")

    try:
        outcomes = run_stacks(jobs, arguments.jobs, on_stack)
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
        raise DivergedError(f"all {len(outcomes)} models diverged: choose smaller rates (--lr)")
    if arguments.json:
        print(json.dumps(report))
    else:
        print_table(report["configurations"])
        print("best by validation: " + ", ".join(f"{k} {v}" for k, v in report["best"].items()))
    return 0


def folds_of(arguments: argparse.Namespace, dataset: xpmlp.Dataset) -> list[Fold]:
    """Return the splits that are trained on, each scaled by numbers of its own training part."""
    source = dataset.train.first(arguments.train_size)
    assert isinstance(source, Examples)
    if arguments.folds is None:
        val_size = arguments.val_size
        if val_size is None:
            val_size = min(len(source) // 10, 10_000)
        if not val_size:
            raise UsageError("a sweep is decided by validation: give --val-size above 0")
        splits = [source.hold_out(val_size, arguments.seed)]
    else:
        if arguments.val_size is not None:
            raise UsageError("--val-size and --folds exclude each other: give one of them")
        if not 2 <= arguments.folds <= len(source):
            raise UsageError(f"--folds {arguments.folds}: choose 2 to {len(source)}")
        order = random_stream(arguments.seed, "folds").permutation(len(source))
        parts = [np.sort(part) for part in np.array_split(order, arguments.folds)]
        rest = [np.setdiff1d(order, part) for part in parts]
        splits = [(taken(source, r), taken(source, p)) for r, p in zip(rest, parts, strict=True)]
    scales = [normalization_of(arguments, dataset, train) for train, _ in splits]
    return [
        Fold(train.normalized(scale), held.normalized(scale))
        for (train, held), scale in zip(splits, scales, strict=True)
    ]


def taken(source: Examples, rows: np.ndarray) -> Examples:
    """Return some of the examples."""
    return Examples(source.x[rows], source.y[rows])


def record_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that decide what is computed, as JSON would give them back."""
    here = {"out", "resume", "overwrite", "json", "debug", "jobs", "threads", "device"}
    kept = {name: value for name, value in vars(arguments).items() if name not in here}
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def prepare_folder(arguments: argparse.Namespace) -> None:
    """Make the folder ready; refuse one that holds a sweep, or another one to go on with."""
    path = arguments.out / CONFIG
    config = record_of(arguments)
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
    arguments.out.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def steps_of_an_epoch(arguments: argparse.Namespace, fold: Fold) -> int:
    """Return the number of updates in a pass over a fold's training part."""
    full = arguments.batch_size == "full"
    return 1 if full else steps_per_epoch(len(fold.train), arguments.batch_size)


def scaling_of(fold: Fold) -> dict[str, Any]:
    """Return how a fold's features are scaled, for a record."""
    assert isinstance(fold.train, Examples)
    assert fold.train.normalization is not None
    return fold.train.normalization.as_record()


def test_of(
    arguments: argparse.Namespace, dataset: xpmlp.Dataset, backend: xpmlp.Backend
) -> dict[str, Any]:
    """Return loss and accuracy of the best model on the test set, if there is one."""
    if dataset.test is None:
        return {}
    checkpoint = load_checkpoint(arguments.out / "best.h5")
    params = checkpoint.restore(backend).params
    normalization = xpmlp.Normalization.from_record(checkpoint.record["settings"]["normalization"])
    test = dataset.test.normalized(normalization).to_device(backend)
    loss, accuracy = xpmlp.evaluate(checkpoint.mlp, params, test, backend=backend)
    return {"test_loss": loss, "test_accuracy": accuracy}


if __name__ == "__main__":
    run(main, build_parser())
