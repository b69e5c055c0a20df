"""MLPRegressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils.metaestimators import available_if

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.backends.exchange import on_host, to_kind
from xpmlp.data.examples import Examples
from xpmlp.estimators.base import BaseMLP
from xpmlp.estimators.conventions import determination
from xpmlp.estimators.inputs import as_matrix, validation_of
from xpmlp.estimators.parameters import hidden_units, is_stochastic, levels_of, loss_of
from xpmlp.mathematics.losses import LOSSES


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multi-layer perceptron that predicts values, with scikit-learn's interface.

    Parameters have the names, defaults and meaning of scikit-learn's MLPRegressor; what there is
    beside them is said at MLPClassifier. `loss` is "squared_error", ½ ‖z − y‖² of each sample;
    "poisson", half the Poisson deviance of e^z, for counts; "absolute_error"; "huber", the squared
    error up to an error of `delta` and straight beyond; or "quantile", which predicts those at
    the levels `quantile`: a share, or several rising ones (N, levels), which never cross. Several
    columns of y are several outputs, but for quantiles; `loss_curve_` adds their losses, whose
    gradient the training follows.

    >>> import numpy as np
    >>> from xpmlp import MLPRegressor
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = MLPRegressor(loss="quantile", quantile=(0.1, 0.9), tol=0.01, random_state=0)
    >>> low, high = model.fit(x, x[:, 0]).predict(x).T
    >>> bool((low <= high).all())
    True
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        init: str | None = None,
        monitor: str = "score",
        device: str | None = None,
        backend: str = "auto",
        threads: int | None = None,
        delta: float = 1.0,
        quantile: Any = 0.5,
    ) -> None:
        for name, value in locals().items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on X (N, F) with values y (N,) or (N, K).

        X_val and y_val are watched instead of a held-out part of X. Raises `ValueError` for
        input that cannot be trained on, `DivergedError` when the loss is no longer finite.
        """
        return self._fit(X, y, sample_weight, validation_of(X_val, y_val, sample_weight_val))

    @available_if(is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on X and y for one epoch; X_val and y_val are watched."""
        validation = validation_of(X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation, incremental=True)

    def predict(self, X: Any) -> Any:
        """Return the values (N,) or (N, K), in the kind of X; several quantiles (N, levels)."""
        values, backend, kind = self._outputs(X, "predict")
        single = self._single and values.shape[1] == 1
        return to_kind(values[:, 0] if single else values, backend, kind)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the mean over the columns.

        Of quantiles it is D² of their pinball losses, the mean over the levels: the share of the
        loss of the constant quantiles of y that is saved.
        """
        return self._score_of(self.predict(X), y, sample_weight)

    def _score_of(self, found: Any, y: Any, sample_weight: Any) -> float:
        """Return the score of what somebody predicts."""
        found, wanted, weight = on_host(found), on_host(y), on_host(sample_weight)
        if self.loss == "quantile":
            return self._d2(np.reshape(found, (len(found), -1)), wanted, weight)
        return float(r2_score(wanted, found, sample_weight=weight))

    def _d2(self, found: np.ndarray, wanted: np.ndarray, weight: Any) -> float:
        """Return D² of quantiles (N, levels) for values (N,), or (N, levels) of the same."""
        y = wanted if wanted.ndim == 1 else wanted[:, 0]
        return float(
            np.mean(
                [
                    d2_pinball_score(y, found[:, k], sample_weight=weight, alpha=level)
                    for k, level in enumerate(levels_of(self))
                ]
            )
        )

    def __sklearn_tags__(self) -> Any:
        """Add that there may be several outputs."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _prepare(self, y: Any, backend: Backend, reset: bool, classes: Any) -> None:
        columns = 1 if y.ndim == 1 else int(y.shape[1])
        if reset:
            self._columns, self._single = columns, y.ndim == 1

    def _targets(self, y: Any, backend: Backend) -> Array:
        values = as_matrix(y, backend)
        if values.shape[1] != self._columns:
            raise ValueError(f"y has {values.shape[1]} columns, and there are {self._columns} here")
        if self.loss == "poisson":
            with backend.computing():
                if bool(backend.to_host(backend.xp.any(values < 0))):
                    raise ValueError("y has negative values: the loss poisson is of counts")
        if self.loss == "quantile":
            if self._columns > 1:
                raise ValueError(f"y has {self._columns} columns: the loss quantile is of one")
            values = backend.xp.concat([values] * len(levels_of(self)), axis=1)
        return values

    def _weighted(self, train: Examples, backend: Backend) -> Examples:
        return train

    def _stratify(self, y: Array, backend: Backend) -> np.ndarray | None:
        return None

    def _network(self, features: int) -> tuple[tuple[int, ...], str]:
        loss, outputs = loss_of(self), self._columns
        if self.loss == "quantile":
            outputs = len(levels_of(self))
        return (features, *hidden_units(self), outputs), loss

    def _score_outputs(self, outputs: Array, examples: Examples, backend: Backend) -> float:
        xp, loss = backend.xp, LOSSES[loss_of(self)]
        values = loss.link.function(outputs, xp=xp)
        if self.loss == "quantile":
            found, wanted = (backend.to_host(array) for array in (values, examples.y))
            weight = examples.sample_weight
            return self._d2(found, wanted, None if weight is None else backend.to_host(weight))
        r2 = determination(values, examples.y, sample_weight=examples.sample_weight, xp=xp)
        return float(backend.to_host(r2))
