"""One library's whole process: imports, loading, training until a test accuracy is reached.

Run as `python -m benchmarks.peers.racer NAME FOLDER`. The folder holds race.json (what all are
given), data.npz, weights.npz and orders.npy; the result is one JSON object on stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def with_xpmlp(name: str, folder: Path, race: dict[str, Any]) -> tuple[int, float]:
    """Train as its users do; the seed draws the same weights and orders."""
    from benchmarks.peers.recipes import Recipe

    import xpmlp

    recipe, library = Recipe(**race["recipe"]), name.removeprefix("xpmlp").strip("[]")
    # What compiles has threads of its own.
    threads = {} if library == "jax" else {"threads": race["threads"]}
    backend = xpmlp.select_backend("cpu", backend=library or "auto", **threads)
    data = xpmlp.load_data(folder / "data.npz", val_size=0)
    model = xpmlp.Model(
        xpmlp.MLP(tuple(race["sizes"]), recipe.activation),
        xpmlp.OPTIMIZERS[recipe.optimizer](),
        recipe.learning_rate,
        initializer=recipe.initializer,
        seed=race["seed"],
        regularization=xpmlp.Regularization(
            dropout=recipe.dropout,
            input_dropout=recipe.input_dropout,
            label_smoothing=recipe.label_smoothing,
            deformation=xpmlp.Deformation(elastic=recipe.elastic),
        ),
    )
    plan = xpmlp.Plan(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        schedule=recipe.schedule(len(data.train)),
        log_test=True,
        seed=race["seed"],
    )
    accuracy = 0.0
    for row in xpmlp.Training(model, data, plan, backend=backend):
        accuracy = row.test_accuracy or 0.0
        if accuracy >= race["accuracy"]:
            break
    return round(row.epoch), accuracy


def with_peer(name: str, folder: Path, race: dict[str, Any]) -> tuple[int, float]:
    """Train with another library, from the same weights on the same batches."""
    from benchmarks.peers import Problem, installed_peers

    with np.load(folder / "data.npz") as data:
        x, y, x_test, y_test = (data[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    mean, std = np.float32(x.mean()), np.float32(x.std())
    x, x_test = ((part.astype(np.float32) - mean) / std for part in (x, x_test))
    y = y.astype(np.int64)
    with np.load(folder / "weights.npz") as file:
        params = dict(file)
    recipe = race["recipe"]
    problem = Problem(
        tuple(race["sizes"]),
        recipe["activation"],
        params,
        x,
        y,
        recipe["learning_rate"],
        race["threads"],
        optimizer=recipe["optimizer"],
        factors=tuple(race["factors"]),
        input_dropout=recipe["input_dropout"],
        dropout=recipe["dropout"],
        label_smoothing=recipe["label_smoothing"],
        elastic=recipe["elastic"],
    )
    peer = installed_peers()[name](problem)
    orders = np.load(folder / "orders.npy", mmap_mode="r")
    epoch, accuracy = 0, 0.0
    while epoch < recipe["epochs"] and accuracy < race["accuracy"]:
        peer.epoch(np.asarray(orders[epoch], dtype=np.int64), recipe["batch_size"])
        accuracy, epoch = float(np.mean(peer.predict(x_test) == y_test)), epoch + 1
    return epoch, accuracy


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    race = json.loads((folder / "race.json").read_text(encoding="utf-8"))
    train = with_xpmlp if name in ("xpmlp", "xpmlp[jax]", "xpmlp[torch]") else with_peer
    epochs, accuracy = train(name, folder, race)
    print(json.dumps({"epochs": epochs, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
