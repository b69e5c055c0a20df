"""Some of the calls that can fail, one after another; `tests/faults.py` goes through all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from scripts_at_work import run_process


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux what is open")
@pytest.mark.parametrize(("fault", "every"), [("files", "37"), ("memory", "410")])
def test_a_call_that_fails_costs_nothing(repository: Path, fault: str, every: str) -> None:
    program = str(repository / "tests" / "faults.py")
    result = run_process(
        [sys.executable, program, "--faults", fault, "--every", every], repository, 600
    )
    assert result.returncode == 0, result.stdout + result.stderr
    calls = json.loads(result.stdout)["calls"]
    assert calls[f"train, {fault}"] > 100
    assert calls[f"convert, {fault}"] > 10
