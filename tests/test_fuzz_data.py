"""Damaged files by the thousand, in a process of their own: a crash there is seen here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from scripts_at_work import run_process


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")
def test_damaged_files_are_refused_or_read(repository: Path) -> None:
    program = str(repository / "tests" / "fuzz_data.py")
    result = run_process([sys.executable, program, "--cases", "250"], repository, 600)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert found["broken"] == []
    for kind, outcomes in found["outcomes"].items():
        # Refusals must happen, or the damage is not what it should be.
        assert outcomes["refused"] > 50, kind
    assert sum(outcomes.get("read", 0) for outcomes in found["outcomes"].values()) > 400
    assert found["peak_bytes"] < 500e6
