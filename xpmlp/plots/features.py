"""What a network makes of features: which it relies on, and which values it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpmlp.plots.figures import new_figure, save


def save_importance(rises: dict[str, float], path: Path, unit: str, most: int = 30) -> None:
    """Draw a bar per feature: by how much the loss rises when the feature is shuffled."""
    order = sorted(rises, key=lambda name: -rises[name])[:most]
    figure = new_figure(7.0, 0.28 * len(order) + 1.4)
    axes = figure.subplots()
    places = range(len(order), 0, -1)
    axes.barh(places, [rises[name] for name in order])
    axes.set_yticks(places, [name[:30] for name in order])
    axes.set_xlabel(f"rise of the {unit} when the feature is shuffled")
    few = "" if len(order) == len(rises) else f"the first {len(order)} of {len(rises)} features: "
    axes.set_title(f"{few}what the network relies on", size=10)
    save(figure, path)


def save_predicted(
    true: np.ndarray, predicted: np.ndarray, names: Sequence[object], path: Path
) -> None:
    """Draw predicted values (N, outputs) against the true ones, a panel per output."""
    count = min(true.shape[1], 9)
    columns = min(3, count)
    lines = -(-count // columns)
    figure = new_figure(4.6 * columns, 4.4 * lines)
    grid = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axes in grid[count:]:
        axes.axis("off")
    for k, axes in zip(range(count), grid, strict=False):
        axes.scatter(true[:, k], predicted[:, k], s=6, alpha=0.4, linewidths=0)
        ends = [float(f(true[:, k])) for f in (np.min, np.max)]
        axes.plot(ends, ends, color="k", linewidth=0.8, label="predicted = true")
        axes.set_xlabel(f"true {names[k]}")
        axes.set_ylabel(f"predicted {names[k]}")
        axes.legend(loc="upper left", fontsize=8)
    figure.suptitle(f"{len(true):,} rows", size=10)
    save(figure, path)
