"""Ensembles by their definition, and members in and out of stacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scripts_at_work import run_script
from stacks import to_device

from xpmlp import MLP, Examples, evaluate
from xpmlp.backends import Backend
from xpmlp.ensemble import ensemble_probabilities, evaluate_ensemble
from xpmlp.errors import UsageError
from xpmlp.stacking import model_of, stacked

MLP_ = MLP((6, 8, 4), "tanh")


def members(backend: Backend, count: int = 3) -> list[dict[str, object]]:
    return [to_device(backend, MLP_.init(np.random.default_rng(k))) for k in range(count)]


def test_score_by_the_definition(backend: Backend) -> None:
    rng, xp = np.random.default_rng(0), backend.xp
    x, y = rng.normal(size=(2300, 6)), rng.integers(4, size=2300)
    examples = Examples(x, y).to_device(backend)
    models = members(backend)
    stack = stacked(models, xp=xp)
    score = evaluate_ensemble(MLP_, stack, examples, backend=backend)
    device = backend.to_device(x)
    singles = [backend.to_host(MLP_.predict(model, device, xp=xp)) for model in models]
    mean = np.mean(singles, axis=0)
    assert score.accuracy == np.mean(mean.argmax(axis=1) == y)
    assert score.loss == pytest.approx(-np.log(mean[np.arange(2300), y]).mean(), rel=1e-12)
    assert score.member_accuracies == [
        evaluate(MLP_, model, examples, backend=backend)[1] for model in models
    ]
    together = ensemble_probabilities(MLP_, stack, device, xp=xp)
    np.testing.assert_allclose(backend.to_host(together), mean, rtol=1e-12)


def test_models_go_in_and_come_out(backend: Backend) -> None:
    models = members(backend)
    stack = stacked(models, xp=backend.xp)
    taken = model_of(stack, 1, xp=backend.xp)
    stack["layer1.weight"] *= 0.0
    for name, array in models[1].items():
        np.testing.assert_array_equal(backend.to_host(taken[name]), backend.to_host(array))


def test_what_makes_no_ensemble(backend: Backend) -> None:
    examples = Examples(np.ones((3, 6)), np.zeros(3, dtype=int)).to_device(backend)
    single = members(backend, 1)[0]
    with pytest.raises(UsageError, match="a stack of classifiers"):
        evaluate_ensemble(MLP_, single, examples, backend=backend)
    other = to_device(backend, MLP((6, 9, 4)).init(np.random.default_rng(0)))
    with pytest.raises(UsageError, match="model 1 has other layers"):
        stacked([single, other], xp=backend.xp)


def test_stack_against_single_models(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "8", "--models", "3", "--steps", "20")
    more = ("--rounds", "2", "--optimizer", "momentum", "--json")
    result = run_script("compare_stacks.py", *flags, *more, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "stacks.json").read_text())
    (row,) = report["results"]
    assert row["from"] <= row["singly / stack"] <= row["to"]
    assert row["models"] == 3


def test_script(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "16", "--members", "4", "--epochs", "6", "--json")
    result = run_script("ensemble.py", *flags, "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "ensemble.json").read_text())
    accuracies = report["member_accuracies"]
    assert len(accuracies) == len(report["accuracy_of_the_first_n"]) == 4
    assert len(set(accuracies)) > 1
    assert report["accuracy_of_the_first_n"][0] == accuracies[0]
    assert report["accuracy_of_the_first_n"][-1] == report["ensemble_accuracy"]
    assert report["mean_accuracy_of_members"] == pytest.approx(np.mean(accuracies))
    assert (tmp_path / "out" / "ensemble.png").stat().st_size > 10_000
