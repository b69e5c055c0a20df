"""Some of the calls that can fail, one after another; `tests/faults.py` goes through all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux what is open")
@pytest.mark.parametrize(("fault", "every"), [("files", "23"), ("memory", "230")])
def test_a_call_that_fails_costs_nothing(repository: Path, fault: str, every: str) -> None:
    result = subprocess.run(
        [sys.executable, repository / "tests/faults.py", "--faults", fault, "--every", every],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    calls = json.loads(result.stdout)["calls"]
    assert calls[f"train, {fault}"] > 100
    assert calls[f"convert, {fault}"] > 10
