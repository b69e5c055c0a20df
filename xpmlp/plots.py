"""History to pictures; matplotlib is imported here alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpmlp.runs import best_row
from xpmlp.training import LogRow

_SETS = {"train": ("training", "C0"), "val": ("validation", "C1"), "test": ("test", "C2")}


def save_curves(rows: Sequence[LogRow], path: Path, title: str = "") -> None:
    """Draw loss and accuracy against steps for every set that was logged; mark the best step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    steps = [row.step for row in rows]
    # A single log point would be an invisible line.
    marker = "o" if len(rows) < 2 else None
    for prefix, (label, color) in _SETS.items():
        for axes, quantity in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
            values = [getattr(row, f"{prefix}_{quantity}") for row in rows]
            if any(value is not None for value in values):
                axes.plot(steps, values, label=label, color=color, marker=marker)
    best = best_row(rows)
    for axes, quantity in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
        if best is not None:
            axes.axvline(best.step, color="0.5", linestyle=":", label=f"best step {best.step:,}")
        axes.set_xlabel("step (parameter updates)")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.3)
        axes.legend()
    loss_axes.set_ylim(bottom=0)
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=120)
