"""Several questions with classes of their own, and several labels, in one network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

from xpmlp import EnsembleClassifier, MLPClassifier
from xpmlp.estimators.draws import initial_weights

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, DIGITS = load_digits(return_X_y=True)
X, DIGITS = X[:300] / 16, DIGITS[:300]
PARITY = np.where(DIGITS % 2 == 0, "even", "odd")
SIZE = np.array(["small", "middle", "large"])[DIGITS // 4]
WORDS = np.stack([PARITY, SIZE], axis=1)
NUMBERS = np.stack([DIGITS % 3, DIGITS // 4], axis=1)
LABELS = np.stack([DIGITS > 4, DIGITS % 2 == 0, DIGITS == 3], axis=1).astype(int)
SETTINGS: dict[str, Any] = {"max_iter": 30, "learning_rate_init": 0.01, "random_state": 0}
WEIGHTS = np.linspace(0.2, 2.0, 300)


@pytest.mark.parametrize("y", [WORDS, NUMBERS], ids=["words", "numbers"])
def test_each_question_has_its_own_classes(y: Any) -> None:
    model = MLPClassifier((30,), **SETTINGS).fit(X, y)
    for known, column in zip(model.classes_, y.T, strict=True):
        np.testing.assert_array_equal(known, np.unique(column))
    probabilities = model.predict_proba(X)
    assert [p.shape for p in probabilities] == [(300, len(c)) for c in model.classes_]
    np.testing.assert_allclose([p.sum(axis=1) for p in probabilities], 1)
    found = model.predict(X)
    assert found.shape == y.shape
    for k, p in enumerate(probabilities):
        np.testing.assert_array_equal(found[:, k], model.classes_[k][p.argmax(axis=1)])
        np.testing.assert_allclose(model.predict_log_proba(X)[k], np.log(p))
    right = (found == y).all(axis=1)
    assert model.score(X, y) == right.mean() > 0.9
    assert model.score(X, y, WEIGHTS) == pytest.approx(np.average(right, weights=WEIGHTS))


def test_the_loss_adds_up_over_the_questions() -> None:
    """At rate almost 0 the loss of the first epoch is that of the weights that were drawn."""
    settings = SETTINGS | {"max_iter": 1, "learning_rate_init": 1e-12, "alpha": 0.0}
    model = MLPClassifier((8,), **settings).fit(X, WORDS)
    drawn = initial_weights(np.random.RandomState(0), (64, 8, 5), ("relu", "relu"), None)
    np.testing.assert_allclose(model.coefs_[0], drawn["layer1.weight"], atol=1e-9)
    each = [
        log_loss(column, p, labels=known)
        for column, p, known in zip(WORDS.T, model.predict_proba(X), model.classes_, strict=True)
    ]
    assert model.loss_ == pytest.approx(sum(each), rel=1e-9)


def test_class_weights_of_questions_multiply() -> None:
    given = [{"even": 2.0, "odd": 1.0}, {"small": 1.0, "middle": 3.0, "large": 0.5}]
    weights = np.where(PARITY == "even", 2.0, 1.0)
    weights *= np.array([given[1][label] for label in SIZE])
    model = MLPClassifier((8,), class_weight=given, **SETTINGS).fit(X, WORDS)
    same = MLPClassifier((8,), **SETTINGS).fit(X, WORDS, weights)
    np.testing.assert_allclose(model.coefs_[0], same.coefs_[0], rtol=1e-12)
    balanced = MLPClassifier((8,), class_weight="balanced", **SETTINGS).fit(X, WORDS)
    assert np.abs(balanced.coefs_[0] - same.coefs_[0]).max() > 1e-3


def test_labels_with_which_a_batch_is_trained_on() -> None:
    model = MLPClassifier((30,), **SETTINGS)
    classes = [["even", "odd"], ["large", "middle", "small"]]
    for _ in range(20):
        model.partial_fit(X[:3], WORDS[:3], classes=classes)  # which has no large ones
        model.partial_fit(X[3:], WORDS[3:])
    assert model.score(X, WORDS) > 0.9
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        model.partial_fit(X, WORDS, classes=[["even", "odd"], ["large", "small"]])
    with pytest.raises(ValueError, match=r"classes not in.*'tiny'"):
        model.partial_fit(X[:1], np.array([["even", "tiny"]]))
    with pytest.raises(ValueError, match=r"y has the shape \(300,\), and a sample has 2 labels"):
        model.partial_fit(X, PARITY)


def test_partial_fit_of_labels_that_a_sample_has_or_has_not() -> None:
    """An epoch each: with the same batches as `fit`, without shuffling."""
    settings = SETTINGS | {"shuffle": False, "max_iter": 4, "tol": 0.0}
    whole = MLPClassifier((8,), **settings).fit(X, LABELS)
    model = MLPClassifier((8,), **settings)
    for _ in range(4):
        model.partial_fit(X, LABELS, classes=[0, 1])
    np.testing.assert_allclose(model.coefs_[0], whole.coefs_[0], rtol=1e-12)
    assert model.predict(X).shape == LABELS.shape
    assert model.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="3 columns of labels"):
        model.partial_fit(X, LABELS[:, :2])


def test_an_ensemble_answers_several_questions() -> None:
    member = MLPClassifier((20,), **SETTINGS)
    model = EnsembleClassifier(member, 3, random_state=0).fit(X, WORDS)
    found, spread = model.predict(X, return_std=True)
    assert found.shape == spread.shape == WORDS.shape
    members = [m.predict_proba(X)[1] for m in model.estimators_]
    np.testing.assert_allclose(model.predict_proba(X)[1], np.mean(members, axis=0))
    chosen = np.mean(members, axis=0).argmax(axis=1)
    np.testing.assert_array_equal(found[:, 1], model.classes_[1][chosen])
    np.testing.assert_allclose(spread[:, 1], np.std(members, axis=0)[np.arange(300), chosen])
    assert model.score(X, WORDS) == (found == WORDS).all(axis=1).mean() > 0.9


def test_two_numbers_that_are_not_yes_and_no_are_classes() -> None:
    y = NUMBERS.copy() % 2 + 1
    model = MLPClassifier((20,), **SETTINGS).fit(X, y)
    assert [known.tolist() for known in model.classes_] == [[1, 2], [1, 2]]
    assert model.score(X, y) > 0.9


def test_what_is_held_out_is_scored_by_whole_rows() -> None:
    model = MLPClassifier((20,), early_stopping=True, **SETTINGS).fit(X, WORDS)
    assert len(model.validation_scores_) == model.n_iter_
    watched = MLPClassifier((20,), **SETTINGS)
    watched.fit(X[:200], WORDS[:200], X_val=X[200:], y_val=WORDS[200:])
    assert watched.validation_scores_[-1] == watched.score(X[200:], WORDS[200:])
