"""Settings for tables: how the members are trained, and which of two settings is taken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scripts_at_work import said_by
from tables import customers, houses

import xpmlp
from xpmlp import AdamW, Dataset, Plan, read_data
from xpmlp.data import prepare, split
from xpmlp.training import tabular
from xpmlp.training.tabular import Tabular, candidates, is_tried, suited

pytest.importorskip("pyarrow")


def whole(rows: int = 300) -> Dataset:
    """Encoded customers without a validation set."""
    raw = read_data(customers(rows), target="state")
    return prepare(raw, val_size=0, test_size=0)


def test_the_usual_members() -> None:
    data = whole()
    first, *others = Tabular().models(data, seed=4)
    assert first.mlp == xpmlp.MLP((data.features, 192, 192, 2), "relu", "cross_entropy")
    assert first.optimizer == AdamW(weight_decay=0.1)
    assert (first.learning_rate, first.initializer, first.seed) == (0.003, "he", 4)
    assert [model.seed for model in others] == [5, 6, 7, 8, 9]
    own = Tabular(hidden=(7,), members=2, learning_rate=0.01, weight_decay=0.5)
    one, two = own.models(data)
    assert (one.mlp.sizes, one.learning_rate, one.seed) == ((data.features, 7, 2), 0.01, 0)
    assert one.optimizer == AdamW(weight_decay=0.5)
    assert replace(two, seed=0) == one


def test_the_usual_plan() -> None:
    data = whole()
    usual = {"epochs": 100, "patience": 16}
    # 300 examples in six folds leave 250 to train on.
    expected = Plan(**usual, batch_size=250, folds=6, seed=3)  # type: ignore[arg-type]
    assert Tabular().plan(data, seed=3) == expected
    assert Tabular().flags(data) == {
        **usual,
        "dropout": 0.1,
        "hidden": (192, 192),
        "activation": ("relu",),
        "init": "he",
        "optimizer": "adamw",
        "lr": 0.003,
        "weight_decay": 0.1,
        "batch_size": 250,
        "members": 6,
        "folds": 6,
        "intervals": 16,
    }
    shared = prepare(read_data(customers(300), target="state"), val_size=50, test_size=0)
    expected = Plan(**usual, batch_size=200)  # type: ignore[arg-type]
    assert Tabular(batch_size=200).plan(shared) == expected
    assert Tabular(members=1).plan(data) == Plan(epochs=100, batch_size=256)
    linear = Tabular(hidden=(), epochs=5, patience=2, dropout=0.3)
    assert linear.plan(shared) == Plan(epochs=5, batch_size=250, patience=2)
    hidden = replace(linear, hidden=(7,))
    shares = [m.regularization.dropout for of in (linear, hidden) for m in of.models(shared)[:1]]
    assert shares == [0.0, 0.3]
    assert Tabular(members=2).folds(data) == 2
    enough = prepare(read_data(customers(300).tail(24), target="plan"), val_size=0, test_size=0)
    assert Tabular().folds(enough) == 6
    few = prepare(read_data(customers(300).tail(23), target="plan"), val_size=0, test_size=0)
    assert Tabular().folds(few) is None
    assert Tabular().plan(few).batch_size == 23


def test_the_setting_with_the_lower_loss_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Tabular, int]] = []
    losses = {16: 0.3, 2: 0.2}

    def loss_of(candidate: Tabular, few: Dataset, **more: Any) -> float:
        assert more == {"seed": 7, "backend": backend}
        asked.append((candidate, len(few.train)))
        assert few.validation is None
        assert few.test is None
        return losses[candidate.intervals]

    monkeypatch.setattr(tabular, "_loss_of", loss_of)
    raw = split(read_data(customers(300), target="state"), val_size=30, test_size=30)
    backend, usual = xpmlp.select_backend("cpu"), Tabular(members=6, epochs=9)
    found = suited(raw, usual, seed=7, backend=backend)
    assert found == replace(usual, intervals=2, weight_decay=1.0)
    assert [one.members for one, _ in asked] == [6, 6]
    assert [count for _, count in asked] == [240, 240]
    losses[2] = 0.4
    assert suited(raw, usual, seed=7, backend=backend) == usual
    assert candidates(usual) == [usual, found]
    for few, members in ((240, 6), (239, 3)):
        monkeypatch.setattr(tabular, "_FEW", few)
        assert suited(raw, usual, seed=7, backend=backend).members == 6
        assert asked[-1][0].members == members


def test_settings_are_tried_where_the_rows_are_neither_few_nor_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = split(read_data(customers(300), target="state"), val_size=0, test_size=30)
    monkeypatch.setattr(tabular, "_MOST_TRIED", 270)
    assert is_tried(raw, Tabular())
    assert not is_tried(raw, Tabular(members=1))
    monkeypatch.setattr(tabular, "_MOST_TRIED", 269)
    assert not is_tried(raw, Tabular())


def test_settings_are_judged_on_rows_that_were_left_out() -> None:
    """The mean of the lowest losses of three members, each on its own fold."""
    raw = split(read_data(houses(120), target="price"), val_size=0, test_size=0)
    backend = xpmlp.select_backend("cpu", "float64")
    one = Tabular(hidden=(5,), members=3, epochs=4, intervals=2)
    found = tabular._loss_of(one, raw, seed=1, backend=backend)
    data = prepare(raw, intervals=2, val_size=0, test_size=0, seed=1)
    plan = one.plan(data, 1)
    assert plan.folds == 3
    trained = xpmlp.StackTraining(one.models(data, 1), data, plan, backend=backend).run()
    lowest = [min(row.val_loss or 9 for row in member.history) for member in trained]
    assert found == pytest.approx(np.mean(lowest), rel=1e-12)


def test_fewer_intervals_make_fewer_features() -> None:
    raw = read_data(houses(), target="price")
    wide, narrow = (prepare(raw, intervals=count).features for count in (16, 4))
    # Two columns of numbers: 12 features less of each.
    assert wide - narrow == 24


def test_few_rows_whatever_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not given fits the rows that are left, and each other; epochs are those of a fold."""
    monkeypatch.chdir(tmp_path)
    customers(120).to_csv("some.csv", index=False)
    customers(120).head(25).to_csv("few.csv", index=False)
    asked = {
        "few": ["--data", "few.csv", "--target", "plan"],
        "alone": ["--data", "some.csv", "--target", "plan", "--members", "1"],
        "two": ["--data", "some.csv", "--target", "plan", "--folds", "2", "--members", "2"],
        "held": ["--data", "some.csv", "--target", "plan", "--val-size", "60"],
        "none": ["--data", "some.csv", "--target", "plan", "--hidden", "none"],
    }
    for name, flags in asked.items():
        own = ["--epochs", "3", "--quiet", "--out", name]
        said_by("train", [*flags, *own], 0, capsys)
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        last = (tmp_path / name / "metrics.csv").read_text().splitlines()[-1].split(",")
        assert summary["epochs"] == float(last[1]) == 3.0, name
    for flags in (["--normalize", "unit"], ["--bias-trick"]):
        said = said_by("train", [*asked["few"], *flags, "--out", "other"], 2, capsys)
        assert f"{flags[0]} means nothing to a table, whose columns are encoded" in said
    said = said_by("train", ["--data", "digits", "--intervals", "3", "--out", "other"], 2, capsys)
    assert "--intervals means nothing to data that are no table" in said
    flags = ["--data", "some.csv", "--target", "age", "--min-accuracy", "0.9", "--out", "other"]
    assert "--min-accuracy is a share of right classes" in said_by("train", flags, 2, capsys)


def test_a_run_of_members_is_handed_on_and_a_name_may_have_a_comma(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    customers(60).rename(columns={"plan": "plan, now"}).to_csv("some.csv", index=False)
    flags = ["--data", "some.csv", "--target", '"plan, now"', "--epochs", "2", "--quiet"]
    said_by("train", [*flags, "--out", "run"], 0, capsys)
    said_by("train", ["--resume", "run", "--epochs", "3", "--quiet"], 0, capsys)
    said_by("export", ["--run", "run", "--format", "checkpoint"], 0, capsys)
    one, other = xpmlp.load("run"), xpmlp.load("run/checkpoint.safetensors")
    frame = customers(60)
    np.testing.assert_array_equal(one.predict_proba(frame), other.predict_proba(frame))


def test_parameters_that_are_none() -> None:
    frame = customers(60)
    with pytest.raises(ValueError, match=r"members is 1\.5: choose"):
        xpmlp.TabularClassifier(members=1.5).fit(frame, frame["plan"])  # type: ignore[arg-type]
    model = xpmlp.TabularClassifier(7, members=2, max_iter=1)  # type: ignore[arg-type]
    assert model.fit(frame, frame["plan"]).trained_.mlp.sizes[1:] == (7, 3)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([0.0, np.nan, 1.0] * 10), "y: row 1 has no label"),
        (np.array(["a", "b", None] * 10, dtype=object), "y: row 2 has no label"),
        (np.linspace(0.1, 1, 30), "Unknown label type"),
    ],
)
def test_labels_that_are_none(labels: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        xpmlp.TabularClassifier(max_iter=1, members=1).fit(np.arange(60.0).reshape(30, 2), labels)


def test_other_columns_than_at_fit_are_refused() -> None:
    x = np.arange(60.0).reshape(30, 2)
    settings: dict[str, Any] = {"max_iter": 1, "members": 2, "intervals": 2}
    model = xpmlp.TabularClassifier(**settings).fit(
        pd.DataFrame(x, columns=["a", "b"]), x[:, 0] > 20
    )
    model = model.fit(x, x[:, 0] > 20)
    assert not hasattr(model, "feature_names_in_")
    with pytest.raises(ValueError, match="X has 4 features, but TabularClassifier is expecting 2"):
        model.predict(np.c_[x, x])
