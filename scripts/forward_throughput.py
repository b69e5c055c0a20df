#!/usr/bin/env python3
"""Time a forward pass over the whole training set for mini-batches of 1 to all examples."""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median
from typing import Any

from benchmarks.timing import forward_seconds

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
from xpmlp.commands.hyperparameters import add_network_flags, batch_sizes, network_of
from xpmlp.commands.machine import measured_on
from xpmlp.plots import require_matplotlib, save_throughput
from xpmlp.training.state import initial_params


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_network_flags(parser)
    parser.set_defaults(data="mnist", hidden="400,400")
    group = Flags(parser.add_argument_group("measurement"))
    group.value(
        "--batch-sizes",
        batch_sizes,
        "examples per mini-batch; those larger than the training set are left out",
        "1,2,5,10,20,50,100,200,500,1000,2000,5000,10000,20000,full",
        "N,...|full",
    )
    group.count("--rounds", "passes at each size, in turns", 3)
    group.out("throughput", "throughput.json and throughput.png")
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    backend = backend_of(arguments)
    dataset = scaled(arguments, read_source(arguments))
    train = dataset.train.to_device(backend)
    mlp = network_of(arguments, dataset)
    params = initial_params(mlp, seed=0, backend=backend, initializer=arguments.init)
    wanted = [len(train) if size == "full" else int(size) for size in arguments.batch_sizes]
    sizes = sorted({size for size in wanted if size <= len(train)})
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(arguments.rounds):
        message(f"round {number + 1} of {arguments.rounds}: {len(sizes)} sizes of mini-batches")
        for size in sizes:
            seconds[size].append(forward_seconds(mlp, params, train, size, backend))
    rows = [throughput_row(size, values, len(train)) for size, values in seconds.items()]
    report = {
        "network": f"{mlp}, {arguments.dtype}",
        "data": f"{dataset.name}, {len(train):,} examples",
        "rounds": arguments.rounds,
        **measured_on(backend),
        "results": rows,
    }
    draw = partial(save_throughput, rows, title=f"forward pass of {mlp} on {backend.device_name}")
    leave_report(report, rows, arguments.out / "throughput.json", draw, as_json=arguments.json)
    return 0


def throughput_row(size: int, seconds: list[float], examples: int) -> dict[str, Any]:
    """Return the figures of one mini-batch size."""
    return {
        "batch_size": size,
        "seconds": median(seconds),
        "min_seconds": min(seconds),
        "max_seconds": max(seconds),
        "examples_per_second": examples / median(seconds),
        "microseconds_per_batch": 1e6 * median(seconds) / -(-examples // size),
    }


if __name__ == "__main__":
    run(main, build_parser())
