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
from xpmlp.errors import UsageError
from xpmlp.inspection.ensemble import ensemble_probabilities, evaluate_ensemble
from xpmlp.inspection.predictions import evaluate_mean_output
from xpmlp.training.stacking import model_of, stacked, stacked_mlp

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
    stack = stacked([single], xp=backend.xp)
    for mlp in (MLP((6, 9, 4)), MLP((6, 8, 8, 4)), MLP((6, 4))):
        with pytest.raises(UsageError, match="give it its own network"):
            evaluate_ensemble(mlp, stack, examples, backend=backend)
    for wrong, number in ((stack, 1), (stack, -1), (single, 0)):
        with pytest.raises(UsageError, match="has no model number"):
            model_of(wrong, number, xp=backend.xp)
    with pytest.raises(UsageError, match="no models make no stack"):
        stacked([], xp=backend.xp)
    other = to_device(backend, MLP((6, 9, 4)).init(np.random.default_rng(0)))
    with pytest.raises(UsageError, match="model 1 has other layers"):
        stacked([single, other], xp=backend.xp)


def test_members_of_different_activation(backend: Backend) -> None:
    rng, names = np.random.default_rng(0), ("tanh", "relu", "sigmoid")
    examples = Examples(rng.normal(size=(200, 6)), rng.integers(4, size=200)).to_device(backend)
    mlps, models = [MLP((6, 8, 4), name) for name in names], members(backend)
    stack = stacked(models, xp=backend.xp)
    score = evaluate_ensemble(stacked_mlp(mlps), stack, examples, backend=backend)
    assert score.member_accuracies == [
        evaluate(mlp, model, examples, backend=backend)[1]
        for mlp, model in zip(mlps, models, strict=True)
    ]
    with pytest.raises(UsageError, match="make no stack"):
        stacked_mlp([*mlps, MLP((6, 9, 4))])


def test_members_that_all_diverge(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "10", "--epochs", "2", "--members", "2")
    more = ("--lr", "1e38", "--activation", "relu")
    result = run_script("ensemble.py", *flags, *more, cwd=tmp_path)
    assert result.returncode == 5
    assert "all members diverged: the training loss is" in result.stderr
    refused = run_script("ensemble.py", *flags, "--loss", "mean_squared_error", cwd=tmp_path)
    assert refused.returncode == 2
    assert "no probabilities to average" in refused.stderr


def test_stack_against_single_models(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "8", "--models", "3", "--steps", "20")
    more = ("--rounds", "2", "--optimizer", "momentum", "--json")
    result = run_script("compare_stacks.py", *flags, *more, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "stacks" / "stacks.json").read_text())
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


LOSSES = (
    "cross_entropy",
    "binary_cross_entropy",
    "mean_squared_error",
    "squared_error",
    "absolute_error",
    "huber(0.5)",
    "poisson_deviance",
    "quantiles(0.1,0.5,0.8,0.9)",
    "several_classes(2,2)",
)


@pytest.mark.parametrize("loss", LOSSES)
def test_twins_are_together_what_each_is(loss: str, backend: Backend) -> None:
    """In loss and accuracy, with weights, of targets by number and in rows."""
    rng, mlp = np.random.default_rng(0), MLP((6, 8, 4), "tanh", loss)
    one = to_device(backend, mlp.init(rng))
    twins = stacked([one, one], xp=backend.xp)
    rows = rng.dirichlet(np.ones(4), 30)
    kinds = [rows, rng.integers(4, size=30)]
    if loss.startswith("quantiles"):
        kinds = [rows]
    if loss.startswith("several"):
        kinds = [np.concatenate([rng.dirichlet([1, 1], 30) for _ in range(2)], axis=1)]
    for y in kinds:
        weight = rng.uniform(0, 2, 30)
        examples = Examples(rng.normal(size=(30, 6)), y, sample_weight=weight).to_device(backend)
        alone, together = (
            evaluate_mean_output(mlp, params, examples, backend=backend) for params in (one, twins)
        )
        assert together[0] == pytest.approx(alone[0], rel=1e-8)
        assert together[1] == (None if y.ndim > 1 else pytest.approx(alone[1], rel=1e-8))


def test_the_mean_of_several_by_hand(backend: Backend) -> None:
    rng, mlp = np.random.default_rng(0), MLP((6, 8, 4), "tanh", "binary_cross_entropy")
    x, y = rng.normal(size=(30, 6)), rng.integers(4, size=30)
    models = members(backend)
    device = backend.to_device(x)
    singles = [backend.to_host(mlp.predict(one, device, xp=backend.xp)) for one in models]
    mean, targets = np.mean(singles, axis=0), np.eye(4)[y]
    expected = -np.log(np.where(targets == 1, mean, 1 - mean)).sum(axis=1).mean()
    found = evaluate_mean_output(
        mlp, stacked(models, xp=backend.xp), Examples(x, y).to_device(backend), backend=backend
    )
    assert found == pytest.approx((expected, np.mean(mean.argmax(axis=1) == y)), rel=1e-9)
