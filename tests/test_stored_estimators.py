"""Estimators in a file and back, without pickle: the same bit for bit, or refused."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpmlp import (
    ConformalClassifier,
    ConformalRegressor,
    EnsembleClassifier,
    EnsembleRegressor,
    MLPClassifier,
    MLPRegressor,
    StackedSearchCV,
    TabularClassifier,
    TabularRegressor,
)
from xpmlp.errors import CheckpointError, UsageError
from xpmlp.interchange.safetensors_file import metadata_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, DIGITS = load_digits(return_X_y=True)
X, DIGITS = X[:120] / 16, DIGITS[:120]
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (9, 7), "max_iter": 4, "random_state": 2}
LABELS = {
    "numbers": DIGITS,
    "texts": np.array(["zero", "one", "two"])[DIGITS % 3],
    "objects": np.array(["no", "yes"], dtype=object)[DIGITS % 2],
    "yes or no": DIGITS > 4,
    "floats": DIGITS.astype(float),
    "many": np.stack([DIGITS > 4, DIGITS % 2 == 0], axis=1).astype(int),
    "one class": np.full(120, "only"),
    "several questions": np.stack([np.array(["a", "b", "c"])[DIGITS % 3], DIGITS > 4], axis=1),
}


def there_and_back(model: Any, folder: Path) -> Any:
    model.save(folder / "model.safetensors")
    return type(model).load(folder / "model.safetensors")


@pytest.mark.parametrize("labels", LABELS)
def test_a_classifier_is_the_same(tmp_path: Path, labels: str) -> None:
    model = MLPClassifier(**SETTINGS).fit(X, LABELS[labels])
    again = there_and_back(model, tmp_path)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    if labels == "several questions":
        pairs = list(zip(again.predict_proba(X), model.predict_proba(X), strict=True))
        kinds = list(zip(again.classes_, model.classes_, strict=True))
    else:
        pairs = [(again.predict_proba(X), model.predict_proba(X))]
        kinds = [(again.classes_, model.classes_)]
    for found, expected in [*pairs, *kinds]:
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert again.get_params() == model.get_params()
    for name in ("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "n_features_in_"):
        assert getattr(again, name) == getattr(model, name), name


@pytest.mark.parametrize("targets", [DIGITS / 3.0, np.stack([DIGITS, -DIGITS], axis=1)])
def test_a_regressor_is_the_same(tmp_path: Path, targets: np.ndarray) -> None:
    model = MLPRegressor(**SETTINGS | {"activation": ("tanh", "relu")}).fit(X, targets)
    again = there_and_back(model, tmp_path)
    assert again.predict(X).shape == targets.shape
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.activation == ("tanh", "relu")


@pytest.mark.parametrize(
    "changed",
    [
        {"solver": "sgd", "n_iter_no_change": np.inf, "class_weight": {3: 2.0}},
        {"early_stopping": True, "hidden_layer_sizes": np.int64(5), "alpha": np.float32(0.5)},
        {"hidden_layer_sizes": (), "solver": "rmsprop", "beta_2": 0.99},
    ],
    ids=str,
)
def test_parameters_of_every_kind(tmp_path: Path, changed: dict[str, Any]) -> None:
    model = MLPClassifier(**SETTINGS | changed).fit(X.astype("f"), DIGITS)
    again = there_and_back(model, tmp_path)
    assert again.coefs_[0].dtype == "float32"
    assert again.get_params() == model.get_params()
    assert again.validation_scores_ == model.validation_scores_
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_training_goes_on_as_it_would_have(tmp_path: Path, solver: str) -> None:
    model = MLPClassifier(solver=solver, shuffle=False).partial_fit(X, DIGITS, classes=range(10))
    again = there_and_back(model, tmp_path)
    for one in (model, again):
        one.partial_fit(X, DIGITS)
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    assert again.t_ == model.t_ == 240


def test_names_of_features_and_a_generator(tmp_path: Path) -> None:
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "c"])
    settings = SETTINGS | {"random_state": np.random.RandomState(0)}
    model = MLPClassifier(**settings).fit(frame, DIGITS)
    again = there_and_back(model, tmp_path)
    assert again.random_state is None
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[["b", "a", "c"]])


def test_what_is_not_fitted_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        MLPClassifier().save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record, _: record.update(kind="MLPRegressor"), "of MLPClassifier"),
        (lambda record, _: record.update(version=2), "version 2"),
        (lambda record, _: record["params"].update(alpha=-1.0), "alpha"),
        (lambda record, _: record["params"].update(nobody=1), "nobody"),
        (lambda record, _: record["params"].update(hidden_layer_sizes=[9]), "layers"),
        (lambda record, _: record["found"].update(n_features_in_=63), "layers"),
        (lambda record, _: record["targets"].update(classes=[1, 2]), "layers"),
        (lambda record, _: record["targets"].update(dtype="O8"), "classes"),
        (lambda record, _: record.pop("targets"), "targets"),
        (lambda _, arrays: arrays.pop("weights/layer2.bias"), "layers"),
        (lambda _, arrays: arrays["weights/layer1.bias"].fill(np.nan), "finite"),
        (lambda _, arrays: arrays.update({"weights/layer1.bias": np.zeros(9, "f")}), "one type"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "model.safetensors"
    MLPClassifier(**SETTINGS).fit(X, DIGITS).save(path)
    arrays = {name: array.copy() for name, array in load_file(path).items()}
    record = json.loads(metadata_of(path.read_bytes())["xpmlp estimator"])
    change(record, arrays)
    save_file(arrays, path, metadata={"xpmlp estimator": json.dumps(record)})
    with pytest.raises(CheckpointError, match=said) as raised:
        MLPClassifier.load(path)
    assert "model.safetensors holds no estimator" in str(raised.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        MLPClassifier.load(tmp_path / "nothing.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(CheckpointError, match="holds no estimator"):
        MLPClassifier.load(tmp_path / "text")
    save_file({"a": np.ones(3)}, tmp_path / "others.safetensors")
    with pytest.raises(CheckpointError, match="no estimator of xpmlp, of MLPRegressor"):
        MLPRegressor.load(tmp_path / "others.safetensors")


def test_a_file_that_was_cut_or_changed_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    MLPClassifier(**SETTINGS).fit(X, DIGITS).save(path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for number in range(300):
        damaged = bytearray(content)
        if number % 3 == 0:
            damaged = damaged[: rng.integers(len(content))]
        else:  # mostly in the header, where the record is
            damaged[rng.integers(2500 if number % 3 == 1 else len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with suppress(CheckpointError, ValueError):
            MLPClassifier.load(path).predict(X)


MEMBER = MLPClassifier(**SETTINGS)
VALUES = MLPRegressor(**SETTINGS)
MADE_OF_OTHERS = {
    "ensemble of classifiers": EnsembleClassifier(MEMBER, 3, random_state=0),
    "ensemble of regressors": EnsembleRegressor(VALUES, 2, bootstrap=True, random_state=0),
    "sets": ConformalClassifier(MEMBER, random_state=0),
    "intervals": ConformalRegressor(VALUES, calibration_size=0.3, random_state=0),
    "intervals of an ensemble": ConformalRegressor(
        EnsembleRegressor(VALUES, 2, random_state=0), random_state=0
    ),
}


@pytest.mark.parametrize("name", MADE_OF_OTHERS)
def test_what_is_made_of_others_is_the_same(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame(X, columns=[f"pixel {k}" for k in range(X.shape[1])])
    model = MADE_OF_OTHERS[name].fit(frame, DIGITS)
    again = there_and_back(model, tmp_path)
    for method in ("predict", "predict_proba", "predict_interval", "predict_set"):
        if hasattr(model, method):
            np.testing.assert_array_equal(
                getattr(again, method)(frame), getattr(model, method)(frame), err_msg=method
            )
    assert again.feature_names_in_.tolist() == list(frame.columns)
    assert repr(again) == repr(model)
    assert repr(again.get_params()) == repr(model.get_params())


def test_what_is_made_of_strangers_has_no_file(tmp_path: Path) -> None:
    model = ConformalRegressor(LinearRegression()).fit(X, DIGITS)
    with pytest.raises(UsageError, match=r"made of LinearRegression.*give it to skops\.io\.dump"):
        model.save(tmp_path / "model.safetensors")
    EnsembleClassifier(MEMBER, 2).fit(X, DIGITS).save(tmp_path / "two.safetensors")
    with pytest.raises(CheckpointError, match="no estimator of xpmlp, of MLPClassifier"):
        MLPClassifier.load(tmp_path / "two.safetensors")


EVERY_KIND = {
    "network": MEMBER,
    "pipeline": make_pipeline(StandardScaler(), MEMBER),
    "search": StackedSearchCV(MEMBER, {"alpha": [1e-4, 0.1]}, cv=2),
    "table": TabularClassifier(members=2, max_iter=2),
    **MADE_OF_OTHERS,
}


@pytest.mark.parametrize("name", EVERY_KIND)
def test_skops_takes_every_estimator(name: str) -> None:
    """Without pickle, and naming nothing but what is ours, or scikit-learn's scorer."""
    skops = pytest.importorskip("skops.io")
    model = EVERY_KIND[name].fit(X, DIGITS)
    content = skops.dumps(model)
    named = skops.get_untrusted_types(data=content)
    assert all(kind.startswith(("xpmlp.", "sklearn.metrics._scorer.")) for kind in named)
    again = skops.loads(content, trusted=named)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("kind", [TabularClassifier, TabularRegressor])
def test_tables_are_the_same(kind: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"town": ["Bonn", "Ulm", None, "Trier"] * 20, "age": range(80)})
    y = np.where(frame.age > 40, "old", "new") if kind is TabularClassifier else frame.age * 2.0
    model = kind(members=2, max_iter=3).fit(frame, y)
    again = there_and_back(model, tmp_path)
    for method in ("predict", "predict_proba"):
        if hasattr(model, method):
            found, expected = (getattr(one, method)(frame) for one in (again, model))
            np.testing.assert_array_equal(found, expected)
    assert again.feature_names_in_.tolist() == ["town", "age"]
    assert again.get_params() == model.get_params()
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-40])
    with pytest.raises(CheckpointError):
        kind.load(tmp_path / "cut.safetensors")


def test_a_table_goes_to_another_process() -> None:
    model = EVERY_KIND["table"].fit(X, DIGITS)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("name", EVERY_KIND)
def test_a_notebook_shows_its_parameters(name: str) -> None:
    shown = EVERY_KIND[name]._repr_html_()
    assert shown.startswith("<style>")
    assert type(EVERY_KIND[name]).__name__ in shown


def test_a_training_goes_on_at_its_own_pace(tmp_path: Path) -> None:
    """A rate that was lowered stays low, and the best so far is known."""
    settings: dict[str, Any] = {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "random_state": 0,
        "tol": 10.0,
    }
    one = MLPClassifier(np.array([4]), n_iter_no_change=1, **settings)
    for _ in range(6):
        one.partial_fit(X, DIGITS, classes=np.arange(10))
    assert one._adaptive is not None
    assert one._adaptive.factor < 1
    other = there_and_back(one, tmp_path)
    for model in (one, other):
        model.random_state = 1
        model.partial_fit(X, DIGITS)
    for ours, theirs in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (one._patience, one._adaptive.factor) == (other._patience, other._adaptive.factor)
    stopping = MLPClassifier((4,), early_stopping=True, random_state=0, max_iter=3)
    kept = there_and_back(stopping.fit(X, DIGITS), tmp_path)
    assert kept._best_params is not None
    assert stopping._best_params is not None
    for name, array in stopping._best_params.items():
        np.testing.assert_array_equal(kept._best_params[name], array)
