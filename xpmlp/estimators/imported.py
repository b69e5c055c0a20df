"""A multi-layer perceptron that scikit-learn has trained, as one of ours."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.utils.validation import check_is_fitted

from xpmlp.backends import select_backend
from xpmlp.backends.exchange import Kind
from xpmlp.estimators.labels import Classes, YesesAndNoes
from xpmlp.estimators.parameters import activation_names
from xpmlp.estimators.rates import Adaptive
from xpmlp.mathematics.losses import LOSSES
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import OptimizerState
from xpmlp.training.stopping import Patience

# By scikit-learn's name of what the outputs are taken through.
_LOSSES = {
    LOSSES[name].link.scikit_learn: name
    for name in ("cross_entropy", "binary_cross_entropy", "squared_error", "poisson_deviance")
}
_RECORD = [
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "validation_scores_",
    "best_loss_",
    "best_validation_score_",
    "n_features_in_",
    "feature_names_in_",
]


def imported(kind: type[Any], theirs: Any) -> Any:
    """Return a fitted estimator of a kind with the weights and settings of scikit-learn's.

    It predicts the same, and can be trained on with `warm_start` or `partial_fit`. Raises
    `TypeError` for an estimator of another kind.
    """
    check_is_fitted(theirs)
    if not isinstance(theirs, getattr(neural_network, kind.__name__)):
        raise TypeError(
            f"{kind.__name__}.from_scikit_learn takes sklearn.neural_network.{kind.__name__}, and "
            f"not a {type(theirs).__name__}"
        )
    known = kind().get_params()
    settings = {k: v for k, v in theirs.get_params().items() if k in known}
    ours = kind(**settings)
    classes = getattr(theirs, "classes_", None)
    loss = _LOSSES[theirs.out_activation_]
    if classes is not None:
        ours.classes_ = classes
        several = loss == "binary_cross_entropy" and theirs.n_outputs_ > 1
        ours._labels = YesesAndNoes(len(classes)) if several else Classes(np.asarray(classes))
    else:
        ours._columns, ours._single = theirs.n_outputs_, theirs.n_outputs_ == 1
    ours._forget()
    optimizer = getattr(theirs, "_optimizer", None)
    stopping = bool(theirs.early_stopping)
    best = theirs.best_validation_score_ if stopping else getattr(theirs, "best_loss_", None)
    if best is not None:
        waiting = getattr(theirs, "_no_improvement_count", 0)
        ours._patience = Patience(inf, theirs.tol, best if stopping else -best, waiting)
    if getattr(theirs, "learning_rate", None) == "adaptive" and theirs.solver == "sgd":
        rate = getattr(optimizer, "learning_rate", theirs.learning_rate_init)
        factor = rate / theirs.learning_rate_init
        ours._adaptive = Adaptive(float(theirs.learning_rate_init), float(factor))
    for name in _RECORD:
        if hasattr(theirs, name):
            value = getattr(theirs, name)
            setattr(ours, name, list(value) if isinstance(value, list) else value)
    sizes = (theirs.coefs_[0].shape[0], *(w.shape[1] for w in theirs.coefs_))
    mlp = MLP(tuple(map(int, sizes)), activation_names(ours), loss)
    params = {}
    for number, (w, b) in enumerate(zip(theirs.coefs_, theirs.intercepts_, strict=True), start=1):
        params[f"layer{number}.weight"], params[f"layer{number}.bias"] = w.copy(), b.copy()
    dtype = str(theirs.coefs_[0].dtype)
    ours._keep(mlp, params, select_backend("cpu", dtype), Kind())
    ours._optimizer_state = _optimizer_state(optimizer, list(params))
    return ours


def _optimizer_state(theirs: Any, names: list[str]) -> OptimizerState | None:
    """Return what an optimiser of scikit-learn remembers, None where that is not to be had."""
    # There all weights come first, then all biases.
    order = [*names[::2], *names[1::2]]

    def moments(arrays: list[np.ndarray], factor: float = 1.0) -> dict[str, np.ndarray]:
        found = {name: factor * array for name, array in zip(order, arrays, strict=True)}
        return {name: found[name] for name in names}

    if hasattr(theirs, "ms") and hasattr(theirs, "vs"):
        steps = np.asarray(theirs.t, dtype=theirs.ms[0].dtype)
        first = moments(theirs.ms, 1.0 / (1.0 - theirs.beta_1))
        second = moments(theirs.vs, 1.0 / (1.0 - theirs.beta_2))
        return {"gradient_sum": first, "square_sum": second, "time": {"steps": steps}}
    if hasattr(theirs, "velocities"):
        # Theirs are steps, ours gradients: v = −α Σ ...
        return {"velocity": moments(theirs.velocities, -1.0 / theirs.learning_rate)}
    return None
