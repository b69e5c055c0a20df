"""A report in Markdown with tables and pictures, and its figures as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Report:
    """Collects what a recipe has to say, in order, and writes it into a folder.

    `results` holds the figures under plain names; `files` the pictures and tables beside them.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.folder, self.results = folder, dict[str, Any]()
        self._lines = [f"# {title}", ""]

    def section(self, title: str) -> None:
        """Begin a section."""
        self._lines += [f"## {title}", ""]

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        for paragraph in paragraphs:
            self._lines += [paragraph, ""]

    def question(self, asked: str, *answer: str) -> None:
        """Add a question and its answer."""
        self.text(f"**{asked}**", *answer)

    def code(self, text: str, language: str = "") -> None:
        """Add text as it stands."""
        self._lines += [f"```{language}", text, "```", ""]

    def table(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add a table of rows with the same columns."""
        columns = list(rows[0])
        self._lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        self._lines += [
            "| " + " | ".join(shown(row[name]) for name in columns) + " |" for row in rows
        ]
        self._lines.append("")

    def known(self, rows: Sequence[tuple[str, object, object]]) -> None:
        """Add what the course says beside what came out here."""
        self.table([{"": what, "the course": theirs, "here": ours} for what, theirs, ours in rows])

    def picture(self, name: str, caption: str) -> Path:
        """Add a picture and return where to save it."""
        self._lines += [f"![{caption}]({name})", "", f"*{caption}*", ""]
        return self.folder / name

    def write(self) -> None:
        """Write report.md and results.json."""
        text = "\n".join(self._lines).rstrip() + "\n"
        (self.folder / "report.md").write_text(text, encoding="utf-8")
        results = json.dumps(self.results, indent=2) + "\n"
        (self.folder / "results.json").write_text(results, encoding="utf-8")


def shown(value: object) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
