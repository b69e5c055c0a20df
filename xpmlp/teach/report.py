"""The report: for a terminal, as JSON, and as a page in a notebook."""

from __future__ import annotations

import textwrap
from typing import Any

from xpmlp.teach.findings import Looked
from xpmlp.teach.picture import page_of


class Report(Looked):
    """What was found, to be printed, shown in a notebook, or written as JSON."""

    def __str__(self) -> str:
        lines = [
            _paragraph(f"network {self.mlp}" + (f"; {self.layout}" if self.layout else ""), "")
        ]
        lines += [f"  right: {text}" for text in self.right]
        if self.passed:
            lines.append("Everything that was looked at is right.")
            return "\n".join(lines)
        first, *others = self.findings
        lines += ["", _paragraph(f"{first.function}: {first.says}.", "")]
        if first.evidence:
            lines.append(_paragraph(first.evidence, "  "))
        lines += [f"  right would be: {first.formula}", f"  read: {first.section}"]
        if not first.certain:
            lines.append("  (a guess: no slip that is known here leads to these very numbers)")
        for other in others:
            lines += ["", _paragraph(f"then {other.function}: {other.says}.", "")]
            lines.append(f"  right would be: {other.formula}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "passed": self.passed,
            "network": str(self.mlp),
            "layout": self.layout,
            "right": self.right,
            "findings": [finding.as_json() for finding in self.findings],
        }

    def _repr_html_(self) -> str:
        return page_of(self)


def _paragraph(text: str, indent: str) -> str:
    return textwrap.fill(text, 80, initial_indent=indent, subsequent_indent=indent)
