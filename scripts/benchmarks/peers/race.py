"""Whole processes of several libraries, in turns, each until its network is good enough."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.peers import HostParams
from benchmarks.peers.processes import command

from xpmlp.commands.command_line import message
from xpmlp.data import Dataset
from xpmlp.data.batches import epoch_order
from xpmlp.errors import CheckFailedError, DataError

_MOST_EPOCHS = 50


def race(
    names: list[str],
    settings: dict[str, Any],
    dataset: Dataset,
    weights: HostParams,
    *,
    seed: int,
    rounds: int,
) -> list[dict[str, Any]]:
    """Return one row per library: seconds of its processes, epochs and accuracy reached.

    All are given the same file of data, weights, and order of the examples in each epoch; the
    order of turns changes every round.
    """
    train, test = dataset.train, dataset.test
    if test is None:
        raise DataError(f"{dataset.name} has no test set to be accurate on: give --test-data")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    reached: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = settings | {"seed": seed, "epochs": _MOST_EPOCHS}
        (folder / "race.json").write_text(json.dumps(given), encoding="utf-8")
        arrays = {"x_train": train.x, "y_train": train.y, "x_test": test.x, "y_test": test.y}
        given_arrays: dict[str, Any] = {key: np.asarray(value) for key, value in arrays.items()}
        np.savez(folder / "data.npz", **given_arrays)
        given_weights: dict[str, Any] = dict(weights)
        np.savez(folder / "weights.npz", **given_weights)
        orders = [epoch_order(seed, epoch, len(train)) for epoch in range(_MOST_EPOCHS)]
        np.save(folder / "orders.npy", np.stack(orders).astype(np.int32))
        for number in range(rounds):
            first = number % len(names)
            for library in names[first:] + names[:first]:
                start = time.perf_counter()
                reached[library] = _run(library, folder)
                seconds[library].append(time.perf_counter() - start)
                message(f"round {number + 1}, {library}: {seconds[library][-1]:.1f} s")
    ours = seconds["xpmlp"]
    return [
        {
            "library": library,
            "seconds": median(values),
            "from": min(values),
            "to": max(values),
            "theirs / ours": median(t / o for t, o in zip(values, ours, strict=True)),
            **reached[library],
        }
        for library, values in seconds.items()
    ]


def _run(library: str, folder: Path) -> dict[str, Any]:
    """Run one library's process and return what it reached."""
    line, environment = command("racer", library, folder)
    finished = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise CheckFailedError(f"the process of {library} failed:\n{finished.stderr[-2000:]}")
    reached: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return reached
