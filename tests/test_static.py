"""The linter and the type checker, at the versions that the test extra pins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join
)
def test_tool_finds_nothing(repository: Path, tool: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *tool], cwd=repository, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
