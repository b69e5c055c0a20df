"""MLPRegressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.backends.exchange import on_host, to_kind
from xpmlp.data.examples import Examples
from xpmlp.estimators.base import BaseMLP
from xpmlp.estimators.conventions import determination
from xpmlp.estimators.inputs import as_matrix, validation_of
from xpmlp.estimators.parameters import hidden_units, is_stochastic


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multi-layer perceptron that predicts values, with scikit-learn's interface.

    Parameters have the names, defaults and meaning of scikit-learn's MLPRegressor; what there is
    beside them is said at MLPClassifier. `loss` is "squared_error", ½ ‖z − y‖² of each sample,
    or "poisson", half the Poisson deviance of e^z, for counts. Several columns of y are several
    outputs; `loss_curve_` adds their losses, whose gradient the training follows.
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on X and y for one epoch."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Return the values (N,) or (N, K), in the kind of X."""
        values, backend, kind = self._outputs(X, "predict")
        return to_kind(values[:, 0] if self._single else values, backend, kind)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the mean over the columns."""
        found, wanted = on_host(self.predict(X)), on_host(y)
        return float(r2_score(wanted, found, sample_weight=on_host(sample_weight)))

    def __sklearn_tags__(self) -> Any:
        """Add that there may be several outputs."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _prepare(self, y: Any, backend: Backend, reset: bool, classes: np.ndarray | None) -> None:
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
        return values

    def _weighted(self, train: Examples, backend: Backend) -> Examples:
        return train

    def _stratify(self, y: Array, backend: Backend) -> np.ndarray | None:
        return None

    def _network(self, features: int) -> tuple[tuple[int, ...], str]:
        loss = "poisson_deviance" if self.loss == "poisson" else "squared_error"
        return (features, *hidden_units(self), self._columns), loss

    def _score_outputs(self, outputs: Array, examples: Examples, backend: Backend) -> float:
        xp = backend.xp
        values = xp.exp(outputs) if self.loss == "poisson" else outputs
        r2 = determination(values, examples.y, sample_weight=examples.sample_weight, xp=xp)
        return float(backend.to_host(r2))
