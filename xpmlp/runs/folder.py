"""The run folder: what was asked for, what was measured on the way, what came out."""

from __future__ import annotations

import csv
import platform
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from io import FileIO
from pathlib import Path
from typing import Any, Self

from xpmlp.errors import CheckpointError, DataError, UsageError
from xpmlp.files import as_json, make_folder, parse_json, read_whole, write_whole, writing
from xpmlp.inspection.diagnostics import LayerDiagnostics
from xpmlp.rules import checked
from xpmlp.runs.lock import FolderLock
from xpmlp.training.history import COLUMNS, LogRow, row_of

CONFIG, METRICS, SUMMARY, CURVES = "config.json", "metrics.csv", "summary.json", "curves.png"
CHECKPOINT, BEST, DIAGNOSTICS = "checkpoint.h5", "best.h5", "diagnostics.csv"
BOUNDARY, DEFORMED = "boundary.npz", "deformed.png"
_FILES = (CONFIG, METRICS, SUMMARY, CURVES, CHECKPOINT, BEST, DIAGNOSTICS, BOUNDARY, DEFORMED)
_TEST_COLUMNS = ("test_loss", "test_accuracy")


def files_of(folder: Path) -> list[str]:
    """Return the names of a run's files that are there."""
    return [name for name in _FILES if (folder / name).exists()]


class RunFolder:
    """The files of one training run; opened once, closed by the `with` statement.

    A folder that holds a run already is refused with `UsageError` unless `overwrite` is set,
    when that run's files are removed and nothing else in the folder is touched, or it is
    resumed with the history of its checkpoint, to which its tables are cut back.
    """

    def __init__(
        self,
        path: Path,
        *,
        overwrite: bool = False,
        resumed: Sequence[LogRow] | None = None,
        log_test: bool = False,
    ) -> None:
        self.path = path
        self._columns = [name for name in COLUMNS if log_test or name not in _TEST_COLUMNS]
        self._overwrite, self._resumed = overwrite, resumed
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self._resumed is None and not self._overwrite:
            refuse_existing(self.path)
        make_folder(self.path)
        with ExitStack() as stack:
            stack.enter_context(FolderLock(self.path))
            if self._resumed is not None:
                self._cut_diagnostics(self._resumed)
            elif self._overwrite:
                with writing(self.path):
                    for name in _FILES:
                        (self.path / name).unlink(missing_ok=True)
            else:
                refuse_existing(self.path)  # another one may have come first, and ended meanwhile
            stack.enter_context(writing(self.path / METRICS))
            self._metrics = stack.enter_context(self._started(self._resumed or ()))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def append(self, row: LogRow) -> None:
        """Write a row of metrics.csv, handed to the system when this returns."""
        with writing(self.path / METRICS):
            line = self._line(row).encode()
            if self._metrics.write(line) != len(line):
                raise OSError("only a part of a row was written")

    def append_diagnostics(self, step: int, layers: Sequence[LayerDiagnostics]) -> None:
        """Add one row per layer to diagnostics.csv."""
        path = self.path / DIAGNOSTICS
        header = ["step", *(field.name for field in fields(LayerDiagnostics))]
        with writing(path), path.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(_joined(header))
            for layer in layers:
                file.write(_joined([step, *asdict(layer).values()]))

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json: everything needed to run it again."""
        self._write_json(CONFIG, config)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json: what came out."""
        self._write_json(SUMMARY, summary)

    def _line(self, row: LogRow) -> str:
        return _joined([getattr(row, name) for name in self._columns])

    def _started(self, rows: Sequence[LogRow]) -> FileIO:
        """Put metrics.csv in place with the rows that there are, and open it for more."""
        lines = [_joined(self._columns), *(self._line(row) for row in rows)]
        path = self.path / METRICS
        write_whole(path, "".join(lines).encode())
        return path.open("ab", buffering=0)

    def _cut_diagnostics(self, rows: Sequence[LogRow]) -> None:
        path = self.path / DIAGNOSTICS
        if path.exists():
            last = rows[-1].step if rows else 0
            try:
                lines = read_whole(path).decode().splitlines(keepends=True)
                kept = [line for line in lines[1:] if int(line.split(",")[0]) <= last]
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{path}: not the diagnostics of a run ({error}): remove it to go on without"
                ) from error
            write_whole(path, "".join([*lines[:1], *kept]).encode())

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        write_whole(self.path / name, as_json(content))


class NoRunFolder(RunFolder):
    """What a rank has that leaves the writing to another."""

    def __init__(self, path: Path, **_: Any) -> None:
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def append(self, row: LogRow) -> None:
        """Leave it to the first rank."""

    def append_diagnostics(self, step: int, layers: Sequence[LayerDiagnostics]) -> None:
        """Leave it to the first rank."""

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        """Leave it to the first rank."""


def refuse_existing(path: Path) -> None:
    """Raise `UsageError` if a folder holds a run already; ask before the work begins."""
    present = [name for name in _FILES if (path / name).exists()]
    if present:
        raise UsageError(
            f"{path} already holds a run ({', '.join(present)}): choose another "
            "folder (out=), go on with it (resume=), or replace it (overwrite=)"
        )


def weights_file(folder: Path) -> Path:
    """Return the file that holds what a run was for: its best weights, or its last."""
    return folder / BEST if (folder / BEST).exists() else folder / CHECKPOINT


def read_summary(folder: Path) -> dict[str, Any]:
    """Return what a run came to, nothing where it has not ended; raises `DataError`."""
    path = folder / SUMMARY
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = checked(parse_json(read_whole(path)), {})
        return found
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of a run; raises `CheckpointError` where there is none."""
    path = folder / CONFIG
    try:
        config = checked(parse_json(read_whole(path)), {})
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: there is no run in it (no {CONFIG})") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not the settings of a run ({error})") from error
    return config


def read_metrics(folder: Path) -> list[LogRow]:
    """Read the rows of a run's metrics.csv; raises `DataError` naming the line it cannot read."""
    path = folder / METRICS
    try:
        lines = read_whole(path).decode().splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    reader = csv.DictReader(lines)
    try:
        return [_parse_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no row ({error})") from error


def _parse_row(row: dict[str, str], place: str) -> LogRow:
    try:
        if None in row:
            raise ValueError("more values than columns")
        values = {name: float(text) if text != "" else None for name, text in row.items()}
        return row_of(values | {"step": int(row["step"])})
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{place}: not a row of a run's metrics ({error})") from error


def _joined(values: Iterable[object]) -> str:
    return ",".join("" if value is None else str(value) for value in values) + "\n"


def host_versions() -> dict[str, str]:
    """Return the versions of Python and of the machine's system."""
    return {"python": platform.python_version(), "platform": platform.platform()}
