"""Learning rates side by side: each as it would train alone, and the best by its neighbours."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import numpy as np
import pytest
from scripts_at_work import run_script

import xpmlp


def of(rates: tuple[float, ...], end: tuple[float, ...]) -> xpmlp.LearningRates:
    return xpmlp.LearningRates(rates, end, end, 10)


def test_the_best_is_not_the_last_before_those_that_diverge() -> None:
    rates = tuple(10 ** (k / 4) for k in range(6))
    assert of(rates, (0.9, 0.5, 0.2, 0.19, 0.18, inf)).best == rates[3]
    assert of(rates, (0.1, 0.5, 0.6, 0.7, 0.8, 0.9)).best == rates[0]
    # Far from each other they are not neighbours.
    assert of((0.01, 1.0, 100.0), (2.0, 0.1, inf)).best == 1.0


def test_each_rate_is_trained_as_it_would_be_alone() -> None:
    data = xpmlp.load_data("digits")
    model = xpmlp.Model(xpmlp.MLP((64, 12, 10), "tanh"), xpmlp.Momentum(), learning_rate=7.0)
    plan = xpmlp.Plan(epochs=2, batch_size=32, patience=1, log_every=1)
    found = xpmlp.find_learning_rate(model, data, plan, rates=(0.001, 0.05, 1e9))
    assert (found.steps, found.rates) == (82, (0.001, 0.05, 1e9))
    alone = xpmlp.Plan(steps=82, batch_size=32, log_every=41)
    for place, rate in enumerate(found.rates[:2]):
        own = xpmlp.Model(model.mlp, xpmlp.Momentum(), learning_rate=rate)
        losses = [row.val_loss for row in xpmlp.Training(own, data, alone)]
        assert [found.halfway[place], found.end[place]] == pytest.approx(losses, rel=1e-4)
    assert (found.halfway[2], found.end[2]) == (inf, inf)
    assert found.best == 0.05


def test_without_a_validation_set_it_is_the_training_loss() -> None:
    data = xpmlp.load_data("digits").train
    model = xpmlp.Model(xpmlp.MLP((64, 10)), learning_rate=0.3)
    found = xpmlp.find_learning_rate(model, data, xpmlp.Plan(steps=21), rates=[0.3])
    plan = xpmlp.Plan(steps=20, log_every=10)
    rows = list(xpmlp.Training(model, data, plan))
    assert [*found.halfway, *found.end] == pytest.approx([row.train_loss for row in rows], rel=1e-5)


def test_a_pair_of_arrays_is_data() -> None:
    """Its length is that of its rows: 90 are left to train on, two batches of 64 per epoch."""
    x, y = np.eye(10)[np.arange(100) % 10], np.arange(100) % 10
    model = xpmlp.Model(xpmlp.MLP((10, 10)))
    found = xpmlp.find_learning_rate(model, (x, y), xpmlp.Plan(epochs=3), rates=(0.1, 1.0))
    assert found.steps == 6


def test_what_cannot_be_searched() -> None:
    data, model = xpmlp.load_data("digits"), xpmlp.Model(xpmlp.MLP((64, 10)))
    with pytest.raises(xpmlp.UsageError, match=r"^rates is"):
        xpmlp.find_learning_rate(model, data, rates=(0.1, -1.0))
    with pytest.raises(xpmlp.UsageError, match="rates"):
        xpmlp.find_learning_rate(model, data, rates=())
    with pytest.raises(xpmlp.DivergedError, match=r"every learning rate diverged: .*at step"):
        xpmlp.find_learning_rate(model, data, rates=(1e30, 1e31))


def test_the_program_says_what_to_type(tmp_path: Path) -> None:
    flags = ("--hidden", "16", "--steps", "30", "--out", "found")
    done = run_script("find_learning_rate.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "found" / "learning_rates.json").read_text())
    assert (tmp_path / "found" / "learning_rates.png").stat().st_size > 10_000
    rate = f"{report['learning_rate']:.3g}"
    assert done.stdout.splitlines()[0].split() == ["learning", "rate", rate]
    assert f"--lr {rate}" in done.stdout
    assert len(report["losses"]) == len(report["learning_rates"]) == 25
    assert report["loss"] in report["losses"]
    done = run_script("find_learning_rate.py", *flags, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["learning_rate"] == report["learning_rate"]
