"""scripts/evaluate.py and scripts/plot.py over finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import small_set, write_h5
from scripts_at_work import run_script

from xpmlp.commands.plot import grouped
from xpmlp.data import read_data, split
from xpmlp.inspection.predictions import Predictions
from xpmlp.plots import curves
from xpmlp.plots.comparisons import save_heat_map
from xpmlp.training.history import LogRow

PNG = b"\x89PNG"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    flags = ("--epochs", "4", "--out", "run", "--quiet")
    assert run_script("train.py", *flags, cwd=tmp_path).returncode == 0
    return tmp_path / "run"


def test_evaluation_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    result = run_script("evaluate.py", "--run", "run", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    summary = json.loads((run / "summary.json").read_text())
    assert (found["loss"], found["accuracy"]) == (summary["test_loss"], summary["test_accuracy"])
    assert found["step"] == summary["best_step"]
    confusion = np.array(found["confusion"])
    assert confusion.sum() == found["examples"] == 360
    assert np.trace(confusion) / 360 == found["accuracy"]
    targets = read_data("digits").test
    assert targets is not None
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(targets.y))
    for name in ("confusion", "mistakes", "weights"):
        assert (run / f"{name}.png").read_bytes().startswith(PNG)


def test_evaluation_of_other_data_and_of_a_file(run: Path, tmp_path: Path) -> None:
    digits = split(read_data("digits"), seed=0).train
    write_h5(tmp_path / "other.h5", digits.x, digits.y)
    flags = ("--checkpoint", run / "checkpoint.h5", "--data", "other.h5", "--set", "train")
    result = run_script("evaluate.py", *flags, "--out", "pictures", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    own = run_script("evaluate.py", "--run", "run", "--set", "train", "--json", cwd=tmp_path)
    # The run's own scaling is used, so that the same examples have the same loss.
    assert found["loss"] == json.loads(own.stdout)["loss"]
    assert (tmp_path / "pictures" / "mistakes.png").exists()
    table = run_script("evaluate.py", "--run", "run", cwd=tmp_path).stdout
    assert "confusion (rows: true class, columns: predicted)" in table


@pytest.mark.usefixtures("run")
def test_what_cannot_be_evaluated_is_said(tmp_path: Path) -> None:
    write_h5(tmp_path / "small.h5", *small_set())
    flags = ("--run", "run", "--data", "small.h5", "--set", "train")
    result = run_script("evaluate.py", *flags, cwd=tmp_path)
    assert result.returncode == 3
    assert "takes 64 features and the data has 12" in result.stderr
    train = ("--epochs", "1", "--val-size", "0", "--out", "unvalidated", "--quiet")
    assert run_script("train.py", *train, cwd=tmp_path).returncode == 0
    result = run_script("evaluate.py", "--run", "unvalidated", "--set", "validation", cwd=tmp_path)
    assert result.returncode == 3
    assert "there are no validation examples: give --test-data, or --set test" in result.stderr
    result = run_script("evaluate.py", "--run", "absent", cwd=tmp_path)
    assert result.returncode == 6
    assert "there is no checkpoint" in result.stderr


def test_worst_mistakes_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.99, 0.01]])
    predictions = Predictions(probabilities, np.array([0, 0, 1, 1]))
    # Rows 1, 2 and 3 are wrong, with 0.2, 0.4 and 0.01 for the true class.
    assert predictions.worst(2).tolist() == [3, 1]
    assert predictions.confusion().tolist() == [[1, 1], [2, 0]]


def test_curves_are_drawn_again_from_the_table(run: Path, tmp_path: Path) -> None:
    drawn = (run / "curves.png").read_bytes()
    (run / "curves.png").unlink()
    result = run_script("plot.py", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (run / "curves.png").read_bytes().startswith(PNG)
    assert len((run / "curves.png").read_bytes()) > len(drawn) / 2


def test_runs_of_a_table_that_differ_in_their_seed_are_one_group(tmp_path: Path) -> None:
    """Its encoding, and the scaling of its targets, follow from the split."""
    rows = "".join(f"{k % 17},{k % 5},{(k * k) % 31 + 0.5}\n" for k in range(60))
    (tmp_path / "t.csv").write_text("a,b,y\n" + rows)
    for seed in ("1", "2"):
        flags = ("--data", "t.csv", "--target", "y", "--members", "1", "--epochs", "1", "--quiet")
        done = run_script("train.py", *flags, "--seed", seed, "--out", seed, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    row = LogRow(1, 1.0, 0.1, 1.0, 0.5, 1.0, 0.5, 0.1)
    assert list(grouped({tmp_path / seed: [row] for seed in "12"})) == ["all runs"]


def test_a_heat_map_may_have_gaps_alone(tmp_path: Path) -> None:
    save_heat_map([[None, None]], ["a"], ["b", "c"], ("x", "y"), "loss", tmp_path / "h.png")
    assert (tmp_path / "h.png").read_bytes().startswith(PNG)


def test_a_picture_of_no_known_format_is_refused(run: Path, tmp_path: Path) -> None:
    refused = run_script("plot.py", run, "--out", "curves.txt", cwd=tmp_path)
    assert refused.returncode == 2
    assert "curves.txt names no picture: choose one of" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_runs_of_one_configuration_are_one_group(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        for rate in ("0.5", "0.1"):
            flags = ("--epochs", "2", "--seed", seed, "--lr", rate, "--out", f"{rate}-{seed}")
            run_script("train.py", *flags, "--quiet", cwd=tmp_path)
    runs = [f"{rate}-{seed}" for rate in ("0.5", "0.1") for seed in ("0", "1")]
    result = run_script("plot.py", *runs, "--x", "epoch", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["groups"] == {"learning rate 0.5": 2, "learning rate 0.1": 2}
    assert (tmp_path / "out" / "overlay.png").read_bytes().startswith(PNG)


def test_damaged_table_is_refused(run: Path, tmp_path: Path) -> None:
    metrics = run / "metrics.csv"
    whole = metrics.read_text()
    for damage in ("1,2,3\n", "a,1.0,0.5,1,1,1,1,0.1\n", "\xff\n"):
        metrics.write_bytes(whole.encode() + damage.encode("latin-1"))
        result = run_script("plot.py", "run", cwd=tmp_path)
        assert result.returncode == 3, damage
        assert "metrics.csv" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_zoomed_picture_shows_where_a_run_came_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run that ends at nothing is still seen to fall; the height of its start is cut off."""
    drawn: list[Any] = []
    monkeypatch.setattr(curves, "save", lambda figure, _: drawn.append(figure))
    losses = [9.0, 0.8, 0.5, 0.2, 0.1, 0.05, 0.01, 0.004, 0.002, 0.001, 0.001]
    rows = [
        LogRow(step, step, 0.1, loss, 1 - loss / 10, None, None, 1.0)
        for step, loss in enumerate(losses)
    ]
    curves.save_overlay({"run": [rows]}, tmp_path / "a.png", of="train", zoomed=True)
    loss, accuracy = drawn[0].axes
    assert loss.get_ylim() == (0.0, 0.5)
    assert accuracy.get_ylim()[0] == pytest.approx(0.95)
