"""Intervals and sets of classes that hold the truth as often as they say, by split conformal.

A part of the examples is left out of the training. How wrong the trained network is on them says
how far it has to be trusted elsewhere: of n such errors the ⌈(n + 1) c⌉-th smallest is exceeded by
the error of a new example of the same kind with a probability of at most 1 − c (Vovk et al. 2005;
Lei et al. 2018, theorem 2.2), whatever the network is worth.
"""

from __future__ import annotations

from abc import abstractmethod
from math import ceil, inf
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, check_is_fitted, column_or_1d

from xpmlp.backends.exchange import on_host
from xpmlp.estimators.classifier import MLPClassifier
from xpmlp.estimators.meta import MetaMLP
from xpmlp.estimators.regressor import MLPRegressor
from xpmlp.rules import check, number

_SHARE = number(0, 1, "a share above 0 and below 1", open_low=True, open_high=True)


class _Conformal(MetaMLP):
    """What both have in common: an estimator trained on one part, and its errors on the other."""

    _trained_in, _found_arrays = "estimator_", ("errors_",)

    def __init__(
        self, estimator: Any = None, *, calibration_size: float = 0.2, random_state: Any = None
    ) -> None:
        self.estimator, self.calibration_size = estimator, calibration_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Train on one part of X (N, F) and y, and note the errors on the other."""
        check("calibration_size", self.calibration_size, _SHARE)
        if y is None:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None")
        X, y = indexable(X, y)
        train, rest = train_test_split(
            np.arange(_num_samples(X)),
            test_size=self.calibration_size,
            random_state=self.random_state,
            stratify=self._stratify(y),
        )
        prototype = self._prototype()
        self.estimator_ = clone(prototype)
        self.estimator_.fit(_safe_indexing(X, train), _safe_indexing(y, train))
        errors = self._errors(_safe_indexing(X, rest), np.asarray(_safe_indexing(y, rest)))
        self.errors_ = np.sort(errors, axis=0)
        self._adopt(self.estimator_)
        return self

    def predict(self, X: Any) -> Any:
        """Return what the estimator predicts."""
        check_is_fitted(self, "errors_")
        return self.estimator_.predict(X)

    @abstractmethod
    def _stratify(self, y: Any) -> Any:
        """Return what both parts keep the shares of."""

    @abstractmethod
    def _errors(self, X: Any, y: np.ndarray) -> np.ndarray:
        """Return how wrong the estimator is on each example."""

    def _allowed(self, coverage: float) -> Any:
        """Return the error that a share of at least `coverage` of new examples does not exceed."""
        check("coverage", coverage, _SHARE)
        check_is_fitted(self, "errors_")
        count = len(self.errors_)
        place = ceil((count + 1) * coverage)
        # Of too few errors none is known to be large enough.
        return (
            self.errors_[place - 1] if place <= count else np.full(np.shape(self.errors_[0]), inf)
        )


class ConformalRegressor(RegressorMixin, _Conformal):  # type: ignore[misc]
    """Intervals around the values of any regressor that hold the truth as often as they say.

    ŷ ± q with q the ⌈(n + 1) c⌉-th smallest |y − ŷ| of n examples that were left out. All are
    equally wide; the promise is of new examples on average, not of each kind of them.

    `estimator`: any regressor of scikit-learn's interface, by default an MLPRegressor.
    `calibration_size`: the share of the examples that is left out. `random_state`: of the split.
    After `fit`: `estimator_`, and `errors_`, sorted.

    >>> import numpy as np
    >>> from xpmlp import ConformalRegressor, MLPRegressor
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> member = MLPRegressor(hidden_layer_sizes=(8,), learning_rate_init=0.02, tol=0.01)
    >>> model = ConformalRegressor(member, random_state=0).fit(x, 3 * x[:, 0])
    >>> model.predict_interval(x, 0.9).shape
    (200, 2)
    """

    _default = MLPRegressor

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Return lower and upper ends (N, 2), of several outputs (N, outputs, 2).

        They hold the truth of a new example with a probability of at least `coverage`; with too
        few examples left out for that they are infinite.
        """
        values, allowed = np.asarray(on_host(self.predict(X))), self._allowed(coverage)
        return np.stack([values - allowed, values + allowed], axis=-1)

    def _stratify(self, y: Any) -> None:  # noqa: ARG002
        return

    def _errors(self, X: Any, y: np.ndarray) -> np.ndarray:
        values = np.asarray(on_host(self.estimator_.predict(X)), dtype=np.float64)
        if values.size != y.size:
            raise ValueError(
                f"{type(self.estimator_).__name__} predicts {values.size // len(y)} values of each "
                f"row, and y has {y.size // len(y)}: give a regressor that predicts what y is"
            )
        errors: np.ndarray = np.abs(y.astype(np.float64).reshape(values.shape) - values)
        return errors


class ConformalClassifier(ClassifierMixin, _Conformal):  # type: ignore[misc]
    """Sets of classes that hold the true one as often as they say.

    In the set are the classes with 1 − p ≤ q, q the ⌈(n + 1) c⌉-th smallest 1 − p of the true class
    of n examples that were left out (Sadinle et al. 2019). A set may be empty where no class fits.

    `estimator`: any classifier with `predict_proba`, by default an MLPClassifier. All else is as in
    `ConformalRegressor`; the split keeps the shares of the classes.

    >>> from sklearn.datasets import load_iris
    >>> from xpmlp import ConformalClassifier, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> member = MLPClassifier((8,), learning_rate_init=0.02, tol=0.01)
    >>> ConformalClassifier(member, random_state=0).fit(X, y).predict_set(X, 0.9).shape
    (150, 3)
    """

    _default = MLPClassifier

    def predict_proba(self, X: Any) -> Any:
        """Return the estimator's probabilities."""
        check_is_fitted(self, "errors_")
        return self.estimator_.predict_proba(X)

    def predict_set(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Return which classes are in the set of each row, True or False (N, classes).

        The true class of a new example is among them with a probability of at least `coverage`.
        """
        found = 1.0 - np.asarray(on_host(self.predict_proba(X)))
        chosen: np.ndarray = found <= self._allowed(coverage)
        return chosen

    def __sklearn_tags__(self) -> Any:
        """Say that a sample has one label."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = tags.target_tags.multi_output = False
        return tags

    def _stratify(self, y: Any) -> Any:
        check_classification_targets(y)
        return column_or_1d(y, warn=True)

    def _errors(self, X: Any, y: np.ndarray) -> np.ndarray:
        y, classes = column_or_1d(y), self.estimator_.classes_
        known = np.isin(y, classes)
        ids = np.searchsorted(classes, y[known])
        errors = np.ones(len(y))  # a class that nobody has seen has the probability 0
        errors[known] -= np.asarray(on_host(self.estimator_.predict_proba(X)))[known, ids]
        return errors
