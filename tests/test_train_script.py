"""scripts/train.py as a user runs it: as a process."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from scripts_at_work import rows_without_seconds, run_script

from xpmlp import evaluate, read_data, select_backend
from xpmlp.runs.checkpoint import load_checkpoint, preparation_of
from xpmlp.runs.folder import read_metrics

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COLUMNS = [
    "step",
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "seconds",
]


@pytest.fixture
def train(tmp_path: Path) -> Run:
    """Return a function that runs the script with flags and returns the finished process."""
    return partial(run_script, "train.py", cwd=tmp_path)


def test_defaults_train_on_the_embedded_digits(train: Run, tmp_path: Path) -> None:
    result = train("--device", "cpu", "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["status"] == "completed"
    assert summary["test_accuracy"] >= 0.95
    assert summary["parameters"] == 64 * 100 + 100 + 100 * 10 + 10
    assert summary["epochs"] == 20
    assert (summary["device"], summary["backend"]) == ("cpu", "numpy")
    folder = tmp_path / summary["run"]
    assert folder.parent == tmp_path / "runs"
    names = {"config.json", "metrics.csv", "summary.json", "curves.png"}
    names |= {"checkpoint.h5", "best.h5"}
    assert {path.name for path in folder.iterdir()} == names
    saved = json.loads((folder / "summary.json").read_text())
    assert saved == {name: value for name, value in summary.items() if name != "run"}
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "metrics.csv").open(newline="") as file:
        assert next(csv.reader(file)) == COLUMNS
    rows = read_metrics(folder)
    assert len(rows) == 20
    best = min(rows, key=lambda row: row.val_loss or 0)
    assert summary["best_step"] == best.step
    assert summary["best_val_accuracy"] == best.val_accuracy
    progress = result.stderr.splitlines()
    assert "7,510 parameters" in progress[3]
    assert len(progress) == 4 + 20
    assert progress[4].startswith("step 21  epoch 1  loss ")


def test_config_says_how_to_run_it_again(train: Run, tmp_path: Path) -> None:
    flags = ["--hidden", "20,15", "--batch-size", "50", "--epochs", "2", "--seed", "7", "--quiet"]
    result = train(*flags, "--out", "run")
    assert result.returncode == 0
    assert result.stderr == ""
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["hidden"] == [20, 15]
    assert config["batch_size"] == 50
    assert config["seed"] == 7
    assert config["val_size"] == 143


def test_one_seed_one_history(train: Run, tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        train("--epochs", "3", "--seed", seed, "--out", name, "--quiet")
    a, b, c = (rows_without_seconds(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c


def test_full_batch_logs_the_whole_training_set_and_the_test_set(
    train: Run, tmp_path: Path
) -> None:
    flags = ["--batch-size", "full", "--steps", "40", "--log-every", "20", "--val-size", "0"]
    result = train(*flags, "--lr", "0.5", "--log-test", "--out", "run", "--json")
    assert result.returncode == 0, result.stderr
    rows = read_metrics(tmp_path / "run")
    assert [(row.step, row.epoch) for row in rows] == [(20, 20), (40, 40)]
    assert rows[0].val_loss is None
    summary = json.loads(result.stdout)
    assert rows[-1].test_accuracy == summary["test_accuracy"]
    assert summary["best_step"] is None
    assert rows[1].train_loss < rows[0].train_loss


def test_folder_with_a_run_is_kept_unless_told_otherwise(train: Run, tmp_path: Path) -> None:
    first = ["--epochs", "1", "--out", "run", "--quiet"]
    assert train(*first).returncode == 0
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    refused = train(*first)
    assert refused.returncode == 2
    assert "already holds a run" in refused.stderr
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
    assert train(*first, "--overwrite", "--seed", "1").returncode == 0
    assert (tmp_path / "run" / "metrics.csv").read_bytes() != before


def test_accuracy_below_the_minimum_exits_with_1(train: Run) -> None:
    flags = ["--epochs", "1", "--lr", "0.001", "--out", "run", "--quiet"]
    result = train(*flags, "--min-accuracy", "0.9")
    assert result.returncode == 1
    assert "is below --min-accuracy 0.9" in result.stderr
    assert "completed" in result.stdout


def test_divergence_exits_with_5_and_is_recorded(train: Run, tmp_path: Path) -> None:
    result = train("--lr", "1e38", "--normalize", "none", "--out", "run", "--quiet")
    assert result.returncode == 5
    assert "at step" in result.stderr
    assert "learning rate 1e+38" in result.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert summary["test_loss"] is None


def test_learning_rate_halves_after_its_epochs(train: Run, tmp_path: Path) -> None:
    flags = ["--epochs", "3", "--lr", "0.2", "--lr-milestones", "1,2", "--out", "run", "--quiet"]
    assert train(*flags).returncode == 0
    rates = [row.learning_rate for row in read_metrics(tmp_path / "run")]
    assert rates == [0.2, 0.1, 0.05]


def test_settings_of_the_classic_tricks(train: Run, tmp_path: Path) -> None:
    """Scaled tanh, 1/sqrt(fan_in), momentum, penalties, dropout and diagnostics in one run."""
    flags = ["--activation", "lecun_tanh", "--init", "lecun", "--optimizer", "momentum"]
    flags += ["--momentum", "0.9", "--lr", "0.02", "--l2", "1e-4", "--l1", "1e-6"]
    flags += ["--dropout", "0.1", "--batch-size", "32", "--hidden", "64,32", "--epochs", "15"]
    flags += ["--warmup-steps", "20", "--lr-schedule", "cosine", "--train-size", "1000"]
    result = train(*flags, "--diagnostics", "--out", "run", "--quiet", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["test_accuracy"] > 0.93
    with (tmp_path / "run" / "diagnostics.csv").open(newline="") as file:
        layers = list(csv.DictReader(file))
    assert len(layers) == 15 * 3
    assert [row["dead"] for row in layers[:3]] == ["0.0", "0.0", ""]
    assert all(float(row["gradient_norm"]) > 0 for row in layers)


def test_divergence_in_the_last_step_is_seen(train: Run) -> None:
    result = train("--steps", "1", "--lr", "1e38", "--quiet", "--json", "--out", "run")
    assert result.returncode == 5
    assert json.loads(result.stdout)["status"] == "diverged"
    assert "NaN" not in result.stdout


def test_output_that_nobody_reads_is_no_error(repository: Path, tmp_path: Path) -> None:
    script = repository / "scripts" / "train.py"
    line = f"{sys.executable} {script} --epochs 1 --quiet --out run | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", line],
        env=os.environ | {"PYTHONPATH": str(repository)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


WRONG = {
    "more memory than there is": (["--hidden", "1000000000"], 2, "not enough memory"),
    "more units than a layer": (["--hidden", "1" + "0" * 40], 2, "no zeros, < 2^31"),
    "idle factor": (["--lr-factor", "0.1"], 2, "--lr-factor means nothing without --lr-milestones"),
    "idle decay": (["--lr-decay", "0.9"], 2, "--lr-decay means nothing without --lr-schedule"),
    "dropout of nothing": (["--dropout", "0.5", "--hidden", "none"], 2, "--hidden none has none"),
    "noise of nothing": (["--noise", "0.5", "--hidden", "none"], 2, "--noise is of hidden units"),
    "momentum that rises to none": (["--momentum-start", "0.5"], 2, "choose --optimizer momentum"),
    "idle momentum epochs": (["--momentum-epochs", "3"], 2, "means nothing without --momentum-st"),
    "average of all": (["--average-decay", "1"], 2, "1 is not a number from 0 to below 1"),
    "right angle": (["--shear", "90"], 2, "90 is not degrees from 0 to below 90"),
    "unknown recipe": (["--recipe", "cake"], 2, "invalid choice: 'cake'"),
    "accuracy of two": (["--min-accuracy", "2"], 2, "2 is not an accuracy from 0 to 1"),
    "negative validation": (["--val-size", "-1"], 2, "-1 is not a number of examples"),
    "classes of a named set": (["--classes", "20"], 2, "digits has classes of its own"),
    "patience without validation": (
        ["--patience", "3", "--val-size", "0"],
        2,
        "needs a validation",
    ),
    "flag of another optimiser": (["--momentum", "0.9"], 2, "choose --optimizer momentum or nes"),
    "two schedules": (["--lr-milestones", "2", "--lr-schedule", "cosine"], 2, "exclude each other"),
    "too many activations": (["--activation", "tanh,relu"], 2, "2 activations for 1 hidden layers"),
    "unknown activation": (
        ["--activation", "swish9"],
        2,
        "'swish9' is not known: choose from sigmoid",
    ),
    "dropout of all": (["--dropout", "1"], 2, "1 is not a number from 0 to below 1"),
    "unknown flag": (["--learning-rate", "1"], 2, "unrecognized arguments"),
    "layer of zero": (["--hidden", "20,0"], 2, "not a list of layer sizes like 400,400"),
    "rate of zero": (["--lr", "0"], 2, "0 is not a number above 0"),
    "both lengths": (["--epochs", "1", "--steps", "1"], 2, "not allowed with"),
    "negative seed": (["--seed", "-1"], 2, "seed"),
    "unknown data": (["--data", "mnits"], 3, "nor a name of these: digits, mnist"),
    "large batch": (["--batch-size", "5000"], 3, "batch size of 5000 does not fit 1294"),
    "large validation": (["--val-size", "1437"], 3, "leaves no training example of 1437"),
    "unknown device": (["--device", "tpu"], 2, "choose cpu, gpu or gpu:N"),
}


@pytest.mark.parametrize(("flags", "code", "message"), WRONG.values(), ids=WRONG)
def test_wrong_flags_are_one_sentence(
    train: Run, tmp_path: Path, flags: list[str], code: int, message: str
) -> None:
    result = train(*flags)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(train: Run) -> None:
    assert "Traceback" in train("--data", "mnits", "--debug").stderr


def test_help_names_defaults(train: Run) -> None:
    result = train("--help")
    assert result.returncode == 0
    for text in ("--batch-size N|full", "(default: 64)", "--device cpu|gpu|gpu:N"):
        assert text in result.stdout


@pytest.mark.mnist
def test_mnist_learns_in_one_epoch(train: Run) -> None:
    flags = ["--data", "mnist", "--hidden", "100", "--epochs", "1", "--json", "--quiet"]
    result = train(*flags)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["test_accuracy"] > 0.9


def test_test_figures_are_of_the_best_weights(train: Run, tmp_path: Path) -> None:
    """A rate that is too large: the best weights are not the last ones."""
    flags = [
        "--optimizer",
        "adam",
        "--lr",
        "0.3",
        "--epochs",
        "6",
        "--hidden",
        "20",
        "--out",
        "run",
        "--quiet",
        "--json",
    ]
    summary = json.loads(train(*flags).stdout)
    assert summary["best_step"] < summary["steps"]
    test, found = read_data("digits").test, {}
    for name in ("best.h5", "checkpoint.h5"):
        checkpoint = load_checkpoint(tmp_path / "run" / name)
        backend = select_backend()
        examples = preparation_of(checkpoint).applied(test).to_device(backend)
        params = backend.all_to_device(checkpoint.params)
        found[name] = evaluate(checkpoint.mlp, params, examples, backend=backend)
    assert found["best.h5"] != found["checkpoint.h5"]
    assert (summary["test_loss"], summary["test_accuracy"]) == found["best.h5"]


def test_features_are_scaled_by_the_training_part(train: Run, tmp_path: Path) -> None:
    flags = ("--val-size", "300", "--train-size", "900", "--steps", "1", "--quiet", "--out", "run")
    assert train(*flags).returncode == 0
    rows = read_data("digits").train.first(900).hold_out(300, seed=0)[0].x.astype(float)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["normalization"]["shift"] == pytest.approx(rows.mean(), rel=1e-14)
    assert config["normalization"]["scale"] == pytest.approx(rows.std(), rel=1e-14)
