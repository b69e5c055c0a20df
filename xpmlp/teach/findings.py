"""What is found in somebody's functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xpmlp.mathematics.mlp import MLP
from xpmlp.teach.slips import SLIPS

_DOCS = "docs/"


@dataclass(frozen=True)
class Finding:
    """A slip that is likely, in a function and place; `evidence` are numbers that speak for it.

    `certain` is True where the slip leads to the very numbers that the function returns.
    """

    slip: str
    function: str
    place: str = ""
    detail: str = ""
    evidence: str = ""
    certain: bool = False
    layer: int | None = None

    @property
    def says(self) -> str:
        """What is likely wrong."""
        return SLIPS[self.slip].says.format(place=self.place, detail=self.detail)

    @property
    def formula(self) -> str:
        """What is right."""
        return SLIPS[self.slip].formula

    @property
    def section(self) -> str:
        """Where that is derived."""
        return _DOCS + SLIPS[self.slip].section

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "slip": self.slip,
            "function": self.function,
            "place": self.place,
            "says": self.says,
            "formula": self.formula,
            "section": self.section,
            "evidence": self.evidence,
            "certain": self.certain,
        }


@dataclass
class Looked:
    """What has been looked at, what was right, and what was found, the likeliest first.

    `wrong_parameters` are those whose gradients are not right, as they are made one by one.
    """

    mlp: MLP
    findings: list[Finding] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    layout: str = ""
    wrong_parameters: list[str] = field(default_factory=list)
    printed: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
