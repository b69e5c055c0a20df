"""The loss that each learning rate comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from xpmlp.plots.figures import new_figure, save

# Losses above so many times that of the start are drawn at the upper edge.
_WORSE = 1.5


def save_learning_rates(
    rates: Sequence[float],
    losses: Mapping[str, Sequence[float]],
    best: float,
    title: str,
    path: Path,
) -> None:
    """Draw losses by learning rate, one line per name, the best rate marked, and save it."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    finite = [loss for line in losses.values() for loss in line if isfinite(loss)]
    # Rates too small to change anything show where the loss has begun.
    top = _WORSE * max(line[0] for line in losses.values() if isfinite(line[0]))
    low = min(finite)
    for color, (name, line) in zip(("0.6", "C0"), losses.items(), strict=True):
        shown = [min(loss, top) for loss in line]
        axes.plot(rates, shown, "o-", color=color, label=name, markersize=4, clip_on=False)
    axes.axvline(best, color="C3", linestyle="--", label=f"suggested: {best:.2g}")
    axes.set_xscale("log")
    axes.set_ylim(low - 0.05 * (top - low), top)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss (at the upper edge: larger, or diverged)")
    axes.set_title(title, size=11)
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)
