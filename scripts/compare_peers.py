#!/usr/bin/env python3
"""Time the same training by xpmlp, PyTorch, JAX and scikit-learn, interleaved in one run.

By default single steps; with --to-accuracy whole processes, from their start until their network
is so good on the test set.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.peers import Problem, installed_peers
from benchmarks.peers.processes import Server, servers
from benchmarks.peers.race import race
from benchmarks.peers.server import save_problem
from benchmarks.timing import spread, time_in_turns

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
from xpmlp.commands.hyperparameters import batch_sizes, layer_sizes
from xpmlp.commands.machine import measured_on
from xpmlp.data import Examples
from xpmlp.errors import CheckFailedError, UsageError
from xpmlp.plots import require_matplotlib, save_peers
from xpmlp.randomness import random_stream

# Losses after the check's steps may differ by rounding.
_SAME_LOSS = 1e-3
_SEED = 0


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
    group.value("--lr", positive(float), "learning rate of SGD", 0.5)
    group.count(
        "--rounds",
        "blocks or processes of each library, taking turns (default: 9 blocks, 5 processes)",
    )
    group.value("--peers", str, "of those installed, by their names", "all", "NAME,...")
    group.value(
        "--to-accuracy",
        in_range(0.01, 1, "an accuracy from 0.01 to below 1"),
        "time whole processes, imports and loading included, to this test accuracy",
        metavar="A",
    )
    group.out("peers", "peers.json and peers.png, or to_accuracy.json")
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    backend = backend_of(arguments)
    on_gpu = backend.device_name != "cpu"
    if on_gpu and arguments.to_accuracy is not None:
        raise UsageError("--to-accuracy compares whole processes on --device cpu: leave one out")
    names = chosen_peers(arguments.peers, "gpu" if on_gpu else "cpu")
    sizes, data = problem_data(arguments)
    report: dict[str, Any] = {
        "network": f"{'-'.join(map(str, sizes))}, {arguments.activation}, SGD, float32",
        "data": f"{arguments.data}, {len(data.train):,} examples",
        **measured_on(backend),
    }
    threads = backend.settings().get("threads", usable_cores())
    if arguments.to_accuracy is None:
        report["results"] = compare_steps(arguments, names, sizes, data, threads)
        rows = [row for result in report["results"] for row in table_rows(result)]
    else:
        report["results"] = rows = run_race(arguments, names, sizes, data, threads)
    stem = "peers" if arguments.to_accuracy is None else "to_accuracy"
    draw = partial(save_peers, report) if arguments.to_accuracy is None else None
    leave_report(report, rows, arguments.out / f"{stem}.json", draw, as_json=arguments.json)
    return 0


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


def initial_weights(sizes: tuple[int, ...], activation: str) -> dict[str, np.ndarray]:
    """Return the weights that all libraries begin with."""
    drawn = xpmlp.MLP(sizes, activation).init(random_stream(_SEED, "weights"))
    return {name: array.astype(np.float32) for name, array in drawn.items()}


def compare_steps(
    arguments: argparse.Namespace,
    names: list[str],
    sizes: tuple[int, ...],
    dataset: xpmlp.Dataset,
    threads: int,
) -> list[dict[str, Any]]:
    """Time a step of each library at each batch size."""
    backend = xpmlp.select_backend("cpu", threads=threads)
    examples = dataset.train.to_device(backend)
    x, y, _ = map(np.asarray, examples.batch(xp=backend.xp).read(slice(0, len(examples))))
    params = initial_weights(sizes, arguments.activation)
    problem = Problem(
        sizes,
        arguments.activation,
        params,
        x,
        y,
        arguments.lr,
        threads,
        arguments.device,
        not arguments.no_graph,
        arguments.precision,
    )
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_problem(problem, folder)
        for wanted in arguments.batch_sizes:
            size = len(x) if wanted == "full" else min(int(wanted), len(x))
            message(f"batch {size:,}: {', '.join(names)}")
            with servers(names, folder) as at_work:
                losses = check_same_training(at_work, problem, folder, size)
                blocks = {
                    name: partial(server.ask, do="time", batch_size=size)
                    for name, server in at_work.items()
                }
                blocks["products"] = partial(at_work["xpmlp"].ask, do="products", batch_size=size)
                results.append(
                    summary_of(size, time_in_turns(blocks, arguments.rounds or 9), losses)
                )
    return results


def check_same_training(
    at_work: dict[str, Server], problem: Problem, folder: Path, size: int
) -> dict[str, float]:
    """Take the same steps with each and return their losses, which must be the same."""
    steps = 3 if size == len(problem.x) else 20
    losses = {}
    for name, server in at_work.items():
        server.ask(do="train", batch_size=size, steps=steps)
        with np.load(folder / "trained.npz") as file:
            losses[name] = loss_of(dict(file), problem)
    reference = losses["xpmlp"]
    for name, loss in losses.items():
        if not abs(loss - reference) <= _SAME_LOSS * reference:
            raise CheckFailedError(
                f"after {steps} steps of {size} the loss of {name} is {loss:.5f} and that of xpmlp "
                f"{reference:.5f}: they do not train the same"
            )
    return losses


def loss_of(params: dict[str, np.ndarray], problem: Problem) -> float:
    backend = xpmlp.select_backend("cpu", "float64")
    few = Examples(problem.x[:5000], problem.y[:5000]).to_device(backend)
    device = backend.all_to_device(params)
    mlp = xpmlp.MLP(problem.sizes, problem.activation)
    return float(xpmlp.evaluate(mlp, device, few, backend=backend)[0])


def summary_of(
    size: int, times: dict[str, list[float]], losses: dict[str, float]
) -> dict[str, Any]:
    """Return medians, spread, and the ratio of each to ours, block by block."""
    products = times.pop("products")
    ours = times["xpmlp"]
    return {
        "batch_size": size,
        "products": spread(products),
        "over_products": median(a / b for a, b in zip(ours, products, strict=True)),
        "peers": {
            name: {
                **spread(values),
                "ratio": median(theirs / own for theirs, own in zip(values, ours, strict=True)),
                "loss": losses[name],
            }
            for name, values in times.items()
        },
    }


def table_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per library."""
    products = result["products"]["median_ms"]
    return [
        {
            "batch": result["batch_size"],
            "library": name,
            "ms per step": row["median_ms"],
            "from": row["min_ms"],
            "to": row["max_ms"],
            "theirs / ours": row["ratio"],
            "over products": row["median_ms"] / products,
        }
        for name, row in result["peers"].items()
    ]


def run_race(
    arguments: argparse.Namespace,
    names: list[str],
    sizes: tuple[int, ...],
    dataset: xpmlp.Dataset,
    threads: int,
) -> list[dict[str, Any]]:
    """Time whole processes to --to-accuracy."""
    n, wanted = len(dataset.train), arguments.batch_sizes[0]
    settings = {
        "sizes": sizes,
        "activation": arguments.activation,
        "learning_rate": arguments.lr,
        "batch_size": n if wanted == "full" else wanted,
        "threads": threads,
        "accuracy": arguments.to_accuracy,
    }
    weights = initial_weights(sizes, arguments.activation)
    return race(names, settings, dataset, weights, seed=_SEED, rounds=arguments.rounds or 5)


if __name__ == "__main__":
    run(main, build_parser())
