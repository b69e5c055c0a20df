"""The comparison with other libraries, with those that the tests install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from scripts_at_work import run_script


def test_comparison_of_the_same_training(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "20", "--batch-sizes", "64,full", "--rounds", "3")
    only = ("--peers", "scikit-learn", "--out", "figures")
    result = run_script("compare_peers.py", *flags, *only, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "figures" / "peers.json").read_text())
    assert [row["batch_size"] for row in report["results"]] == [64, 1437]
    for row in report["results"]:
        assert list(row["peers"]) == ["xpmlp", "scikit-learn"]
        ours, theirs = row["peers"].values()
        assert ours["ratio"] == 1
        assert abs(theirs["loss"] - ours["loss"]) <= 1e-3 * ours["loss"]
        assert 0 < ours["min_ms"] <= ours["median_ms"] <= ours["max_ms"]
        assert row["products"]["median_ms"] > 0
    assert report["devices"]["cpu"]["threads"] >= 1
    assert (tmp_path / "figures" / "peers.png").stat().st_size > 10_000
    assert "numpy" in report["versions"]


def test_optimizers_are_rows_of_their_own(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "20", "--batch-sizes", "64", "--rounds", "1")
    which = ("--optimizer", "momentum,adam", "--peers", "scikit-learn")
    result = run_script("compare_peers.py", *flags, *which, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()[1:5]]
    assert [line[:3] for line in lines] == [
        [rule, "64", library]
        for rule in ("momentum", "adam")
        for library in ("xpmlp", "scikit-learn")
    ]
    wrong = run_script("compare_peers.py", "--grid", "--to-accuracy", "0.9", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--grid times single steps and --to-accuracy processes" in wrong.stderr


def test_race_to_an_accuracy(tmp_path: Path) -> None:
    """Whole processes, from the same weights on the same batches: they arrive together."""
    flags = ("--data", "digits", "--hidden", "20", "--batch-sizes", "64", "--rounds", "2")
    only = ("--peers", "scikit-learn", "--to-accuracy", "0.9")
    result = run_script("compare_peers.py", *flags, *only, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "peers" / "to_accuracy.json").read_text())
    ours, theirs = report["results"]
    assert (ours["library"], theirs["library"]) == ("xpmlp", "scikit-learn")
    assert ours["accuracy"] >= 0.9
    assert theirs["epochs"] == ours["epochs"] > 1
    assert theirs["accuracy"] == ours["accuracy"]
    assert ours["from"] <= ours["seconds"] <= ours["to"]
    assert ours["recipe"] == theirs["recipe"] == "the given"
    assert ours["reached"] == theirs["reached"] == "2 of 2"


@pytest.mark.jax
def test_race_with_recipes(tmp_path: Path) -> None:
    """The best one with its schedule for all that can, from the same weights; and usual ones."""
    flags = ("--data", "digits", "--hidden", "20", "--rounds", "1", "--recipes")
    only = ("--peers", "jax.jit,jax lax.scan,scikit-learn", "--to-accuracy", "0.98")
    result = run_script("compare_peers.py", *flags, *only, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    best: list[dict[str, Any]] = []
    usual: list[dict[str, Any]] = []
    for row in json.loads(result.stdout)["results"]:
        (best if row["recipe"] == "the best" else usual).append(row)
    assert [row["library"] for row in best] == ["xpmlp", "jax.jit", "jax lax.scan"]
    assert [row["library"] for row in usual] == ["jax.jit", "jax lax.scan", "scikit-learn"]
    # Eighteen of a hundred steps of warm-up: what is learnt depends on each step's rate.
    assert {row["reached"] for row in best} == {"0 of 1"}
    assert {row["epochs"] for row in best} == {3}
    assert {row["accuracy"] for row in best} == {best[0]["accuracy"]}
    assert all(row["epochs"] > 3 for row in usual)


def test_a_recipe_that_nobody_knows(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--peers", "scikit-learn", "--recipes", "--to-accuracy", "0.9")
    result = run_script("compare_peers.py", *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert "--recipes are known for an accuracy of 0.98" in result.stderr


def test_unknown_peer_lists_those_there(tmp_path: Path) -> None:
    result = run_script("compare_peers.py", "--data", "digits", "--peers", "keras", cwd=tmp_path)
    assert result.returncode == 2
    assert "keras: not installed here; there is xpmlp" in result.stderr


EPOCHS = """
import sys; import numpy as np
from benchmarks.peers import Problem, installed_peers
from xpmlp import MLP
rng = np.random.default_rng(0)
params = {k: w.astype("f") for k, w in MLP((6, 8, OUT)).init(rng).items()}
x, y = rng.normal(size=(47, 6)).astype("f"), rng.integers(3, size=47)
if OUT == 1:
    y = rng.normal(size=(47, 1)).astype("f")
found, ESTIMATORS = {}, ("scikit-learn", "xpmlp.MLPClassifier")
for name, make in installed_peers().items():
    if name in ("torch.compile", "torch.compile (reduce-overhead)", "torch CUDA graph"):
        continue  # compilers take their time, and a graph is CUDA's
    peer = make(Problem((6, 8, OUT), "sigmoid", params, x, y, 0.05, 1, optimizer="RULE"))
    for size in (10, 47):
        for _ in range(3):
            peer.epoch(np.arange(47)[::-1].copy(), size)
    peer.finish()
    found[name] = peer.params()
for name, weights in found.items():
    # scikit-learn's Adam, and so our estimators', adds epsilon where the paper does not.
    most = 1e-3 if "RULE" == "adam" and name in ESTIMATORS else 1e-5
    for key, w in weights.items():
        np.testing.assert_allclose(w, found["xpmlp"][key], rtol=1e-4, atol=most, err_msg=name)
print(*found, sep=",")
"""


@pytest.mark.parametrize(("rule", "outputs"), [("sgd", 3), ("momentum", 1), ("adam", 3)])
def test_epochs_of_all_libraries_are_the_same_steps(rule: str, outputs: int) -> None:
    """Of a classification, and of a regression of one output."""
    done = subprocess.run(
        [sys.executable, "-c", EPOCHS.replace("RULE", rule).replace("OUT", str(outputs))],
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'scripts'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"xpmlp", "scikit-learn", "xpmlp.MLPClassifier"} <= set(done.stdout.strip().split(","))
