"""What is to be predicted: classes by name, labels, values; how they are split and scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from tables import customers, houses

import xpmlp
from xpmlp.data.held_out import held_out_rows
from xpmlp.data.targets import Targets
from xpmlp.errors import DataError, UsageError
from xpmlp.inspection.predictions import Compared
from xpmlp.inspection.scores import area_under_roc, scores

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 3))
NAMES = np.array(["cat", "dog", "eel"])[np.arange(60) % 3]

TOLD: dict[str, tuple[Any, str, tuple[Any, ...]]] = {
    "text": (NAMES, "classification", ("cat", "dog", "eel")),
    "bytes": (NAMES.astype("S3"), "classification", ("cat", "dog", "eel")),
    "objects": (NAMES.astype(object), "classification", ("cat", "dog", "eel")),
    "ids": (np.arange(60) % 3, "classification", (0, 1, 2)),
    "ids as floats": ((np.arange(60) % 3).astype(float), "classification", (0, 1, 2)),
    "one-hot": (np.eye(3)[np.arange(60) % 3], "classification", (0, 1, 2)),
    "values": (X[:, 0], "regression", (0,)),
    "several values": (X[:, :2], "regression", (0, 1)),
}


@pytest.mark.parametrize(("y", "task", "names"), TOLD.values(), ids=TOLD)
def test_what_targets_tell(y: np.ndarray, task: str, names: tuple[Any, ...]) -> None:
    data = xpmlp.dataset_of_arrays(X, y)
    assert data.targets is not None
    assert (data.targets.task, data.targets.names, data.outputs) == (task, names, len(names))


def test_a_task_may_be_said() -> None:
    labels = (X[:, :2] > 0).astype(int)
    data = xpmlp.dataset_of_arrays(X, labels, task="multilabel")
    np.testing.assert_array_equal(data.train.y, labels)
    with pytest.raises(DataError, match=r"holds \[.*\]: labels of a multilabel task are 0 or 1"):
        xpmlp.dataset_of_arrays(X, labels + 1, task="multilabel")
    values = xpmlp.dataset_of_arrays(X, np.arange(60), task="regression")
    np.testing.assert_array_equal(values.train.y, np.arange(60.0)[:, None])
    with pytest.raises(UsageError, match="task 'ranking' is not known: choose from"):
        xpmlp.dataset_of_arrays(X, labels, task="ranking")


def test_columns_of_a_table_tell_their_task() -> None:
    frame = houses(100).assign(big=lambda f: f.area > 100, old=lambda f: f.year < 1950)
    told = {
        "price": "regression",
        "quarter": "classification",
        "big": "classification",
        ("area", "price"): "regression",
    }
    for target, task in told.items():
        targets = xpmlp.read_data(frame, target=target).targets
        assert targets is not None
        assert targets.task == task, target
    frame = frame.assign(big=frame.big.astype(int), old=frame.old.astype(int))
    targets = xpmlp.read_data(frame, target=["big", "old"]).targets
    assert targets == Targets("multilabel", ("big", "old"))


def test_labels_of_other_files_are_told_by_name() -> None:
    few = xpmlp.dataset_of_arrays(X, NAMES, X[:2], np.array(["eel", "dog"]))
    np.testing.assert_array_equal(few.test.y, [2, 1])
    with pytest.raises(DataError, match="row 1 has the label cow, and the training set has the"):
        xpmlp.dataset_of_arrays(X, NAMES, X[:2], np.array(["eel", "cow"]))


@pytest.mark.parametrize("counts", [(50, 50), (97, 3), (60, 30, 10)])
def test_every_class_has_its_share_in_both_parts(counts: tuple[int, ...]) -> None:
    classes = RNG.permutation(np.repeat(np.arange(len(counts)), counts))
    kept, held = held_out_rows(100, 20, 1, classes)
    assert sorted([*kept, *held]) == list(range(100))
    found = np.bincount(classes[held], minlength=len(counts))
    np.testing.assert_allclose(found, np.array(counts) / 5, atol=1.0)
    assert held.tolist() != held_out_rows(100, 20, 2, classes)[1].tolist()


def test_a_regression_is_trained_scaled_and_told_in_its_unit() -> None:
    frame = houses()
    data = xpmlp.load_data(frame, target="price")
    assert data.targets is not None
    scaling = data.targets.scaling
    assert scaling is not None
    # Fitted on the training part, and on nothing else.
    np.testing.assert_allclose(scaling.shift, data.train.y.mean(axis=0))
    np.testing.assert_allclose(scaling.scale, data.train.y.std(axis=0))
    mlp = xpmlp.MLP((data.features, 64, 1), "relu", data.targets.loss)
    plan = xpmlp.Plan(epochs=60, batch_size=64)
    trained = xpmlp.fit(xpmlp.Model(mlp, xpmlp.Adam(), initializer="he"), data, plan)
    loss, accuracy = trained.evaluate(data.test)
    assert accuracy is None
    found = trained.scores(data.test)
    # The loss is the mean squared error in units of the training part's variance.
    deviation = np.asarray(scaling.scale)[0]
    np.testing.assert_allclose(found["rmse"], np.sqrt(loss) * deviation, rtol=1e-5)
    assert 0.95 < found["r2"] < 0.995


def test_scores_are_those_of_scikit_learn() -> None:
    ids, p = RNG.integers(0, 3, 200), RNG.dirichlet(np.ones(3), 200)
    targets = Targets("classification", ("a", "b", "c"))
    found, guess = scores(Compared(p, ids), targets), p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(ids, guess))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(ids, guess))
    assert found["f1"] == pytest.approx(metrics.f1_score(ids, guess, average="macro"))
    area = metrics.roc_auc_score(ids, p, multi_class="ovr", average="macro")
    assert found["roc_auc"] == pytest.approx(area)
    each = metrics.precision_recall_fscore_support(ids, guess)
    for k, row in enumerate(found["classes"]):
        expected = [column[k] for column in each]
        assert [row["precision"], row["recall"], row["f1"], row["examples"]] == pytest.approx(
            expected
        )
    y, out = RNG.normal(size=(50, 2)), RNG.normal(size=(50, 2))
    values = scores(Compared(out, y), Targets("regression", ("u", "v")))
    assert values["r2"] == pytest.approx(metrics.r2_score(y, out))
    assert values["mae"] == pytest.approx(metrics.mean_absolute_error(y, out))
    assert values["values"][1]["rmse"] == pytest.approx(
        metrics.root_mean_squared_error(y[:, 1], out[:, 1])
    )


def test_an_area_with_ties_by_hand() -> None:
    # Pairs (true, other): 2 > 1, 2 = 2, 1 = 1, 1 < 2: 1 + 1/2 + 1/2 + 0 of 4.
    assert area_under_roc(np.array([2.0, 1.0, 1.0, 2.0]), np.array([1, 1, 0, 0]) > 0) == 0.5
    assert area_under_roc(np.array([2.0, 1.0]), np.array([True, True])) is None


def test_predictions_have_the_names_of_the_data() -> None:
    frame = customers()
    data = xpmlp.load_data(frame, target="state")
    mlp = xpmlp.MLP((data.features, 20, data.outputs), "relu")
    trained = xpmlp.fit(xpmlp.Model(mlp, xpmlp.Adam()), data, xpmlp.Plan(epochs=20))
    found = trained.predict(frame)
    assert set(found) <= {"left", "stays"}
    assert (found == frame.state).mean() > 0.95


def test_balanced_classes_count_alike() -> None:
    frame = customers()
    data = xpmlp.load_data(frame, target="state", class_weight="balanced", val_size=0)
    weights = data.train.sample_weight
    sums = [weights[data.train.y == k].sum() for k in (0, 1)]
    np.testing.assert_allclose(sums, len(data.train) / 2)
    assert data.test.sample_weight is None
    with pytest.raises(UsageError, match="class_weight is for examples of classes in memory"):
        xpmlp.load_data(houses(), target="price", class_weight="balanced")
    with pytest.raises(UsageError, match="class_weight is 'balance': choose balanced"):
        xpmlp.load_data(frame, target="state", class_weight="balance")


def test_pairs_of_arrays_are_enough() -> None:
    y = np.where(X[:, 0] > 0, "yes", "no")
    trained = xpmlp.fit(
        xpmlp.Model(xpmlp.MLP((3, 8, 2))), (X * 100 + 7, y), xpmlp.Plan(epochs=60, batch_size=9)
    )
    assert (trained.predict(X * 100 + 7) == y).mean() > 0.9
    with pytest.raises(UsageError, match="data is a list: give a data set, such as load_data"):
        xpmlp.fit(xpmlp.Model(xpmlp.MLP((3, 8, 2))), [X, y])


def test_what_is_shown_is_short() -> None:
    data = xpmlp.load_data(customers(), target="state")
    assert repr(data).startswith("<Dataset the data frame: 648 train, 72 validation, 180 test; ")
    assert repr(data.train).startswith("<Examples: 648 rows, ")
    assert "Any" not in dir(xpmlp)
    assert {"TabularClassifier", "load", "fit"} <= set(dir(xpmlp))


MISSING = {
    "not a number": (np.array([0, 1, np.nan, 1]), "row 2"),
    "none": (np.array(["a", "b", None, "a"], dtype=object), "row 2 has the label None"),
    "nan among texts": (np.array(["a", "b", "a", float("nan")], dtype=object), "row 3 has the"),
}


@pytest.mark.parametrize(("y", "said"), MISSING.values(), ids=MISSING)
def test_a_label_that_is_missing_is_no_class(y: np.ndarray, said: str) -> None:
    with pytest.raises(xpmlp.DataError, match=said):
        xpmlp.dataset_of_arrays(np.ones((4, 2)), y, task="classification")
    if y.dtype.kind == "f":
        pytest.importorskip("pyarrow")
        frame = pd.DataFrame({"x": range(4), "y": y})
        with pytest.raises(xpmlp.DataError, match="row 2 has no target"):
            xpmlp.read_data(frame, target="y")


def test_a_fraction_is_no_class() -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"x": range(4), "y": [1.2, 1.7, 2.5, 2.9]})
    with pytest.raises(xpmlp.DataError, match=r"row 0 has the label 1\.2: classes are whole"):
        xpmlp.read_data(frame, target="y", task="classification")
    known = Targets("classification", (1, 2))
    assert known.encoded(np.array([2.0, 1.0]), "y").tolist() == [1, 0]
    with pytest.raises(xpmlp.DataError, match=r"row 0 has the label 1\.5"):
        known.encoded(np.array([1.5, 2.0]), "y")
    with pytest.raises(xpmlp.DataError, match="2 labels in a row"):
        known.encoded(np.array([[1.0, 2.0]]), "y")
    with pytest.raises(xpmlp.DataError, match="no text in UTF-8"):
        xpmlp.dataset_of_arrays(np.ones((2, 2)), np.array([b"\xff", b"a"]))


def test_a_constant_has_no_r2() -> None:
    found = Compared(np.array([[0.3], [0.1], [0.2]]), np.full((3, 1), 0.1))
    assert scores(found, Targets("regression", ("y",)))["r2"] is None
