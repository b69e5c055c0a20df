"""scripts/sweep.py as a user runs it, and its stacks on several processes and on Dask."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts_at_work import run_script, start_script
from tables import customers

from xpmlp import MLP, Dataset, Examples, Model, Plan
from xpmlp.runs.checkpoint import load_checkpoint, load_stack
from xpmlp.runs.sweep import StackJob, model_bytes, run_stacks, stacks_of

SMALL = ("--data", "digits", "--hidden", "16", "12", "--epochs", "3", "--batch-size", "64")


def sweep(folder: Path, *flags: str | Path) -> dict[str, Any]:
    result = run_script("sweep.py", *SMALL, *flags, "--out", folder, "--json", cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    assert report == json.loads((folder / "sweep.json").read_text())
    return report


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_combination_is_trained(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = sweep(out, "--activation", "tanh,relu", "--lr", "0.1,0.3", "--seeds", "2")
    rows = table(out)
    assert len({(r["hidden"], r["activation"], r["lr"], r["seed"]) for r in rows}) == 16
    assert len(rows) == 16
    assert len(report["configurations"]) == 8
    for row in report["configurations"]:
        single = [
            float(r["best_val_loss"])
            for r in rows
            if all(r[name] == row[name] for name in ("hidden", "activation", "lr"))
        ]
        assert row["models"] == len(single) == 2
        assert row["val loss"] == pytest.approx(np.mean(single))
        assert row["± loss"] == pytest.approx(np.std(single, ddof=1))
    means = [row["val loss"] for row in report["configurations"]]
    assert means == sorted(means)
    best = min(rows, key=lambda row: float(row["best_val_loss"]))
    assert report["best"]["val_loss"] == float(best["best_val_loss"])
    assert report["best"]["lr"] == best["lr"]
    assert report["best"]["test_accuracy"] > 0.8
    assert (out / "curves.png").stat().st_size > 10_000
    found = run_script("evaluate.py", "--checkpoint", out / "best.h5", "--json", cwd=tmp_path)
    assert json.loads(found.stdout)["accuracy"] == report["best"]["test_accuracy"]


def test_seeds_are_those_asked_for(tmp_path: Path) -> None:
    report = sweep(tmp_path / "out", "--hidden", "16", "--seed", "5", "--seeds", "2")
    rows = table(tmp_path / "out")
    assert [row["seed"] for row in rows] == ["5", "6"]
    best = min(rows, key=lambda row: float(row["best_val_loss"]))
    assert report["best"]["seed"] == int(best["seed"])


def test_two_axes_make_a_heat_map(tmp_path: Path) -> None:
    flags = ("--hidden", "16", "--lr", "0.1,0.3", "--momentum", "0.5,0.9")
    sweep(tmp_path / "out", *flags, "--optimizer", "momentum")
    assert (tmp_path / "out" / "heat_map.png").stat().st_size > 10_000


def test_resumed_sweep_and_processes_find_the_same(tmp_path: Path) -> None:
    flags = ("--lr", "0.1,0.3", "--memory", "0.00005")
    whole = sweep(tmp_path / "a", *flags)
    stacks = sorted((tmp_path / "a").glob("stack-*.json"))
    assert len(stacks) == 4  # two shapes, and a memory for one model at a time
    written = [path.stat().st_mtime_ns for path in stacks]
    stacks[2].unlink()
    again = sweep(tmp_path / "a", *flags, "--resume")
    assert [p.stat().st_mtime_ns == t for p, t in zip(stacks, written, strict=True)] == [
        True,
        True,
        False,
        True,
    ]
    spread = sweep(tmp_path / "b", *flags, "--jobs", "2")
    for other in (again, spread):
        assert other["configurations"] == whole["configurations"]
        assert other["best"] == whole["best"]


# A stack of it takes some seconds.
LONG = (*SMALL, "--epochs", "700", "--lr", "0.01,0.03", "--threads", "1")


@pytest.fixture(scope="module")
def long_sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sweep(tmp_path_factory.mktemp("long") / "out", *LONG, "--jobs", "2")


@pytest.mark.parametrize(
    ("jobs", "number"), [("1", signal.SIGINT), ("2", signal.SIGTERM)], ids=["one", "two processes"]
)
def test_interrupted_sweep_goes_on_with_the_stacks_at_work(
    tmp_path: Path, long_sweep: dict[str, Any], jobs: str, number: int
) -> None:
    """As a terminal does it: every process of the program gets the signal."""
    out = tmp_path / "out"
    flags = (*LONG, "--jobs", jobs, "--out", out)
    process = start_script("sweep.py", *flags, cwd=tmp_path, start_new_session=True)
    assert process.stderr is not None
    assert "4 models" in process.stderr.readline()
    time.sleep(0.5 if jobs == "1" else 2.0)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "go on with --resume" in errors
    assert "Traceback" not in errors
    at_work = sorted(path.name for path in out.glob("stack-*.part.h5"))
    assert at_work == ["stack-0.part.h5", "stack-1.part.h5"][: int(jobs)]
    steps = [model.numbers["step"] for model in load_stack(out / at_work[0])]
    assert len(steps) == 2
    assert 0 < steps[0] == steps[1] < 700 * 21
    kept = (out / at_work[0]).read_bytes()
    (out / at_work[0]).write_bytes(kept[:1000])
    damaged = run_script("sweep.py", *LONG, "--out", out, "--resume", cwd=tmp_path)
    assert damaged.returncode == 6, damaged.stderr
    (out / at_work[0]).write_bytes(kept)
    resumed = sweep(out, *LONG, "--resume")
    for name in ("configurations", "best"):
        assert resumed[name] == long_sweep[name]
    assert not list(out.glob("*.part.h5"))


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = sweep(out)

    def resumed() -> tuple[int, str]:
        result = run_script("sweep.py", *SMALL, "--out", out, "--resume", cwd=tmp_path)
        return result.returncode, result.stderr

    first, second = (out / f"stack-{number}.json" for number in (0, 1))
    kept = first.read_text()
    for text, said in (
        (second.read_text(), "the outcome of another stack"),
        ("[]", "the outcome of another stack"),
        ("{", "not the outcome of a stack"),
    ):
        first.write_text(text)
        code, said_here = resumed()
        assert code == 6
        assert said in said_here
    first.write_text(kept)
    # A best model that is gone is trained again.
    (out / "stack-0.h5").unlink()
    assert sweep(out, "--resume")["best"] == whole["best"]
    (out / "config.json").write_text("{")
    code, said_here = resumed()
    assert code == 6
    assert "not the settings of a run" in said_here


def test_a_training_run_is_left_alone(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "8", "--epochs", "1", "--quiet", "--out", "run")
    assert run_script("train.py", *flags, cwd=tmp_path).returncode == 0
    before = (tmp_path / "run" / "config.json").read_text()
    for more in ((), ("--overwrite",), ("--resume",)):
        result = run_script("sweep.py", *SMALL, "--out", "run", *more, cwd=tmp_path)
        assert result.returncode == 2
        assert "holds a training run" in result.stderr
    assert (tmp_path / "run" / "config.json").read_text() == before


def test_folds_hold_out_every_example_once(tmp_path: Path) -> None:
    report = sweep(tmp_path / "out", "--hidden", "16", "--folds", "3", "--lr", "0.1,0.3")
    rows = table(tmp_path / "out")
    assert sorted(row["fold"] for row in rows) == ["0", "0", "1", "1", "2", "2"]
    assert [row["models"] for row in report["configurations"]] == [3, 3]
    # Each is scaled by its own training part: nothing held out has a say in it.
    files = sorted((tmp_path / "out").glob("stack-*.h5"))
    scales = [load_checkpoint(path).record["settings"]["normalization"] for path in files]
    assert len({scale["shift"] for scale in scales}) == 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--momentum", "0.9"), "--momentum means nothing to --optimizer sgd"),
        (("--lr", "0,0.1"), "rates above 0"),
        (("--lr", "fast"), "--lr"),
        (("--val-size", "0"), "decided by validation"),
        (("--folds", "1"), "--folds 1: choose 2 to 1437"),
        (("--folds", "3", "--val-size", "10"), "exclude each other"),
        (("--resume", "--overwrite"), "not allowed with"),
        (("--lr", "nan"), "numbers from 0 up"),
        (("--lr", ","), "numbers from 0 up"),
        (("--optimizer", "momentum", "--momentum", "1.5"), "from 0 to below 1"),
    ],
)
def test_wrong_flags(flags: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = run_script("sweep.py", *SMALL, *flags, "--out", tmp_path / "out", cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_batch_that_does_not_fit_leaves_no_folder(tmp_path: Path) -> None:
    flags = ("--batch-size", "5000", "--out", tmp_path / "out")
    result = run_script("sweep.py", *SMALL, *flags, cwd=tmp_path)
    assert result.returncode == 3
    assert not (tmp_path / "out").exists()


def test_only_diverged_models(tmp_path: Path) -> None:
    flags = ("--hidden", "16", "--lr", "1e300", "--out", tmp_path / "out")
    result = run_script("sweep.py", *SMALL, *flags, cwd=tmp_path)
    assert result.returncode == 5
    assert "all 1 models diverged" in result.stderr
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["configurations"]


def test_a_folder_with_a_sweep_is_refused(tmp_path: Path) -> None:
    sweep(tmp_path / "out", "--hidden", "16")
    result = run_script("sweep.py", *SMALL, "--hidden", "16", "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert "already holds a sweep" in result.stderr
    flags = ("--hidden", "16", "--lr", "0.7", "--out", "out", "--resume")
    other = run_script("sweep.py", *SMALL, *flags, cwd=tmp_path)
    assert other.returncode == 2
    assert "another sweep (--lr)" in other.stderr


def test_models_that_make_no_stack_or_too_large_a_one_are_split() -> None:
    one, other = MLP((6, 8, 3)), MLP((6, 9, 3))
    models = [Model(one), Model(other), Model(one, seed=1)] * 5
    together = stacks_of(models, batch_size=10, value_bytes=4, memory=1e9)
    assert [len(stack) for stack in together] == [10, 5]
    memory = 4 * model_bytes(models[0], 10, 4)
    split = stacks_of(models, batch_size=10, value_bytes=4, memory=memory)
    assert sorted(k for stack in split for k in stack) == list(range(15))
    for stack in split:
        assert len({models[k].mlp for k in stack}) == 1
        assert len(stack) <= 4


def test_stacks_on_a_dask_cluster(tmp_path: Path) -> None:
    """A cluster that a user already has serves through joblib's own backend."""
    distributed = pytest.importorskip("distributed")
    joblib = pytest.importorskip("joblib")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.integers(3, size=60)
    data = Dataset("random", Examples(x[:40], y[:40]), validation=Examples(x[40:], y[40:]))
    found = []
    for name in ("alone", "cluster"):
        folder = tmp_path / name
        folder.mkdir()
        jobs = [
            StackJob(
                number=number,
                numbers=(number,),
                models=(Model(MLP((5, 7, 3)), seed=number),),
                fold_number=0,
                data=data,
                plan=Plan(steps=20, batch_size=8),
                selection={"dtype": "float64", "threads": 1},
                folder=folder,
            )
            for number in range(3)
        ]
        if name == "alone":
            found.append(run_stacks(jobs))
            continue
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None, processes=False
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config(backend="dask"),
        ):
            found.append(run_stacks(jobs, processes=2))
    for ours, theirs in zip(*found, strict=True):
        assert [row.val_loss for row in ours.rows] == [row.val_loss for row in theirs.rows]


def test_a_table_in_folds_and_its_best_model_again(tmp_path: Path) -> None:
    """A category of one row is a feature of some folds; and `evaluate` finds the same rows."""
    pytest.importorskip("pyarrow")
    frame = customers(150)
    frame["town"] = ["Bonn", "Ulm"] * 75
    frame.loc[3, "town"] = "Rom"
    frame.to_csv(tmp_path / "some.csv", index=False)
    data = ("--data", tmp_path / "some.csv", "--target", "plan")
    few = ("--hidden", "5", "--epochs", "2", "--lr", "0.1", "--json")
    result = run_script("sweep.py", *data, *few, "--folds", "3", "--out", "folds", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    result = run_script("sweep.py", *data, *few, "--out", "split", cwd=tmp_path)
    report = json.loads(result.stdout)
    best = ("--checkpoint", tmp_path / "split" / "best.h5", "--json")
    found = json.loads(run_script("evaluate.py", *best, "--set", "test", cwd=tmp_path).stdout)
    assert (found["examples"], found["accuracy"]) == (30, report["best"]["test_accuracy"])
    found = json.loads(run_script("evaluate.py", *best, "--set", "validation", cwd=tmp_path).stdout)
    assert found["examples"] == 12
    assert found["loss"] == pytest.approx(report["best"]["val_loss"], rel=1e-5)
