"""One library in a process of its own, at the disposal of a comparison.

Run as `python -m benchmarks.peers.server NAME FOLDER`. The folder holds the problem
(`save_problem`). Each line on stdin is an order as JSON, answered by a line on stdout:

- {"do": "train", "batch_size": n, "steps": s}: train, and leave the weights in FOLDER/trained.npz
- {"do": "time", "batch_size": n}: the seconds per step of a block of whole epochs
- {"do": "products", "batch_size": n}: the same of the step's matrix products alone
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.peers import Peer, Problem, installed_peers
from benchmarks.timing import Work, products_of_a_step

from xpmlp import select_backend


def save_problem(problem: Problem, folder: Path) -> None:
    """Write what every library is given."""
    given: dict[str, Any] = {"sizes": problem.sizes, "activation": problem.activation}
    names = ("learning_rate", "threads", "device", "graph", "precision", "optimizer")
    given |= {name: getattr(problem, name) for name in names}
    (folder / "problem.json").write_text(json.dumps(given), encoding="utf-8")
    np.save(folder / "x.npy", problem.x)
    np.save(folder / "y.npy", problem.y)
    weights: dict[str, Any] = dict(problem.params)
    np.savez(folder / "weights.npz", **weights)


def read_problem(folder: Path) -> Problem:
    """Read it again."""
    given = json.loads((folder / "problem.json").read_text(encoding="utf-8"))
    with np.load(folder / "weights.npz") as file:
        params = dict(file)
    x, y = (np.load(folder / f"{name}.npy") for name in "xy")
    return Problem(params=params, x=x, y=y, **given | {"sizes": tuple(given["sizes"])})


def some_batches(examples: int, size: int, count: int, seed: int) -> list[np.ndarray]:
    """Return the row numbers of some batches; the full batch is in order."""
    if size == examples:
        return [np.arange(examples)] * count
    rng = np.random.default_rng(seed)
    return [rng.permutation(examples)[:size] for _ in range(count)]


def carry_out(order: dict[str, Any], peer: Peer, problem: Problem, folder: Path) -> float | None:
    """Do what an order says and return its answer."""
    size, examples = order["batch_size"], len(problem.x)
    if order["do"] == "train":
        for rows in some_batches(examples, size, order["steps"], seed=1):
            peer.step(rows)
        weights: dict[str, Any] = dict(peer.params())
        np.savez(folder / "trained.npz", **weights)
        return None
    if order["do"] == "products":
        backend = select_backend(
            problem.device, threads=problem.threads, precision=problem.precision
        )
        return products_of_a_step(problem.sizes, size, backend).seconds_a_step()
    rows = np.random.default_rng(2).permutation(examples)
    rows = rows if size < examples else np.arange(examples)
    return Work(lambda: epoch_of(peer, rows, size), peer.finish).seconds_a_step()


def epoch_of(peer: Peer, rows: np.ndarray, size: int) -> int:
    """Train for an epoch on rows in their order; return the steps."""
    peer.epoch(rows, size)
    return -(-len(rows) // size)


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    # What a library prints is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    problem = read_problem(folder)
    peer = installed_peers()[name](problem)
    for line in sys.stdin:
        print(json.dumps(carry_out(json.loads(line), peer, problem, folder)), file=answers)
        answers.flush()


if __name__ == "__main__":
    main()
