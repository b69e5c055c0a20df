"""The documentation's Python runs, its assertions hold, and what it says of the code is true."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from test_floors import FLOORS

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def python_of(page: Path) -> str:
    """Return a page's Python blocks that are programs: from the first import on."""
    blocks = blocks_of(page)
    if page.name == "README.md":
        blocks = [block for block in blocks if "import" in block]
    return "\n".join(blocks)


PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PROGRAMS = [page for page in PAGES if python_of(page)]


def test_pages_with_programs_are_found() -> None:
    assert {page.name for page in PROGRAMS} >= {"README.md", "backpropagation.md"}


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
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
        assert float(last.rstrip(")").split(", ")[-1]) >= 0.9
        assert (tmp_path / "digits.safetensors").exists()


def test_the_step_in_the_readme_is_that_of_the_code() -> None:
    (shown,) = (block for block in blocks_of(REPOSITORY / "README.md") if "backprop" in block)
    code = (REPOSITORY / "xpmlp" / "mathematics" / "step.py").read_text(encoding="utf-8")
    lines = [line.strip() for line in code.splitlines()]
    assert shown.splitlines()[:3] == lines[(at := lines.index(shown.splitlines()[0])) : at + 3]
    assert shown.splitlines()[3] in lines


def test_the_floors_in_the_readme_are_those_of_the_tests() -> None:
    shown = dict(re.findall(r"^\| (\d) \| (.*?) \|", README, flags=re.MULTILINE))
    rooms: dict[int, set[str]] = {}
    for floor, line in re.findall(r"^\| (\d) \| (.*?) \|", README, flags=re.MULTILINE):
        names = {name.strip("/").removesuffix(".py") for name in re.findall(r"`(.*?)`", line)}
        rooms.setdefault(int(floor), set()).update(names)
    assert shown
    assert rooms == {height: set(names) for height, names in enumerate(FLOORS, start=1)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_can_be_reviewed(page: Path) -> None:
    """Paragraphs are wrapped; tables, formulas and code are as long as they are."""
    prose = re.sub(r"```.*?```|\$\$.*?\$\$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")]


MODULES_WITH_EXAMPLES = [
    path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")
    for path in sorted((REPOSITORY / "xpmlp").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def test_examples_are_found() -> None:
    assert {"xpmlp.trained", "xpmlp.training.loop"} <= set(MODULES_WITH_EXAMPLES)


@pytest.mark.parametrize("name", MODULES_WITH_EXAMPLES)
def test_examples_of_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    names = {"np": importlib.import_module("numpy")} | vars(importlib.import_module("xpmlp"))
    failed, tried = doctest.testmod(module, extraglobs=names)
    assert tried
    assert not failed


GUARANTEES = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "test"), re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", GUARANTEES))
def test_what_holds_a_guarantee_is_there(file: str, test: str) -> None:
    source = (REPOSITORY / "tests" / file).read_text(encoding="utf-8")
    assert f"def {test or 'test_'}" in source
