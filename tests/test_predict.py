"""The program `xpmlp` as it is installed, and its command that predicts new rows."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import write_h5
from scripts_at_work import Finished, environment, run_script

import xpmlp

RAW = xpmlp.read_data("digits").test.x


def xpmlp_program(*flags: str | Path, cwd: Path) -> Finished:
    program = "from xpmlp.commands.main import main; main()"
    line = [sys.executable, "-W", "error", "-c", program, *map(str, flags)]
    return subprocess.run(
        line, env=environment(), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and the same new rows in every format."""
    folder = tmp_path_factory.mktemp("predict")
    flags = ("--epochs", "5", "--hidden", "20", "--out", "run", "--quiet")
    assert run_script("train.py", *flags, cwd=folder).returncode == 0
    np.save(folder / "rows.npy", RAW)
    np.savez(folder / "rows.npz", new=RAW, other=RAW[:3])
    np.savetxt(folder / "rows.csv", RAW, fmt="%d", delimiter=",")
    write_h5(folder / "rows.h5", RAW, np.zeros(len(RAW), "int64"))
    return folder


@pytest.mark.parametrize(
    "flags", [("rows.npy",), ("rows.npz", "--x-key", "new"), ("rows.csv",), ("rows.h5",)]
)
def test_new_rows_of_every_format_have_the_same_classes(
    flags: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found.csv"
    done = xpmlp_program("predict", "--run", "run", "--out", out, "--data", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    trained = xpmlp.load(folder / "run")
    assert [int(row["class"]) for row in rows] == trained.predict(RAW).tolist()
    shown = [[float(row[f"probability_{k}"]) for k in range(10)] for row in rows]
    np.testing.assert_allclose(shown, trained.predict_proba(RAW), rtol=1e-5, atol=1e-7)
    # The run's own scaling was applied: its test accuracy comes out again.
    right = np.mean(trained.predict(RAW) == xpmlp.read_data("digits").test.y)
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert right == summary["test_accuracy"] > 0.8


def test_a_saved_network_predicts_into_arrays(folder: Path) -> None:
    trained = xpmlp.load(folder / "run")
    trained.save(folder / "model.safetensors")
    flags = ("--model", "model.safetensors", "--data", "rows.npy", "--out", "found.npz", "--json")
    done = xpmlp_program("predict", *flags, cwd=folder)
    assert json.loads(done.stdout)["rows"] == len(RAW)
    with np.load(folder / "found.npz") as found:
        np.testing.assert_array_equal(found["class"], trained.predict(RAW))
        assert found["probability"].shape == (len(RAW), 10)
    again = xpmlp_program("predict", *flags, cwd=folder)
    assert again.returncode == 2
    assert "is there already" in again.stderr


WRONG = {
    "no rows": (["--data", "missing.npy"], 3, "there is no such file"),
    "other width": (["--data", "narrow.csv"], 3, "takes 64 features and the data has 3"),
    "text": (["--data", "text.csv"], 3, "no rows of numbers"),
    "objects": (["--data", "objects.npy"], 3, "holds pickled objects"),
    "other format": (["--data", "rows.parquet"], 3, "its ending names no format"),
    "other key": (["--data", "rows.npz"], 3, "no xdata in it, only new, other: .*--x-key"),
    "other output": (
        ["--data", "rows.npy", "--out", "a.txt"],
        2,
        "ends in one of .csv, .parquet, .npz",
    ),
}


@pytest.mark.parametrize(("flags", "code", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_predicted_is_one_sentence(
    flags: list[str], code: int, said: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "narrow.csv").write_text("1,2,3\n4,5,6\n")
    (folder / "text.csv").write_text("height,width\n1,2\n")
    (folder / "rows.parquet").write_bytes(b"PAR1")
    np.save(folder / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    out = [] if "--out" in flags else ["--out", str(tmp_path / "out.csv")]
    done = xpmlp_program("predict", "--run", "run", *out, *flags, cwd=folder)
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()
    assert len(last) == 1
    assert re.search(said, last[0]), last[0]
    assert not (tmp_path / "out.csv").exists()


def test_the_program_names_its_commands(tmp_path: Path) -> None:
    helped = xpmlp_program("--help", cwd=tmp_path)
    assert helped.returncode == 0
    for name in ("train", "evaluate", "predict", "plot", "sweep", "ensemble", "check-gradients"):
        assert f"\n  {name} " in helped.stdout
        usage = xpmlp_program(name, "--help", cwd=tmp_path)
        assert usage.stdout.startswith(f"usage: xpmlp {name} ")
    unknown = xpmlp_program("trane", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "'trane' is no command: choose from train, evaluate" in unknown.stderr
