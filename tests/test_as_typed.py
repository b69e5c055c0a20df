"""What is typed next, and in other words, works: hints, a folder of one's own, odd names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scripts_at_work import run_script

from xpmlp import read_data
from xpmlp.commands.run_settings import default_folder
from xpmlp.data.formats import tables

RNG = np.random.default_rng(0)
SMALL = ("--hidden", "4", "--epochs", "1", "--quiet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with points.npz, of two features, and a table t.csv."""
    x = RNG.normal(size=(80, 2))
    np.savez(tmp_path / "points.npz", xdata=x, ydata=(x[:, 0] > 0).astype(int))
    rows = "".join(f"{k // 5},{k % 7},{k % 3},{'ab'[k % 2]}\n" for k in range(120))
    (tmp_path / "t.csv").write_text("shop,a,b,y\n" + rows)
    return tmp_path


def done(script: str, *flags: Any, cwd: Path) -> str:
    found = run_script(f"{script}.py", *flags, cwd=cwd)
    assert found.returncode == 0, found.stderr
    return found.stdout + found.stderr


def test_the_boundary_of_a_loss_without_one_class(folder: Path) -> None:
    loss = ("--loss", "mean_squared_error")
    done("train", "--data", "points.npz", *loss, *SMALL, "--out", "run", cwd=folder)
    assert (folder / "run" / "boundary.npz").exists()
    refused = run_script("plot.py", "run", "--x", "seconds", cwd=folder)
    assert (refused.returncode, "are for several runs" in refused.stderr) == (2, True)


def test_diagnostics_beside_a_momentum_that_rises(folder: Path) -> None:
    rule = ("--optimizer", "momentum", "--momentum-start", "0.5", "--diagnostics")
    done("train", "--data", "points.npz", *rule, *SMALL, "--out", "run", cwd=folder)
    assert (folder / "run" / "diagnostics.csv").exists()


def test_a_run_without_a_test_set_is_looked_at_where_it_is_held_out(folder: Path) -> None:
    flags = ("--data", "points.npz", "--test-size", "0", "--out", "run")
    said = done("train", *flags, *SMALL, cwd=folder)
    assert "xpmlp evaluate --run run --set validation" in said
    done("evaluate", "--run", "run", "--set", "validation", cwd=folder)
    assert "page.html" in done("show", "run", cwd=folder)
    (folder / "points.npz").unlink()
    assert "without mistakes and weights: " in done("show", "run", cwd=folder)


def test_the_run_in_this_folder_goes_on(folder: Path) -> None:
    there = folder / "run"
    there.mkdir()
    done("train", "--data", folder / "points.npz", *SMALL, "--out", ".", cwd=there)
    done("train", "--resume", ".", "--epochs", "2", "--quiet", cwd=there)


def test_the_same_line_with_resume(folder: Path) -> None:
    """Of whole groups more are held out than was asked for; an empty --drop drops nothing."""
    line = ["--data", "t.csv", "--target", "y", "--group", "shop", "--drop", "", "--members", "1"]
    line += ["--val-size", "21", "--test-size", "21", "--out", "run", *SMALL]
    done("train", *line, cwd=folder)
    done("train", *line, "--resume", "--epochs", "2", cwd=folder)


def test_other_files_are_evaluated(folder: Path) -> None:
    """Without a column that the network does not take; and by the flag of a test set."""
    flags = ("--data", "t.csv", "--target", "y", "--drop", "b", "--members", "1", "--out", "run")
    done("train", *flags, *SMALL, cwd=folder)
    lines = (line.split(",") for line in (folder / "t.csv").read_text().splitlines())
    rows = [",".join([shop, a, y]) for shop, a, _, y in lines]
    (folder / "new.csv").write_text("\n".join(rows) + "\n")
    for flag in ("--data", "--test-data"):
        found = done("evaluate", "--run", "run", flag, "new.csv", "--json", cwd=folder)
        assert json.loads(found[: found.rindex("}") + 1])["examples"] == 120


def test_a_column_that_turns_to_fractions_is_predicted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["1,x,"] * 3000 + ["2.5,7,3"]
    (folder / "long.csv").write_text("a,other,empty\n" + "\n".join(rows) + "\n")
    usual: dict[str, Any] = tables._options.__kwdefaults__ or {}
    monkeypatch.setitem(usual, "block_size", 2**12)
    found = list(tables.read_batches(folder / "long.csv", wanted=["a", "empty"]))
    assert len(found) > 1
    assert found[-1].numbers("a")[-1] == 2.5
    assert found[-1].numbers("empty")[-1] == 3


def test_converted_images_and_names_are_the_same(folder: Path) -> None:
    pixels = RNG.integers(256, size=(30, 9, 16), dtype=np.uint8)
    np.savez(folder / "img.npz", xdata=pixels, ydata=np.array(["cat", "dog"] * 15))
    (folder / "empty").mkdir()
    refused = run_script(
        "convert.py", "--data", "points.npz", "--store", "uint8", "--out", "empty", cwd=folder
    )
    assert refused.returncode == 2
    assert (folder / "empty").is_dir()
    done("convert", "--data", "img.npz", "--out", "empty", cwd=folder)
    again = read_data(folder / "empty" / "img_traindata.hdf5")
    assert again.image_shape == (9, 16)
    assert again.targets is not None
    assert again.targets.names == ("cat", "dog")
    with h5py.File(folder / "empty" / "img_traindata.hdf5") as file:
        np.testing.assert_array_equal(file["xdata"][:], pixels)


def test_a_table_needs_no_flags_of_arrays_anywhere(folder: Path) -> None:
    flags = ("--data", "t.csv", "--target", "y", "--hidden", "4", "--steps", "20", "--out", "lr")
    refused = run_script("find_learning_rate.py", *flags, "--bias-trick", cwd=folder)
    assert "--bias-trick means nothing to a table" in refused.stderr
    assert "--optimizer sgd --activation sigmoid" in done("find_learning_rate", *flags, cwd=folder)


def test_runs_of_one_second_have_folders_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(time, "strftime", lambda _: "today")
    for name in ("t-today", "t-today-2", "t-today-3"):
        assert default_folder("t.csv") == Path("runs", name)
        Path("runs", name).mkdir(parents=True)


def test_a_name_that_is_no_text(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.npz")
    (folder / "points.npz").rename(folder / name)
    done("train", "--data", name, *SMALL, "--out", "run", cwd=folder)
    done("show", "run", cwd=folder)
