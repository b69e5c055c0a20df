"""A fitted estimator in one file, and back: its numbers as safetensors, all else as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from xpmlp.backends import select_backend
from xpmlp.backends.exchange import Kind, on_host
from xpmlp.errors import CheckpointError, UsageError
from xpmlp.estimators.parameters import check_parameters
from xpmlp.estimators.rates import Adaptive
from xpmlp.estimators.records import give_targets, plain, targets_of, value_of
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


# The kinds of estimators that there are files of, by name.
KINDS: dict[str, Any] = {}


class Stored:
    """An estimator that can be written into a file and read again; a kind of its own by its name.

    One that is made of others names the attribute that holds them, trained, and the arrays that it
    has found itself.
    """

    _trained_in: str | None = None
    _holds_several = False
    _found_arrays: tuple[str, ...] = ()

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if not cls.__name__.startswith(("_", "Base", "Meta")):
            KINDS[cls.__name__] = cls

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator into a .safetensors file, which `load` reads; no pickle.

        Weights, parameters, classes, names of features, and what `partial_fit` goes on with; a
        `random_state` that is a generator is left out. Raises `UsageError` without the package
        safetensors, or where it is made of estimators that are not ours; `OutputError` where the
        file cannot be written.
        """
        record, arrays = _described(self)
        stored = {name: np.array(array, order="C") for name, array in arrays.items()}
        metadata = {_KEY: json.dumps({"version": _VERSION, **record})}
        write_whole(Path(path), safetensors_package().save(stored, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the estimator that `save` has written: its predictions are the same bit for bit.

        A file of a stranger is read as such. Raises `CheckpointError` for any that holds none.
        """
        found: Self = _loaded(cls.__name__, Path(path))
        return found

    def _record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a file says of the estimator, and its arrays by name."""
        return (_network if self._trained_in is None else _made_of_others)(self)

    @classmethod
    def _of_record(cls, record: dict[str, Any], arrays: dict[str, Any]) -> Any:
        """Return the estimator of a record and its arrays; raises anything for what is none."""
        return (_restored_of_others if "members" in record else _restored_network)(record, arrays)


def _described(estimator: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    check_is_fitted(estimator)
    record, arrays = estimator._record()
    return {**settings_of(estimator), **record}, arrays


def _network(estimator: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = {f"weights/{name}": array for name, array in estimator.params_.items()}
    for moment, named in (estimator._optimizer_state or {}).items():
        for name, array in named.items():
            arrays[f"optimizer/{moment}/{name}"] = np.asarray(on_host(array))
    for name, array in (estimator._best_params or {}).items():
        arrays[f"best/{name}"] = np.asarray(on_host(array))
    names = getattr(estimator, "feature_names_in_", None)
    found = {name: plain(getattr(estimator, name)) for name in _FOUND if hasattr(estimator, name)}
    return {
        "found": found,
        "pace": _pace(estimator),
        "feature_names": None if names is None else list(map(str, names)),
        "targets": targets_of(estimator),
    }, arrays


def _pace(estimator: Any) -> dict[str, Any]:
    """Return what `partial_fit` and `warm_start` go on with, beside the optimiser's state."""
    adaptive, patience = estimator._adaptive, estimator._patience
    return {
        "factor": None if adaptive is None else adaptive.factor,
        "best": plain(patience.best),
        "waiting": patience.waiting,
    }


def _made_of_others(estimator: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    held = getattr(estimator, estimator._trained_in)
    members = held if isinstance(held, list) else [held]
    records = []
    arrays = {f"own/{name}": getattr(estimator, name) for name in estimator._found_arrays}
    for number, member in enumerate(members):
        if not isinstance(member, Stored):
            raise UsageError(
                f"{type(estimator).__name__} is made of {type(member).__name__}, which is not of "
                "xpmlp: give it to skops.io.dump"
            )
        record, own = _described(member)
        records.append(record)
        arrays |= {f"{number}/{name}": array for name, array in own.items()}
    return {"members": records}, arrays


def settings_of(estimator: Any) -> dict[str, Any]:
    """Return its kind and parameters, and those of the estimator that it makes copies of.

    A generator of random numbers is none.
    """
    params = estimator.get_params(deep=False)
    prototype = params.pop("estimator", None)
    return {
        "kind": type(estimator).__name__,
        "params": {
            name: None if isinstance(value, np.random.RandomState) else plain(value)
            for name, value in params.items()
        },
        "prototype": None if prototype is None else settings_of(prototype),
    }


def _loaded(kind: str, path: Path) -> Any:
    """Return the estimator of a file; raises `CheckpointError` for another file."""
    package = safetensors_package()
    try:
        raw = read_whole(path)
        arrays = package.load(raw)
        record = parse_json(metadata_of(raw).get(_KEY, "null"))
        if not isinstance(record, dict) or record.get("kind") != kind:
            raise ValueError(f"no estimator of xpmlp, of {kind}")
        if record["version"] > _VERSION:
            raise ValueError(f"it has the version {record['version']}: update xpmlp")
        return _restored(record, arrays)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error
    except CheckpointError:
        raise
    except Exception as error:  # whatever a parser, or a setting that is none, makes of it
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"{path} holds no estimator ({said}): give another file") from error


def _restored(record: dict[str, Any], arrays: dict[str, Any]) -> Any:
    return KINDS[record["kind"]]._of_record(record, arrays)


def _restored_network(record: dict[str, Any], arrays: dict[str, Any]) -> Any:
    estimator = untrained(record)
    check_parameters(estimator)
    estimator._forget()
    give_targets(estimator, record["targets"])
    weights = _below("weights", arrays)
    mlp = estimator._mlp(int(record["found"]["n_features_in_"]))
    _check_weights(weights, mlp)
    dtype = str(weights["layer1.weight"].dtype)
    for name in _FOUND:
        if name in record["found"]:
            setattr(estimator, name, value_of(record["found"][name]))
    if record["feature_names"] is not None:
        estimator.feature_names_in_ = np.array(record["feature_names"], dtype=object)
    estimator._keep(mlp, weights, select_backend("cpu", dtype), Kind())
    moments: dict[str, dict[str, Any]] = {}
    for key, array in _below("optimizer", arrays).items():
        moment, name = key.split("/")
        moments.setdefault(moment, {})[name] = array
    estimator._optimizer_state = moments or None
    estimator._best_params = _below("best", arrays) or None
    if pace := record.get("pace"):  # files of before have none
        estimator._patience.best = float(value_of(pace["best"]))
        estimator._patience.waiting = int(pace["waiting"])
        if pace["factor"] is not None:
            rate = float(estimator.learning_rate_init)
            estimator._adaptive = Adaptive(rate, float(pace["factor"]))
    return estimator


def _restored_of_others(record: dict[str, Any], arrays: dict[str, Any]) -> Any:
    estimator = untrained(record)
    members = [
        _restored(one, _below(str(number), arrays)) for number, one in enumerate(record["members"])
    ]
    if len({type(member) for member in members}) != 1:
        raise ValueError("what it is made of is not of one kind")
    held = members if estimator._holds_several else members[0]
    setattr(estimator, estimator._trained_in, held)
    own = _below("own", arrays)
    for name in estimator._found_arrays:
        setattr(estimator, name, own[name])
    estimator._adopt(members[0])
    return estimator


def untrained(record: dict[str, Any]) -> Any:
    """Return the estimator of a record, not trained."""
    params = {name: value_of(given) for name, given in record["params"].items()}
    if record.get("prototype") is not None:
        params["estimator"] = untrained(record["prototype"])
    return KINDS[record["kind"]](**params)


def _below(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays whose names begin with another one, without it."""
    return {k.removeprefix(f"{name}/"): a for k, a in arrays.items() if k.startswith(f"{name}/")}


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
