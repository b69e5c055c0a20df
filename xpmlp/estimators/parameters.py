"""What the estimators' parameters may be; anything else is a `ValueError` that says so."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import inf
from numbers import Integral
from typing import Any

import numpy as np

from xpmlp.backends import BACKENDS
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.initializers import INITIALIZERS
from xpmlp.rows import named
from xpmlp.rules import (
    ABOVE_0,
    FROM_0,
    SHARE,
    TEXT,
    Rule,
    either,
    number,
    one_of,
    optional,
    whole,
)

# scikit-learn's names of functions that have another one here.
_ALIASES = {"logistic": "sigmoid"}


_COUNT = Rule(whole(1).holds, "a whole number from 1 up")
_BOOLEAN = Rule(lambda v: isinstance(v, Integral | np.bool_) and v in (0, 1), "True or False")

_LEVEL = number(
    0, 1, "a share above 0 and below 1, or several rising ones", open_low=True, open_high=True
)

_RULES = {
    "solver": one_of("sgd", "adam", "rmsprop", "lbfgs"),
    "learning_rate": one_of("constant", "invscaling", "adaptive"),
    "loss": one_of("squared_error", "poisson", "absolute_error", "huber", "quantile"),
    "monitor": one_of("score", "loss"),
    "init": one_of(None, *INITIALIZERS),
    "momentum": number(0, 1, "a number from 0 to 1"),
    "n_iter_no_change": either(_COUNT, Rule(lambda v: v == inf, "infinity")),
    "batch_size": either(one_of("auto", "full"), _COUNT),
    "device": optional(Rule(TEXT.holds, "cpu, gpu or gpu:N")),
    "backend": one_of("auto", *BACKENDS),
    "verbose": Rule(lambda v: isinstance(v, Integral | np.bool_), "True, False or a whole number"),
    "threads": optional(_COUNT),
    **dict.fromkeys(("max_iter", "max_fun"), _COUNT),
    **dict.fromkeys(("alpha", "power_t", "tol"), FROM_0),
    **dict.fromkeys(("learning_rate_init", "epsilon", "delta"), ABOVE_0),
    **dict.fromkeys(("beta_1", "beta_2", "dropout", "validation_fraction"), SHARE),
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
    if "quantile" in estimator.get_params(deep=False):
        levels_of(estimator)
    if estimator.solver == "lbfgs" and estimator.dropout:
        raise ValueError("solver='lbfgs' leaves no units out: choose dropout=0, or another solver")


def levels_of(estimator: Any) -> tuple[float, ...]:
    """Return the levels of the quantiles of a regressor; one number is one level."""
    given = estimator.quantile
    levels = tuple(given) if isinstance(given, Iterable) else (given,)
    rising = all(low < high for low, high in pairwise(levels))
    if not levels or not all(map(_LEVEL.holds, levels)) or not rising:
        raise ValueError(f"The parameter quantile is {given!r}: choose {_LEVEL.allowed}")
    return tuple(map(float, levels))


def loss_of(estimator: Any) -> str:
    """Return our name of a regressor's loss."""
    if estimator.loss == "quantile":
        return named("quantiles", *levels_of(estimator))
    if estimator.loss == "huber":
        return named("huber", float(estimator.delta))
    return {"poisson": "poisson_deviance"}.get(estimator.loss, str(estimator.loss))


def is_stochastic(estimator: Any) -> bool:
    """Tell whether `partial_fit` is there; raises `AttributeError` with the reason."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit takes steps on batches, and solver='lbfgs' works on all samples: choose "
            "another solver, or fit"
        )
    return True


def hidden_units(estimator: Any) -> tuple[int, ...]:
    """Return the units of each hidden layer; a number is one layer."""
    sizes = estimator.hidden_layer_sizes
    units = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,)
    if not all(map(_COUNT.holds, units)):
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
