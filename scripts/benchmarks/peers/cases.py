"""What is timed: a network, an optimiser and a batch size, and the data for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.peers import HostParams, Problem
from benchmarks.peers.processes import Server, servers
from benchmarks.peers.server import save_problem
from benchmarks.timing import spread, time_in_turns

import xpmlp
from xpmlp.data import Examples
from xpmlp.errors import CheckFailedError
from xpmlp.randomness import random_stream

# Losses may differ by rounding: after some steps, and after an epoch.
_SAME_LOSS = {"train": 1e-3, "epoch": 1e-2}
SEED = 0
RATES = {"sgd": 0.5, "momentum": 0.05, "adam": 0.001}

# Networks and batch sizes of docs/performance.md; the last is a regression.
GRID = {
    (784, 400, 400, 10): (64, 1000),
    (784, 100, 10): (200,),
    (784, 64, 10): (32,),
    (100, 50, 50, 1): (200,),
}
_DRAWN_EXAMPLES = 60000


@dataclass(frozen=True)
class Case:
    """A problem, and how many examples its steps have."""

    problem: Problem
    batch_size: int

    @property
    def network(self) -> str:
        """The sizes of its layers."""
        return "-".join(map(str, self.problem.sizes))

    def __str__(self) -> str:
        return f"{self.network}, {self.problem.optimizer}, batch {self.batch_size:,}"


def initial_weights(sizes: tuple[int, ...], activation: str) -> HostParams:
    """Return the weights that all libraries begin with."""
    drawn = xpmlp.MLP(sizes, activation).init(random_stream(SEED, "weights"))
    return {name: array.astype(np.float32) for name, array in drawn.items()}


def drawn_examples(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return features and class ids, or values of one output, for a network of some sizes."""
    rng, count = np.random.default_rng(SEED), _DRAWN_EXAMPLES
    x = rng.random((count, sizes[0]), dtype=np.float32)
    if sizes[-1] > 1:
        return x, rng.integers(sizes[-1], size=count)
    return x, np.sin(np.sum(x[:, :5], axis=1, keepdims=True))


def compare(cases: list[Case], names: list[str], rounds: int, message: Any) -> list[dict[str, Any]]:
    """Return of each case the times of each library, the times of its products, and losses."""
    results = []
    for case in cases:
        message(f"{case}: {', '.join(names)}")
        with _at_work(case, names) as (at_work, folder):
            losses = _check_same_training(at_work, case, folder)
            asked = {"do": "time", "batch_size": case.batch_size}
            blocks = {name: partial(server.ask, **asked) for name, server in at_work.items()}
            blocks["products"] = partial(at_work["xpmlp"].ask, **asked | {"do": "products"})
            results.append(_summary(case, time_in_turns(blocks, rounds), losses))
    return results


@contextmanager
def _at_work(case: Case, names: list[str]) -> Iterator[tuple[dict[str, Server], Path]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_problem(case.problem, folder)
        with servers(names, folder) as at_work:
            yield at_work, folder


def _check_same_training(at_work: dict[str, Server], case: Case, folder: Path) -> dict[str, float]:
    """Train the same with each and return their losses, which must be the same.

    On a GPU for an epoch more: there it is not a step like these that is timed.
    """
    size = case.batch_size
    steps = 3 if size == len(case.problem.x) else 20
    losses = {}
    orders: list[dict[str, Any]] = [{"do": "train", "steps": steps}]
    if case.problem.device != "cpu":
        orders.append({"do": "epoch"})
    for order in orders:
        for name, server in at_work.items():
            server.ask(**order, batch_size=size)
            with np.load(folder / "trained.npz") as file:
                losses[name] = _loss(dict(file), case.problem)
        reference = losses["xpmlp"]
        for name, loss in losses.items():
            if not abs(loss - reference) <= _SAME_LOSS[order["do"]] * reference:
                raise CheckFailedError(
                    f"trained by {order} on {case} the loss of {name} is {loss:.5f} and that of "
                    f"xpmlp {reference:.5f}: they do not train the same"
                )
    return losses


def _loss(params: HostParams, problem: Problem) -> float:
    backend = xpmlp.select_backend("cpu", "float64")
    few = Examples(problem.x[:5000], problem.y[:5000]).to_device(backend)
    device = backend.all_to_device(params)
    mlp = xpmlp.MLP(problem.sizes, problem.activation, problem.loss)
    return float(xpmlp.evaluate(mlp, device, few, backend=backend)[0])


def _summary(case: Case, times: dict[str, list[float]], losses: dict[str, float]) -> dict[str, Any]:
    """Return medians, spread, and the ratio of each to ours, block by block."""
    products = times.pop("products")
    ours = times["xpmlp"]
    return {
        "network": case.network,
        "optimizer": case.problem.optimizer,
        "batch_size": case.batch_size,
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


def table_rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per library and case; what is the same in all cases is left out.

    Where networks are told apart there is no room for more than times and ratios.
    """
    told = [
        key
        for key in ("network", "optimizer", "batch_size")
        if key == "batch_size" or len({result[key] for result in results}) > 1
    ]
    rows = []
    for result in results:
        case = {key.removesuffix("_size"): result[key] for key in told}
        for name, row in result["peers"].items():
            times = {"library": name, "ms per step": row["median_ms"]}
            ratio, products = {"theirs / ours": row["ratio"]}, result["products"]["median_ms"]
            if "network" not in told:
                times |= {"from": row["min_ms"], "to": row["max_ms"]}
                ratio |= {"over products": row["median_ms"] / products}
            rows.append(case | times | ratio)
    return rows
