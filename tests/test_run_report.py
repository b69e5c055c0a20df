"""What is said of a run at its end, and on the way."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts_at_work import run_script

import xpmlp
from xpmlp.commands.run_report import report_lines
from xpmlp.progress import Progress
from xpmlp.training.history import LogRow

SUMMARY: dict[str, Any] = {
    "status": "completed",
    "steps": 1200,
    "epochs": 3.0,
    "train_seconds": 4.5,
    "test_loss": 0.25,
    "test_accuracy": 0.9,
    "test_scores": None,
    "best_step": 800,
    "best_val_accuracy": 0.91,
    "best_val_loss": 0.24,
    "network": "4-3-2, relu",
    "members": 1,
    "diverged_members": 0,
    "parameters": 23,
}


def classes(*counts: int) -> dict[str, Any]:
    each = [
        {"class": name, "examples": n, "precision": 0.5, "recall": 0.25, "f1": 1 / 3}
        for name, n in zip("abcdefghij", counts, strict=False)
    ]
    return {"accuracy": 0.9, "balanced_accuracy": 0.6, "f1": 0.5, "roc_auc": 0.8, "classes": each}


def lines(folder: Path, **changes: Any) -> dict[str, str]:
    return dict(report_lines(SUMMARY | changes, folder, "test", table=True))


def test_the_result_comes_first_then_the_files_then_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.h5").touch()
    found = list(lines(tmp_path).items())
    assert found[0] == ("status", "completed: 1,200 steps (3 epochs) in 4.5 s")
    assert found[1] == ("test accuracy", "0.9000")
    assert [name for name, _ in found[-4:]] == ["files", "look closer", "new rows", "train longer"]
    assert dict(found)["validation"] == "accuracy 0.9100, loss 0.2400, best at step 800"
    assert dict(found)["new rows"].startswith(f"xpmlp predict --run {tmp_path} --data new.csv ")


def test_what_is_said_is_so(tmp_path: Path) -> None:
    """A run that has used up its patience trains no longer; what diverged is left out."""
    (tmp_path / "checkpoint.h5").touch()
    assert "train longer" not in lines(tmp_path, status="early_stopped")
    assert "left out" not in lines(tmp_path)
    found = lines(tmp_path, members=5, diverged_members=1)
    assert found["left out"] == "1 that diverged"


def test_a_run_that_was_interrupted_says_how_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.h5").touch()
    found = lines(tmp_path, status="interrupted")
    assert found["go on"] == f"xpmlp train --resume {tmp_path}"
    assert "look closer" not in found
    assert "go on" not in lines(tmp_path / "nothing saved", status="interrupted")


@pytest.mark.parametrize(
    ("counts", "rare"), [((95, 5), True), ((89, 11), False), ((40,) * 9 + (7,), True)]
)
def test_a_rare_class_is_shown(counts: tuple[int, ...], rare: bool, tmp_path: Path) -> None:
    found = lines(tmp_path, test_scores=classes(*counts))
    assert ("balanced accuracy" in found) == rare
    if rare:
        name = "abcdefghij"[len(counts) - 1]
        assert found[f"class {name}"].endswith("precision 0.500, recall 0.250, F1 0.333")


def test_values_and_labels_have_their_figures(tmp_path: Path) -> None:
    values = lines(tmp_path, test_accuracy=None, test_scores={"rmse": 2.0, "mae": 1.0, "r2": 0.5})
    assert (values["test RMSE"], values["test MAE"], values["test R²"]) == (
        "2.0000",
        "1.0000",
        "0.5000",
    )
    labels = lines(tmp_path, test_accuracy=None, test_scores={"exact_match": 0.75, "f1": 0.5})
    assert labels["test all labels right"] == "0.7500"


class Terminal(io.StringIO):
    """A terminal that keeps what it is shown."""

    def isatty(self) -> bool:
        return True


def test_the_bar_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    bar = xpmlp.progress._bar
    wide = {"ncols": 80, "dynamic_ncols": False}
    monkeypatch.setattr("xpmlp.progress._bar", lambda **settings: bar(**settings | wide))
    row = LogRow(4200, 12.5, 0.1, 0.2, 0.95, 0.1234, 0.9712, 3.0)
    with Progress(9000, 0, 64) as progress:
        progress.step(4200)
        progress.row(row)
    last = re.split(r"[\r\n]", shown.getvalue().rstrip())[-1]
    assert len(last) <= 80
    for part in ("epoch 12.5", "val loss 0.1234", "accuracy 0.9712", "rows/s"):
        assert part in last


def test_a_loss_that_has_grown_a_thousandfold_is_a_divergence() -> None:
    data = xpmlp.load_data("digits")
    model = xpmlp.Model(xpmlp.MLP((64, 10), loss="mean_squared_error"), learning_rate=1.2)
    training = xpmlp.Training(model, data, xpmlp.Plan(epochs=3))
    with pytest.raises(xpmlp.DivergedError, match=r"the training loss is .* and was .* at the st"):
        training.run()
    assert training.state.status == "diverged"
    sound = xpmlp.Training(model, data, xpmlp.Plan(steps=1))
    assert sound.run().status == "completed"


def test_a_wrong_flag_is_one_sentence(tmp_path: Path) -> None:
    for flags, said in (
        (("--activation", "swish"), "argument --activation: 'swish' is not known: choose from"),
        (("--speed",), "unrecognized arguments: --speed"),
        (("--resume", "a", "--out", "b"), "--resume a and --out b: name the run once"),
    ):
        done = run_script("train.py", *flags, cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert said in done.stderr
