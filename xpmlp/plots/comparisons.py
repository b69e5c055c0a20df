"""What differs from model to model, from setting to setting, from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.plots.figures import new_figure, save


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
    save(figure, path)


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
    there = table[~np.isnan(table)]
    low, high = (there.min(), there.max()) if there.size else (0.0, 0.0)
    for row, column in np.ndindex(table.shape):
        value = table[row, column]
        text = "–" if np.isnan(value) else f"{value:.4f}"
        dark = value <= (low + high) / 2  # a gap is white
        axes.text(column, row, text, ha="center", va="center", color="w" if dark else "k", size=9)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylabel(names[0])
    axes.set_xlabel(names[1])
    axes.set_title(title, size=11)
    figure.colorbar(image, ax=axes, label=title)
    save(figure, path)


def save_layer_norms(norms: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the norm of every layer's gradient, one line per network, from the input upwards."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    for label, values in norms.items():
        axes.plot(range(1, len(values) + 1), values, "o-", label=label)
    axes.set_yscale("log")
    axes.set_xlabel("layer, counted from the input")
    axes.set_ylabel("norm of the weights' gradient")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    save(figure, path)


def save_coverage(report: Mapping[str, Any], path: Path) -> None:
    """Draw how often the truth was held on each data set: every split, and their mean."""
    rows, wanted = report["results"], report["coverage"]
    figure = new_figure(7.5, 1.6 + 0.36 * len(rows))
    axes = figure.subplots()
    axes.axvspan(wanted - 0.02, wanted + 0.02, color="C2", alpha=0.15, label=f"{wanted:g} ± 0.02")
    axes.axvline(wanted, color="C2")
    for place, row in enumerate(rows):
        splits = "one split" if place == 0 else None
        axes.plot(row["each"], [place] * len(row["each"]), "|", color="0.6", label=splits)
        mean = "their mean" if place == 0 else None
        axes.plot(row["coverage"], place, "o", color="C0", label=mean)
    names = [f"{row['data']} ({row['size']:g} {row['what']})" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlabel("share of new examples whose truth is held")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)  # beside what is drawn
    save(figure, path)
