"""scikit-learn's own checks of an estimator, all of them, with no expected failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

# SciPy reads it when it is imported: scikit-learn's dispatch on kinds of arrays needs it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from sklearn.utils.estimator_checks import parametrize_with_checks

from xpmlp import (
    ConformalClassifier,
    ConformalRegressor,
    EnsembleClassifier,
    EnsembleRegressor,
    MLPClassifier,
    MLPRegressor,
    StackedSearchCV,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
    # Of scikit-learn's own look at targets that are infinite.
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
]


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        MLPClassifier(max_iter=100),
        MLPRegressor(max_iter=100),
        ConformalClassifier(MLPClassifier(max_iter=80, random_state=0)),
        ConformalRegressor(MLPRegressor(max_iter=80, random_state=0)),
        EnsembleClassifier(MLPClassifier(max_iter=80), 2),
        EnsembleRegressor(MLPRegressor(max_iter=80), 2),
        StackedSearchCV(
            MLPClassifier(max_iter=50, random_state=0),
            {"alpha": [1e-4, 0.1]},
            cv=2,
            error_score="raise",
        ),
    ]
)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
