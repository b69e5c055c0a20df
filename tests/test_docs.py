"""The Python of the documentation runs, and its assertions hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY


def python_of(page: Path) -> str:
    """Return a page's Python blocks that are programs: from the first import on."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if page.name == "README.md":
        blocks = [block for block in blocks if "import" in block]
    return "\n".join(blocks)


PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if python_of(page)]


def test_pages_with_programs_are_found() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "backpropagation.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", python_of(page)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    if page.name == "README.md":
        last = result.stdout.splitlines()[-1]
        assert float(last.rstrip(")").split(", ")[-1]) >= 0.95
