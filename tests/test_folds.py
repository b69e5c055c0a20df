"""Members with validation parts of their own: each as it would train alone on its part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.data.folds import folded
from xpmlp.data.held_out import fold_rows
from xpmlp.runs.members import Ensemble

MLP = xpmlp.MLP((64, 12, 10), "tanh")
MODELS = [
    xpmlp.Model(
        MLP, xpmlp.Adam(), 0.01, seed=seed, regularization=xpmlp.Regularization(dropout=0.1)
    )
    for seed in range(4)
]


def whole(examples: int = 300) -> xpmlp.Dataset:
    """Digits without a validation set."""
    return xpmlp.prepare(xpmlp.read_data("digits"), train_size=examples, val_size=0)


def test_folds_by_hand() -> None:
    classes = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    folds = fold_rows(9, 3, 0, classes)
    assert sorted(np.concatenate(folds)) == list(range(9))
    for rows in folds:
        assert rows.tolist() == sorted(rows)
        assert np.bincount(classes[rows]).tolist() == [2, 1]
    assert [len(rows) for rows in fold_rows(8, 3, 0)] == [3, 3, 2]
    assert fold_rows(8, 3, 0)[0].tolist() != fold_rows(8, 3, 1)[0].tolist()
    for count in (1, 9):
        with pytest.raises(xpmlp.DataError, match=f"{count} folds of 8 examples: choose 2 to 8"):
            fold_rows(8, count, 0)


def test_each_member_trains_as_alone_on_its_part() -> None:
    data, backend = whole(), xpmlp.select_backend("cpu", "float64", threads=2)
    plan = xpmlp.Plan(epochs=4, batch_size=50, folds=3, patience=2, seed=5)
    found = xpmlp.StackTraining(MODELS, data, plan, backend=backend).run()
    parts = fold_rows(300, 3, 5, data.train.y)
    alone = replace(plan, folds=None)
    for k, model in enumerate(MODELS):  # the fourth has the part of the first
        held = parts[k % 3]
        kept = np.setdiff1d(np.arange(300), held)
        own = replace(data, train=data.train.some(kept), validation=data.train.some(held))
        (expected,) = xpmlp.StackTraining([model], own, alone, backend=backend).run()
        assert [row.val_loss for row in found[k].history] == pytest.approx(
            [row.val_loss for row in expected.history], rel=1e-9
        )
        assert found[k].history[-1].step == 4 * 4  # 200 examples in batches of 50
        for name, array in expected.result.items():
            np.testing.assert_allclose(found[k].result[name], array, rtol=1e-9, atol=1e-12)


def test_members_of_folds_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    data, backend = whole(), xpmlp.select_backend("cpu", "float64")
    plan = xpmlp.Plan(epochs=4, batch_size=50, folds=4, seed=1)

    def run(plan: xpmlp.Plan, checkpoint: Path | None) -> Ensemble:
        members = Ensemble(MODELS, backend, checkpoint)
        for _ in members.rows(data, plan, lambda _: False, lambda: None):
            pass
        return members

    whole_run = run(plan, None)
    run(replace(plan, epochs=2), None).save(tmp_path, {})
    resumed = run(plan, tmp_path / "checkpoint.h5")
    assert [row.val_loss for row in resumed.history] == [r.val_loss for r in whole_run.history]
    for name, array in whole_run.result.items():
        np.testing.assert_array_equal(resumed.result[name], array)


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "a single model": (
        lambda: xpmlp.Training(MODELS[0], whole(), xpmlp.Plan(folds=3)),
        xpmlp.UsageError,
        "3 folds are for the models of a stack",
    ),
    "a validation set": (
        lambda: xpmlp.StackTraining(MODELS, xpmlp.load_data("digits"), xpmlp.Plan(folds=3)),
        xpmlp.UsageError,
        "^folds are of training examples in memory, without a validation set$",
    ),
    "one fold": (
        lambda: xpmlp.StackTraining(MODELS, whole(), xpmlp.Plan(folds=1)),
        xpmlp.DataError,
        "1 folds of 300 examples: choose 2 to 300",
    ),
    "a text": (lambda: xpmlp.Plan(folds="3"), xpmlp.UsageError, "folds is '3'"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_folds_are_not_for(case: str) -> None:
    make, error, said = REFUSED[case]
    with pytest.raises(error, match=said):
        make()


def test_works_are_dealt_out_to_the_threads() -> None:
    backend = xpmlp.select_backend("cpu", threads=2)
    found = backend.run_apart([lambda own, k=k: (k, own.threads) for k in range(5)])  # type: ignore[misc]
    assert found == [(k, 1) for k in range(5)]


def test_steps_are_those_of_the_smallest_part() -> None:
    # 10 examples in 3 folds: at least 6 are left, three batches of 2.
    assert xpmlp.Plan(epochs=5, batch_size=2, folds=3).steps_for(10) == 15


def test_all_folds_leave_as_many_steps() -> None:
    """Of 302 examples in three folds the last has 100: one of its 202 is left out."""
    data, backend = whole(302), xpmlp.select_backend()
    parts = folded(data.to_device(backend), 3, 0, backend)
    assert [len(part.train) for part in parts] == [201, 201, 201]
    assert [len(part.validation) for part in parts] == [101, 101, 100]
    plan = xpmlp.Plan(epochs=2, batch_size=201, folds=3)
    assert (plan.trained_on(302), plan.steps_per_epoch(302), plan.steps_for(302)) == (201, 1, 2)
    found = xpmlp.StackTraining(MODELS[:3], data, plan, backend=backend).run()
    assert [[row.epoch for row in model.history] for model in found] == [[1.0, 2.0]] * 3
