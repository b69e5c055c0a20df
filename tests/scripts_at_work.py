"""Scripts run as users run them: as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

Finished = subprocess.CompletedProcess[str]


def command(name: str, *flags: str | Path) -> list[str]:
    """Return the command line of a script, under which a warning is an error."""
    script = REPOSITORY / "scripts" / name
    return [sys.executable, "-W", "error", str(script), *map(str, flags)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}


def run_process(arguments: list[str], cwd: Path, timeout: float = 300) -> Finished:
    return subprocess.run(
        arguments,
        env=environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_script(name: str, *flags: str | Path, cwd: Path) -> Finished:
    return run_process(command(name, *flags), cwd)


def start_script(
    name: str, *flags: str | Path, cwd: Path, **settings: Any
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(name, *flags),
        env=environment(),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def rows_without_seconds(folder: Path) -> list[str]:
    """Return the lines of metrics.csv without the one column that differs from run to run."""
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    seconds = lines[0].index("seconds")
    return [",".join(cells[:seconds] + cells[seconds + 1 :]) for cells in lines]


def said_by(command: str, flags: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Carry out a command in this process, and return what it says at its end."""
    from importlib import import_module

    from xpmlp.commands import command_line

    module = import_module(f"xpmlp.commands.{command}")
    argv, streams = sys.argv, (sys.stdout, sys.stderr)
    sys.argv = [f"xpmlp {command}", *flags]
    try:
        with pytest.raises(SystemExit) as ended:
            command_line.run(module.main, module.build_parser())
    finally:
        sys.argv = argv
        sys.stdout, sys.stderr = streams
    assert ended.value.code == code
    return capsys.readouterr().err
