"""StackedSearchCV against scikit-learn's searches with the same estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
import sklearn
from scipy.sparse import csr_array
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from xpmlp import DivergedError, MLPClassifier, MLPRegressor, StackedSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DIGITS, DIGIT = load_digits(return_X_y=True)
X, Y = DIGITS[:300] / 16.0, DIGIT[:300]
SMALL = MLPClassifier((12,), max_iter=6, batch_size=50, learning_rate_init=0.01, random_state=0)
GRID = {"alpha": [1e-4, 1.0], "learning_rate_init": [0.003, 0.03]}


def check_same(ours: Any, theirs: Any) -> None:
    """Hold results against each other, but for the times."""
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for name, expected in theirs.cv_results_.items():
        if "score" in name and "time" not in name:
            np.testing.assert_allclose(ours.cv_results_[name], expected, rtol=1e-6, err_msg=name)
    assert ours.best_params_ == theirs.best_params_
    assert ours.n_splits_ == theirs.n_splits_


@pytest.mark.parametrize(
    ("changed", "grid"),
    [
        ({}, GRID),
        ({"solver": "sgd"}, GRID | {"momentum": [0.5, 0.9]}),
        ({"solver": "rmsprop"}, GRID),
        ({"dropout": 0.3}, GRID),
        ({"batch_size": "full", "max_iter": 12}, GRID),
        ({}, {"activation": ["relu", "tanh", "logistic"], "beta_1": [0.8, 0.9]}),
        ({"max_iter": 60, "tol": 0.05, "n_iter_no_change": 2}, GRID),
        ({}, [GRID, {"hidden_layer_sizes": [(5,), (8, 4)], "alpha": [0.0, 0.1]}]),
        ({"class_weight": "balanced", "shuffle": False}, GRID),
    ],
    ids=str,
)
def test_scores_are_those_of_a_search_one_by_one(
    stacks: list[int], changed: dict[str, Any], grid: Any
) -> None:
    estimator = SMALL.__class__(**SMALL.get_params() | changed)
    ours = StackedSearchCV(estimator, grid, cv=3, return_train_score=True).fit(X, Y)
    theirs = GridSearchCV(estimator, grid, cv=3, return_train_score=True).fit(X, Y)
    check_same(ours, theirs)
    assert sum(stacks) == 3 * len(ours.cv_results_["params"])
    assert max(stacks) > 1
    found, expected = ours.best_estimator_, theirs.best_estimator_
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_a_regression_and_two_classes(stacks: list[int]) -> None:
    x, y = load_diabetes(return_X_y=True)
    small = MLPRegressor(
        hidden_layer_sizes=(8,), max_iter=5, learning_rate_init=0.01, random_state=1
    )
    for estimator, targets in ((small, y / 100), (SMALL, y > 140)):
        ours = StackedSearchCV(estimator, GRID, cv=3).fit(x, targets)
        check_same(ours, GridSearchCV(estimator, GRID, cv=3).fit(x, targets))
    assert sum(stacks) == 24


class Counting(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step that counts how often it was fitted."""

    fits = 0

    def fit(self, x: Any, y: Any = None) -> Counting:  # noqa: ARG002
        Counting.fits += 1
        self.mean_ = np.mean(x, axis=0)
        return self

    def transform(self, x: Any) -> Any:
        return np.asarray(x) - self.mean_


def test_steps_before_are_fitted_once_for_each_split_and_setting_of_theirs() -> None:
    whole = Pipeline([("center", Counting()), ("pca", PCA(random_state=0)), ("mlp", SMALL)])
    grid = {"pca__n_components": [5, 9], "mlp__alpha": [0.0, 0.5, 1.0]}
    theirs = GridSearchCV(whole, grid, cv=3).fit(X, Y)
    assert Counting.fits == 18 + 1
    Counting.fits = 0
    ours = StackedSearchCV(whole, grid, cv=3).fit(X, Y)
    assert Counting.fits == 6 + 1
    check_same(ours, theirs)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)
    assert list(ours.best_estimator_.named_steps) == ["center", "pca", "mlp"]


@pytest.mark.parametrize(
    "changed", [{"solver": "lbfgs"}, {"early_stopping": True}, {"learning_rate": "invscaling"}]
)
def test_what_cannot_be_stacked_is_trained_by_itself(
    stacks: list[int], changed: dict[str, Any]
) -> None:
    settings = SMALL.get_params() | {"solver": "sgd", "max_iter": 5} | changed
    estimator, grid = MLPClassifier(**settings), {"alpha": [0.0, 0.1]}
    ours = StackedSearchCV(estimator, grid, cv=2).fit(X, Y)
    check_same(ours, GridSearchCV(estimator, grid, cv=2).fit(X, Y))
    assert stacks == []


def test_estimators_of_others_are_searched_as_by_scikit_learn() -> None:
    grid = {"C": [0.01, 1.0]}
    ours = StackedSearchCV(LogisticRegression(max_iter=500), grid, cv=3).fit(X, Y)
    check_same(ours, GridSearchCV(LogisticRegression(max_iter=500), grid, cv=3).fit(X, Y))


def test_settings_that_are_drawn() -> None:
    drawn = {"alpha": loguniform(1e-4, 1.0), "learning_rate_init": [0.003, 0.01]}
    ours = StackedSearchCV(SMALL, drawn, n_iter=5, random_state=3, cv=2).fit(X, Y)
    check_same(ours, RandomizedSearchCV(SMALL, drawn, n_iter=5, random_state=3, cv=2).fit(X, Y))


def test_groups_several_scores_and_weights() -> None:
    groups, weights = np.arange(300) % 7, np.linspace(0.1, 2.0, 300)
    settings: dict[str, Any] = {
        "cv": GroupKFold(3),
        "scoring": ["accuracy", "neg_log_loss"],
        "refit": "neg_log_loss",
    }
    found = []
    for kind in (StackedSearchCV, GridSearchCV):
        search = kind(SMALL, GRID, **settings)
        found.append(search.fit(X, Y, groups=groups, sample_weight=weights))
    check_same(*found)
    np.testing.assert_allclose(found[0].predict_proba(X), found[1].predict_proba(X), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_a_candidate_that_diverges_or_cannot_be_trained() -> None:
    estimator = MLPClassifier((12,), solver="sgd", max_iter=4, random_state=0)
    grid = {"learning_rate_init": [0.01, 1e9], "batch_size": [50, 60]}
    with pytest.warns(FitFailedWarning):
        ours = StackedSearchCV(estimator, grid, cv=2).fit(X, Y)
    scores = ours.cv_results_["mean_test_score"]
    assert np.isnan(scores).tolist() == [False, True, False, True]
    assert ours.best_params_["learning_rate_init"] == 0.01
    with pytest.raises(DivergedError):
        StackedSearchCV(estimator, grid, cv=2, error_score="raise").fit(X, Y)
    with pytest.raises(ValueError, match="alpha"):
        StackedSearchCV(estimator, {"alpha": [-1.0]}, cv=2, error_score="raise").fit(X, Y)


def test_a_setting_that_has_not_converged_is_warned_of() -> None:
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(6\) reached"):
        StackedSearchCV(SMALL, GRID, cv=2, refit=False).fit(X, Y)


def test_what_is_watched_goes_through_the_steps_before() -> None:
    x, x_val, y_val = 100 * X + 30, 100 * DIGITS[300:400] / 16 + 30, DIGIT[300:400]
    whole = make_pipeline(StandardScaler(), SMALL)
    watched = {"mlpclassifier__X_val": x_val, "mlpclassifier__y_val": y_val}
    search = StackedSearchCV(whole, {"mlpclassifier__alpha": [0.0, 0.1]}, cv=2)
    search.fit(x, Y, **watched)
    last = search.best_estimator_[-1].validation_scores_[-1]
    assert last == search.score(x_val, y_val) > 0.5


def test_sparse_features_in_a_stack(stacks: list[int]) -> None:
    rows = csr_array(X)
    ours = StackedSearchCV(SMALL, GRID, cv=3).fit(rows, Y)
    check_same(ours, GridSearchCV(SMALL, GRID, cv=3).fit(X, Y))
    assert max(stacks) == 4
    alone = MLPClassifier(**SMALL.get_params() | {"hidden_layer_sizes": ()})
    check_same(*(kind(alone, GRID, cv=2).fit(rows, Y) for kind in (StackedSearchCV, GridSearchCV)))


def test_no_refit() -> None:
    search = StackedSearchCV(SMALL, GRID, cv=2, refit=False).fit(X, Y)
    assert not hasattr(search, "best_estimator_")
    assert search.cv_results_["mean_fit_time"].shape == (4,)
    assert (search.cv_results_["mean_fit_time"] > 0).all()


@pytest.fixture(autouse=True)
def count_anew() -> None:
    Counting.fits = 0


def test_processes_of_somebody_else_do_not_change_what_is_handed_out() -> None:
    grid = {"alpha": [1e-4, 1.0, 100.0]}
    alone = StackedSearchCV(SMALL, grid, cv=2).fit(X, Y)
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        beside = StackedSearchCV(SMALL, grid, cv=2).fit(X, Y)
    found = [search.cv_results_["mean_test_score"] for search in (alone, beside)]
    np.testing.assert_array_equal(*found)
    assert beside.best_estimator_.t_ == alone.best_estimator_.t_


def test_weights_go_to_estimators_and_scores_as_in_a_search_one_by_one() -> None:
    """Of another's estimator, too."""
    weights = np.where(Y[0] == Y, 100.0, 0.01)
    for estimator, grid in (
        (SMALL, {"alpha": [1e-4, 100.0]}),
        (LogisticRegression(max_iter=200), {"C": [0.01, 1.0]}),
    ):
        searches = (kind(estimator, grid, cv=3) for kind in (StackedSearchCV, GridSearchCV))
        ours, theirs = (each.fit(X, Y, sample_weight=weights) for each in searches)
        found, expected = (search.cv_results_["mean_test_score"] for search in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_search_over_first_weights_has_everyones_batches() -> None:
    grid, estimator = {"init": [None, "he"]}, clone(SMALL).set_params(batch_size=16)
    ours, theirs = (
        kind(estimator, grid, cv=3, scoring="neg_log_loss").fit(X, Y)
        for kind in (StackedSearchCV, GridSearchCV)
    )
    check_same(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        ({}, {"sampleweight": np.ones(len(X))}, "fit has no sampleweight here: choose from"),
        ({"factor": 2, "scoring": ["accuracy", "f1_macro"], "refit": False}, {}, "one score"),
    ],
)
def test_what_a_search_cannot_be_given(
    settings: dict[str, Any], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        StackedSearchCV(SMALL, {"alpha": [0.1, 1.0]}, cv=2, **settings).fit(X, Y, **given)


def test_metadata_are_not_routed() -> None:
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match=r"routes no metadata \(sample_weight\)"),
    ):
        StackedSearchCV(SMALL, {"alpha": [0.1]}, cv=2).fit(X, Y, sample_weight=np.ones(len(X)))
