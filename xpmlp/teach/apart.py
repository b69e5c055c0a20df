"""A file of functions, looked at in a process of its own that is ended after a time.

Run as `python -m xpmlp.teach.apart FILE ANSWER`; the report comes as JSON in the file ANSWER.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpmlp.errors import DataError, UsageError

# What a file says of its network, and of what its functions are given.
_NETWORK = {"SIZES": "sizes", "ACTIVATION": "activation", "LOSS": "loss"}
_SETTINGS = {
    "TARGETS": "targets",
    "LEARNING_RATE": "learning_rate",
    "COLUMNS": "columns",
    "PARAMS": "params",
}
# A report is short; what is longer is none.
_MOST = 4 * 2**20


def looked_at(path: Path, seconds: float) -> dict[str, Any]:
    """Return the report of a file as JSON has it, with its page as "html".

    Raises `DataError` for a file that is none of functions, `UsageError` for settings in it that
    mean nothing. The file runs in a process of its own, which is killed after `seconds`.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file: give a file of Python, or make one with --new")
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "report.json")
        command = [sys.executable, "-m", "xpmlp.teach.apart", str(path.resolve()), str(answer)]
        errors = _ran(command, path, seconds)
        said = answer.read_bytes()[:_MOST] if answer.is_file() else b""
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["nothing was said"]
        raise DataError(f"{path} ended before it was looked at ({last[0]})")
    if "usage" in found:
        raise UsageError(f"{path}: {found['usage']}")
    if "raised" in found:
        raise DataError(f"{path} cannot be run ({found['raised']})")
    return found


def _ran(command: list[str], path: Path, seconds: float) -> bytes:
    """Run a command to its end, or kill it and all that it has started; return its messages."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=path.resolve().parent,
    ) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{path} was not done after {seconds:g} s: look for a loop without an end, or "
                "give a larger --timeout"
            ) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return errors


def main() -> None:
    """Look at the file that is named first, and write the report into the one named second."""
    path, answer = sys.argv[1:3]
    sys.path.insert(0, str(Path(path).parent))
    Path(answer).write_text(json.dumps(_answer(path)), encoding="utf-8")


def _answer(path: str) -> dict[str, Any]:
    from xpmlp.mathematics.mlp import MLP
    from xpmlp.teach.check import check
    from xpmlp.teach.student import FUNCTIONS

    try:
        names = runpy.run_path(path, run_name="student")
    except BaseException as error:  # a stranger's program may raise anything
        return {"raised": f"{type(error).__name__}: {error}"}
    network, settings = (
        {ours: names[theirs] for theirs, ours in table.items() if theirs in names}
        for table in (_NETWORK, _SETTINGS)
    )
    if "sizes" not in network:
        return {"usage": "it says no SIZES: add a line such as SIZES = (6, 5, 3)"}
    functions = {name: names[name] for name in FUNCTIONS if callable(names.get(name))}
    try:
        report = check(MLP(**network), **settings, **functions)
    except UsageError as error:
        return {"usage": str(error)}
    return {**report.as_json(), "text": str(report), "html": report._repr_html_()}


if __name__ == "__main__":
    main()
