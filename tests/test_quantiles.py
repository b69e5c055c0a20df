"""Regression beyond the mean: medians, quantiles that never cross, errors cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.metrics import d2_pinball_score
from sklearn.model_selection import GridSearchCV

from xpmlp import MLPClassifier, MLPRegressor, StackedSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": (32,),
    "learning_rate_init": 0.02,
    "random_state": 0,
    "max_iter": 150,
    "tol": 1e-5,
}


def noisy(seed: int, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Values 2 x with exponential noise that is wider on the right."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(count, 1))
    return x, 2 * x[:, 0] + rng.exponential(1 + x[:, 0] / 2)


X, Y = noisy(0)


def test_a_share_of_new_values_lies_below_each_quantile() -> None:
    levels = (0.1, 0.5, 0.9)
    model = MLPRegressor(loss="quantile", quantile=levels, **SETTINGS).fit(X, Y)
    x, y = noisy(1)
    found = model.predict(x)
    assert found.shape == (2000, 3)
    assert (np.diff(found, axis=1) >= 0).all()
    np.testing.assert_allclose((y[:, None] < found).mean(axis=0), levels, atol=0.03)
    # −ln(1 − τ) times the scale of the noise.
    expected = 2 * x + (1 + x / 2) * -np.log1p(-np.array(levels))
    assert np.abs(found - expected).mean() < 0.15
    scores = [d2_pinball_score(y, found[:, k], alpha=t) for k, t in enumerate(levels)]
    assert model.score(x, y) == pytest.approx(np.mean(scores))


def test_one_quantile_is_a_value_for_each_row() -> None:
    median = MLPRegressor(loss="quantile", **SETTINGS).fit(X, Y)
    half = MLPRegressor(loss="quantile", quantile=[0.5], **SETTINGS).fit(X, Y)
    absolute = MLPRegressor(loss="absolute_error", **SETTINGS).fit(X, Y)
    assert median.predict(X).shape == half.predict(X).shape == (2000,)
    np.testing.assert_array_equal(median.predict(X), half.predict(X))
    x, y = noisy(1)
    # |e| is twice the pinball loss at ½: the same least, by other steps.
    for model in (median, absolute):
        assert (y < model.predict(x)).mean() == pytest.approx(0.5, abs=0.06)
    assert median.score(x, y) == pytest.approx(d2_pinball_score(y, median.predict(x)))


def test_far_values_pull_on_the_squared_error_alone() -> None:
    y = 2 * X[:, 0]
    y[::20] = 100.0
    clean = slice(1, None, 20)
    errors = {
        loss: np.abs(
            MLPRegressor(loss=loss, delta=0.5, **SETTINGS).fit(X, y).predict(X[clean]) - y[clean]
        ).mean()
        for loss in ("squared_error", "huber", "absolute_error")
    }
    assert errors["squared_error"] > 3
    assert errors["huber"] < 0.3
    assert errors["absolute_error"] < 0.3


def test_beyond_all_errors_huber_is_the_squared_error() -> None:
    wide = MLPRegressor(loss="huber", delta=1e6, **SETTINGS).fit(X, Y)
    squared = MLPRegressor(**SETTINGS).fit(X, Y)
    np.testing.assert_allclose(wide.predict(X), squared.predict(X), rtol=1e-9, atol=1e-12)
    narrow = MLPRegressor(loss="huber", delta=0.1, **SETTINGS).fit(X, Y)
    assert np.abs(narrow.predict(X) - squared.predict(X)).max() > 0.05


def test_early_stopping_by_the_score_of_quantiles() -> None:
    settings = SETTINGS | {"max_iter": 20}
    model = MLPRegressor(loss="quantile", quantile=(0.2, 0.8), **settings)
    x, y = noisy(1, 300)
    model.fit(X, Y, X_val=x, y_val=y)
    assert model.validation_scores_[-1] == pytest.approx(model.score(x, y))


def test_validation_goes_along_with_partial_fit() -> None:
    x, y = noisy(1, 300)
    model = MLPRegressor(loss="huber", **SETTINGS)
    for epochs in (1, 2, 3):
        model.partial_fit(X, Y, X_val=x, y_val=y)
        assert len(model.validation_scores_) == epochs
    assert model.validation_scores_[-1] == pytest.approx(model.score(x, y))
    classes = MLPClassifier((8,), random_state=0)
    for _ in range(2):
        classes.partial_fit(X, Y > 1, classes=[False, True], X_val=x, y_val=y > 1)
    assert classes.validation_scores_[-1] == classes.score(x, y > 1)
    assert len(classes.validation_loss_curve_) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quantile": 1.0}, "quantile is 1.0: choose a share above 0"),
        ({"quantile": (0.5, 0.5)}, "several rising ones"),
        ({"quantile": ()}, "several rising ones"),
        ({"loss": "huber", "delta": 0}, "delta of MLPRegressor is 0"),
        ({"loss": "hubert"}, "choose squared_error, poisson, absolute_error, huber, quantile"),
    ],
)
def test_parameters_that_mean_nothing(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MLPRegressor(**settings).fit(X, Y)


def test_quantiles_are_of_one_column() -> None:
    with pytest.raises(ValueError, match="y has 2 columns: the loss quantile is of one"):
        MLPRegressor(loss="quantile").fit(X, np.stack([Y, Y], axis=1))


def test_levels_in_a_file_and_in_a_search(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    settings = SETTINGS | {"max_iter": 5}
    model = MLPRegressor(loss="quantile", quantile=(0.1, 0.9), **settings).fit(X, Y)
    model.save(tmp_path / "levels.safetensors")
    again = MLPRegressor.load(tmp_path / "levels.safetensors")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.quantile == (0.1, 0.9)
    grid = {"alpha": [1e-4, 1e-2]}
    ours, theirs = (kind(model, grid, cv=2).fit(X, Y) for kind in (StackedSearchCV, GridSearchCV))
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-6
    )
