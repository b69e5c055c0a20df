"""Processes that are killed, interrupted and resumed end as one that ran through."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scripts_at_work import rows_without_seconds, run_script, start_script

from xpmlp.runs.checkpoint import load_checkpoint

# Long enough to be killed many times: about 300 steps with a checkpoint every 4.
COMMON = ("--hidden", "300,300", "--checkpoint-every", "4", "--log-every", "10", "--quiet")
RUNS: dict[str, tuple[int, tuple[str, ...]]] = {
    "sgd": (25, ("--steps", "330")),
    "momentum, schedule, early stopping": (
        7,
        ("--steps", "330", "--optimizer", "momentum", "--lr-milestones", "2,5", "--patience", "20"),
    ),
    "adam, all regularisation, cosine": (
        7,
        (
            *("--steps", "200", "--optimizer", "adam", "--lr-schedule", "cosine"),
            *("--dropout", "0.3", "--input-dropout", "0.1", "--noise", "0.1", "--max-norm", "3"),
            *("--label-smoothing", "0.1", "--average-decay", "0.95", "--rotation", "10"),
            *("--elastic", "0.5"),
        ),
    ),
}
# Of a summary, what may differ between two runs of the same training.
TIMES = {"train_seconds", "examples_per_second", "run"}


def wait_for_saves(process: subprocess.Popen[str], checkpoint: Path, saves: int) -> None:
    """Wait until the checkpoint has been replaced so many times, or the process has ended."""
    seen, last = 0, None
    deadline = time.monotonic() + 60
    while seen < saves and process.poll() is None and time.monotonic() < deadline:
        now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        if now != last:
            seen, last = seen + 1, now
        time.sleep(0.001)


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in found.items() if name not in TIMES}


def assert_same_run(one: Path, other: Path) -> None:
    assert rows_without_seconds(one) == rows_without_seconds(other)
    assert summary_of(one) == summary_of(other)
    for name in ("checkpoint.h5", "best.h5"):
        with h5py.File(one / name) as mine, h5py.File(other / name) as its:
            for group in ("params", "best", "optimizer"):
                assert (group in mine) == (group in its)
                if group in mine:
                    assert_same_arrays(mine[group], its[group])


def assert_same_arrays(mine: h5py.Group, its: h5py.Group) -> None:
    names: list[str] = []
    mine.visit(names.append)
    for name in names:
        if isinstance(mine[name], h5py.Dataset):
            np.testing.assert_array_equal(mine[name][()], its[name][()])


@pytest.mark.parametrize(("kills", "flags"), RUNS.values(), ids=RUNS)
def test_killed_at_random_moments(tmp_path: Path, kills: int, flags: tuple[str, ...]) -> None:
    whole = run_script("train.py", *COMMON, *flags, "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    rng, killed = random.Random(kills), 0
    folder = tmp_path / "killed"
    for _ in range(kills):
        resume = ("--resume",) if (folder / "config.json").exists() else ("--overwrite",)
        process = start_script("train.py", *COMMON, *flags, "--out", folder, *resume, cwd=tmp_path)
        wait_for_saves(process, folder / "checkpoint.h5", rng.choice((1, 2, 3)))
        time.sleep(rng.random() * 0.02)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed >= kills - 2
    last = run_script("train.py", *COMMON, *flags, "--out", folder, "--resume", cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_interrupted_run_saves_and_goes_on(tmp_path: Path, number: int, code: int) -> None:
    flags = (*COMMON, "--steps", "330", "--out", "run")
    process = start_script("train.py", *flags, cwd=tmp_path)
    wait_for_saves(process, tmp_path / "run" / "checkpoint.h5", 3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "stopping after this step and saving" in errors
    assert "Traceback" not in errors
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    saved = load_checkpoint(tmp_path / "run" / "checkpoint.h5").numbers
    assert (saved["step"], saved["status"]) == (summary["steps"], "interrupted")
    assert 0 < summary["steps"] < 330
    assert run_script("train.py", *flags, "--resume", cwd=tmp_path).returncode == 0
    run_script("train.py", *COMMON, "--steps", "330", "--out", "whole", cwd=tmp_path)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)], ids=["Ctrl-C", "SIGTERM"]
)
def test_second_interrupt_ends_at_once_and_leaves_the_checkpoint(
    tmp_path: Path, number: int, code: int
) -> None:
    """A step of the full batch here takes long; the second one does not wait for it."""
    flags = ("--hidden", "3000,3000", "--batch-size", "full", "--steps", "500", "--quiet")
    process = start_script("train.py", *flags, "--out", "run", cwd=tmp_path)
    checkpoint = tmp_path / "run" / "checkpoint.h5"
    wait_for_saves(process, checkpoint, 1)
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert load_checkpoint(checkpoint).numbers["step"] >= 1


def test_resume_with_nothing_left_to_do(tmp_path: Path) -> None:
    flags = ("--steps", "30", "--quiet", "--json")
    first = run_script("train.py", *flags, "--out", "run", cwd=tmp_path)
    again = run_script("train.py", "--out", "run", "--resume", "--quiet", "--json", cwd=tmp_path)
    assert again.returncode == 0
    assert json.loads(again.stdout) == json.loads(first.stdout)
    config = (tmp_path / "run" / "config.json").read_bytes()
    fewer = ("--out", "run", "--resume", "--steps", "20", "--quiet")
    refused = run_script("train.py", *fewer, cwd=tmp_path)
    assert refused.returncode == 2
    assert "the run has taken 30 steps, and --epochs or --steps asks for 20" in refused.stderr
    assert (tmp_path / "run" / "config.json").read_bytes() == config


def test_resume_for_longer_keeps_the_settings(tmp_path: Path) -> None:
    flags = ("--seed", "5", "--lr", "0.2", "--batch-size", "50", "--hidden", "30", "--quiet")
    run_script("train.py", *flags, "--epochs", "6", "--out", "whole", cwd=tmp_path)
    run_script("train.py", *flags, "--epochs", "2", "--out", "run", cwd=tmp_path)
    more = ("--out", "run", "--resume", "--epochs", "6", "--quiet")
    assert run_script("train.py", *more, cwd=tmp_path).returncode == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_refusals_of_a_resume(tmp_path: Path) -> None:
    def resume(*flags: str) -> tuple[int, str]:
        result = run_script("train.py", "--resume", *flags, cwd=tmp_path)
        assert "Traceback" not in result.stderr
        return result.returncode, result.stderr

    code, errors = resume("--out", "absent")
    assert code == 6
    assert "there is no run in it" in errors
    code, errors = resume()
    assert code == 2
    assert "--resume needs the run to go on with: give --resume DIR" in errors
    run_script("train.py", "--steps", "30", "--out", "run", "--quiet", cwd=tmp_path)
    code, errors = resume("--out", "run", "--lr", "0.3")
    assert code == 2
    assert "has --lr 0.5, not 0.3: a run goes on with its own settings" in errors
    checkpoint = tmp_path / "run" / "checkpoint.h5"
    content = bytearray(checkpoint.read_bytes())
    content[1000] ^= 4
    checkpoint.write_bytes(content)
    code, errors = resume("--out", "run")
    assert code == 6
    assert "damaged, its checksum does not match" in errors


def test_full_disk_is_said_and_costs_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk."""
    flags = ("--hidden", "300,300", "--quiet", "--out", "run")
    assert run_script("train.py", *flags, "--steps", "30", cwd=tmp_path).returncode == 0
    before = (tmp_path / "run" / "checkpoint.h5").read_bytes()
    process = start_script(
        "train.py",
        "--out",
        "run",
        "--resume",
        "--steps",
        "90",
        "--quiet",
        cwd=tmp_path,
        preexec_fn=limit_file_size,
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 6, errors
    assert "cannot be written at step" in errors
    assert "the one before it is untouched" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "checkpoint.h5").read_bytes() == before
    more = ("--out", "run", "--resume", "--steps", "90", "--quiet")
    assert run_script("train.py", *more, cwd=tmp_path).returncode == 0


def limit_file_size() -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
