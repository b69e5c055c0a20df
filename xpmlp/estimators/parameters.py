"""What the estimators' parameters may be; anything else is a `ValueError` that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.initializers import INITIALIZERS

# scikit-learn's names of functions that have another one here.
_ALIASES = {"logistic": "sigmoid"}


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    allowed: str


def _one_of(*names: str | None) -> _Rule:
    return _Rule(
        lambda value: (
            value is None or (isinstance(value, str) and value in names)
            if None in names
            else isinstance(value, str) and value in names
        ),
        ", ".join(map(str, names)),
    )


def _number(low: float, high: float, allowed: str, *, open_low: bool = False) -> _Rule:
    def holds(value: Any) -> bool:
        if not isinstance(value, Real):
            return False
        number = float(value)
        return low <= number <= high and not (open_low and number == low)

    return _Rule(holds, allowed)


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _boolean(value: Any) -> bool:
    return isinstance(value, Integral | np.bool_) and value in (0, 1)


_BOOLEAN = _Rule(_boolean, "True or False")
_SHARE = "a number from 0 to below 1"
_BELOW_1 = 1 - 1e-12

_RULES = {
    "solver": _one_of("sgd", "adam", "rmsprop", "lbfgs"),
    "learning_rate": _one_of("constant", "invscaling", "adaptive"),
    "loss": _one_of("squared_error", "poisson"),
    "monitor": _one_of("score", "loss"),
    "init": _one_of(None, *INITIALIZERS),
    "alpha": _number(0, inf, "a number from 0 up"),
    "learning_rate_init": _number(0, inf, "a number above 0", open_low=True),
    "power_t": _number(0, inf, "a number from 0 up"),
    "tol": _number(0, inf, "a number from 0 up"),
    "momentum": _number(0, 1, "a number from 0 to 1"),
    "epsilon": _number(0, inf, "a number above 0", open_low=True),
    "beta_1": _number(0, _BELOW_1, _SHARE),
    "beta_2": _number(0, _BELOW_1, _SHARE),
    "dropout": _number(0, _BELOW_1, _SHARE),
    "validation_fraction": _number(0, _BELOW_1, _SHARE),
    "max_iter": _Rule(_whole, "a whole number from 1 up"),
    "max_fun": _Rule(_whole, "a whole number from 1 up"),
    "threads": _Rule(lambda v: v is None or _whole(v), "a whole number from 1 up, or None"),
    "n_iter_no_change": _Rule(
        lambda v: _whole(v) or v == inf, "a whole number from 1 up, or infinity"
    ),
    "batch_size": _Rule(
        lambda v: (isinstance(v, str) and v in ("auto", "full")) or _whole(v),
        "auto, full, or a whole number from 1 up",
    ),
    "device": _Rule(lambda v: v is None or isinstance(v, str), "None, cpu, gpu or gpu:N"),
    "verbose": _Rule(lambda v: isinstance(v, Integral | np.bool_), "True, False or a whole number"),
    **dict.fromkeys(("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"), _BOOLEAN),
}


def check_parameters(estimator: Any) -> None:
    """Raise `ValueError` for the first parameter that cannot mean anything."""
    for name, value in estimator.get_params(deep=False).items():
        rule = _RULES.get(name)
        if rule is not None and not rule.holds(value):
            raise ValueError(
                f"The parameter {name} of {type(estimator).__name__} is {value!r}: choose "
                f"{rule.allowed}"
            )
    hidden_units(estimator)
    activation_names(estimator)


def hidden_units(estimator: Any) -> tuple[int, ...]:
    """Return the units of each hidden layer; a number is one layer."""
    sizes = estimator.hidden_layer_sizes
    units = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,)
    if not all(_whole(size) for size in units):
        raise ValueError(f"hidden_layer_sizes must be whole numbers > 0, got {sizes!r}")
    return tuple(int(size) for size in units)


def drawn_for(estimator: Any) -> tuple[str, ...]:
    """Return the activation that each layer's weights are drawn for; the output's is the last."""
    names, given = activation_names(estimator), estimator.activation
    alone = _ALIASES.get(given, given) if isinstance(given, str) else "identity"
    return (*names, names[-1] if names else alone)


def activation_names(estimator: Any) -> tuple[str, ...]:
    """Return our name for the activation of each hidden layer; one name is that of all."""
    given, layers = estimator.activation, len(hidden_units(estimator))
    names = (given,) * layers if isinstance(given, str) else tuple(given)
    found = tuple(_ALIASES.get(name, name) for name in names)
    if len(found) != layers:
        raise ValueError(
            f"activation names {len(found)} functions and there are {layers} hidden layers"
        )
    for name in found:
        if name not in ACTIVATIONS:
            known = ", ".join(["logistic", *ACTIVATIONS])
            raise ValueError(f"The activation {name!r} is not known: choose from {known}")
    return found
