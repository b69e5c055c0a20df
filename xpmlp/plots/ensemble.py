"""What averaging several models brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpmlp.plots.figures import DPI, new_figure


def save_ensemble(members: Sequence[float], together: Sequence[float], path: Path) -> None:
    """Draw the accuracy of each member, their mean, and that of ensembles of the first 1, 2, ..."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    numbers = range(1, len(members) + 1)
    axes.plot(numbers, members, "o", color="0.6", label="each member alone")
    mean = sum(members) / len(members)
    axes.axhline(mean, color="0.6", linestyle="--", label=f"their mean, {mean:.4f}")
    label = f"averaged over the first n, {together[-1]:.4f} with all"
    axes.plot(numbers, together, "o-", color="C3", label=label)
    axes.set_xticks(list(numbers))
    axes.set_xlabel("member, or number of members n")
    axes.set_ylabel("test accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=DPI)
