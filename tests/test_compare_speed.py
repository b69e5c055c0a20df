"""Full batch against minibatches, and the throughput of forward passes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from benchmarks.timing import Work, peak_bytes, time_in_turns
from scripts_at_work import run_script

SMALL = ("--data", "digits", "--hidden", "20")


def test_speed_of_batch_sizes(tmp_path: Path) -> None:
    flags = ("--batch-sizes", "64,full", "--seconds", "0.3", "--lr", "0.5,1", "--rounds", "1")
    result = run_script("compare_speed.py", *SMALL, *flags, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "speed" / "speed.json").read_text())
    assert (tmp_path / "out" / "speed" / "speed.png").stat().st_size > 10_000
    assert [(row["batch_size"], row["full"]) for row in report["results"]] == [
        (64, False),
        (1437, True),
    ]
    assert [row["learning_rate"] for row in report["results"]] == [0.5, 1]
    for row in report["results"]:
        curve = row["curve"]
        steps = [point["step"] for point in curve]
        assert steps == sorted(set(steps))
        assert [point["seconds"] for point in curve] == sorted(p["seconds"] for p in curve)
        # The last point is where the time was up, and what the table shows.
        assert curve[-1]["seconds"] >= 0.3 > curve[-2]["seconds"]
        assert row["test_accuracy"] == curve[-1]["test_accuracy"] > 0.5
        assert row["steps"] == curve[-1]["step"]
        assert row["epoch_seconds"] * 1000 == pytest.approx(
            row["step"]["median_ms"] * 1437 / row["batch_size"]
        )


def test_examples_are_repeated(tmp_path: Path) -> None:
    flags = ("--batch-sizes", "full", "--seconds", "0.05", "--rounds", "1", "--examples", "5000")
    result = run_script("compare_speed.py", *SMALL, *flags, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["results"][0]["batch_size"] == 5000


def test_rates_that_match_no_batch_size(tmp_path: Path) -> None:
    flags = ("--batch-sizes", "64,full", "--lr", "0.5,1,2")
    result = run_script("compare_speed.py", *SMALL, *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert "3 rates for 2 batch sizes" in result.stderr


def test_throughput(tmp_path: Path) -> None:
    flags = ("--batch-sizes", "1,100,1000000,full", "--rounds", "1", "--json")
    result = run_script("forward_throughput.py", *SMALL, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "throughput" / "throughput.json").read_text())
    assert (tmp_path / "out" / "throughput" / "throughput.png").stat().st_size > 10_000
    rows = report["results"]
    assert [row["batch_size"] for row in rows] == [1, 100, 1437]
    assert rows[0]["microseconds_per_batch"] * 1437 == pytest.approx(1e6 * rows[0]["seconds"])


def test_works_take_turns() -> None:
    """Every work in every round, and in another order."""
    log: list[str] = []

    def block(name: str) -> float:
        log.append(name)
        return float(len(log))

    times = time_in_turns({name: partial(block, name) for name in "abc"}, rounds=3)
    assert "".join(log) == "abcbcacab"
    assert times == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_a_block_waits_until_its_steps_are_done() -> None:
    """A step that is only handed over costs nothing until it is waited for."""
    waiting: list[int] = []

    def finish() -> None:
        sleep(0.004 * len(waiting))
        waiting.clear()

    seconds = Work(lambda: waiting.append(1), finish).seconds_a_step(block_seconds=0.04)
    assert seconds >= 0.004


def test_peak_of_a_step() -> None:
    def step() -> None:
        first = np.ones(1_000_000)
        second = np.ones(500_000)
        del first, second
        np.ones(250_000)

    assert peak_bytes(step) == pytest.approx(12_000_000, rel=0.01)
