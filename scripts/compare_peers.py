#!/usr/bin/env python3
"""Time the same training by xpmlp, PyTorch, JAX and scikit-learn, interleaved in one run.

By default single steps; with --to-accuracy whole processes, from their start until their network
is so good on the test set.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from benchmarks.peers import Problem, installed_peers
from benchmarks.peers.cases import (
    GRID,
    RATES,
    Case,
    compare,
    drawn_examples,
    initial_weights,
    table_rows,
)
from benchmarks.peers.race import Racer, race
from benchmarks.peers.recipes import BEST, USUAL_TO, WITHOUT_SCHEDULES, Recipe, usual_of

import xpmlp
from xpmlp.backends.cpu.cores import usable_cores
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    leave_report,
    message,
    new_parser,
    run,
)
from xpmlp.commands.data_flags import add_data_flags, read_source, scaled
from xpmlp.commands.flags import Flags, in_range, positive
from xpmlp.commands.hyperparameters import batch_sizes, layer_sizes, names_of
from xpmlp.commands.machine import measured_on
from xpmlp.errors import UsageError
from xpmlp.plots import require_matplotlib, save_peers


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser, dtype=False)
    add_data_flags(parser)
    parser.set_defaults(data="mnist")
    group = Flags(parser.add_argument_group("comparison"))
    group.value("--hidden", layer_sizes, "hidden units", "400,400", "N,N,...")
    group.choice("--activation", ("sigmoid", "tanh", "relu"), "of them")
    group.value(
        "--batch-sizes",
        batch_sizes,
        "examples per step; of --to-accuracy the first",
        "64,256,1000,full",
        "N,...|full",
    )
    group.value("--optimizer", names_of(RATES), "rules of the steps", ("sgd",), "NAME,...")
    group.value(
        "--lr",
        positive,
        "learning rate (default: 0.5 for sgd, 0.05 for momentum, 0.001 for adam)",
    )
    group.switch("--grid", "time the networks and batches of docs/performance.md, on drawn data")
    group.count(
        "--rounds",
        "blocks of each library, or processes, one for each seed (default: 9, or 10)",
    )
    group.value("--peers", str, "of those installed, by their names", "all", "NAME,...")
    group.value(
        "--to-accuracy",
        in_range(0.01, 1, "an accuracy from 0.01 to below 1"),
        "time whole processes, imports and loading included, to this test accuracy",
        metavar="A",
    )
    group.switch(
        "--recipes",
        "with --to-accuracy: the best recipe known for it, and the usual one of each library",
    )
    group.out("peers", "peers.json and peers.png, grid.json, or to_ACCURACY.json")
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    backend = backend_of(arguments)
    on_gpu = backend.device_name != "cpu"
    if arguments.grid and arguments.to_accuracy is not None:
        raise UsageError("--grid times single steps and --to-accuracy processes: leave one out")
    if on_gpu and arguments.to_accuracy is not None:
        raise UsageError("--to-accuracy compares whole processes on --device cpu: leave one out")
    names = chosen_peers(arguments.peers, "gpu" if on_gpu else "cpu")
    threads = backend.settings().get("threads", usable_cores())
    if arguments.to_accuracy is None:
        cases = cases_of(arguments, threads)
        report = report_of(arguments, backend, {case.network for case in cases})
        report["results"] = compare(cases, names, arguments.rounds or 9, message)
        rows = table_rows(report["results"])
    else:
        sizes, data = problem_data(arguments)
        report = report_of(arguments, backend, {"-".join(map(str, sizes))})
        settings = {"sizes": sizes, "threads": threads, "accuracy": arguments.to_accuracy}
        racers = racers_of(arguments, names, len(data.train))
        if arguments.recipes:  # which say what is compared
            report["network"] = "-".join(map(str, sizes))
        report["recipes"] = {str(racer): asdict(racer.recipe) for racer in racers}
        report["results"] = rows = race(racers, settings, data, seeds=arguments.rounds or 10)
    stem = "grid" if arguments.grid else "peers"
    if arguments.to_accuracy is not None:
        stem = f"to_{arguments.to_accuracy:g}"
    draw = partial(save_peers, report) if stem == "peers" else None
    leave_report(report, rows, arguments.out / f"{stem}.json", draw, as_json=arguments.json)
    return 0


def report_of(
    arguments: argparse.Namespace, backend: xpmlp.Backend, networks: set[str]
) -> dict[str, Any]:
    """Return the beginning of a report: what is compared, and on which machine."""
    compared = [*sorted(networks, key=len, reverse=True), arguments.activation]
    return {
        "network": ", ".join([*compared, *arguments.optimizer, "float32"]),
        "data": "drawn" if arguments.grid else arguments.data,
        **measured_on(backend),
    }


def chosen_peers(wanted: str, device: str) -> list[str]:
    """Return the names of the libraries to compare, ours first; by name any can be asked for."""
    known = list(installed_peers())
    names = ["xpmlp", *wanted.split(",")]
    if wanted == "all":
        names = list(installed_peers(device))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"{', '.join(unknown)}: not installed here; there is {', '.join(known)}")
    return names


def problem_data(arguments: argparse.Namespace) -> tuple[tuple[int, ...], xpmlp.Dataset]:
    """Return the layers' sizes and the data."""
    dataset = scaled(arguments, read_source(arguments))
    return (dataset.train.features, *arguments.hidden, dataset.classes), dataset


def cases_of(arguments: argparse.Namespace, threads: int) -> list[Case]:
    """Return what is timed: of one's own data, or of the grid."""
    problems: list[tuple[tuple[int, ...], np.ndarray, np.ndarray, Sequence[Any]]] = []
    if arguments.grid:
        problems = [(sizes, *drawn_examples(sizes), batches) for sizes, batches in GRID.items()]
    else:
        sizes, dataset = problem_data(arguments)
        backend = xpmlp.select_backend("cpu", threads=threads)
        examples = dataset.train.to_device(backend)
        x, y, _ = map(np.asarray, examples.batch(xp=backend.xp).read(slice(0, len(examples))))
        problems = [(sizes, x, y, arguments.batch_sizes)]
    return [
        Case(
            Problem(
                sizes,
                arguments.activation,
                initial_weights(sizes, arguments.activation),
                x,
                y,
                arguments.lr or RATES[optimizer],
                threads,
                arguments.device,
                not arguments.no_graph,
                arguments.precision,
                optimizer,
            ),
            len(x) if size == "full" else min(int(size), len(x)),
        )
        for sizes, x, y, batch_sizes in problems
        for size in batch_sizes
        for optimizer in arguments.optimizer
    ]


def racers_of(arguments: argparse.Namespace, names: list[str], examples: int) -> list[Racer]:
    """Return who takes part in a race, ours first: with one's own settings, or with recipes."""
    if not arguments.recipes:
        optimizer, size = arguments.optimizer[0], arguments.batch_sizes[0]
        rate, size = arguments.lr or RATES[optimizer], examples if size == "full" else size
        given = Recipe(arguments.activation, "xavier", optimizer, rate, size)
        return [Racer(name, "the given", given) for name in names]
    if arguments.to_accuracy not in BEST:
        known = ", ".join(map(str, BEST))
        raise UsageError(f"--recipes are known for an accuracy of {known}: choose one of them")
    best = BEST[arguments.to_accuracy]
    racers = [Racer(name, "the best", best) for name in names if name not in WITHOUT_SCHEDULES]
    usual = [(name, usual_of(name)) for name in names if arguments.to_accuracy <= USUAL_TO]
    return racers + [Racer(name, "its usual", recipe) for name, recipe in usual if recipe]


if __name__ == "__main__":
    run(main, build_parser())
