"""Parameters, findings and labels of an estimator as JSON has them, and back."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from xpmlp.estimators.labels import Classes, Labels, SeveralClasses, YesesAndNoes


def targets_of(estimator: Any) -> dict[str, Any]:
    """Return what an estimator says of its targets."""
    labels: Labels | None = getattr(estimator, "_labels", None)
    if labels is None:
        return {"columns": estimator._columns, "single": estimator._single}
    if isinstance(labels, SeveralClasses):
        return {"several": [record_of_labels(classes) for classes in labels.classes]}
    return record_of_labels(labels.classes) | {"multilabel": isinstance(labels, YesesAndNoes)}


def record_of_labels(classes: np.ndarray) -> dict[str, Any]:
    """Return class labels as JSON has them, with their type."""
    kind = classes.dtype
    return {
        "classes": [plain(label) for label in classes.tolist()],
        "dtype": "object" if kind.kind == "O" else kind.str,
    }


def give_targets(estimator: Any, record: dict[str, Any]) -> None:
    """Give an estimator the targets of a record."""
    if "columns" in record:
        estimator._columns, estimator._single = int(record["columns"]), bool(record["single"])
        return
    if "several" in record:
        labels: Labels = SeveralClasses([labels_of_record(one) for one in record["several"]])
    elif record["multilabel"]:
        labels = YesesAndNoes(len(labels_of_record(record)))
    else:
        labels = Classes(labels_of_record(record))
    estimator._labels, estimator.classes_ = labels, labels.classes


def labels_of_record(record: dict[str, Any]) -> np.ndarray:
    """Return them again; raises `ValueError` for what is no list of labels."""
    if record["dtype"] != "object" and np.dtype(record["dtype"]).kind not in "biufU":
        raise ValueError(f"its classes are of {record['dtype']}")
    classes = np.array([value_of(label) for label in record["classes"]], dtype=record["dtype"])
    if classes.ndim != 1 or not len(classes):
        raise ValueError("its classes are no list of labels")
    return classes


def plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON lacks is an object of one name."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not isfinite(value):
        return {"float": str(value)}
    if isinstance(value, tuple):
        return {"tuple": list(map(plain, value))}
    if isinstance(value, list):
        return list(map(plain, value))
    if isinstance(value, dict):
        return {"dict": [[plain(key), plain(item)] for key, item in value.items()]}
    return value


def value_of(record: Any) -> Any:
    """Return what `plain` was given."""
    if isinstance(record, list):
        return list(map(value_of, record))
    if not isinstance(record, dict):
        return record
    ((name, inner),) = record.items()
    if name == "float":
        return float(inner)
    if name == "tuple":
        return tuple(map(value_of, inner))
    return {value_of(key): value_of(item) for key, item in inner}
