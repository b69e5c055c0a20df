"""What all programs share: the flags of devices, results, errors and exit codes."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from xpmlp.backends import BACKENDS, Backend, select_backend
from xpmlp.backends.ranks.start import Current, leave_before_start
from xpmlp.commands.flags import Flags
from xpmlp.commands.streams import lost_result, tolerate
from xpmlp.errors import (
    CheckFailedError,
    CheckpointError,
    DataError,
    DeviceError,
    DivergedError,
    InterruptedSweepError,
    OutputError,
    UsageError,
    XpmlpError,
)
from xpmlp.files import as_json, make_folder, write_whole

INTERRUPTED = 130
# What a program ends with, by the kind of its error.
EXIT_CODES: dict[type[XpmlpError], int] = {
    CheckFailedError: 1,
    UsageError: 2,
    DataError: 3,
    DeviceError: 4,
    DivergedError: 5,
    CheckpointError: 6,
    OutputError: 6,
    InterruptedSweepError: INTERRUPTED,
}


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the defaults that mean something to a reader."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence: the usage of thirty flags would bury it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where the flags are explained."""
        self.exit(EXIT_CODES[UsageError], f"{self.prog}: {message} ({self.prog} --help)\n")


def new_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that every program has."""
    parser = Parser(description=description, formatter_class=Formatter, allow_abbrev=False)
    Flags(parser).switch("--json", "print the result as one JSON object")
    Flags(parser).switch("--debug", "show the traceback of an error")
    return parser


def add_device_flags(parser: argparse.ArgumentParser, *, dtype: bool = True) -> None:
    """Add --device and, where there is a choice, --dtype."""
    group = Flags(parser.add_argument_group("device"))
    add_device_flag(group)
    group.count(
        "--threads", "threads that a CPU may use, numpy's own included (default: all at hand)"
    )
    add_gpu_flags(group)
    if dtype:
        group.choice("--dtype", ("float32", "float64"), "floating-point type of all computation")


def add_device_flag(group: Flags) -> None:
    """Add --device and --backend."""
    group.value("--device", str, "where it computes", "cpu", "cpu|gpu|gpu:N")
    group.choice(
        "--backend",
        ("auto", *BACKENDS),
        "library that computes: auto is numpy on a CPU and CuPy on a GPU",
    )


def add_gpu_flags(group: Flags) -> None:
    """Add how a GPU is made use of."""
    group.switch(
        "--no-graph", "launch a GPU's steps one by one, instead of recording them as a CUDA graph"
    )
    group.choice(
        "--precision",
        ("float32", "tf32"),
        "of a GPU's float32 products: tf32 rounds what they multiply to 10 bits",
    )


def backend_of(arguments: argparse.Namespace, dtype: str | None = None, **settings: Any) -> Backend:
    """Return the backend that the flags of `add_device_flags` ask for."""
    return select_backend(**selection_of(arguments, dtype), **settings)


def selection_of(arguments: argparse.Namespace, dtype: str | None = None) -> dict[str, Any]:
    """Return what `select_backend` is given."""
    return {
        "device": arguments.device,
        "dtype": dtype or str(getattr(arguments, "dtype", "float32")),
        "backend": arguments.backend,
        "threads": arguments.threads,
        "graph": not arguments.no_graph,
        "precision": arguments.precision,
    }


def message(text: str) -> None:
    """Tell the person at the terminal something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """Print a result on stdout: one line per value, or one JSON object."""
    if as_json:
        print(json.dumps(result), flush=True)
        return
    print_lines([(name, _result(value)) for name, value in result.items()])


def print_lines(lines: list[tuple[str, str]]) -> None:
    """Print names and values on stdout, aligned."""
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}", flush=True)


def _result(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if 0 < abs(value) < 1e-3 else f"{value:,.4f}"


def save_json(report: dict[str, Any], path: Path) -> None:
    """Write a result, in a folder that is made if need be."""
    make_folder(path.parent)
    write_whole(path, as_json(report))


def leave_report(
    report: dict[str, Any],
    rows: list[dict[str, Any]],
    path: Path,
    draw: Callable[[Path], None] | None = None,
    *,
    as_json: bool,
) -> None:
    """Write a report and, with `draw`, its picture; print it as JSON, or its rows and the files."""
    save_json(report, path)
    files = [path]
    if draw is not None:
        files.append(path.with_suffix(".png"))
        draw(files[-1])
    if as_json:
        print(json.dumps(report))
    else:
        print_table(rows)
        message(f"files: {', '.join(map(str, files))}")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows of the same columns on stdout, aligned."""
    shown = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def run(main: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser) -> NoReturn:
    """Parse the flags, run a program's main function and exit with its code.

    Who reads the output, or no longer does, decides nothing.
    """
    tolerate()
    try:
        arguments = parser.parse_args()
    except SystemExit as error:
        if error.code and any(a.partition("=")[0] == "--distributed" for a in sys.argv):
            leave_before_start(int(error.code))
        raise
    try:
        code = main(arguments)
    except XpmlpError as error:
        if arguments.debug:
            raise
        code = ended(f"{parser.prog}: {with_flags(str(error))}", EXIT_CODES[type(error)])
    except MemoryError as error:
        text = f"{parser.prog}: not enough memory ({error}): choose smaller sizes"
        code = ended(text, EXIT_CODES[UsageError])
    except OSError as error:
        if arguments.debug:
            raise
        text = f"{parser.prog}: {error.filename or 'output'}: {error.strerror or error}"
        code = ended(text, EXIT_CODES[UsageError])
    except KeyboardInterrupt:
        code = ended(f"{parser.prog}: interrupted", INTERRUPTED)
    lost = lost_result()
    if lost and not code:
        code = ended(f"{parser.prog}: {lost}", EXIT_CODES[OutputError])
    sys.exit(code)


def with_flags(text: str) -> str:
    """Return a message of the library with flags in place of the parameters that it names."""
    pattern = r"\b([a-z]+(?:_[a-z]+)*)=(?![\w'\"])"
    return re.sub(pattern, lambda match: "--" + match[1].replace("_", "-"), text)


def ended(text: str, code: int) -> int:
    """Say why this process ends, and end those that it shares a training with; return its code."""
    ranks = Current.ranks
    if ranks.count > 1:
        ranks.end(text, code)
    message(text)
    return code
