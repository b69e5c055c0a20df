"""How good predictions are: the figures of each task, from what was predicted and what is true."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpmlp.data.targets import Targets
from xpmlp.inspection.predictions import Compared


def scores(outputs: Compared, targets: Targets) -> dict[str, Any]:
    """Return the figures of a task by name.

    Of classes: accuracy, balanced accuracy (mean recall), mean F1 and area under the ROC curve, and
    under "classes" precision, recall and F1 of each. Of labels: the share of rows that are right
    in all of them, and under "labels" the same figures of each. Of values: RMSE, MAE and R², of
    several under "values" those of each.

    >>> targets = Targets("regression", ("price",))
    >>> scores(Compared(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]])), targets)["mae"]
    1.0
    """
    if targets.task == "regression":
        return _of_values(outputs, targets)
    if targets.task == "multilabel":
        chosen = outputs.predicted > 0.5
        true = outputs.targets > 0.5
        each = [
            {"label": name, **_of_one(chosen[:, k], true[:, k], outputs.predicted[:, k])}
            for k, name in enumerate(targets.names)
        ]
        exact = float((chosen == true).all(axis=1).mean())
        return {"exact_match": exact, **_means(each), "labels": each}
    ids, predicted = outputs.targets, outputs.predicted.argmax(axis=1)
    each = [
        {"class": name, **_of_one(predicted == k, ids == k, outputs.predicted[:, k])}
        for k, name in enumerate(targets.names)
    ]
    found = [one["recall"] for one in each if one["examples"]]
    return {
        "accuracy": float((predicted == ids).mean()),
        "balanced_accuracy": float(np.mean(found)),
        **_means(each),
        "classes": each,
    }


def _means(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of F1 and of the areas, over those that there are examples of."""
    f1 = [one["f1"] for one in each if one["examples"]]
    areas = [one["roc_auc"] for one in each if one["roc_auc"] is not None]
    return {
        "f1": float(np.mean(f1)) if f1 else None,
        "roc_auc": float(np.mean(areas)) if areas else None,
    }


def _of_one(chosen: np.ndarray, true: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """Return how well one class is told from the rest; a share of nothing is 0."""
    right = float((chosen & true).sum())
    precision = right / max(1.0, float(chosen.sum()))
    recall = right / max(1.0, float(true.sum()))
    both = precision + recall
    return {
        "examples": int(true.sum()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both else 0.0,
        "roc_auc": area_under_roc(score, true),
    }


def area_under_roc(score: np.ndarray, true: np.ndarray) -> float | None:
    """Return the probability that a true one has a higher score than another; ties are a half.

    The statistic of Mann and Whitney: (Σ ranks of the true − n (n + 1) / 2) / (n m). None where
    there are none of either kind.
    """
    n, m = int(true.sum()), int((~true).sum())
    if not n or not m:
        return None
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place.reshape(-1)]
    return float((ranks[true].sum() - n * (n + 1) / 2) / (n * m))


def _of_values(outputs: Compared, targets: Targets) -> dict[str, Any]:
    off = outputs.predicted - outputs.targets
    spread = outputs.targets - outputs.targets.mean(axis=0)
    total = (spread**2).sum(axis=0)
    total[np.ptp(outputs.targets, axis=0) == 0] = 0.0  # and not what rounding left of it
    left = 1.0 - (off**2).sum(axis=0) / np.where(total > 0, total, 1.0)
    each: list[dict[str, Any]] = [
        {
            "value": name,
            "rmse": float(np.sqrt((off[:, k] ** 2).mean())),
            "mae": float(np.abs(off[:, k]).mean()),
            "r2": float(left[k]) if total[k] > 0 else None,
        }
        for k, name in enumerate(targets.names)
    ]
    if len(each) == 1:
        return {name: value for name, value in each[0].items() if name != "value"}
    known = [one["r2"] for one in each if one["r2"] is not None]
    return {
        "rmse": float(np.sqrt((off**2).mean())),
        "mae": float(np.abs(off).mean()),
        "r2": float(np.mean(known)) if known else None,
        "values": each,
    }
