"""However a run ends and whoever reads it: the right code, the summary, and the sentence."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from scripts_at_work import Finished, command, run_process, run_script, start_script

from xpmlp.runs.folder import RunFolder, read_metrics
from xpmlp.training.history import LogRow

BRIEF = ("--steps", "30", "--log-every", "10", "--out", "run")
# Of the table in docs/runs.md: flags, status, exit code.
EXITS: dict[str, tuple[tuple[str, ...], str, int]] = {
    "completed": ((), "completed", 0),
    "below": (("--min-accuracy", "0.99"), "completed", 1),
    "early": (("--patience", "1", "--lr", "1e-30", "--steps", "300"), "early_stopped", 0),
    "diverged": (("--lr", "1e30", "--activation", "relu"), "diverged", 5),
}
# What the shell does with the program's output.
READERS = {
    "nobody reads the result": "%s | true",
    "one line of all": "%s 2>&1 | head -1",
    "nobody reads the progress": "%s 2> >(true)",
    "no standard error": "%s 2>&-",
    "no standard output": "%s >&-",
    "neither": "%s >&- 2>&-",
    "nothing at all": "%s <&- >&- 2>&-",
    "progress to a full disk": "%s 2>/dev/full",
    "ascii": "PYTHONIOENCODING=ascii %s",
}


def shell(line: str, folder: Path) -> Finished:
    return run_process(["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], folder, 120)


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.mark.parametrize(("flags", "status", "code"), EXITS.values(), ids=EXITS)
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_who_reads_decides_nothing(
    tmp_path: Path, reader: str, flags: tuple[str, ...], status: str, code: int
) -> None:
    line = " ".join(command("train.py", *BRIEF, *flags))
    ended = shell(reader % line, tmp_path)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert summary_of(tmp_path / "run")["status"] == status
    assert (tmp_path / "run" / "curves.png").exists() == (status != "diverged")


def test_json_is_all_that_is_printed_where_standard_error_is_closed(tmp_path: Path) -> None:
    ended = shell(" ".join(command("train.py", *BRIEF, "--json")) + " 2>&-", tmp_path)
    assert json.loads(ended.stdout)["status"] == "completed"


def test_a_result_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    ended = shell(" ".join(command("train.py", *BRIEF, "--quiet")) + " >/dev/full", tmp_path)
    assert ended.returncode == 6
    assert ended.stderr == (
        "train.py: the result cannot be written to standard output (No space left on device)\n"
    )
    assert summary_of(tmp_path / "run")["status"] == "completed"
    ended = shell(
        " ".join(command("train.py", *BRIEF, "--overwrite", "--lr", "1e30", "--activation", "relu"))
        + " >/dev/full",
        tmp_path,
    )
    assert ended.returncode == 5


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("reader", ["read", "gone"])
def test_an_interrupt_is_saved_whoever_reads(
    tmp_path: Path, number: int, code: int, reader: str
) -> None:
    flags = ("--steps", "1000000000", "--log-every", "100", "--hidden", "20", "--out", "run")
    process = start_script("train.py", *flags, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.readline()
    if reader == "gone":
        process.stdout.close()
        process.stderr.close()
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoint.h5").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert summary_of(tmp_path / "run")["status"] == "interrupted"
    if reader == "read":
        assert "stopping after this step and saving" in process.stderr.read()
        process.stdout.close()
        process.stderr.close()


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    process = start_script(
        "train.py",
        *("--steps", "3000", "--log-every", "100", "--out", "run"),
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith("step"):
        pass
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_row_is_in_the_file_when_it_was_appended(tmp_path: Path) -> None:
    rows = [LogRow(step, step / 2, 0.1, 0.5, 0.9, None, None, 0.25) for step in (1, 2)]
    with RunFolder(tmp_path / "run") as folder:
        for number, row in enumerate(rows, start=1):
            folder.append(row)
            assert read_metrics(tmp_path / "run") == rows[:number]


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a$x^{b$.npz", xdata=rng.normal(size=(60, 5)), ydata=np.arange(60) % 3)
    flags = ("--steps", "5", "--log-every", "1", "--quiet", "--batch-size", "10")
    ended = run_script("train.py", "--data", "a$x^{b$.npz", *flags, "--out", "$x^{q$", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "$x^{q$" / "curves.png").exists()
    ended = run_script("plot.py", "$x^{q$", "--out", "$a^{.png", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    flags = ("--steps", "1000000000", "--log-every", "100", "--hidden", "20", "--out", "run")
    first = start_script("train.py", *flags, cwd=tmp_path)
    assert first.stderr is not None
    while not first.stderr.readline().startswith("step"):
        pass
    before = (tmp_path / "run" / "config.json").read_bytes()
    for how in ("--overwrite", "--resume"):
        second = run_script(
            "train.py", how, "--out", "run", "--steps", "2000000000", "--quiet", cwd=tmp_path
        )
        assert second.returncode == 2, second.stderr
        assert (
            f"run: process {first.pid} on {os.uname().nodename} is at work in it" in second.stderr
        )
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    first.send_signal(signal.SIGKILL)
    first.communicate()
    again = run_script("train.py", "--overwrite", *BRIEF, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "run" / "run.lock").exists()


def test_a_folder_that_cannot_be_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run_script("train.py", *BRIEF[:-1], "file/run", "--quiet", cwd=tmp_path)
    assert ended.returncode == 2
    assert "file/run is no folder to write to (Not a directory): choose another (--out)" in (
        ended.stderr
    )
