"""EnsembleClassifier and EnsembleRegressor: several networks, trained as one stack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

from xpmlp import (
    DivergedError,
    EnsembleClassifier,
    EnsembleRegressor,
    MLPClassifier,
    MLPRegressor,
    StackTraining,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, DIGITS = load_digits(return_X_y=True)
X, DIGITS = X[:300] / 16, DIGITS[:300]
WEIGHTS = np.linspace(0.2, 2.0, 300)
SETTINGS: dict[str, Any] = {"max_iter": 5, "batch_size": 50, "learning_rate_init": 0.01}
MEMBER = MLPClassifier((12,), **SETTINGS)
VALUES = MLPRegressor(hidden_layer_sizes=(12,), **SETTINGS)


def test_members_are_trained_as_a_stack_and_averaged(stacks: list[int]) -> None:
    model = EnsembleClassifier(MEMBER, 4, random_state=1).fit(X, DIGITS)
    assert sum(stacks) == 4
    assert max(stacks) > 1
    each = np.stack([member.predict_proba(X) for member in model.estimators_])
    assert np.abs(each - each[0]).max() > 0.01
    np.testing.assert_allclose(model.predict_proba(X), each.mean(axis=0))
    found, spread = model.predict(X, return_std=True)
    np.testing.assert_array_equal(found, each.mean(axis=0).argmax(axis=1))
    np.testing.assert_array_equal(found, model.predict(X))
    np.testing.assert_allclose(spread, [each[:, n, k].std() for n, k in enumerate(found)])


@pytest.mark.parametrize("member", [MEMBER, VALUES], ids=["classes", "values"])
def test_the_first_member_is_what_it_would_be_by_itself(member: Any) -> None:
    kind = EnsembleClassifier if member is MEMBER else EnsembleRegressor
    first = kind(member, 3, random_state=5).fit(X, DIGITS, WEIGHTS).estimators_[0]
    alone = clone(member).set_params(random_state=first.random_state).fit(X, DIGITS, WEIGHTS)
    assert first.loss_ == first.loss_curve_[-1]
    assert first.best_loss_ == pytest.approx(alone.best_loss_, rel=1e-10)
    assert (first.n_iter_, first.t_) == (alone.n_iter_, alone.t_)
    np.testing.assert_allclose(first.coefs_[0], alone.coefs_[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(first.loss_curve_, alone.loss_curve_, rtol=1e-10)


def test_each_member_leaves_out_units_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []
    begin = StackTraining.__init__

    def noted(self: Any, models: Any, data: Any, plan: Any, **settings: Any) -> None:
        drawn.extend((plan.seed, model.seed) for model in models)
        begin(self, models, data, plan, **settings)

    monkeypatch.setattr(StackTraining, "__init__", noted)
    EnsembleClassifier(clone(MEMBER).set_params(dropout=0.5), 4, random_state=0).fit(X, DIGITS)
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_ensemble_is_the_same_on_any_number_of_threads(dropout: float) -> None:
    """All members have the batches of the first, however they are dealt out."""
    weights = []
    for threads in (1, 2, 3):
        member = clone(VALUES).set_params(threads=threads, dropout=dropout)
        model = EnsembleRegressor(member, 4, random_state=0).fit(X, DIGITS)
        weights.append([each.coefs_[0] for each in model.estimators_])
    for others in weights[1:]:
        np.testing.assert_allclose(others, weights[0], rtol=1e-9, atol=1e-12)


def test_quantiles_have_the_score_of_a_member() -> None:
    member = clone(VALUES).set_params(loss="quantile", quantile=(0.2, 0.8))
    model = EnsembleRegressor(member, 2, random_state=0).fit(X, DIGITS)
    assert 0 < model.score(X, DIGITS) < 1
    one = EnsembleRegressor(member, 1, random_state=0).fit(X, DIGITS)
    assert one.score(X, DIGITS) == pytest.approx(one.estimators_[0].score(X, DIGITS))


def test_names_of_an_earlier_fit_are_gone() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:, :3], columns=["a", "b", "c"])
    model = EnsembleClassifier(MEMBER, 2, random_state=0).fit(frame, DIGITS)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert not hasattr(model.fit(X, DIGITS), "feature_names_in_")


def test_a_regression_has_a_spread_for_each_value() -> None:
    x, y = load_diabetes(return_X_y=True)
    targets = np.stack([y / 100, -y / 50], axis=1)
    model = EnsembleRegressor(VALUES, 3, random_state=0).fit(x, targets)
    values, spread = model.predict(x, return_std=True)
    each = np.stack([member.predict(x) for member in model.estimators_])
    np.testing.assert_allclose(values, each.mean(axis=0))
    np.testing.assert_allclose(spread, each.std(axis=0))
    assert values.shape == spread.shape == targets.shape


def test_a_bootstrap_weights_examples_by_how_often_they_are_drawn(stacks: list[int]) -> None:
    model = EnsembleClassifier(MEMBER, 2, bootstrap=True, random_state=0)
    model.fit(X, DIGITS, WEIGHTS)
    assert stacks == []
    rng = np.random.RandomState(0)
    seeds = [int(rng.randint(2**31 - 1)) for _ in range(2)]
    for seed, member in zip(seeds, model.estimators_, strict=True):
        drawn = np.bincount(rng.randint(300, size=300), minlength=300)
        alone = clone(MEMBER).set_params(random_state=seed).fit(X, DIGITS, drawn * WEIGHTS)
        np.testing.assert_array_equal(member.coefs_[0], alone.coefs_[0])


def test_what_cannot_be_stacked_is_trained_one_by_one(stacks: list[int]) -> None:
    member = clone(MEMBER).set_params(early_stopping=True)
    model = EnsembleClassifier(member, 2, random_state=0).fit(X, DIGITS)
    assert stacks == []
    assert model.score(X, DIGITS) > 0.3


def test_several_labels_of_a_row() -> None:
    labels = np.stack([DIGITS > 4, DIGITS % 2 == 0], axis=1).astype(int)
    model = EnsembleClassifier(MEMBER, 3, random_state=0).fit(X, labels)
    found, spread = model.predict(X, return_std=True)
    assert found.shape == spread.shape == labels.shape
    assert (found == labels).mean() > 0.7
    np.testing.assert_array_equal(found, model.predict_proba(X) > 0.5)


def test_defaults_and_a_seed() -> None:
    first, again, other = (
        EnsembleClassifier(clone(MEMBER), 2, random_state=seed).fit(X, DIGITS) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))
    assert (first.predict_proba(X) != other.predict_proba(X)).any()
    assert EnsembleClassifier().get_params()["n_estimators"] == 10
    assert cross_val_score(EnsembleClassifier(MEMBER, 2), X, DIGITS, cv=2).mean() > 0.2


def test_what_has_gone_wrong_is_said_once() -> None:
    wild = MLPClassifier(solver="sgd", learning_rate_init=1e9)
    with pytest.raises(DivergedError):
        EnsembleClassifier(wild, 2, random_state=0).fit(X, DIGITS)
    with pytest.warns(ConvergenceWarning) as warned:
        EnsembleClassifier(MEMBER, 3, random_state=0).fit(X, DIGITS)
    assert len(warned) == 1
    with pytest.raises(ValueError, match="n_estimators is 0: choose"):
        EnsembleClassifier(MEMBER, 0).fit(X, DIGITS)
    with pytest.raises(ValueError, match="NaN"):
        EnsembleClassifier(MEMBER, 2).fit(np.full_like(X, np.nan), DIGITS)
