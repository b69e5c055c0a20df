"""History and results to pictures; matplotlib is imported here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.errors import UsageError
from xpmlp.history import LogRow, best_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETS = {"train": ("training", "C0"), "val": ("validation", "C1"), "test": ("test", "C2")}
_X_LABELS = {
    "step": "step (parameter updates)",
    "epoch": "epoch",
    "seconds": "seconds of training",
}
_DPI = 120


def require_matplotlib() -> None:
    """Raise `UsageError` where there is none: before the work, not after it."""
    if find_spec("matplotlib") is None:
        raise UsageError('pictures need matplotlib: pip install "xpmlp[scripts]"')


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; raises `UsageError` where matplotlib is not installed."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_curves(rows: Sequence[LogRow], path: Path, title: str = "") -> None:
    """Draw loss and accuracy against steps for every set that was logged.

    The best step and the steps at which a schedule changed the learning rate are marked,
    the latter where they are few.
    """
    figure = new_figure(10, 4.2)
    steps = [row.step for row in rows]
    # A single log point would be an invisible line.
    marker = "o" if len(rows) < 2 else None
    best, changes = best_row(rows), _rate_changes(rows)
    for axes, quantity in _panels(figure):
        for prefix, (label, color) in _SETS.items():
            values = [getattr(row, f"{prefix}_{quantity}") for row in rows]
            if any(value is not None for value in values):
                axes.plot(steps, values, label=label, color=color, marker=marker)
        if best is not None:
            axes.axvline(best.step, color="0.4", linestyle=":", label=f"best step {best.step:,}")
        for number, (step, rate) in enumerate(changes):
            label = f"learning rate {rate:.3g}" if len(changes) == 1 else "learning rate changes"
            axes.axvline(
                step, color="C3", linestyle="--", linewidth=1, label=None if number else label
            )
        _finish(axes, "step", quantity)
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=_DPI)


def save_overlay(
    groups: Mapping[str, Sequence[Sequence[LogRow]]], path: Path, x: str = "step", of: str = "val"
) -> None:
    """Draw several runs in one picture, a colour a group.

    A group with several runs is one configuration with several seeds: its mean is a line, and
    mean ± standard deviation a band, where the runs have log points in common.
    """
    figure = new_figure(10, 4.6)
    for axes, quantity in _panels(figure):
        for number, (label, runs) in enumerate(groups.items()):
            color = f"C{number % 10}"
            tables = [_column(rows, x, f"{of}_{quantity}") for rows in runs]
            tables = [table for table in tables if table]
            if not tables:
                continue
            common = sorted(set.intersection(*(set(table) for table in tables)))
            values = np.array([[table[step][1] for step in common] for table in tables])
            at = np.array([[table[step][0] for step in common] for table in tables]).mean(axis=0)
            mean = values.mean(axis=0)
            several = f"{label} ({len(tables)} runs)" if len(tables) > 1 else label
            axes.plot(at, mean, color=color, label=several, marker="o" if len(common) < 2 else None)
            if len(tables) > 1:
                deviation = values.std(axis=0, ddof=1)
                axes.fill_between(at, mean - deviation, mean + deviation, color=color, alpha=0.2)
        _finish(axes, x, f"{_SETS[of][0]} {quantity}")
    figure.savefig(path, dpi=_DPI)


def save_confusion(matrix: np.ndarray, path: Path) -> None:
    """Draw a confusion matrix: a row a true class, its share of the row as colour."""
    count = len(matrix)
    size = min(12.0, max(4.5, 0.55 * count + 1.5))
    figure = new_figure(size, size)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if count <= 20:
        for row, column in np.ndindex(matrix.shape):
            if matrix[row, column]:
                dark = share[row, column] > 0.5
                text = f"{matrix[row, column]:,}"
                axes.text(
                    column, row, text, ha="center", va="center", color="w" if dark else "k", size=9
                )
        axes.set_xticks(range(count))
        axes.set_yticks(range(count))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{int(np.trace(matrix)):,} of {int(matrix.sum()):,} right")
    figure.savefig(path, dpi=_DPI)


def save_mistakes(
    images: np.ndarray,
    targets: Sequence[int],
    predicted: Sequence[int],
    confidence: Sequence[float],
    path: Path,
) -> None:
    """Draw images (n, H, W) with what they are and what they were taken for, worst first."""
    columns = min(5, max(1, len(images)))
    lines = -(-len(images) // columns) or 1
    figure = new_figure(1.9 * columns, 2.2 * lines)
    grid = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    for axes, image, target, guess, share in zip(
        grid, images, targets, predicted, confidence, strict=False
    ):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(f"{target}, taken for {guess}\n({share:.1%})", size=9)
    if not len(images):
        grid[0].text(0.5, 0.5, "no mistakes", ha="center")
    figure.savefig(path, dpi=_DPI)


def save_first_layer(
    weights: np.ndarray, image_shape: tuple[int, int], path: Path, most: int = 100
) -> None:
    """Draw the weights (features, units) into each unit of the first layer as an image.

    Red is positive and blue negative, each unit scaled by its largest weight; the `most`
    units whose weights are largest are shown.
    """
    pixels = image_shape[0] * image_shape[1]
    norms = np.linalg.norm(weights[:pixels], axis=0)
    units = np.sort(np.argsort(-norms, kind="stable")[:most])
    columns = min(10, max(1, len(units)))
    lines = -(-len(units) // columns) or 1
    figure = new_figure(1.1 * columns, 1.25 * lines + 0.3)
    grid = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    for axes, unit in zip(grid, units, strict=False):
        image = weights[:pixels, unit].reshape(image_shape)
        limit = float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(f"{unit}", size=7, pad=2)
    figure.suptitle(f"weights into {len(units)} of {weights.shape[1]} first-layer units", size=10)
    figure.savefig(path, dpi=_DPI)


def _panels(figure: Figure) -> list[tuple[Axes, str]]:
    loss, accuracy = figure.subplots(1, 2)
    return [(loss, "loss"), (accuracy, "accuracy")]


def _finish(axes: Axes, x: str, label: str) -> None:
    axes.set_xlabel(_X_LABELS[x])
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(loc="upper right" if label.endswith("loss") else "lower right")
    else:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
    if label.endswith("loss"):
        axes.set_ylim(bottom=0)


def _rate_changes(rows: Sequence[LogRow]) -> list[tuple[int, float]]:
    """Return where the learning rate of a row differs from the one before; none if often."""
    changes = [
        (before.step, after.learning_rate)
        for before, after in pairwise(rows)
        if after.learning_rate != before.learning_rate
    ]
    return changes if len(changes) <= max(4, len(rows) // 8) else []


def _column(rows: Sequence[LogRow], x: str, name: str) -> dict[int, tuple[float, Any]]:
    """Return x and a value by step, where there is one."""
    return {
        row.step: (getattr(row, x), getattr(row, name))
        for row in rows
        if getattr(row, name) is not None
    }
