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


def with_xpmlp(folder: Path, race: dict[str, Any]) -> tuple[int, float]:
    """Train as its users do; the seed draws the same weights and orders."""
    import xpmlp

    backend = xpmlp.select_backend("cpu", threads=race["threads"])
    data = xpmlp.load_data(folder / "data.npz", val_size=0)
    model = xpmlp.Model(
        xpmlp.MLP(tuple(race["sizes"]), race["activation"]),
        xpmlp.OPTIMIZERS[race["optimizer"]](),
        race["learning_rate"],
        seed=race["seed"],
    )
    plan = xpmlp.Plan(
        epochs=race["epochs"], batch_size=race["batch_size"], log_test=True, seed=race["seed"]
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
    problem = Problem(
        tuple(race["sizes"]),
        race["activation"],
        params,
        x,
        y,
        race["learning_rate"],
        race["threads"],
        optimizer=race["optimizer"],
    )
    peer = installed_peers()[name](problem)
    orders = np.load(folder / "orders.npy", mmap_mode="r")
    epoch, accuracy = 0, 0.0
    while epoch < race["epochs"] and accuracy < race["accuracy"]:
        peer.epoch(np.asarray(orders[epoch], dtype=np.int64), race["batch_size"])
        accuracy, epoch = float(np.mean(peer.predict(x_test) == y_test)), epoch + 1
    return epoch, accuracy


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    race = json.loads((folder / "race.json").read_text(encoding="utf-8"))
    own = name == "xpmlp"
    epochs, accuracy = with_xpmlp(folder, race) if own else with_peer(name, folder, race)
    print(json.dumps({"epochs": epochs, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
