"""Successive halving: who goes on, for how long, and that it changes nothing for those who do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpmlp import MLPClassifier, StackedSearchCV
from xpmlp.estimators.halving import Halving, Outcome
from xpmlp.estimators.stacked import Ended

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, DIGITS = load_digits(return_X_y=True)
X, DIGITS = X[:240] / 16, DIGITS[:240]
MLP = MLPClassifier((12,), max_iter=12, batch_size=40, tol=0.0, random_state=0)
RATES = [1e-5, 1e-4, 0.001, 0.003, 0.01, 0.03]
GRID = {"learning_rate_init": RATES}
CV = KFold(3)


def outcomes_of(scores: list[float]) -> dict[tuple[int, int], Any]:
    """Outcomes on two splits, whose mean is the score."""
    return {(k, s): Outcome(score + s - 0.5) for k, score in enumerate(scores) for s in (0, 1)}


def test_who_goes_on_by_hand() -> None:
    halving = Halving(3, 10, 2, 100, lambda estimator, _: estimator)
    # 3² ≤ 10 < 3³: three rounds, of 1/9, 1/3 and all of the epochs.
    assert halving.shares == [1 / 9, 1 / 3, 1.0]
    scores = [0.1, 0.9, 0.3, float("nan"), 0.8, 0.2, 0.3, 0.0, 0.7, 0.5]
    assert halving.best(outcomes_of(scores)) == {1, 4, 8, 9}  # ⌈10 / 3⌉
    scores[9] = 0.95
    assert halving.best(outcomes_of(scores)) == {9, 1}
    halving.best(outcomes_of(scores))
    assert halving.rounds.tolist() == [1, 3, 1, 1, 2, 1, 1, 1, 2, 3]
    # The best of those that went all the way, though others may have had a better score before.
    assert halving.winner(np.array([9.0, 0.5, 9, 9, 9, 9, 9, 9, 9, 0.6])) == 9
    assert halving.winner(np.array([9.0, 0.5, 9, 9, 9, 9, 9, 9, 9, np.nan])) == 1


def test_one_that_has_diverged_on_a_split_is_the_worst() -> None:
    halving = Halving(2, 2, 2, 100, lambda estimator, _: estimator)
    found = outcomes_of([5.0, -5.0])
    found[0, 1] = Outcome(None, Ended(ValueError("no")))
    assert halving.best(found) == {1}


@pytest.mark.parametrize(
    ("factor", "candidates", "epochs", "shares"),
    [(2, 1, 50, [1.0]), (3, 100, 4, [1 / 3, 1.0]), (2, 8, 1, [1.0]), (4, 15, 99, [0.25, 1.0])],
)
def test_rounds(factor: int, candidates: int, epochs: int, shares: list[float]) -> None:
    assert Halving(factor, candidates, 2, epochs, lambda *_: 0.0).shares == shares


def test_those_that_go_on_are_what_they_would_be_alone(stacks: list[int]) -> None:
    search = StackedSearchCV(MLP, GRID, factor=2, cv=CV).fit(X, DIGITS)
    assert sum(stacks) == 18
    results = search.cv_results_
    # 2² ≤ 6: rounds of 3, 6 and 12 epochs with 6, 3 and 2 candidates.
    assert sorted(results["round"]) == [1, 1, 1, 2, 3, 3]
    for rate, rounds, score in zip(
        RATES, results["round"], results["mean_test_score"], strict=True
    ):
        epochs = {1: 3, 2: 6, 3: 12}[rounds]
        alone = clone(MLP).set_params(learning_rate_init=rate, max_iter=epochs)
        assert score == pytest.approx(cross_val_score(alone, X, DIGITS, cv=CV).mean(), abs=1e-12)
    last = np.flatnonzero(results["round"] == 3)
    assert search.best_index_ == last[results["mean_test_score"][last].argmax()]
    assert search.best_params_ == {"learning_rate_init": RATES[search.best_index_]}
    assert search.best_score_ == results["mean_test_score"][search.best_index_]
    assert search.best_estimator_.n_iter_ == 12
    whole = clone(MLP).set_params(**search.best_params_).fit(X, DIGITS)
    np.testing.assert_allclose(search.best_estimator_.coefs_[0], whole.coefs_[0], rtol=1e-12)


def test_several_metrics_a_pipeline_and_no_refit() -> None:
    pipeline = make_pipeline(StandardScaler(), MLP)
    grid = {"mlpclassifier__learning_rate_init": RATES[1:5]}
    metrics = ["accuracy", "neg_log_loss"]
    search = StackedSearchCV(
        pipeline, grid, factor=2, cv=CV, scoring=metrics, refit="neg_log_loss"
    ).fit(X, DIGITS)
    last = search.cv_results_["round"] == 3
    scores = search.cv_results_["mean_test_neg_log_loss"]
    assert search.best_score_ == scores[last].max()
    bare = StackedSearchCV(pipeline, grid, factor=2, cv=CV, refit=False).fit(X, DIGITS)
    assert bare.cv_results_["round"][bare.best_index_] == 3
    assert not hasattr(bare, "best_estimator_")


def test_what_trains_alone_cannot_end_early() -> None:
    search = StackedSearchCV(
        clone(MLP).set_params(early_stopping=True), GRID, factor=2, cv=CV, error_score="raise"
    )
    with pytest.raises(ValueError, match="what ends early with factor trains as a stack"):
        search.fit(X, DIGITS)
    with pytest.raises(ValueError, match="factor is 1: choose 2 or more"):
        StackedSearchCV(MLP, GRID, factor=1, cv=CV).fit(X, DIGITS)
