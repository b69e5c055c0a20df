"""The run folder: what was asked for, what was measured on the way, what came out."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from xpmlp.diagnostics import LayerDiagnostics
from xpmlp.errors import DataError, UsageError
from xpmlp.training import LogRow

CONFIG, METRICS, SUMMARY, CURVES = "config.json", "metrics.csv", "summary.json", "curves.png"
DIAGNOSTICS = "diagnostics.csv"
_FILES = (CONFIG, METRICS, SUMMARY, CURVES, DIAGNOSTICS)
_TEST_COLUMNS = ("test_loss", "test_accuracy")


class RunFolder:
    """The files of one training run; opened once, closed by the `with` statement.

    A folder that holds a run already is refused with `UsageError` unless `overwrite` is set;
    then that run's files are removed and nothing else in the folder is touched.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, log_test: bool = False) -> None:
        self.path = path
        if not overwrite:
            refuse_existing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in _FILES:
                (path / name).unlink(missing_ok=True)
            self._metrics: TextIO = (path / METRICS).open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written to ({error.strerror})") from error
        columns = [field.name for field in fields(LogRow)]
        self._columns = [name for name in columns if log_test or name not in _TEST_COLUMNS]
        self._writer = csv.writer(self._metrics, lineterminator="\n")
        self._write_row(self._columns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._metrics.close()

    def append(self, row: LogRow) -> None:
        """Write a row of metrics.csv, on the disk when this returns."""
        values = asdict(row)
        self._write_row(["" if values[name] is None else values[name] for name in self._columns])

    def append_diagnostics(self, step: int, layers: Sequence[LayerDiagnostics]) -> None:
        """Add a row a layer to diagnostics.csv."""
        path = self.path / DIAGNOSTICS
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(["step", *(field.name for field in fields(LayerDiagnostics))])
            for layer in layers:
                values = asdict(layer).values()
                writer.writerow([step, *("" if value is None else value for value in values)])

    def _write_row(self, values: Iterable[Any]) -> None:
        self._writer.writerow(values)
        self._metrics.flush()

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json: everything needed to run it again."""
        _write_json(self.path / CONFIG, config)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json: what came out."""
        _write_json(self.path / SUMMARY, summary)


def refuse_existing(path: Path) -> None:
    """Raise `UsageError` if a folder holds a run already; ask before the work begins."""
    present = [name for name in _FILES if (path / name).exists()]
    if present:
        raise UsageError(
            f"{path} already holds a run ({', '.join(present)}): choose another --out, or "
            "replace it with --overwrite"
        )


def read_metrics(folder: Path) -> list[LogRow]:
    """Read the rows of a run's metrics.csv; raises `DataError` naming the line it cannot read."""
    path = folder / METRICS
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return [_parse_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _parse_row(row: dict[str, str], place: str) -> LogRow:
    try:
        step = int(row.pop("step"))
        values = {name: float(text) if text else None for name, text in row.items()}
        return LogRow(step=step, **values)  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{place}: not a row of a run's metrics ({error})") from error


def best_row(rows: Iterable[LogRow]) -> LogRow | None:
    """Return the row of the lowest validation loss, the first of equals, or None without one."""
    validated = [row for row in rows if row.val_loss is not None]
    return min(validated, key=lambda row: row.val_loss or 0.0, default=None)


def host_versions() -> dict[str, str]:
    """Return the versions of Python and of the machine's system."""
    return {"python": platform.python_version(), "platform": platform.platform()}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write to a file beside it and rename: a reader never sees half of one."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
