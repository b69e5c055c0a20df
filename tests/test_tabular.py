"""Settings for tables: how the members are trained, and which of two settings is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
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
