"""scikit-learn's own checks of an estimator, all of them, with no expected failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

# SciPy reads it when it is imported: scikit-learn's dispatch on kinds of arrays needs it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from sklearn.utils.estimator_checks import parametrize_with_checks

from xpmlp import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)]
)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
