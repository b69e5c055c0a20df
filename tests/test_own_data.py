"""From a file of one's own to predictions, with the program alone; the same from the library."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scripts_at_work import run_script
from tables import customers, houses

import xpmlp

SHORT = ("--epochs", "12", "--members", "2", "--hidden", "32", "--quiet")


def said(script: str, *flags: str | Path, cwd: Path) -> dict[str, Any]:
    """Run a script with --json, and return what it prints."""
    done = run_script(script, *flags, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, and a run on each."""
    folder = tmp_path_factory.mktemp("own")
    customers().to_csv(folder / "customers.csv", index=False)
    houses().to_parquet(folder / "houses.parquet")
    labels = customers().drop(columns="state")
    labels = labels.assign(rich=(labels.income > 30_000) * 1, old=(labels.age > 60) * 1)
    labels.to_csv(folder / "labels.tsv", sep="\t", index=False)
    for data, target in (
        ("customers.csv", "state"),
        ("houses.parquet", "price"),
        ("labels.tsv", "rich,old"),
    ):
        flags = ("--data", data, "--target", target, "--out", target, *SHORT)
        assert run_script("train.py", *flags, cwd=folder).returncode == 0
    return folder


def new_rows(target: str) -> pd.DataFrame:
    """Rows without a target, some of them with what no training row has had."""
    frame = houses(40, seed=9) if target == "price" else customers(40, seed=9)
    if "town" in frame:
        frame.loc[0, "town"] = "Atlantis"
    return frame.drop(columns=["price", "state"], errors="ignore")


@pytest.mark.parametrize("target", ["state", "price", "rich,old"])
def test_predictions_are_the_same_everywhere(target: str, folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = new_rows(target)
    rows.to_csv(tmp_path / "new.csv", index=False)
    rows.to_parquet(tmp_path / "new.parquet")
    trained = xpmlp.load(folder / target)
    expected = trained.outputs(rows)
    scale = np.abs(expected).max()
    for ending in ("csv", "parquet"):
        out = tmp_path / f"found.{ending}"
        flags = ("--run", folder / target, "--data", f"new.{ending}", "--out", out)
        assert said("predict.py", *flags, cwd=tmp_path)["rows"] == 40
        found = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
        if target == "state":
            assert found.pop("class").tolist() == trained.predict(rows).tolist()
            assert list(found) == ["probability_left", "probability_stays"]
        np.testing.assert_allclose(found.to_numpy() / scale, expected / scale, atol=1e-6)
    trained.save(tmp_path / "model.safetensors")
    again = xpmlp.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(again.outputs(rows) / scale, expected / scale, atol=1e-6)
    assert again.preparation == trained.preparation
    trained.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    feed = {}
    for one in session.get_inputs():
        column = rows[one.name]
        if one.name == "since":
            column = pd.to_datetime(column).astype("datetime64[s]").astype("int64")
        text = one.type == "tensor(string)"
        values = column.astype(object).where(column.notna(), "") if text else column.astype(float)
        feed[one.name] = values.to_numpy()[:, None]
    (found_by_onnx,) = session.run(None, feed)
    np.testing.assert_allclose(found_by_onnx / scale, expected / scale, atol=1e-6)


def test_a_rare_class_has_figures_of_its_own(folder: Path) -> None:
    summary = json.loads((folder / "state" / "summary.json").read_text())
    classes = {one["class"]: one for one in summary["test_scores"]["classes"]}
    assert classes["left"]["examples"] == 5  # 3 % of a fifth of 900 rows
    found = said("evaluate.py", "--run", "state", cwd=folder)
    assert found["classes"] == summary["test_scores"]["classes"]
    assert found["balanced_accuracy"] == summary["test_scores"]["balanced_accuracy"]
    for name in ("confusion", "importance"):
        assert (folder / "state" / f"{name}.png").exists()
    assert not (folder / "state" / "weights.png").exists()
    shown = run_script("evaluate.py", "--run", "state", "--set", "train", cwd=folder).stdout
    assert re.search(r"class +examples +precision +recall +F1 +area under ROC", shown)


def test_members_are_validated_on_folds_of_their_own(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "state" / "config.json").read_text())
    assert (config["folds"], config["val_size"], config["test_size"]) == (2, 0, 180)
    assert (config["intervals"], config["weight_decay"]) in ((16, 0.1), (2, 1.0))
    rows = (folder / "state" / "metrics.csv").read_text().splitlines()
    # 720 examples in two folds: 360 to train on, in two batches of 256 and fewer.
    assert rows[1].startswith("2,1.0,")
    done = run_script("evaluate.py", "--run", "state", "--set", "validation", cwd=folder)
    assert done.returncode == 3
    assert "each member of the run was validated on a fold of its own" in done.stderr
    # A validation set, or settings of one's own, where they are asked for.
    flags = ("--data", folder / "customers.csv", "--target", "state", *SHORT, "--epochs", "2")
    said("train.py", *flags, "--val-size", "90", "--out", "a", cwd=tmp_path)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (config["folds"], config["val_size"], config["intervals"]) == (None, 90, 16)
    said("train.py", *flags, "--intervals", "3", "--out", "b", cwd=tmp_path)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert (config["folds"], config["intervals"], config["weight_decay"]) == (2, 3, 0.1)
    age = next(code for code in config["encoding"]["codes"] if code["name"] == "age")
    assert len(age["quantiles"]) == 4
    wrong = ("--epochs", "2", "--members", "2", "--folds", "2", "--out", "c", "--json")
    done = run_script("train.py", *wrong, cwd=tmp_path)
    assert done.returncode == 2
    assert "give --members above 1, and --val-size 0" in done.stderr


def test_a_regression_is_told_in_its_unit(folder: Path) -> None:
    found = said("evaluate.py", "--run", "price", cwd=folder)
    assert found["accuracy"] is None
    assert found["r2"] > 0.5
    assert found["rmse"] > 10_000
    assert (folder / "price" / "predicted.png").exists()
    # Other rows of the same columns are all evaluated.
    houses(70, seed=4).to_parquet(folder / "others.parquet")
    flags = ("--run", "price", "--data", "others.parquet", "--out", "others")
    assert said("evaluate.py", *flags, cwd=folder)["examples"] == 70


def test_a_run_on_a_table_goes_on(folder: Path, tmp_path: Path) -> None:
    flags = ("--data", folder / "customers.csv", "--target", "state", *SHORT, "--patience", "99")
    whole = said("train.py", *flags, "--out", "whole", cwd=tmp_path)
    said("train.py", *flags, "--epochs", "5", "--out", "parts", cwd=tmp_path)
    found = said("train.py", "--resume", "parts", "--epochs", "12", "--quiet", cwd=tmp_path)
    assert found["test_scores"] == whole["test_scores"]
    tables = []
    for name in ("parts", "whole"):
        with (tmp_path / name / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 12
        tables.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
    assert tables[0] == tables[1]


WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no target": (("--data", "customers.csv"), 2, "say which column is to be predicted (--target)"),
    "another target": (("--data", "customers.csv", "--target", "x"), 3, "no column 'x' in it"),
    "a loss of classes": (
        ("--data", "houses.parquet", "--target", "price", "--loss", "cross_entropy"),
        2,
        "--loss cross_entropy is no loss of a regression",
    ),
    "a text to compute": (
        ("--data", "customers.csv", "--target", "state", "--task", "regression"),
        3,
        "holds text, and a regression has numbers",
    ),
    "a table in name": (("--data", "noise.parquet", "--target", "a"), 3, "cannot be read as a tab"),
}


@pytest.mark.parametrize(("flags", "code", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_sentence(
    flags: tuple[str, ...], code: int, sentence: str, folder: Path
) -> None:
    (folder / "noise.parquet").write_bytes(b"PAR1" + bytes(range(200)) + b"PAR1")
    done = run_script("train.py", *flags, "--out", "never", "--quiet", cwd=folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert sentence in done.stderr
    assert not (folder / "never").exists()


NEW: dict[str, tuple[str, str]] = {
    "a column is missing": ("town,age\nBonn,3\n", "no column 'income' in it"),
    "text for a number": (
        "age,income,town,since,plan\nold,1,Bonn,2020-01-01,1\n",
        "age: cannot be read as a table",
    ),
    "no date": ("age,income,town,since,plan\n3,1,Bonn,soon,1\n", "since: cannot be read"),
}


@pytest.mark.parametrize(("content", "sentence"), NEW.values(), ids=NEW)
def test_new_rows_that_do_not_fit(
    content: str, sentence: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text(content)
    flags = ("--run", folder / "state", "--data", "new.csv", "--out", "found.csv")
    done = run_script("predict.py", *flags, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert sentence in done.stderr
    assert not (tmp_path / "found.csv").exists()


def test_what_a_table_is_not_for(folder: Path) -> None:
    flags = ("--data", "customers.csv", "--target", "state", "--out", "converted")
    done = run_script("convert.py", *flags, cwd=folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "customers.csv is a table, which is trained on as it is" in done.stderr
    values = ("--data", "houses.parquet", "--target", "price", "--members", "2", "--epochs", "1")
    done = run_script("ensemble.py", *values, cwd=folder)
    assert done.returncode == 2
    assert "choose xpmlp train --members for values" in done.stderr


def test_a_sweep_over_a_table(folder: Path) -> None:
    flags = ("--data", "houses.parquet", "--target", "price", "--lr", "0.01,0.1", "--hidden", "8")
    found = said("sweep.py", *flags, "--epochs", "3", "--folds", "2", "--out", "s", cwd=folder)
    assert float(found["best"]["lr"]) == 0.1
    best = xpmlp.load(folder / "s" / "best.h5")
    assert best.outputs(new_rows("price")).shape == (40, 1)
