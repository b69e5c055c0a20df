"""A fitted estimator in one file, and back: its numbers as safetensors, all else as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from xpmlp.backends import select_backend
from xpmlp.backends.exchange import Kind, on_host
from xpmlp.errors import CheckpointError
from xpmlp.estimators.labels import Labels
from xpmlp.estimators.parameters import check_parameters
from xpmlp.files import parse_json, read_whole, write_whole
from xpmlp.interchange.safetensors_file import metadata_of, safetensors_package
from xpmlp.mathematics.mlp import MLP

_KEY, _VERSION = "xpmlp estimator", 1
# What `fit` has found, beside the weights: numbers, lists of them, or nothing.
_FOUND: tuple[str, ...] = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "best_validation_score_",
)
_FOUND += ("validation_scores_", "validation_loss_curve_", "n_features_in_")
_DTYPES = ("float32", "float64")


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator; raises `UsageError` without safetensors, `OutputError` else."""
    check_is_fitted(estimator)
    arrays = {f"weights/{name}": array for name, array in estimator.params_.items()}
    for moment, named in (estimator._optimizer_state or {}).items():
        for name, array in named.items():
            arrays[f"optimizer/{moment}/{name}"] = np.asarray(on_host(array))
    # A generator of random numbers is none of the network.
    params = {
        name: None if isinstance(value, np.random.RandomState) else _plain(value)
        for name, value in estimator.get_params(deep=False).items()
    }
    names = getattr(estimator, "feature_names_in_", None)
    record = {
        "version": _VERSION,
        "kind": type(estimator).__name__,
        "params": params,
        "found": {
            name: _plain(getattr(estimator, name)) for name in _FOUND if hasattr(estimator, name)
        },
        "feature_names": None if names is None else list(map(str, names)),
        "targets": _targets(estimator),
    }
    stored = {name: np.array(array, order="C") for name, array in arrays.items()}
    content = safetensors_package().save(stored, metadata={_KEY: json.dumps(record)})
    write_whole(Path(path), content)


def load(kinds: dict[str, Callable[..., Any]], path: str | Path) -> Any:
    """Return the estimator of a file, one of `kinds`; raises `CheckpointError` for another file."""
    package, path = safetensors_package(), Path(path)
    try:
        raw = read_whole(path)
        arrays = package.load(raw)
        record = parse_json(metadata_of(raw).get(_KEY, "null"))
        if not isinstance(record, dict) or record.get("kind") not in kinds:
            raise ValueError(f"no estimator of xpmlp, of {' or '.join(kinds)}")
        if record["version"] > _VERSION:
            raise ValueError(f"it has the version {record['version']}: update xpmlp")
        return _restored(kinds[record["kind"]], record, arrays)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error
    except CheckpointError:
        raise
    except Exception as error:  # whatever a parser, or a setting that is none, makes of it
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"{path} holds no estimator ({said}): give another file") from error


def _restored(kind: Callable[..., Any], record: dict[str, Any], arrays: dict[str, Any]) -> Any:
    params = {name: _value(plain) for name, plain in record["params"].items()}
    estimator = kind(**params)
    check_parameters(estimator)
    estimator._forget()
    _give_targets(estimator, record["targets"])
    weights = {k.removeprefix("weights/"): a for k, a in arrays.items() if k.startswith("weights/")}
    mlp = estimator._mlp(int(record["found"]["n_features_in_"]))
    _check_weights(weights, mlp)
    dtype = str(weights["layer1.weight"].dtype)
    for name in _FOUND:
        if name in record["found"]:
            setattr(estimator, name, _value(record["found"][name]))
    if record["feature_names"] is not None:
        estimator.feature_names_in_ = np.array(record["feature_names"], dtype=object)
    estimator._keep(mlp, weights, select_backend("cpu", dtype), Kind())
    moments: dict[str, dict[str, Any]] = {}
    for key, array in arrays.items():
        if key.startswith("optimizer/"):
            _, moment, name = key.split("/")
            moments.setdefault(moment, {})[name] = array
    estimator._optimizer_state = moments or None
    return estimator


def _check_weights(weights: dict[str, np.ndarray], mlp: MLP) -> None:
    """Raise `ValueError` unless these are the finite numbers of a network, of one type."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(mlp.weight_shapes, start=1):
        shapes |= {f"layer{layer}.weight": (fan_in, fan_out), f"layer{layer}.bias": (fan_out,)}
    if {name: array.shape for name, array in weights.items()} != shapes:
        raise ValueError("its weights are not those of its layers")
    if len({str(a.dtype) for a in weights.values()}) > 1 or any(
        str(array.dtype) not in _DTYPES or not np.isfinite(array).all()
        for array in weights.values()
    ):
        raise ValueError("its weights are no finite numbers of one type, float32 or float64")


def _targets(estimator: Any) -> dict[str, Any]:
    labels: Labels | None = getattr(estimator, "_labels", None)
    if labels is None:
        return {"columns": estimator._columns, "single": estimator._single}
    kind = labels.classes.dtype
    return {
        "classes": [_plain(label) for label in labels.classes.tolist()],
        "dtype": "object" if kind.kind == "O" else kind.str,
        "multilabel": labels.multilabel,
    }


def _give_targets(estimator: Any, record: dict[str, Any]) -> None:
    if "classes" not in record:
        estimator._columns, estimator._single = int(record["columns"]), bool(record["single"])
        return
    if record["dtype"] != "object" and np.dtype(record["dtype"]).kind not in "biufU":
        raise ValueError(f"its classes are of {record['dtype']}")
    classes = np.array([_value(label) for label in record["classes"]], dtype=record["dtype"])
    if classes.ndim != 1 or not len(classes):
        raise ValueError("its classes are no list of labels")
    estimator._labels = Labels(classes, multilabel=bool(record["multilabel"]))
    estimator.classes_ = classes


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON lacks is an object of one name."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return {"float": str(value)}
    if isinstance(value, tuple):
        return {"tuple": list(map(_plain, value))}
    if isinstance(value, list):
        return list(map(_plain, value))
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(item)] for key, item in value.items()]}
    return value


def _value(plain: Any) -> Any:
    """Return what `_plain` was given."""
    if isinstance(plain, list):
        return list(map(_value, plain))
    if not isinstance(plain, dict):
        return plain
    ((name, inner),) = plain.items()
    if name == "float":
        return float(inner)
    if name == "tuple":
        return tuple(map(_value, inner))
    return {_value(key): _value(item) for key, item in inner}
