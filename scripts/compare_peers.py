#!/usr/bin/env python3
"""Time the same training step by xpmlp, PyTorch, JAX and scikit-learn, interleaved in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from command_line import (
    add_device_flags,
    message,
    new_parser,
    positive,
    print_table,
    run,
)
from data_flags import add_data_flags, load_source, normalization_of
from hyperparameters import layer_sizes
from peers import Peer, Problem, installed_peers

import xpmlp
from xpmlp.data import Examples
from xpmlp.errors import CheckFailedError, UsageError
from xpmlp.initializers import HostParams
from xpmlp.randomness import random_stream

# Steps of a block, by batch size: long enough to time, short enough to take turns.
_BLOCK_EXAMPLES, _MOST_STEPS = 20_000, 200
# A block begins with untimed steps: the threads of the library before it go on spinning for
# some hundredths of a second, and ours or theirs have to wake up.
_SETTLE_SECONDS = 0.08
# Losses after the check's steps may differ by rounding.
_SAME_LOSS = 1e-3


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser, dtype=False)
    add_data_flags(parser)
    parser.set_defaults(data="mnist")
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--hidden", type=layer_sizes, default="400,400", metavar="N,N,...", help="sigmoid layers"
    )
    group.add_argument(
        "--batch-sizes", default="64,256,1000,full", metavar="N,...|full", help="examples a step"
    )
    group.add_argument("--lr", type=positive(float), default=0.1, help="learning rate of SGD")
    group.add_argument(
        "--rounds", type=positive(int), default=9, help="blocks of each library, taking turns"
    )
    group.add_argument(
        "--peers", default="all", metavar="NAME,...", help="of those installed, by their names"
    )
    group.add_argument(
        "--out", type=Path, default=Path("peers.json"), metavar="FILE", help="the figures as JSON"
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    backend = xpmlp.select_backend(arguments.device, threads=arguments.threads)
    if backend.device_name != "cpu":
        raise UsageError("the comparison with peers runs on --device cpu so far")
    makers = installed_peers()
    if arguments.peers != "all":
        wanted = ["xpmlp", *arguments.peers.split(",")]
        unknown = [name for name in wanted if name not in makers]
        if unknown:
            known = ", ".join(makers)
            raise UsageError(f"{', '.join(unknown)}: not installed here; there is {known}")
        makers = {name: makers[name] for name in makers if name in wanted}
    problem = problem_of(arguments, backend)
    results = []
    for size in batch_sizes(arguments.batch_sizes, len(problem.x)):
        message(f"batch {size:,}: {', '.join(makers)}")
        peers = {name: make(problem) for name, make in makers.items()}
        losses = check_same_training(peers, problem, size)
        times = time_in_turns(peers, len(problem.x), size, arguments.rounds)
        results.append(summary_of(size, times, losses, products_seconds(problem, size)))
    report = {
        "network": "-".join(map(str, problem.sizes)) + ", sigmoid, SGD, float32",
        "data": f"{arguments.data}, {len(problem.x):,} examples",
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            **backend.settings(),
            # OpenBLAS does as these say, if they are set.
            "openblas_variables": {
                name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")
            },
            "system": platform.platform(),
        },
        "versions": versions(),
        "rounds": arguments.rounds,
        "results": results,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(report))
    else:
        print_table([row for result in results for row in table_rows(result)])
    return 0


def problem_of(arguments: argparse.Namespace, backend: xpmlp.Backend) -> Problem:
    """Return the same network and data for all."""
    dataset = load_source(arguments)
    scaling = normalization_of(arguments, dataset, dataset.train)
    examples = dataset.train.normalized(scaling)
    x, y = examples.to_device(backend).whole(backend).read(slice(0, len(examples)))
    mlp = xpmlp.MLP((examples.features, *arguments.hidden, dataset.classes))
    drawn = mlp.init(random_stream(0, "weights"))
    params = {name: array.astype(np.float32) for name, array in drawn.items()}
    threads = backend.settings()["threads"]
    return Problem(mlp.sizes, params, np.asarray(x), np.asarray(y), arguments.lr, threads)


def batch_sizes(text: str, examples: int) -> list[int]:
    """Parse "64,256,full"."""
    try:
        return [examples if part == "full" else int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--batch-sizes {text} is not a list like 64,256,full") from error


def check_same_training(peers: dict[str, Peer], problem: Problem, size: int) -> dict[str, float]:
    """Take the same steps with each and return their losses, which must be the same."""
    steps = 3 if size == len(problem.x) else 20
    rng = np.random.default_rng(1)
    batches = [rows_of(rng, len(problem.x), size) for _ in range(steps)]
    losses = {}
    for name, peer in peers.items():
        for rows in batches:
            peer.step(rows)
        losses[name] = loss_of(peer.params(), problem)
    reference = losses["xpmlp"]
    for name, loss in losses.items():
        if not abs(loss - reference) <= _SAME_LOSS * reference:
            raise CheckFailedError(
                f"after {steps} steps of {size} the loss of {name} is {loss:.5f} and that of xpmlp "
                f"{reference:.5f}: they do not train the same"
            )
    return losses


def loss_of(params: HostParams, problem: Problem) -> float:
    backend = xpmlp.select_backend("cpu", "float64")
    few = Examples(problem.x[:5000], problem.y[:5000]).to_device(backend)
    device = {name: backend.to_device(array) for name, array in params.items()}
    return xpmlp.evaluate(xpmlp.MLP(problem.sizes), device, few, backend=backend)[0]


def rows_of(rng: np.random.Generator, examples: int, size: int) -> np.ndarray:
    return np.arange(examples) if size == examples else rng.permutation(examples)[:size]


def time_in_turns(
    peers: dict[str, Peer], examples: int, size: int, rounds: int
) -> dict[str, list[float]]:
    """Return seconds a step of each library's blocks; the order of turns changes every round."""
    steps = max(1, min(_MOST_STEPS, _BLOCK_EXAMPLES // size))
    rng = np.random.default_rng(2)
    times: dict[str, list[float]] = {name: [] for name in peers}
    names = list(peers)
    for number in range(rounds if steps > 1 else max(3, rounds // 2)):
        order = names[number % len(names) :] + names[: number % len(names)]
        batches = [rows_of(rng, examples, size) for _ in range(steps)]
        for name in order:
            step, began = peers[name].step, time.perf_counter()
            while time.perf_counter() < began + _SETTLE_SECONDS:
                step(batches[0])
            start = time.perf_counter()
            for rows in batches:
                step(rows)
            times[name].append((time.perf_counter() - start) / steps)
    return times


def products_seconds(problem: Problem, size: int) -> float:
    """Return the median seconds of a step's matrix products alone, with numpy."""
    rng = np.random.default_rng(3)
    widths, repeats = problem.sizes, 5 if size == len(problem.x) else 50
    h = [rng.random((size, width), dtype=np.float32) for width in widths]
    w = [problem.params[f"layer{number}.weight"] for number in range(1, len(widths))]
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for layer, weight in enumerate(w):
            h[layer] @ weight
        for layer in range(len(w) - 1, -1, -1):
            h[layer].T @ h[layer + 1]
            if layer:
                h[layer + 1] @ w[layer].T
        times.append(time.perf_counter() - start)
    return median(times)


def summary_of(
    size: int, times: dict[str, list[float]], losses: dict[str, float], products: float
) -> dict[str, Any]:
    """Return medians, spread, and the ratio of each to ours, block by block."""
    ours = times["xpmlp"]
    return {
        "batch_size": size,
        "products_ms": 1e3 * products,
        "peers": {
            name: {
                "median_ms": 1e3 * median(values),
                "min_ms": 1e3 * min(values),
                "max_ms": 1e3 * max(values),
                "ratio": median(theirs / own for theirs, own in zip(values, ours, strict=True)),
                "loss": losses[name],
            }
            for name, values in times.items()
        },
    }


def table_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row a library."""
    return [
        {
            "batch": result["batch_size"],
            "library": name,
            "ms a step": row["median_ms"],
            "from": row["min_ms"],
            "to": row["max_ms"],
            "theirs / ours": row["ratio"],
            "over products": row["median_ms"] / result["products_ms"],
        }
        for name, row in result["peers"].items()
    ]


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "xpmlp": xpmlp.__version__}
    for package in ("numpy", "torch", "jax", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    run(main, build_parser())
