#!/usr/bin/env python3
"""Compare full-batch and minibatch training of one network: time a step, and what it brings."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from benchmarks.timing import Steps, Work, peak_bytes, products_of_a_step, spread, time_in_turns

import xpmlp
from xpmlp.backends import Backend
from xpmlp.commands.command_line import (
    add_gpu_flags,
    leave_report,
    message,
    new_parser,
    run,
)
from xpmlp.commands.data_flags import add_data_flags, read_source, scaled
from xpmlp.commands.flags import Flags, positive
from xpmlp.commands.hyperparameters import add_network_flags, batch_sizes, network_of
from xpmlp.commands.machine import measured_on
from xpmlp.errors import UsageError
from xpmlp.plots import require_matplotlib, save_speed
from xpmlp.training.state import initial_state

# Each point of a curve is so many times as many steps as the one before.
_CURVE_FACTOR = 1.35
# Training loss and accuracy of a point are of so many training examples.
_TRAIN_SAMPLE = 10_000


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_data_flags(parser)
    add_network_flags(parser)
    parser.set_defaults(data="mnist", hidden="400,400")
    group = Flags(parser.add_argument_group("comparison"))
    group.value(
        "--batch-sizes", batch_sizes, "examples per update", "64,256,1000,full", "N,...|full"
    )
    group.value(
        "--lr",
        rates,
        "learning rate, for all batch sizes or for each",
        "0.5",
        "RATE[,RATE,...]",
    )
    group.choice("--optimizer", tuple(xpmlp.OPTIMIZERS), "rule of the steps")
    group.value(
        "--seconds",
        positive,
        "of training at each batch size, evaluations not counted",
        10.0,
        "S",
    )
    group.count("--rounds", "blocks of steps that are timed at each batch size, taking turns", 5)
    group.count(
        "--examples",
        "use the first N training examples, or repeat them until there are N (default: as many "
        "as there are)",
    )
    group.value("--devices", str, "several, separated by commas, share the table", "cpu", "cpu,gpu")
    group.value("--backends", str, "libraries, each on each device", "auto", "numpy,jax,...")
    group.count("--threads", "of a CPU (default: all at hand)")
    group.choice("--dtype", ("float32", "float64"), "of all computation")
    add_gpu_flags(group)
    group.value("--seed", int, "of weights and batches", 0)
    group.out("speed", "speed.json and speed.png")
    return parser


def rates(text: str) -> list[float]:
    """Parse "0.5,0.1"."""
    return [positive(part) for part in text.split(",")]


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    if len(arguments.lr) not in (1, len(arguments.batch_sizes)):
        raise UsageError(
            f"--lr has {len(arguments.lr)} rates for {len(arguments.batch_sizes)} batch sizes: "
            "give one for all, or one for each"
        )
    backends = [
        xpmlp.select_backend(
            device,
            arguments.dtype,
            backend=library,
            threads=arguments.threads,
            graph=not arguments.no_graph,
            precision="float32" if device == "cpu" else arguments.precision,
        )
        for device in arguments.devices.split(",")
        for library in arguments.backends.split(",")
    ]
    dataset = scaled(arguments, read_source(arguments))
    train = repeated(dataset.train, arguments.examples)
    test = dataset.test or train.first(_TRAIN_SAMPLE)
    mlp = network_of(arguments, dataset)
    cases, transfers, tests = [], {}, {}
    for backend in backends:
        start = time.perf_counter()
        moved_train = train.to_device(backend)
        backend.synchronize()
        transfers[backend] = time.perf_counter() - start
        tests[backend] = test.to_device(backend)
        cases += cases_of(arguments, mlp, moved_train, backend)
    places = ", ".join(map(place_of, backends))
    message(f"{places}: timing steps in turns, at {', '.join(map(str, arguments.batch_sizes))}")
    results = measure(cases, arguments.rounds)
    for case, result in zip(cases, results, strict=True):
        message(f"{place_of(case.backend)}: training {case.name} for {arguments.seconds:g} s")
        result["transfer_seconds"] = transfers[case.backend]
        result["curve"] = list(case.curve(arguments.seconds, tests[case.backend]))
        last = result["curve"][-1]
        names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
        result |= {"steps": last["step"], "epochs": last["epoch"]}
        result |= {name: last[name] for name in names}
    report = {
        "network": f"{mlp}, {arguments.optimizer}, {arguments.dtype}",
        "data": f"{dataset.name}, {len(train):,} training examples",
        "seconds": arguments.seconds,
        **measured_on(*backends),
        "results": results,
    }
    path, rows = arguments.out / "speed.json", list(map(table_row, results))
    leave_report(report, rows, path, partial(save_speed, report), as_json=arguments.json)
    return 0


def repeated(examples: Any, count: int | None) -> Any:
    """Return the first `count` examples, or those there are again and again up to `count`."""
    if count is None or count <= len(examples):
        return examples.first(count)
    if not isinstance(examples, xpmlp.Examples):
        raise UsageError("--examples repeats examples in memory only: leave it out with --stream")
    rows = np.arange(count) % len(examples)
    return replace(examples, x=examples.x[rows], y=examples.y[rows])


@dataclass(frozen=True)
class Case:
    """One model, device and batch size."""

    model: xpmlp.Model
    train: Any
    backend: Backend
    batch_size: int
    seed: int

    @property
    def name(self) -> str:
        """The batch size as a reader sees it."""
        return "full batch" if self.full else f"{self.batch_size:,}"

    @property
    def full(self) -> bool:
        """Whether a batch is all there is."""
        return self.batch_size == len(self.train)

    def work(self) -> Work:
        """Return a training step with all that belongs to it."""
        size = None if self.full else self.batch_size
        batches = self.train.batches(size, seed=self.seed, backend=self.backend)
        variables = initial_state(self.model, self.backend).variables
        return Work(Steps(self.model, variables, batches, self.backend), self.backend.synchronize)

    def curve(self, seconds: float, test: Any) -> Iterator[dict[str, Any]]:
        """Train for so long, and yield what was reached on the way."""
        state, sample = initial_state(self.model, self.backend), self.train.first(_TRAIN_SAMPLE)
        steps_per_epoch, target = -(-len(self.train) // self.batch_size), 0
        while state.seconds < seconds:
            target = max(target + 1, round(_CURVE_FACTOR * target))
            plan = xpmlp.Plan(
                steps=target,
                batch_size=None if self.full else self.batch_size,
                log_every=target,
                seed=self.seed,
            )
            xpmlp.Training(
                self.model,
                self.train,
                plan,
                backend=self.backend,
                state=state,
                on_step=lambda _: state.seconds >= seconds,
            ).run()
            point = {"step": state.step, "epoch": state.step / steps_per_epoch}
            point["seconds"] = state.seconds
            for name, examples in (("train", sample), ("test", test)):
                point[f"{name}_loss"], point[f"{name}_accuracy"] = xpmlp.evaluate(
                    self.model.mlp, state.params, examples, backend=self.backend
                )
            yield point


def cases_of(
    arguments: argparse.Namespace, mlp: xpmlp.MLP, train: Any, backend: Backend
) -> list[Case]:
    """Return a case for each batch size."""
    lr, wanted, seed = arguments.lr, arguments.batch_sizes, arguments.seed
    rule = xpmlp.OPTIMIZERS[arguments.optimizer]()
    return [
        Case(
            xpmlp.Model(mlp, rule, rate, initializer=arguments.init, seed=seed),
            train,
            backend,
            len(train) if size == "full" else min(int(size), len(train)),
            seed,
        )
        for size, rate in zip(wanted, lr * len(wanted) if len(lr) == 1 else lr, strict=True)
    ]


def measure(cases: list[Case], rounds: int) -> list[dict[str, Any]]:
    """Time a step of each case, and the products of one, in turns."""
    works = {}
    for number, case in enumerate(cases):
        products = products_of_a_step(case.model.mlp.sizes, case.batch_size, case.backend)
        works[f"step {number}"] = case.work().seconds_a_step
        works[f"products {number}"] = products.seconds_a_step
    times = time_in_turns(works, rounds)
    results = []
    for number, case in enumerate(cases):
        step, alone = times[f"step {number}"], times[f"products {number}"]
        results.append(
            {
                "device": place_of(case.backend),
                "batch_size": case.batch_size,
                "full": case.full,
                "learning_rate": case.model.rate,
                "step": spread(step),
                "products": spread(alone),
                "over_products": median(s / p for s, p in zip(step, alone, strict=True)),
                "microseconds_per_example": 1e6 * median(step) / case.batch_size,
                "examples_per_second": case.batch_size / median(step),
                "epoch_seconds": median(step) * len(case.train) / case.batch_size,
                "peak_mb": peak_bytes(case.work().step) / 1e6,
            }
        )
    return results


def place_of(backend: Backend) -> str:
    """Return the device, with the library where that is not the usual one."""
    usual = backend.name in ("numpy", "cupy")
    return backend.device_name if usual else f"{backend.device_name}, {backend.name}"


def table_row(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a result."""
    return {
        "device": result["device"],
        "batch": result["batch_size"],
        "ms per step": result["step"]["median_ms"],
        "products ms": result["products"]["median_ms"],
        "over products": result["over_products"],
        "µs per example": result["microseconds_per_example"],
        "examples/s": round(result["examples_per_second"]),
        "s per epoch": result["epoch_seconds"],
        "peak MB": result["peak_mb"],
        "steps": result["steps"],
        "epochs": result["epochs"],
        "train loss": result["train_loss"],
        "test accuracy": result["test_accuracy"],
    }


if __name__ == "__main__":
    run(main, build_parser())
