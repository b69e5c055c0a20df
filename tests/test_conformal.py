"""Intervals and sets: the errors by hand, and the promise held on average."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scripts_at_work import run_script

pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from xpmlp import (
    ConformalClassifier,
    ConformalRegressor,
    EnsembleClassifier,
    MLPClassifier,
    MLPRegressor,
)


class Zero(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts 0, whatever it has seen."""

    def fit(self, X: Any, y: Any) -> Zero:  # noqa: ARG002
        self.seen_ = np.asarray(y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.zeros((len(X), *self.seen_.shape[1:]))


class Sure(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Gives the first feature as the probability of the second class."""

    def fit(self, X: Any, y: Any) -> Sure:  # noqa: ARG002
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        p = np.asarray(X)[:, 0]
        return np.stack([1 - p, p], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        found: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found


def test_an_interval_is_as_wide_as_the_right_one_of_the_errors() -> None:
    y = np.arange(1.0, 51.0) * np.where(np.arange(50) % 2, 1, -1)
    x = np.arange(50)[:, None]
    model = ConformalRegressor(Zero(), calibration_size=19, random_state=0)
    with pytest.raises(ValueError, match="calibration_size is 19: choose a share"):
        model.fit(x, y)
    model.set_params(calibration_size=0.38).fit(x, y)
    _, rest = train_test_split(np.arange(50), test_size=0.38, random_state=0)
    errors = sorted(abs(y[rest]))
    assert model.errors_.tolist() == errors
    assert len(errors) == 19
    for coverage in (0.5, 0.9, 0.95):
        q = errors[ceil(20 * coverage) - 1]
        assert model.predict_interval(x[:2], coverage).tolist() == [[-q, q]] * 2
    # Of 19 errors the largest is exceeded once in 20 times: for more there is no bound.
    assert model.predict_interval(x[:1], 0.96).tolist() == [[-np.inf, np.inf]]
    with pytest.raises(ValueError, match=r"coverage is 1\.0: choose"):
        model.predict_interval(x, 1.0)


def test_what_is_left_out_is_not_trained_on() -> None:
    y = np.arange(40.0)
    model = ConformalRegressor(Zero(), calibration_size=0.25, random_state=1)
    model.fit(np.ones((40, 1)), y)
    assert sorted([*model.estimator_.seen_, *model.errors_]) == y.tolist()


def test_each_output_has_errors_of_its_own() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 2)) * [1.0, 100.0]
    model = ConformalRegressor(Zero(), random_state=0).fit(np.ones((60, 3)), y)
    found = model.predict_interval(np.ones((5, 3)), 0.8)
    assert found.shape == (5, 2, 2)
    widths = found[0, :, 1] - found[0, :, 0]
    assert 20 < widths[1] / widths[0] < 500


def test_a_set_holds_the_classes_that_fit_as_well_as_the_true_ones_did() -> None:
    p = np.linspace(0.02, 0.98, 49)
    y = np.where(np.arange(49) % 3 == 0, "no", "yes")
    model = ConformalClassifier(Sure(), calibration_size=0.4, random_state=3).fit(p[:, None], y)
    _, rest = train_test_split(np.arange(49), test_size=0.4, random_state=3, stratify=y)
    errors = sorted(np.where(y[rest] == "yes", 1 - p[rest], p[rest]))
    np.testing.assert_allclose(model.errors_, errors)
    q = errors[ceil(21 * 0.6) - 1]
    x = np.array([[0.1], [0.5], [0.97]])
    found = model.predict_set(x, 0.6)
    np.testing.assert_array_equal(found, np.stack([x[:, 0] <= q, 1 - x[:, 0] <= q], axis=1))
    assert model.predict_set(x, 0.99).all()
    # Of those that were left out at least so many are held, the one at the border among them.
    held = model.predict_set(p[rest][:, None], 0.6)[np.arange(20), (y[rest] == "yes").astype(int)]
    assert held.sum() == ceil(21 * 0.6)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.predict(x).tolist() == ["no", "no", "yes"]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_the_promise_is_held_on_average(coverage: float) -> None:
    """With n = 40 left out it is ⌈41 c⌉ / 41, whatever the estimator is worth."""
    rng, held = np.random.default_rng(0), {"interval": [], "set": []}  # type: ignore[var-annotated]
    for seed in range(150):
        x = rng.normal(size=(400, 2))
        y = x[:, 0] ** 3 + rng.standard_t(2, size=400)
        values = ConformalRegressor(LinearRegression(), random_state=seed).fit(x[:200], y[:200])
        low, high = values.predict_interval(x[200:], coverage).T
        held["interval"].append(np.mean((low <= y[200:]) & (y[200:] <= high)))
        labels = (y > 0.5).astype(int)
        classes = ConformalClassifier(LogisticRegression(), random_state=seed)
        chosen = classes.fit(x[:200], labels[:200]).predict_set(x[200:], coverage)
        held["set"].append(np.mean(chosen[np.arange(200), labels[200:]]))
    for shares in held.values():
        assert np.mean(shares) == pytest.approx(ceil(41 * coverage) / 41, abs=0.013)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_our_networks_and_frames() -> None:
    x, y = load_digits(return_X_y=True)
    frame = pd.DataFrame(x[:600] / 16)
    frame.columns = frame.columns.astype(str)
    member = MLPClassifier((30,), max_iter=20, learning_rate_init=0.01, random_state=0)
    model = ConformalClassifier(member, random_state=0).fit(frame, y[:600])
    chosen = model.predict_set(frame, 0.9)
    assert chosen[np.arange(600), y[:600]].mean() > 0.85
    assert 0.5 < chosen.sum(axis=1).mean() < 2
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert model.score(frame, y[:600]) > 0.9


def test_the_measurement_of_coverage(tmp_path: Path) -> None:
    result = run_script(
        "compare_coverage.py", "--data", "wine,diabetes", "--splits", "2", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "out" / "coverage" / "coverage.json").read_text())
    wine, diabetes = report["results"]
    assert (wine["what"], diabetes["what"]) == ("classes", "deviations wide")
    assert (wine["rows"], wine["left out"]) == (178, 27)
    assert np.mean(wine["each"]) == wine["coverage"] > 0.5
    assert 0.5 < diabetes["coverage"] <= 1
    assert (tmp_path / "out" / "coverage" / "coverage.png").stat().st_size > 10_000
    wrong = run_script("compare_coverage.py", "--data", "nobody", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--data nobody is not known: choose from diabetes" in wrong.stderr


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_probabilities_that_are_too_sure_are_cooled_by_scikit_learn() -> None:
    """Its temperature scaling takes ours: one number, which changes no class."""
    if "temperature" not in CalibratedClassifierCV._parameter_constraints["method"][0].options:
        pytest.skip("scikit-learn has it from 1.8 on")
    x, y = load_digits(return_X_y=True)
    sure = MLPClassifier((100,), max_iter=200, alpha=0.0, tol=0.0, random_state=0)
    several = EnsembleClassifier(MLPClassifier((30,), max_iter=60), 2, random_state=0)
    for model, least in ((sure, 0.01), (several, -0.1)):
        model.fit(x[:300], y[:300])
        cooled = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
        cooled.fit(x[300:1000], y[300:1000])
        loss, before = (log_loss(y[1000:], m.predict_proba(x[1000:])) for m in (cooled, model))
        assert before - loss > least
        np.testing.assert_array_equal(cooled.predict(x[1000:]), model.predict(x[1000:]))


def test_whole_numbers_have_infinite_intervals_where_too_few_are_known() -> None:
    from sklearn.dummy import DummyRegressor

    model = ConformalRegressor(DummyRegressor(strategy="constant", constant=3))
    found = model.fit(np.zeros((10, 1)), np.arange(10, dtype="uint8")).predict_interval([[0.0]])
    assert found.tolist() == [[-np.inf, np.inf]]


def test_labels_in_a_column_and_a_class_that_is_left_out_as_a_whole() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [30, 2, 30])
    x = rng.normal(size=(62, 2)) + y[:, None]
    with pytest.warns(UserWarning, match="column-vector y"):
        column = ConformalClassifier(LogisticRegression(), random_state=0).fit(x, y[:, None])
    assert column.errors_.shape == (13,)
    for seed in range(20):
        model = ConformalClassifier(LogisticRegression(), calibration_size=0.8, random_state=seed)
        if len(model.fit(x, y).classes_) == 2:  # both of class 1 are in the other part
            assert model.errors_[-2:].tolist() == [1.0, 1.0]
            break
    else:
        pytest.fail("no split has left the class out")


def test_a_regressor_of_several_quantiles_has_no_interval_of_one_value() -> None:
    member = MLPRegressor(loss="quantile", quantile=(0.1, 0.9), max_iter=30, tol=1.0)
    with pytest.raises(ValueError, match="predicts 2 values of each row, and y has 1"):
        ConformalRegressor(member).fit(np.zeros((30, 1)), np.arange(30.0))
