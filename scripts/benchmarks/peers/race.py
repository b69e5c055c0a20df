"""Whole processes of several libraries, in turns, each until its network is good enough."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from benchmarks.peers.processes import command
from benchmarks.peers.recipes import Recipe

import xpmlp
from xpmlp.commands.command_line import message
from xpmlp.data import Dataset
from xpmlp.data.batches import epoch_order
from xpmlp.errors import CheckFailedError, DataError
from xpmlp.mathematics.initializers import INITIALIZERS
from xpmlp.randomness import random_stream


class Racer(NamedTuple):
    """A library, and how it trains; `recipe` is named as `called`."""

    library: str
    called: str
    recipe: Recipe

    def __str__(self) -> str:
        return f"{self.library}, {self.called} recipe"


def race(
    racers: list[Racer], settings: dict[str, Any], dataset: Dataset, *, seeds: int
) -> list[dict[str, Any]]:
    """Return one row per racer: seconds of its processes, epochs, and how often it was good enough.

    Each seed is a round: weights and the order of the examples are those of the seed, the same for
    all, and the order of turns changes. The first racer is ours.
    """
    train, test = dataset.train, dataset.test
    if test is None:
        raise DataError(f"{dataset.name} has no test set to be accurate on: give --test-data")
    found: dict[Racer, list[dict[str, Any]]] = {racer: [] for racer in racers}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = {"x_train": train.x, "y_train": train.y, "x_test": test.x, "y_test": test.y}
        given: dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
        np.savez(folder / "data.npz", **given)
        for seed in range(seeds):
            _leave_orders(folder, seed, len(train), max(r.recipe.epochs for r in racers))
            first = seed % len(racers)
            for racer in racers[first:] + racers[:first]:
                _leave_recipe(folder, racer.recipe, settings, seed, len(train))
                start = time.perf_counter()
                reached = _run(racer.library, folder)
                seconds = time.perf_counter() - start
                found[racer].append(reached | {"seconds": seconds})
                message(f"seed {seed}, {racer}: {reached['accuracy']:.4f} after {seconds:.1f} s")
    ours = [run["seconds"] for run in found[racers[0]]]
    return [_row(racer, runs, ours, settings["accuracy"]) for racer, runs in found.items()]


def _row(
    racer: Racer, runs: list[dict[str, Any]], ours: list[float], wanted: float
) -> dict[str, Any]:
    seconds = [run["seconds"] for run in runs]
    return {
        "library": racer.library,
        "recipe": racer.called,
        "seconds": median(seconds),
        "from": min(seconds),
        "to": max(seconds),
        "theirs / ours": median(t / o for t, o in zip(seconds, ours, strict=True)),
        "epochs": median(run["epochs"] for run in runs),
        "accuracy": median(run["accuracy"] for run in runs),
        "reached": f"{sum(run['accuracy'] >= wanted for run in runs)} of {len(runs)}",
    }


def _leave_orders(folder: Path, seed: int, examples: int, epochs: int) -> None:
    orders = [epoch_order(seed, epoch, examples) for epoch in range(epochs)]
    np.save(folder / "orders.npy", np.stack(orders).astype(np.int32))


def _leave_recipe(
    folder: Path, recipe: Recipe, settings: dict[str, Any], seed: int, examples: int
) -> None:
    """Write what a process is given: the recipe, and the first weights where it names them."""
    factors = recipe.factors(examples)
    given = settings | {"seed": seed, "recipe": asdict(recipe), "factors": factors}
    (folder / "race.json").write_text(json.dumps(given), encoding="utf-8")
    weights: dict[str, Any] = {}
    if recipe.initializer in INITIALIZERS:
        mlp = xpmlp.MLP(settings["sizes"])
        drawn = mlp.init(random_stream(seed, "weights"), recipe.initializer)
        weights = {name: array.astype(np.float32) for name, array in drawn.items()}
    np.savez(folder / "weights.npz", **weights)


def _run(library: str, folder: Path) -> dict[str, Any]:
    """Run one library's process and return what it reached."""
    line, environment = command("racer", library, folder)
    finished = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise CheckFailedError(f"the process of {library} failed:\n{finished.stderr[-2000:]}")
    reached: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return reached
