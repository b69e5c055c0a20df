"""MLPClassifier and MLPRegressor: the same training as scikit-learn's, and what goes beyond."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import MakeBackend
from scipy import sparse
from sklearn import config_context, neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from xpmlp import (
    DivergedError,
    EnsembleClassifier,
    MLPClassifier,
    MLPRegressor,
    check_gradients,
    errors,
)
from xpmlp.backends import select_backend
from xpmlp.data.examples import Examples
from xpmlp.estimators.conventions import determination
from xpmlp.mathematics import step

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, DIGITS = load_digits(return_X_y=True)
X = X[:400] / 16
DIGITS = DIGITS[:400]
LABELS = {
    "ten classes": DIGITS,
    "two classes": np.where(DIGITS > 4, "large", "small"),
    "many labels": np.stack([DIGITS > 4, DIGITS % 2 == 0, DIGITS == 3], axis=1).astype(int),
}
COURSES: dict[str, dict[str, Any]] = {
    "plain SGD": {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.1, "alpha": 0.1},
    "Nesterov": {"solver": "sgd", "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.1, "nesterovs_momentum": False},
    "Adam": {},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2},
    "sigmoid, batches of 64": {"activation": "logistic", "batch_size": 64},
    "in order": {"shuffle": False, "activation": "tanh"},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "n_iter_no_change": 2,
        "tol": 0.05,
        "learning_rate_init": 0.2,
    },
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
}
COMMON: dict[str, Any] = {"hidden_layer_sizes": (30, 20), "max_iter": 12, "random_state": 3}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("course", COURSES)
def test_classifier_trains_as_scikit_learns(course: str, labels: str) -> None:
    settings, y = COMMON | COURSES[course], LABELS[labels]
    theirs = neural_network.MLPClassifier(**settings).fit(X, y)
    ours = MLPClassifier(**settings).fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, y) == theirs.score(X, y)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.out_activation_ == theirs.out_activation_
    if theirs.validation_scores_:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("course", ["plain SGD", "Adam", "early stopping"])
def test_regressor_trains_as_scikit_learns(course: str, loss: str, columns: int) -> None:
    x, y = load_diabetes(return_X_y=True)
    y = y / 100
    targets = y if columns == 1 else np.stack([y, y**2], axis=1)
    settings = COMMON | COURSES[course] | {"loss": loss}
    if course == "plain SGD":
        settings["learning_rate_init"] = 0.01
    theirs = neural_network.MLPRegressor(**settings).fit(x, targets)
    ours = MLPRegressor(**settings).fit(x, targets)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9)
    assert ours.score(x, targets) == pytest.approx(theirs.score(x, targets), abs=1e-9)
    if columns == 1 or loss == "poisson":
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    if theirs.validation_scores_:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_weighted_samples_and_partial_fit_as_scikit_learns(solver: str) -> None:
    weights = np.random.default_rng(0).uniform(0, 3, len(X))
    settings = COMMON | {"solver": solver, "batch_size": 50}
    models: list[Any] = []
    for kind in (neural_network.MLPClassifier, MLPClassifier):
        model = kind(**settings)
        for _ in range(3):
            model.partial_fit(X[:201], DIGITS[:201], weights[:201], classes=np.arange(10))
            model.partial_fit(X[201:], DIGITS[201:], classes=np.arange(10))
        models.append(model)
    theirs, ours = models
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    assert ours.t_ == theirs.t_


def test_warm_start_goes_on_as_scikit_learns() -> None:
    settings = COMMON | COURSES["plain SGD"] | {"warm_start": True, "max_iter": 3}
    theirs, ours = neural_network.MLPClassifier(**settings), MLPClassifier(**settings)
    for _ in range(3):
        theirs.fit(X, DIGITS)
        ours.fit(X, DIGITS)
    assert len(ours.loss_curve_) == 9
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    assert ours.n_iter_ == theirs.n_iter_
    with pytest.raises(ValueError, match="weights so far have the shapes"):
        ours.set_params(hidden_layer_sizes=(5,)).fit(X, DIGITS)
    with pytest.raises(ValueError, match="same classes"):
        ours.set_params(hidden_layer_sizes=(30, 20)).fit(X, DIGITS % 3)


CALLS: dict[str, dict[str, Any]] = {
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.2,
        "tol": 0.05,
        "n_iter_no_change": 2,
    },
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "waiting": {"tol": 0.3, "n_iter_no_change": 1},
    "early stopping": {"early_stopping": True, "learning_rate_init": 0.05},
    "full batch": {"batch_size": 400},
    "no hidden layer": {"hidden_layer_sizes": (), "activation": "logistic"},
}


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("case", CALLS)
def test_calls_follow_each_other_as_scikit_learns(case: str, partial: bool) -> None:
    """What a call leaves: weights, the best, patience, rate, velocity, random state."""
    if partial and case == "early stopping":
        pytest.skip("partial_fit has none")
    settings = COMMON | {"max_iter": 6, "warm_start": True} | CALLS[case]
    models = []
    for kind in (neural_network.MLPClassifier, MLPClassifier):
        model = kind(**settings | {"random_state": np.random.RandomState(1)})
        for _ in range(4):
            model.fit(X, DIGITS)
        for _ in range(6 if partial else 0):
            model.partial_fit(X, DIGITS)
        models.append(model)
    theirs, ours = models
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_lbfgs_is_scipys_in_both(alpha: float) -> None:
    settings = COMMON | {"solver": "lbfgs", "alpha": alpha, "activation": "tanh", "max_iter": 15}
    for labels in LABELS.values():
        theirs = neural_network.MLPClassifier(**settings).fit(X, labels)
        ours = MLPClassifier(**settings).fit(X, labels)
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    weights = np.arange(400) % 3.0
    theirs = neural_network.MLPClassifier(**settings).fit(X, DIGITS, weights)
    ours = MLPClassifier(**settings).fit(X, DIGITS, weights)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)


def test_parameters_of_theirs_are_parameters_here() -> None:
    for theirs, ours in (
        (neural_network.MLPClassifier, MLPClassifier),
        (neural_network.MLPRegressor, MLPRegressor),
    ):
        settings = theirs().get_params()
        assert settings.items() <= ours(**settings).get_params().items()
        assert list(settings) == [name for name in ours().get_params() if name in settings]
    drawn: dict[str, Any] = {"shuffle": np.bool_(True)}
    MLPClassifier(**COMMON | drawn).fit(X, DIGITS, sample_weight=2.0)


@pytest.mark.parametrize("weights", ["x", {0: -1}, {0: float("nan")}, 5, {0: "a"}])
def test_class_weights_that_mean_nothing(weights: Any) -> None:
    with pytest.raises(ValueError, match=r"parameter class_weight is .*choose balanced, or a dict"):
        MLPClassifier(**COMMON, class_weight=weights).fit(X, DIGITS)


def test_class_weights_are_sample_weights() -> None:
    balanced = MLPClassifier(**COMMON, class_weight="balanced").fit(X, DIGITS > 7)
    counts = np.bincount(DIGITS > 7)
    weights = (len(X) / (2 * counts))[(DIGITS > 7).astype(int)]
    by_hand = MLPClassifier(**COMMON).fit(X, DIGITS > 7, sample_weight=weights)
    np.testing.assert_allclose(balanced.loss_curve_, by_hand.loss_curve_, rtol=1e-12)
    with pytest.raises(ValueError, match="balanced"):
        MLPClassifier(class_weight="balanced").partial_fit(X, DIGITS, classes=range(10))
    # A batch need not have every class; a class need not be named.
    model = MLPClassifier(**COMMON, class_weight={"large": 2.0})
    small = LABELS["two classes"] == "small"
    model.partial_fit(X[small], LABELS["two classes"][small], classes=["small", "large"])
    many = MLPClassifier(**COMMON, class_weight="balanced").fit(X, LABELS["many labels"])
    assert np.isfinite(many.loss_curve_).all()
    ten = MLPClassifier(**COMMON, class_weight="balanced").fit(X, DIGITS, X_val=X, y_val=DIGITS)
    assert ten.validation_scores_[-1] == ten.score(X, DIGITS)


def test_own_validation_set_is_watched_and_the_best_weights_come_back() -> None:
    # Large steps: the last epoch is not the best.
    settings = COMMON | {"max_iter": 30, "learning_rate_init": 0.05, "tol": 0.0}
    model = MLPClassifier(**settings, early_stopping=True, monitor="loss", n_iter_no_change=3)
    model.fit(X[:300], DIGITS[:300], X_val=X[300:], y_val=DIGITS[300:])
    losses = model.validation_loss_curve_
    assert len(losses) == len(model.validation_scores_) == model.n_iter_
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    proba = model.predict_proba(X[300:])
    loss = -np.log(proba[np.arange(100), DIGITS[300:]]).mean()
    assert loss == pytest.approx(losses[best], rel=1e-9)
    only_watched = MLPClassifier(**settings).fit(X, DIGITS, X_val=X[:50], y_val=DIGITS[:50])
    plain = MLPClassifier(**settings).fit(X, DIGITS)
    np.testing.assert_array_equal(only_watched.loss_curve_, plain.loss_curve_)
    for lonely in ({"X_val": X}, {"y_val": DIGITS}, {"sample_weight_val": np.ones(400)}):
        with pytest.raises(ValueError, match="belong together"):
            model.fit(X, DIGITS, **lonely)


@pytest.mark.parametrize("weighted", [False, True])
def test_validation_of_a_regression_is_r2(weighted: bool) -> None:
    x, y = load_diabetes(return_X_y=True)
    targets = np.stack([y, y**2 / 100], axis=1)
    weights = np.random.default_rng(0).uniform(size=142) if weighted else None
    model = MLPRegressor(**COMMON).fit(
        x[:300], targets[:300], X_val=x[300:], y_val=targets[300:], sample_weight_val=weights
    )
    expected = r2_score(targets[300:], model.predict(x[300:]), sample_weight=weights)
    assert model.validation_scores_[-1] == pytest.approx(expected, rel=1e-9)


def test_determination_of_targets_that_never_change(make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    targets = backend.to_device(np.array([[1.0, 2.0], [1.0, 2.0]]))
    values = backend.to_device(np.array([[1.0, 2.0], [1.0, 2.5]]))
    assert float(backend.to_host(determination(values, targets, xp=backend.xp))) == 0.5


def test_inside_scikit_learns_tools() -> None:
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=15, random_state=0))
    search = GridSearchCV(pipeline, {"mlpclassifier__hidden_layer_sizes": [(5,), (30,)]}, cv=2)
    assert search.fit(X, DIGITS).best_params_["mlpclassifier__hidden_layer_sizes"] == (30,)
    kinds = (MLPClassifier, neural_network.MLPClassifier)
    ours, theirs = (kind(max_iter=30, random_state=0) for kind in kinds)
    np.testing.assert_array_equal(
        cross_val_score(ours, X, DIGITS, cv=3), cross_val_score(theirs, X, DIGITS, cv=3)
    )
    calibrated = [CalibratedClassifierCV(model, cv=2).fit(X, DIGITS) for model in (ours, theirs)]
    found, expected = (model.predict_proba(X) for model in calibrated)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_data_frame_names_its_features() -> None:
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    model = MLPClassifier(**COMMON).fit(frame, pd.Series(DIGITS))
    assert list(model.feature_names_in_) == list(frame.columns)
    assert model.score(frame, DIGITS) == model.fit(X, DIGITS).score(X, DIGITS)
    model.fit(frame, DIGITS)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"pixel 0": "x"}))


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_one_column_is_taken_as_a_row_with_a_warning(kind: Any) -> None:
    with pytest.warns(DataConversionWarning):
        model = kind(**COMMON).fit(X, DIGITS[:, np.newaxis])
    assert model.predict(X).shape == (400,)


def test_many_labels_are_there_or_not_whatever_their_numbers() -> None:
    labels = LABELS["many labels"]
    plain, large = (MLPClassifier(**COMMON).fit(X, times * labels) for times in (1, 255))
    np.testing.assert_array_equal(plain.loss_curve_, large.loss_curve_)


def test_network_is_the_librarys_own() -> None:
    settings = COMMON | {"activation": ("tanh", "leaky_relu"), "init": "he"}
    model = MLPClassifier(**settings).fit(X, DIGITS)
    assert model.mlp_.activation_names == ("tanh", "leaky_relu")
    backend = select_backend("cpu", "float64")
    few = Examples(X[:40], DIGITS[:40])
    rows = check_gradients(model.mlp_, model.params_, few, backend=backend, samples=20)
    assert max(row.relative for row in rows) < 1e-6


def test_dropout_draws_other_masks_in_every_call() -> None:
    settings = {"solver": "sgd", "momentum": 0, "alpha": 0, "dropout": 0.5, "activation": "tanh"}
    model = MLPClassifier((20,), **settings, random_state=0)  # type: ignore[arg-type]
    model.partial_fit(X[:1], DIGITS[:1], classes=range(10))
    before = model.coefs_[1].copy()
    for row in range(1, 60):
        model.partial_fit(X[row : row + 1], DIGITS[row : row + 1])
    assert (model.coefs_[1] != before).any(axis=1).all()


def test_dropout_changes_training_and_is_drawn_from_the_random_state() -> None:
    first, second, without = (
        MLPClassifier(**COMMON, dropout=share).fit(X, DIGITS) for share in (0.3, 0.3, 0.0)
    )
    np.testing.assert_array_equal(first.loss_curve_, second.loss_curve_)
    assert abs(first.loss_curve_[0] - without.loss_curve_[0]) > 1e-3


def test_features_of_float32_are_trained_on_in_float32() -> None:
    model = MLPClassifier(**COMMON)
    model.partial_fit(X, DIGITS, classes=range(10)).partial_fit(X.astype(np.float32), DIGITS)
    assert model.coefs_[0].dtype == np.float64  # as it began
    model = MLPClassifier(**COMMON).fit(X.astype(np.float32), DIGITS)
    assert {w.dtype for w in (*model.coefs_, *model.intercepts_)} == {np.dtype("float32")}
    assert model.predict_proba(X).dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"solver": "newton"}, "solver of MLPClassifier is 'newton'"),
        ({"device": "nonsense"}, "nonsense"),
        ({"alpha": -1}, "alpha"),
        ({"batch_size": 0}, "batch_size"),
        ({"activation": "softplus"}, "softplus"),
        ({"activation": ("tanh",)}, "names 1 functions and there are 2 hidden layers"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes"),
        ({"dropout": 1.0}, "dropout"),
        ({"monitor": "f1"}, "choose score, loss"),
        ({"early_stopping": True, "validation_fraction": 1e-9}, "too small|test_size"),
    ],
)
def test_wrong_parameter_is_named(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MLPClassifier(**COMMON | settings).fit(X, DIGITS)


@pytest.mark.parametrize(
    ("weights", "match"),
    [(-np.ones(400), "negative"), (np.zeros(400), "zero for every"), (np.ones(3), r"shape \(3,\)")],
)
def test_weights_that_cannot_be_are_refused(weights: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MLPClassifier(**COMMON).fit(X, DIGITS, sample_weight=weights)


def test_input_that_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(ValueError, match="X is sparse, which jax on cpu does not compute with"):
        MLPClassifier(backend="jax").fit(sparse.csr_array(X), DIGITS)
    with pytest.raises(ValueError, match="negative"):
        MLPRegressor(loss="poisson").fit(X, -1.0 - DIGITS)
    with pytest.raises(ValueError, match="classes not in"):
        MLPClassifier(max_iter=2).partial_fit(X, DIGITS, classes=range(5))
    several = np.stack([DIGITS, DIGITS % 3], axis=1)
    fresh = MLPClassifier(**COMMON)
    with pytest.raises(ValueError, match="continuous-multioutput"):
        fresh.fit(X, several + 0.5)
    assert not hasattr(fresh, "coefs_")
    regressor = MLPRegressor(**COMMON)
    for y, y_val in ((several, DIGITS), (DIGITS, several)):
        with pytest.raises(ValueError, match="columns"):
            regressor.fit(X, y * 1.0, X_val=X, y_val=y_val * 1.0)
    labels = LABELS["many labels"]
    for y, y_val in ((labels, DIGITS), (DIGITS, labels)):
        with pytest.raises(ValueError, match="y has the shape"):
            MLPClassifier(**COMMON).fit(X, y, X_val=X, y_val=y_val)
    with pytest.raises(ValueError, match="early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(X, DIGITS, classes=range(10))


def test_divergence_is_reported_and_leaves_the_last_good_weights() -> None:
    settings = COMMON | {"solver": "sgd", "learning_rate_init": 1e200, "activation": "identity"}
    model = MLPClassifier(**settings)
    with pytest.raises(errors.DivergedError, match="learning rate"):
        model.fit(X, DIGITS)
    assert all(np.isfinite(w).all() for w in model.coefs_)


def test_interrupted_training_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter(range(100))

    def interrupt(*_: Any) -> float:
        if next(rounds) == 4:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(MLPClassifier, "_score_outputs", interrupt)
    model = MLPClassifier(**COMMON)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, DIGITS, X_val=X, y_val=DIGITS)
    assert len(model.loss_curve_) == 5
    assert model.predict(X).shape == (400,)


def _torch() -> Any:
    return pytest.importorskip("torch").from_numpy


def _strict() -> Any:
    import array_api_strict

    device = array_api_strict.Device("device1")
    return lambda array: array_api_strict.asarray(array, device=device)


def _torch_on_gpu() -> Any:
    torch = pytest.importorskip("torch")
    return lambda array: torch.from_numpy(array).cuda()


def _cupy() -> Any:
    import cupy

    return cupy.asarray


KINDS: list[Any] = [pytest.param(kind, id=kind.__name__.strip("_")) for kind in (_torch, _strict)]
KINDS += [
    pytest.param(kind, marks=pytest.mark.gpu, id=kind.__name__.strip("_"))
    for kind in (_cupy, _torch_on_gpu)
]


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_other_libraries_go_in_and_come_out(kind: Callable[[], Any]) -> None:
    to = kind()
    x, y, weights = to(X), to(DIGITS), to(np.linspace(0.5, 1, len(X)))
    settings = COMMON | {"early_stopping": True}
    here = MLPClassifier(**settings).fit(X, DIGITS, np.linspace(0.5, 1, len(X)))
    there = MLPClassifier(**settings).fit(x, y, weights)
    np.testing.assert_allclose(there.loss_curve_, here.loss_curve_, rtol=1e-9)
    for result in (there.predict_proba(x), there.predict(x), *there.coefs_):
        assert type(result) is type(x)
        assert getattr(result, "device", None) == getattr(x, "device", None)
    assert there.score(x, y) == pytest.approx(here.score(X, DIGITS))
    regressor = MLPRegressor(**COMMON).fit(x, to(DIGITS.astype(float)))
    assert type(regressor.predict(x)) is type(x)


def test_torch_memory_is_shared_and_gradients_are_left_alone() -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(X.copy()).requires_grad_()
    model = MLPClassifier(**COMMON).fit(x, DIGITS)
    assert isinstance(model.predict(x), torch.Tensor)
    assert not model.predict_proba(x).requires_grad
    with pytest.raises(ValueError, match="bfloat16"):
        model.fit(x.to(torch.bfloat16), DIGITS)


def test_without_scikit_learn_the_library_works_and_says_what_is_missing() -> None:
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import xpmlp\n"
        "try:\n    xpmlp.MLPClassifier\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert 'pip install "xpmlp[sklearn]"' in done.stdout, done.stderr
    program = "import xpmlp, sys; assert 'sklearn' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class Sparse(sparse.csr_array):  # type: ignore[misc]
    """A matrix that may not be made dense."""

    def toarray(self, *_: Any, **__: Any) -> np.ndarray:
        raise AssertionError("it was made dense")

    todense = __array__ = toarray


@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "adam"},
        {"solver": "sgd", "momentum": 0.0, "hidden_layer_sizes": ()},
        {"solver": "sgd", "batch_size": "full"},
        {"solver": "lbfgs", "max_iter": 5},
        {"early_stopping": True, "max_iter": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_sparse_features_train_the_same_network(kind: Any, settings: dict[str, Any]) -> None:
    given, rows = COMMON | settings, Sparse(X)
    dense, thin = kind(**given).fit(X, DIGITS), kind(**given).fit(rows, DIGITS)
    if settings.get("solver") != "lbfgs":
        np.testing.assert_allclose(thin.loss_curve_, dense.loss_curve_, rtol=1e-8)
    np.testing.assert_allclose(thin.predict(rows), dense.predict(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(thin.score(rows, DIGITS), thin.score(X, DIGITS))


def test_sparse_features_in_parts_and_watched() -> None:
    rows = Sparse(X)
    dense, thin = MLPClassifier(**COMMON), MLPClassifier(**COMMON)
    for part in (slice(0, 150), slice(150, 400)):
        dense.partial_fit(X[part], DIGITS[part], classes=range(10))
        thin.partial_fit(sparse.csc_array(X[part]), DIGITS[part], classes=range(10))
    np.testing.assert_allclose(thin.loss_curve_, dense.loss_curve_, rtol=1e-9)
    thin = MLPClassifier(**COMMON).fit(rows, DIGITS, X_val=rows[:100], y_val=DIGITS[:100])
    dense = MLPClassifier(**COMMON).fit(X, DIGITS, X_val=X[:100], y_val=DIGITS[:100])
    np.testing.assert_allclose(thin.validation_loss_curve_, dense.validation_loss_curve_)


def test_a_pipeline_of_one_hot_codes_is_sparse() -> None:
    towns = np.array([["Bonn", "red"], ["Ulm", "blue"], ["Trier", "red"]] * 40)
    whole = make_pipeline(OneHotEncoder(), MLPClassifier(max_iter=60, random_state=0))
    assert whole.fit(towns, towns[:, 1]).score(towns, towns[:, 1]) == 1.0


def test_a_sparse_training_that_diverges_says_so() -> None:
    wild = MLPClassifier(solver="sgd", learning_rate_init=1e9, random_state=0)
    with pytest.raises(DivergedError, match="it began in the loss"):
        wild.fit(sparse.csr_array(X), DIGITS)


def test_a_divergence_is_a_value_error() -> None:
    """Whoever catches what scikit-learn raises for numbers that are not finite catches it."""
    with pytest.raises(ValueError, match="learning rate 1e\\+09"):
        MLPClassifier(solver="sgd", learning_rate_init=1e9, random_state=0).fit(X, DIGITS)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_lbfgs_has_no_partial_fit(kind: Any) -> None:
    assert hasattr(kind(), "partial_fit")
    assert not hasattr(kind(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit") as raised:
        kind(solver="lbfgs").partial_fit(X, DIGITS)
    assert "choose another solver" in str(raised.value.__cause__)


def test_an_interrupt_of_lbfgs_leaves_the_weights_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    found = step.gradient

    def interrupted(*arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return found(*arguments, **settings)

    monkeypatch.setattr("xpmlp.estimators.epochs.gradient", interrupted)
    model = MLPClassifier((8,), solver="lbfgs", random_state=0)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, DIGITS)
    assert 5 <= model.n_iter_ < 12
    monkeypatch.undo()
    few = MLPClassifier((8,), solver="lbfgs", random_state=0, max_iter=model.n_iter_)
    with pytest.warns(ConvergenceWarning):
        few.fit(X, DIGITS)
    np.testing.assert_allclose(model.coefs_[0], few.coefs_[0], rtol=1e-12)
    assert model.loss_ == pytest.approx(few.loss_, rel=1e-12)


def test_an_error_names_the_labels_of_the_user() -> None:
    labels = np.where(np.arange(400) == 7, "rare", "usual")
    with pytest.raises(ValueError, match="rare"):
        MLPClassifier(**COMMON | {"early_stopping": True}).fit(X, labels)


def test_what_is_watched_is_on_the_scale_of_what_is_trained_on() -> None:
    x = 100 * X + 30
    scaled, classifier = StandardScaler().fit_transform(x), MLPClassifier(**COMMON)
    whole = make_pipeline(StandardScaler(), classifier)
    watched = {"mlpclassifier__X_val": x[:100], "mlpclassifier__y_val": DIGITS[:100]}
    with pytest.warns(UserWarning, match="X_val lies far outside of the values of X"):
        whole.fit(x, DIGITS, **watched)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "X_val", UserWarning)
        classifier.fit(scaled[:300], DIGITS[:300], X_val=scaled[300:], y_val=DIGITS[300:])
    # Values that never change in X say nothing of its scale.
    constant = np.concatenate([scaled, np.zeros((400, 60))], axis=1)
    other = constant[300:] + np.repeat([0.0, 1.0], [64, 60])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "X_val", UserWarning)
        classifier.fit(constant[:300], DIGITS[:300], X_val=other, y_val=DIGITS[300:])
    with pytest.warns(UserWarning, match="X_val lies far outside"):
        classifier.fit(scaled, DIGITS, X_val=-x[:100], y_val=DIGITS[:100])
    with config_context(enable_metadata_routing=True):
        right = Pipeline(
            [("scale", StandardScaler()), ("mlp", clone(classifier))], transform_input=["X_val"]
        )
        right[-1].set_fit_request(X_val=True, y_val=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "X_val", UserWarning)
            right.fit(x, DIGITS, X_val=x[:100], y_val=DIGITS[:100])
        assert right[-1].validation_scores_[-1] == right.score(x[:100], DIGITS[:100])


@pytest.mark.parametrize("kind", ["alone", "ensemble"])
def test_names_of_features_that_a_pipeline_hands_on(kind: str) -> None:
    frame = pd.DataFrame(X, columns=[f"pixel {k}" for k in range(X.shape[1])])
    member = MLPClassifier(**COMMON)
    model = member if kind == "alone" else EnsembleClassifier(member, 2)
    pipeline = make_pipeline(StandardScaler(), model).set_output(transform="pandas")
    pipeline.fit(frame, DIGITS)
    assert pipeline[-1].feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline[-1].predict(frame.rename(columns={"pixel 0": "another"}))


def test_what_lbfgs_has_no_use_for() -> None:
    """It validates nothing, so that nothing is held out, as in scikit-learn; and drops no units."""
    plain, stopping = (
        MLPClassifier((5,), solver="lbfgs", max_iter=5, random_state=0, early_stopping=early)
        for early in (False, True)
    )
    for one, other in zip(plain.fit(X, DIGITS).coefs_, stopping.fit(X, DIGITS).coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="leaves no units out: choose dropout=0"):
        MLPClassifier(solver="lbfgs", dropout=0.5).fit(X, DIGITS)
    with pytest.raises(ValueError, match="classes is empty"):
        MLPClassifier().partial_fit(X, DIGITS, classes=[])


def test_two_values_far_from_all_others_are_no_divergence() -> None:
    """The loss of the first batch is small, and the mean of all is not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 4)), np.zeros(2000)
    y[[700, 1500]] = 3000.0
    model = MLPRegressor(
        hidden_layer_sizes=(5,), random_state=0, max_iter=2, learning_rate_init=1e-4
    )
    assert model.fit(x, y).loss_ == pytest.approx(3000**2 / 2000, rel=0.01)


def test_labels_of_a_batch_may_all_be_there() -> None:
    """As scikit-learn has it, one column of 0 and 1 may lack either."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 3)), (rng.random((40, 3)) > 0.5).astype(int)
    labels[0] = 1
    model = MLPClassifier((4,))
    for row in range(4):
        model.partial_fit(x[row : row + 1], labels[row : row + 1], classes=np.arange(3))
    assert model.predict_proba(x[:2]).shape == (2, 3)
    held, same = (
        MLPClassifier((4,), max_iter=2, random_state=0).fit(x, some).coefs_[0]
        for some in (sparse.csr_array(labels), labels)
    )
    np.testing.assert_array_equal(held, same)


def test_several_questions_are_scored_on_rows_that_look_like_labels() -> None:
    rng = np.random.default_rng(0)
    y = np.c_[rng.integers(0, 3, 40), rng.integers(0, 2, 40)]
    model = MLPClassifier((4,), max_iter=3).fit(rng.normal(size=(40, 3)), y)
    some = y[:, 0] < 2
    x = rng.normal(size=(40, 3))
    right = (model.predict(x[some]) == y[some]).all(axis=1).mean()
    assert model.score(x[some], y[some]) == right
