"""The state of a training as named arrays, and back: whatever is in them is checked before use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from xpmlp.backends import Backend
from xpmlp.data.preparation import Preparation
from xpmlp.files import parse_json
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.losses import LOSSES
from xpmlp.mathematics.mlp import MLP
from xpmlp.regularization import AVERAGE, COUNT
from xpmlp.rules import (
    FINITE,
    FROM_0,
    RECORD,
    TEXT,
    Rule,
    checked,
    either,
    one_of,
    optional,
    row_of,
    several,
    whole,
)
from xpmlp.training.history import COLUMNS, history_arrays, rows_of_arrays
from xpmlp.training.state import STATUSES, TrainingState

Arrays = dict[str, np.ndarray]

_NUMBERS: dict[str, Rule] = {
    "step": whole(0),
    "seed": whole(0),
    "seconds": FROM_0,
    "status": one_of(*STATUSES),
    "cause": optional(TEXT),
    "correct": optional(FROM_0),
    "examples": whole(0),
    "first_loss": optional(FINITE),
}
_RECORD: dict[str, Rule] = {"settings": optional(RECORD)}


def arrays_of_state(state: TrainingState, backend: Backend) -> Arrays:
    """Return all that a state holds as host arrays, records among them as the bytes of JSON."""
    only, mlp = state.only, state.only.mlp
    groups: dict[str, Mapping[str, Any]] = {"params": state.params}
    groups |= {f"optimizer/{k}": moments for k, moments in state.variables.optimizer_state.items()}
    if only.best_params is not None:
        groups["best"] = only.best_params
    arrays = {
        f"{group}/{name}": backend.to_host(array)
        for group, named in groups.items()
        for name, array in named.items()
    }
    arrays |= {f"history/{k}": column for k, column in history_arrays(only.history).items()}
    arrays["interval/losses"] = np.array(only.interval.losses, dtype=np.float64)
    numbers = {
        "step": state.step,
        "seed": only.model.seed,
        "seconds": state.seconds,
        "status": only.status,
        "cause": only.cause,
        "correct": only.interval.correct,
        "examples": only.interval.examples,
        "first_loss": only.first_loss,
    }
    network = {"sizes": mlp.sizes, "activation": mlp.activation, "loss": mlp.loss}
    return arrays | {"numbers": json_array(numbers), "network": json_array(network)}


def json_array(value: Mapping[str, Any]) -> np.ndarray:
    """Return a record as the bytes of JSON: an attribute would be limited to 64 kB."""
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def checked_network(arrays: Arrays) -> MLP:
    """Return the network that arrays are of; raises `ValueError` where they do not say so."""
    name = one_of(*ACTIVATIONS)
    rules = {
        "sizes": several(whole(1)),
        "activation": either(name, several(name)),
        "loss": row_of(LOSSES),
    }
    found = _record(arrays, "network", rules)
    activation = found["activation"]
    if isinstance(activation, list):
        activation = tuple(activation)
    return MLP(tuple(found["sizes"]), activation, found["loss"])


def checked_numbers(arrays: Arrays) -> dict[str, Any]:
    """Return the numbers of a state; raises `ValueError` for such as no state has."""
    numbers: dict[str, Any] = dict.fromkeys(_NUMBERS)
    numbers |= _record(arrays, "numbers", _NUMBERS)
    losses = _named(arrays, "interval/losses")
    if losses.ndim != 1 or losses.dtype != np.float64 or not np.isfinite(losses).all():
        raise ValueError("the losses since the last log point are no finite numbers")
    if (numbers["examples"] > 0) != (len(losses) > 0):
        raise ValueError(f"{len(losses)} losses of {numbers['examples']} examples")
    return numbers


def checked_history(arrays: Arrays) -> Arrays:
    """Return the columns of a history; raises `ValueError` unless its rows are such."""
    columns = {name: _named(arrays, f"history/{name}") for name in COLUMNS}
    shapes = {column.shape for column in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError("the columns of its history are not as long as each other")
    rows = rows_of_arrays(columns)
    if any(after.step <= before.step for before, after in pairwise(rows)):
        raise ValueError("the steps of its history do not rise")
    return columns


def checked_params(arrays: Arrays, mlp: MLP, group: str = "params") -> Arrays:
    """Return the parameters of a network; raises `ValueError` for others, or such as NaN."""
    found = {}
    for number, shape in enumerate(mlp.weight_shapes, start=1):
        for name, expected in (("weight", shape), ("bias", shape[1:])):
            key = f"layer{number}.{name}"
            found[key] = _named(arrays, f"{group}/{key}")
            _check_real(found[key], expected, f"{group}/{key}")
    if len({array.dtype for array in found.values()}) > 1:
        raise ValueError(f"the {group} are of several types")
    return found


def checked_moments(arrays: Arrays, params: Arrays) -> dict[str, Arrays]:
    """Return what an optimiser remembers, one array per parameter, or numbers of its own."""
    moments: dict[str, Arrays] = {}
    for name, array in arrays.items():
        if name.startswith("optimizer/"):
            _, _, rest = name.partition("/")
            kind, _, own = rest.partition("/")
            _check_real(array, params[own].shape if own in params else (), name)
            moments.setdefault(kind, {})[own] = array
    for kind, named in moments.items():
        of_parameters = kind == AVERAGE or set(named) & set(params)
        if of_parameters and set(named) != set(params):
            raise ValueError(f"the {kind} is not that of all parameters")
    if AVERAGE in moments and not _counts(moments.get(COUNT, {})):
        raise ValueError(f"the {AVERAGE} of the weights does not say of how many steps it is")
    order = list(params)
    return {
        kind: {name: named[name] for name in (order if order[0] in named else named)}
        for kind, named in moments.items()
    }


def _counts(named: Arrays) -> bool:
    """Tell whether these are the number of steps of an average, and nothing else."""
    if set(named) != {"steps"}:
        return False
    steps = float(named["steps"])
    return 0 <= steps < 2**63 and steps == int(steps)


def checked_record(arrays: Arrays, mlp: MLP) -> dict[str, Any]:
    """Return what a run has kept with its state; raises `ValueError` for another's."""
    record = _record(arrays, "record", _RECORD)
    Preparation.from_record(record.get("settings") or {}, mlp)
    return record


def _record(arrays: Arrays, name: str, rules: Mapping[str, Rule]) -> dict[str, Any]:
    array = _named(arrays, name)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(f"{name} is no text")
    try:
        return checked(parse_json(array.tobytes()), rules)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _named(arrays: Arrays, name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"there is no {name}")
    return arrays[name]


def _check_real(array: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape or array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} is {array.dtype} {array.shape}, and not real numbers {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
