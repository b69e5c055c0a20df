"""Damaged files by the thousand, in a process of their own: a crash there is seen here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")
def test_damaged_files_are_refused_or_read(repository: Path) -> None:
    result = subprocess.run(
        [sys.executable, repository / "tests" / "fuzz_data.py", "--cases", "250"],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert found["broken"] == []
    for kind, outcomes in found["outcomes"].items():
        # Refusals must happen, or the damage is not what it should be.
        assert outcomes["refused"] > 50, kind
    assert sum(outcomes.get("read", 0) for outcomes in found["outcomes"].values()) > 400
    assert found["peak_bytes"] < 500e6
