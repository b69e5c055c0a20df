"""Histories: loss and accuracy of a run, and of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.plots.figures import new_figure, save
from xpmlp.training.history import LogRow, best_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETS = {"train": ("training", "C0"), "val": ("validation", "C1"), "test": ("test", "C2")}
_FAR = 1e200
_X_LABELS = {"step": "step (parameter updates)", "epoch": "epoch", "seconds": "seconds of training"}


def save_curves(
    rows: Sequence[LogRow], path: Path, title: str = "", *, train_exact: bool = False
) -> None:
    """Draw loss and accuracy against steps for every set that was logged.

    Training values are means over the steps since the point before, and the legend says so; with
    `train_exact` they are of the whole training set. The best step and the steps at which a
    schedule changed the learning rate are marked, the latter where they are few.
    """
    figure = new_figure(10, 4.2)
    steps = [row.step for row in rows]
    # A single log point would be an invisible line.
    marker = "o" if len(rows) < 2 else None
    best, changes = best_row(rows), _rate_changes(rows)
    for axes, quantity in _panels(figure):
        for prefix, (label, color) in _SETS.items():
            values = [_value(row, f"{prefix}_{quantity}") for row in rows]
            if any(value is not None for value in values):
                mean = prefix == "train" and not train_exact
                shown = f"{label}, mean since the point before" if mean else label
                axes.plot(steps, values, label=shown, color=color, marker=marker)
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
    save(figure, path)


def save_overlay(
    groups: Mapping[str, Sequence[Sequence[LogRow]]],
    path: Path,
    x: str = "step",
    of: str = "val",
    *,
    title: str = "",
    logarithmic: bool = False,
    zoomed: bool = False,
) -> None:
    """Draw several runs in one picture, one colour per group.

    `logarithmic` spreads a long x axis; `zoomed` cuts off the first epochs' values, which would
    press where the runs end against the edge; `title` stands above.

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
            several = f"{label}: mean of {len(tables)} runs ± deviation"
            several = several if len(tables) > 1 else label
            axes.plot(at, mean, color=color, label=several, marker="o" if len(common) < 2 else None)
            if len(tables) > 1:
                deviation = values.std(axis=0, ddof=1)
                axes.fill_between(at, mean - deviation, mean + deviation, color=color, alpha=0.2)
        if logarithmic:
            axes.set_xscale("log")
        drawn = [rows for runs in groups.values() for rows in runs]
        limits = _around(drawn, [f"{of}_{quantity}"], quantity)
        _finish(axes, x, f"{_SETS[of][0]} {quantity}")
        if zoomed and limits:
            axes.set_ylim(*limits)
    if title:
        figure.suptitle(title)
    save(figure, path)


def save_accuracy_panels(
    runs: Mapping[str, Sequence[LogRow]], path: Path, marks: Sequence[int] = (), columns: int = 3
) -> None:
    """Draw training and validation accuracy by epoch, one panel per run; `marks` are epochs."""
    lines = -(-len(runs) // columns)
    figure = new_figure(4 * columns, 3 * lines)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for axes, (label, rows) in zip(grid, runs.items(), strict=False):
        for prefix in ("train", "val"):
            values = [getattr(row, f"{prefix}_accuracy") for row in rows]
            name, color = _SETS[prefix]
            axes.plot([row.epoch for row in rows], values, color=color, label=name)
        for mark in marks:
            axes.axvline(mark, color="C3", linestyle="--", linewidth=1)
        axes.set_title(label, size=10)
        axes.grid(alpha=0.3)
    for axes in grid[len(runs) :]:
        axes.axis("off")
    grid[0].legend(loc="lower right")
    limits = _around(list(runs.values()), ["train_accuracy", "val_accuracy"], "accuracy")
    if limits:
        grid[0].set_ylim(*limits)
    figure.supxlabel("epoch")
    figure.supylabel("accuracy")
    save(figure, path)


def _panels(figure: Figure) -> list[tuple[Axes, str]]:
    loss, accuracy = figure.subplots(1, 2)
    return [(loss, "loss"), (accuracy, "accuracy")]


def _finish(axes: Axes, x: str, label: str) -> None:
    axes.set_xlabel(_X_LABELS[x])
    if x == "epoch":
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend()
    else:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
    if label.endswith("loss"):
        axes.set_ylim(bottom=0)


def _around(
    runs: Sequence[Sequence[LogRow]], columns: Sequence[str], quantity: str
) -> tuple[float, float] | None:
    """Return limits on which the runs' ends fill the best third, and all but their first fifth."""

    def worst(share: float) -> float:
        rows = [run[int(share * (len(run) - 1))] for run in runs]
        found = [getattr(row, column) for row in rows for column in columns]
        known = [value if quantity == "loss" else 1 - value for value in found if value is not None]
        return max(known, default=0.0)

    far = max(3 * worst(1.0), worst(0.2))
    if not far > 0:
        return None
    return (0.0, far) if quantity == "loss" else (1 - far, 1 + far / 15)


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
        row.step: (getattr(row, x), _value(row, name))
        for row in rows
        if getattr(row, name) is not None
    }


def _value(row: LogRow, name: str) -> Any:
    """Return a value, or the end of what axes can show."""
    found = getattr(row, name)
    return None if found is None else max(-_FAR, min(found, _FAR))
