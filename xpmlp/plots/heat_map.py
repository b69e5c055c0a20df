"""A figure for every combination of two settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpmlp.plots.figures import DPI, new_figure


def save_heat_map(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    title: str,
    path: Path,
) -> None:
    """Draw a value for each pair of settings, named (rows, columns); None leaves a gap."""
    table = np.array([[np.nan if v is None else v for v in line] for line in values], dtype=float)
    figure = new_figure(max(4.5, 1.1 * len(columns) + 2), max(3.2, 0.7 * len(rows) + 1.8))
    axes = figure.subplots()
    image = axes.imshow(table, cmap="viridis", aspect="auto")
    low, high = np.nanmin(table), np.nanmax(table)
    for row, column in np.ndindex(table.shape):
        value = table[row, column]
        text = "–" if np.isnan(value) else f"{value:.4f}"
        dark = not value > (low + high) / 2
        axes.text(column, row, text, ha="center", va="center", color="w" if dark else "k", size=9)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylabel(names[0])
    axes.set_xlabel(names[1])
    axes.set_title(title, size=11)
    figure.colorbar(image, ax=axes)
    figure.savefig(path, dpi=DPI)
