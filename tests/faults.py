#!/usr/bin/env python3
"""Each call that can fail fails once: what is left is whole, and going on ends as if nothing had.

`python tests/faults.py` lets the n-th call of a kind fail, n = 1, 2, 3, ..., in training, resuming,
sweeping, converting and exporting, until one whole run has had none left, and prints what broke.
`--every K` takes every K-th n, `--only` some of the programs.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from scripts_at_work import rows_without_seconds

from xpmlp.commands.main import carry_out
from xpmlp.interchange import load_safetensors
from xpmlp.plots import new_figure
from xpmlp.runs.checkpoint import load_checkpoint
from xpmlp.runs.folder import read_config, read_metrics

SMALL = ("--hidden", "5", "--val-size", "50", "--threads", "1")
TRAIN = ("train", *SMALL, "--steps", "12", "--log-every", "4", "--checkpoint-every", "3", "--quiet")
SWEEP = ("sweep", *SMALL, "--lr", "0.1,0.2", "--epochs", "1", "--out", "out")


class Counter:
    """Lets the call with a certain number fail, of those that it is asked about."""

    def __init__(self, last: int, error: Callable[[], BaseException]) -> None:
        self.calls, self.last, self.error = 0, last, error

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.last:
            raise self.error()

    def guarded(self, function: Callable[..., Any], here: str = "") -> Callable[..., Any]:
        """Return a function whose calls count, with `here` those that concern files of a folder."""

        def call(*values: Any, **settings: Any) -> Any:
            if not here or path_of(values[0]).startswith(here):
                self()
            return function(*values, **settings)

        return call


def path_of(place: Any) -> str:
    """Return where a path, relative or not, or an open file lies."""
    if isinstance(place, int):
        try:
            return str(Path("/proc/self/fd", str(place)).readlink())
        except OSError:
            return ""
    return str(Path.cwd() / place)


class FragileFile:
    """A file of which each reading and writing may fail."""

    def __init__(self, file: Any, count: Counter) -> None:
        self._file, self._count = file, count

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        return self._count.guarded(found) if name in ("read", "write", "readline") else found

    def __iter__(self) -> Any:
        return iter(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_files(last: int) -> Counter:
    """Let opening, reading, writing, syncing, renaming fail, of the files of this folder."""
    count, here = Counter(last, no_space), str(Path.cwd())
    opened = io.open

    def fragile(file: Any, *values: Any, **settings: Any) -> Any:
        if not path_of(file).startswith(here):
            return opened(file, *values, **settings)
        count()
        return FragileFile(opened(file, *values, **settings), count)

    io.open = builtins.open = fragile
    for name in ("open", "fsync", "replace", "rename", "unlink", "mkdir", "write", "read"):
        setattr(os, name, count.guarded(getattr(os, name), here))
    return count


def fail_memory(last: int) -> Counter:
    """Let numpy find no memory."""
    count = Counter(last, MemoryError)
    for name in ("empty", "zeros", "concatenate", "array", "ascontiguousarray", "frombuffer"):
        setattr(np, name, count.guarded(getattr(np, name)))
    return count


FAULTS = {"files": fail_files, "memory": fail_memory}


class Ended(NamedTuple):
    code: int
    said: str
    calls: int


def run(arguments: tuple[str, ...], folder: Path, fault: str = "files", last: int = 0) -> Ended:
    """Carry out a command in a fork of this process, with a fault in its way."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        _child(arguments, folder, fault, last)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said, calls = (folder / ".said").read_text(), int((folder / ".calls").read_text())
    for name in (".said", ".calls"):
        (folder / name).unlink()
    return Ended(code, said, calls)


def _child(arguments: tuple[str, ...], folder: Path, fault: str, last: int) -> None:
    os.chdir(folder)
    said = os.open(".said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    opened = open
    sys.argv = list(arguments)
    code: Any = 1
    count = FAULTS[fault](last)
    try:
        carry_out(arguments[0])
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        with opened(".calls", "w") as file:
            file.write(str(count.calls))
        os._exit(int(code or 0))


class Program(NamedTuple):
    """What is carried out under faults, and again to go on; `outcome` is what came of it."""

    prepare: tuple[tuple[str, ...], ...]
    faulty: tuple[str, ...]
    goes_on: Callable[[Path], tuple[str, ...]]
    outcome: Callable[[Path], Any]


def outcome_of_run(folder: Path) -> Any:
    summary = json.loads((folder / "out" / "summary.json").read_text())
    last = load_checkpoint(folder / "out" / "checkpoint.h5")
    best = load_checkpoint(folder / "out" / "best.h5")
    arrays = [a.tobytes() for c in (last, best) for a in c.params.values()]
    figures = {name: summary[name] for name in ("status", "test_loss", "best_step", "steps")}
    return (
        rows_without_seconds(folder / "out"),
        figures,
        arrays,
        (folder / "out/curves.png").exists(),
    )


def outcome_of_sweep(folder: Path) -> Any:
    report = json.loads((folder / "out" / "sweep.json").read_text())
    return report["configurations"], report["best"]


def contents(*names: str) -> Callable[[Path], Any]:
    return lambda folder: [(folder / name).read_bytes() for name in names]


def resume_or_begin(folder: Path) -> tuple[str, ...]:
    begun = (folder / "out" / "config.json").exists()
    return (*TRAIN, "--out", "out", "--resume" if begun else "--overwrite")


def sweep_again(folder: Path) -> tuple[str, ...]:
    return (*SWEEP, "--resume" if (folder / "out" / "config.json").exists() else "--overwrite")


CONVERT = ("convert", "--data", "digits", "--out", "out")
EXPORT = ("export", "--run", "out", "--format", "safetensors", "--out", "out/model.safetensors")
FILES = ("out/digits_traindata.hdf5", "out/digits_testdata.hdf5")
PROGRAMS = {
    "train": Program((), (*TRAIN, "--out", "out"), resume_or_begin, outcome_of_run),
    "resume": Program(
        ((*TRAIN, "--out", "out", "--steps", "6"),),
        (*TRAIN, "--out", "out", "--resume", "--steps", "12"),
        lambda _: (*TRAIN, "--out", "out", "--resume", "--steps", "12"),
        outcome_of_run,
    ),
    "sweep": Program((), SWEEP, sweep_again, outcome_of_sweep),
    "convert": Program((), CONVERT, lambda _: (*CONVERT, "--overwrite"), contents(*FILES)),
    "export": Program(
        ((*TRAIN, "--out", "out"), (*EXPORT[:-1], "out/model.safetensors")),
        (*EXPORT, "--overwrite"),
        lambda _: (*EXPORT, "--overwrite"),
        lambda folder: repr(load_safetensors(folder / "out" / "model.safetensors")),
    ),
}


def faults_of(ended: Ended, folder: Path) -> list[str]:
    """Return what is wrong with how a program ended, and with what it left."""
    found = []
    if "Traceback" in ended.said:
        found.append("a traceback: " + ended.said.strip().splitlines()[-1])
    elif ended.code not in (0, 2, 3, 6) or (ended.code and not ended.said.strip()):
        found.append(f"exit code {ended.code}: {ended.said.strip()[-200:]}")
    out = folder / "out"
    left = [path.name for path in out.glob("*.part")]
    if left:
        found.append(f"{left} left behind")
    try:
        for name in ("checkpoint.h5", "best.h5"):
            if (out / name).exists():
                load_checkpoint(out / name)
        if (out / "config.json").exists():
            read_config(out)
        if (out / "metrics.csv").exists():
            read_metrics(out)
        for path in out.glob("*.json"):
            json.loads(path.read_text())
    except Exception as error:
        found.append(f"not whole: {error}")
    return found


def try_faults(name: str, fault: str, every: int) -> tuple[int, list[str]]:
    """Let each call of a program fail; return how many there are, and what broke."""
    program = PROGRAMS[name]
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        for arguments in (*program.prepare, program.faulty):
            ended = run(arguments, whole)
            assert ended.code == 0, ended.said
        expected, number = program.outcome(whole), 1
        while True:
            folder = Path(place, str(number))
            for arguments in program.prepare:
                run(arguments, folder)
            ended = run(program.faulty, folder, fault, number)
            if ended.calls < number:
                if program.outcome(folder) != expected:
                    broken.append(f"{name}: two runs without a fault differ")
                return number, broken
            found = faults_of(ended, folder)
            if ended.code == 0 and not found and program.outcome(folder) != expected:
                found.append("exit code 0, and another outcome")
            if ended.code:
                again = run(program.goes_on(folder), folder)
                if again.code or program.outcome(folder) != expected:
                    found.append(f"did not go on, {again.code}: {again.said.strip()[-300:]}")
            broken += [f"{name}, {fault} {number}: {what}" for what in found]
            number += every


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    arguments = parser.parse_args()
    new_figure(1, 1).savefig(io.BytesIO())  # what is imported once need not be in each fork
    result = {
        f"{name}, {fault}": try_faults(name, fault, arguments.every)
        for name in arguments.only
        for fault in arguments.faults
    }
    calls = {key: count for key, (count, _) in result.items()}
    broken = [what for _, found in result.values() for what in found]
    print(json.dumps({"calls": calls, "broken": broken}, indent=2))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
