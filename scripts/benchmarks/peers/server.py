"""One library in a process of its own, at the disposal of a comparison.

Run as `python -m benchmarks.peers.server NAME FOLDER`. The folder holds the problem
(`save_problem`). Each line on stdin is an order as JSON, answered by a line on stdout:

- {"do": "train", "batch_size": n, "steps": s}: train, and leave the weights in FOLDER/trained.npz
- {"do": "epoch", "batch_size": n}: the same for an epoch, as it is timed
- {"do": "time", "batch_size": n}: the seconds per step of a block of whole epochs
- {"do": "products", "batch_size": n}: the same of the step's matrix products alone
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
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


@dataclass
class AtWork:
    """A library, its problem, the folder for its answers, and `products` of a size of batch."""

    peer: Peer
    problem: Problem
    folder: Path
    products: dict[int, Work] = field(default_factory=dict)

    def carry_out(self, order: dict[str, Any]) -> float | None:
        """Do what an order says and return its answer."""
        size, examples = order["batch_size"], len(self.problem.x)
        if order["do"] == "products":
            if size not in self.products:
                self.products[size] = self._products(size)
            return self.products[size].seconds_a_step()
        if order["do"] == "time":
            return Work(lambda: self._epoch(size), self.peer.finish).seconds_a_step()
        if order["do"] == "epoch":
            self._epoch(size)
        else:
            for rows in some_batches(examples, size, order["steps"], seed=1):
                self.peer.step(rows)
        weights: dict[str, Any] = dict(self.peer.params())
        np.savez(self.folder / "trained.npz", **weights)
        return None

    def _products(self, size: int) -> Work:
        given = self.problem
        backend = select_backend(given.device, threads=given.threads, precision=given.precision)
        return products_of_a_step(given.sizes, size, backend)

    def _epoch(self, size: int) -> int:
        """Train for an epoch; return the steps."""
        rows = np.arange(len(self.problem.x))
        if size < len(rows):
            rows = np.random.default_rng(2).permutation(rows)
        self.peer.epoch(rows, size)
        return -(-len(rows) // size)


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    # What a library prints is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    problem = read_problem(folder)
    at_work = AtWork(installed_peers()[name](problem), problem, folder)
    for line in sys.stdin:
        print(json.dumps(at_work.carry_out(json.loads(line))), file=answers)
        answers.flush()


if __name__ == "__main__":
    main()
