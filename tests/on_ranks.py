"""A program for mpiexec: trains a few ways on all ranks and leaves what rank 0 has.

Run as `mpiexec -n N python on_ranks.py OUT`; without mpiexec it is one rank.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from strict_backend import StrictBackend, strict_rules
from trainings import ALL_REGULARIZATION, fit, fit_stack, initial_state

from xpmlp import (
    MLP,
    SGD,
    Adam,
    Examples,
    Model,
    Momentum,
    Penalty,
    diagnose,
    evaluate,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.data import shared_out

ROWS = 101  # no number of ranks here divides it
PENALTY = Penalty(l2=0.01, l1=0.001)
CASES: dict[str, dict[str, Any]] = {
    "full batch": {"optimizer": SGD(), "learning_rate": 0.5},
    "full batch, penalties": {"optimizer": Momentum(0.8), "learning_rate": 0.1, "penalty": PENALTY},
    # 101 = 6 · 16 + 5: a short last batch
    "batches": {"optimizer": SGD(), "learning_rate": 0.3, "batch_size": 16},
    "momentum": {"optimizer": Momentum(0.9), "learning_rate": 0.05, "batch_size": 16},
    "penalties": {
        "optimizer": SGD(),
        "learning_rate": 0.2,
        "batch_size": 16,
        "penalty": PENALTY,
    },
    "Adam and regularisation": {
        "optimizer": Adam(),
        "learning_rate": 0.01,
        "batch_size": 16,
        "regularization": ALL_REGULARIZATION,
    },
    # Most ranks have nothing of most batches.
    "batches of 2": {"optimizer": SGD(), "learning_rate": 0.05, "batch_size": 2},
}


def examples(rows: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=rows)
    return Examples(rng.normal(size=(rows, 5)) + y[:, None], y)


def on_ranks(source: Examples, backend: Backend) -> Any:
    if backend.ranks.count == 1:
        return source.to_device(backend)
    return shared_out(source, backend.ranks).to_device(backend)


def trained(backend: Backend, settings: dict[str, Any], steps: int = 200) -> dict[str, np.ndarray]:
    mlp = MLP((5, 9, 3), "tanh")
    state = initial_state(mlp, settings["optimizer"], seed=4, backend=backend)
    validation = on_ranks(examples(23, seed=1), backend)
    rows = fit(
        mlp,
        state,
        on_ranks(examples(ROWS, seed=0), backend),
        steps=steps,
        log_every=50,
        validation=validation,
        backend=backend,
        **settings,
    )
    history = [(r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy) for r in rows]
    found = {name: backend.to_host(array) for name, array in state.params.items()}
    found["history"] = np.array(history, dtype=float)
    layers = diagnose(
        Model(mlp, settings["optimizer"], 0.1),
        state.variables,
        on_ranks(examples(ROWS, seed=0), backend).first(60),
        backend=backend,
    )
    found["diagnosed"] = np.array([(row.gradient_norm, row.update_ratio) for row in layers])
    found["evaluated"] = np.array(evaluate(mlp, state.params, validation, backend=backend))
    return found


def trained_stack(backend: Backend) -> dict[str, np.ndarray]:
    mlp = MLP((5, 9, 3), "tanh")
    models = [Model(mlp, learning_rate=0.1 * (k + 1), seed=k) for k in range(3)]
    train = on_ranks(examples(ROWS, seed=0), backend)
    ended = fit_stack(models, train, steps=30, backend=backend, batch_size=16)
    return {
        f"model {k} {name}": backend.to_host(array)
        for k, model in enumerate(ended)
        for name, array in model.result.items()
    }


def results(backend: Backend) -> dict[str, np.ndarray]:
    found = {
        f"{case}: {name}": array
        for case, settings in CASES.items()
        for name, array in trained(backend, settings).items()
    }
    return found | {f"stack: {k}": array for k, array in trained_stack(backend).items()}


def stopped_once(backend: Backend) -> dict[str, np.ndarray]:
    """Stop one training on the wish of one rank, and take another, which is not stopped."""
    settings = CASES["batches"] | {"on_step": lambda _: backend.ranks.rank == 0}
    first = trained(backend, settings, steps=50)
    again = trained(backend, CASES["batches"], steps=50)
    steps = np.array([first["history"].shape[0]])
    return {"stopped: rows": steps} | {f"after a stop: {k}": v for k, v in again.items()}


def staged(backend: Backend) -> dict[str, np.ndarray]:
    """Train on arrays that MPI cannot be given, as those on a GPU are: they go through the host."""
    from xpmlp.backends.ranks.distributed import DistributedBackend

    with strict_rules():
        there = DistributedBackend(StrictBackend("float64"), backend.ranks)  # type: ignore[arg-type]
        found = trained(there, CASES["penalties"], steps=20)
    return {f"staged: {name}": array for name, array in found.items()}


def main() -> None:
    backend = select_backend("cpu", "float64", distributed="mpi")
    found = results(backend) | staged(backend) | stopped_once(backend)
    if backend.ranks.rank == 0:
        with Path(sys.argv[1]).open("wb") as file:
            np.savez(file, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
