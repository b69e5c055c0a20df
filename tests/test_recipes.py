"""Flags that are not given: those of recipes, and what suits pictures; and what deforms these."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scripts_at_work import run_script

from xpmlp import Dataset, Examples, UsageError, load, load_data, select_backend
from xpmlp.commands.hyperparameters import model_of
from xpmlp.commands.plans import plan_of
from xpmlp.commands.recipes import IMAGES, RECIPES, Recipe
from xpmlp.commands.train import build_parser
from xpmlp.commands.usual import usual_flags
from xpmlp.runs.checkpoint import load_checkpoint

RNG = np.random.default_rng(0)


def pictures(*shape: int, count: int = 1000) -> Dataset:
    examples = Examples(np.zeros((count, int(np.prod(shape)))), np.arange(count) % 4)
    return Dataset("pictures", examples, image_shape=shape)


def usual(
    data: Dataset, *given: str, recipe: str = "auto", optimizer: str = "sgd"
) -> dict[str, Any]:
    hidden = () if "none" in given else (7,)
    arguments = Namespace(recipe=recipe, hidden=hidden, optimizer=optimizer)
    return usual_flags(arguments, given, data, backend=select_backend())


def test_pictures_have_usual_settings_where_nothing_is_said_of_the_model() -> None:
    data = pictures(28, 28)
    assert usual(data) == IMAGES.flags
    assert usual(data, "seed", "data", "patience") == IMAGES.flags
    lasting = usual(data, "epochs", "batch_size")
    assert lasting == {k: v for k, v in IMAGES.flags.items() if k not in ("epochs", "batch_size")}
    of_model = ("hidden", "lr", "optimizer", "dropout", "init", "rotation", "l2", "beta1", "loss")
    for flag in (*of_model, "bias_trick"):
        assert usual(data, flag) == {}
    assert usual(pictures(28, 28, count=999)) == {}
    assert usual(pictures(19, 21)) == {}  # 399 pixels
    assert usual(pictures(20, 20, 3)) == IMAGES.flags
    assert usual(data, recipe="none") == {}


def test_a_recipe_is_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pictures(28, 28)
    found = usual(data, "hidden", "val_size", recipe="mnist-99")
    expected = RECIPES["mnist-99"].flags
    assert found == {k: v for k, v in expected.items() if k not in ("hidden", "val_size")}
    other = usual(data, "optimizer", recipe="mnist-99")
    assert "lr" not in other  # it was Adam's
    assert other["hidden"] == expected["hidden"]
    assert "lr" in usual(data, "optimizer", recipe="mnist-99", optimizer="adam")
    of_momentum = {"optimizer": "momentum", "momentum": 0.7, "momentum_start": 0.5, "lr": 0.1}
    monkeypatch.setitem(RECIPES, "rising", Recipe("its momentum rises", of_momentum))
    rising = usual(data, "optimizer", recipe="rising", optimizer="momentum")
    assert (rising["momentum_start"], rising["momentum"], rising["lr"]) == (0.5, 0.7, 0.1)
    assert "momentum_start" not in usual(data, "momentum", recipe="rising")
    assert "lr_schedule" not in usual(data, "lr_milestones", recipe="mnist-99")
    linear = usual(data, "hidden", "none", recipe="mnist-dropout")
    assert "dropout" not in linear
    assert linear["input_dropout"] == 0.2


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_made_of_flags(name: str) -> None:
    """Each as its flag would give it."""
    parser = build_parser()
    actions = {action.dest: action for action in parser._actions}
    for flag, value in RECIPES[name].flags.items():
        typed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        given = parser.parse_args([actions[flag].option_strings[0], typed])
        assert getattr(given, flag) == value
        assert type(getattr(given, flag)) is type(value)


def test_a_recipe_in_a_run(tmp_path: Path) -> None:
    """It is trained, said in config.json, resumed, exported, and predicts by the average."""
    flags = ["--recipe", "mnist-99", "--hidden", "20", "--epochs", "2", "--val-size", "100"]
    flags += ["--average-decay", "0.9", "--momentum-epochs", "1"]
    result = run_script("train.py", *flags, "--out", "run", cwd=tmp_path)
    assert "--momentum-epochs means nothing without --momentum-start" in result.stderr
    result = run_script("train.py", *flags[:-2], "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "deformed.png" in result.stdout
    assert (tmp_path / "run" / "deformed.png").stat().st_size > 5000
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["recipe"], config["rotation"], config["hidden"]) == ("mnist-99", 12.0, [20])
    on = run_script("train.py", "--resume", "run", "--epochs", "3", cwd=tmp_path)
    assert on.returncode == 0, on.stderr
    last = load_checkpoint(tmp_path / "run" / "checkpoint.h5")
    average = last.optimizer_state["average"]
    best = load_checkpoint(tmp_path / "run" / "best.h5")
    np.testing.assert_array_equal(best.result["layer1.weight"], average["layer1.weight"])
    assert abs(average["layer1.weight"] - last.params["layer1.weight"]).max() > 0
    loaded = load(tmp_path / "run").params
    np.testing.assert_array_equal(loaded["layer1.weight"], average["layer1.weight"])
    out = ("--run", "run", "--out", "model.safetensors", "--json")
    done = run_script("export.py", *out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["difference"] <= 1e-6
    read = load(tmp_path / "model.safetensors").params["layer1.weight"]
    np.testing.assert_allclose(read, average["layer1.weight"], rtol=1e-6)


def test_images_in_a_file_are_deformed_as_they_are_streamed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["xdata"] = RNG.integers(256, size=(300, 9, 12), dtype=np.uint8)
        file["ydata"] = RNG.integers(2, size=300)
    losses: list[float] = []
    for extra in (["--rotation", "15", "--elastic", "0.5"], []):
        flags = ["--data", "set.h5", "--stream", "yes", "--epochs", "2", "--test-size", "50"]
        done = run_script(
            "train.py", *flags, *extra, "--out", f"run{len(losses)}", "--json", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        losses.append(json.loads(done.stdout)["test_loss"])
    assert (tmp_path / "run0" / "deformed.png").exists()
    assert not (tmp_path / "run1" / "deformed.png").exists()
    assert losses[0] != losses[1]


def test_what_is_no_grey_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n" + "1,x\n2,y\n" * 40)
    colours, labels = RNG.uniform(size=(40, 8, 8, 3)), np.arange(40) % 2
    np.savez(tmp_path / "colours.npz", x_train=colours, y_train=labels)
    for data, flag, said in (
        (
            ["table.csv", "--target", "b"],
            "--rotation",
            "--rotation is of grey images of 2 × 2 pixels or",
        ),
        (["colours.npz"], "--scaling", "of the shape 8 × 8 × 3: leave it out"),
    ):
        flags = ("--data", *data, flag, "1", "--out", "run")
        done = run_script("train.py", *flags, cwd=tmp_path)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "run").exists()


def test_images_with_one_channel_are_images(tmp_path: Path) -> None:
    """As Keras keeps them; and a row of pixels trains where it is not to be deformed."""
    for shape, flags, code in (
        ((40, 8, 8, 1), ["--rotation", "5"], 0),
        ((40, 1, 12), [], 0),
        ((40, 1, 12), ["--rotation", "5"], 2),
    ):
        pixels, labels = RNG.integers(256, size=shape, dtype=np.uint8), np.arange(40) % 2
        np.savez(tmp_path / "set.npz", x_train=pixels, y_train=labels)
        flags += ["--data", "set.npz", "--batch-size", "10", "--epochs", "1", "--overwrite"]
        done = run_script("train.py", *flags, "--out", "run", "--quiet", cwd=tmp_path)
        assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--elastic-width", "2"], "--elastic-width means nothing without --elastic"),
        (["--bias-trick", "--input-noise", "1"], "--input-noise would change the constant feature"),
        (["--bias-trick", "--rotation", "1"], "--rotation would change the constant feature"),
        (["--optimizer", "momentum", "--momentum-start", "0.95"], "is above --momentum 0.9"),
        (["--rotation", "1", "--normalize", "feature"], "--rotation brings pixels to other places"),
    ],
)
def test_flags_that_mean_nothing_together(flags: list[str], said: str) -> None:
    arguments, data = build_parser().parse_args(flags), load_data("digits")
    with pytest.raises(UsageError, match=said):
        plan_of(arguments, model_of(arguments, data).optimizer, len(data.train))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--data", "t.csv", "--target", "b"],
            "--recipe mnist-99 deforms grey images, and rows of t are none",
        ),
        (["--data", "digits", "--bias-trick"], "and --bias-trick adds a feature that is none of"),
    ],
)
def test_what_a_recipe_cannot_is_said_of_the_recipe(
    flags: list[str], said: str, tmp_path: Path
) -> None:
    """And not of a flag that nobody has typed."""
    (tmp_path / "t.csv").write_text("a,b\n" + "1.5,x\n2.5,y\n" * 30)
    done = run_script("train.py", *flags, "--recipe", "mnist-99", "--out", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_patience_leaves_a_recipe_its_validation_set(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--recipe", "mnist-99", "--patience", "3", "--epochs", "1")
    done = run_script("train.py", *flags, "--hidden", "5", "--out", "run", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best_val_loss"]


def test_a_sweep_has_an_axis_for_each(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "12", "--epochs", "1", "--dropout", "0,0.5")
    done = run_script(
        "sweep.py", *flags, "--max-norm", "1,3", "--out", "sweep", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["configurations"]
    found = {(float(row["dropout"]), float(row["max_norm"])): row["val loss"] for row in rows}
    assert set(found) == {(0, 1), (0, 3), (0.5, 1), (0.5, 3)}
    assert len(set(found.values())) == 4


def test_a_longer_run_says_what_is_stretched(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "5", "--lr-schedule", "cosine", "--epochs", "1")
    momentum = ("--optimizer", "momentum", "--momentum-start", "0.5", "--out", "run", "--quiet")
    assert run_script("train.py", *flags, *momentum, cwd=tmp_path).returncode == 0
    done = run_script("train.py", "--resume", "--out", "run", "--epochs", "2", cwd=tmp_path)
    said = "stretched to 42 steps: the cosine of the learning rate, the rise of the momentum"
    assert said in done.stderr
