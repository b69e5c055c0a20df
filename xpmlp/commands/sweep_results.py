"""What a sweep found: one row per combination, one row per model, and pictures."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from xpmlp.commands.command_line import save_json
from xpmlp.commands.grids import Point
from xpmlp.commands.run_settings import in_words
from xpmlp.plots import save_heat_map, save_overlay
from xpmlp.runs.sweep import Outcome, lowest_loss
from xpmlp.training.history import LogRow


def best_outcome(outcomes: list[Outcome]) -> Outcome | None:
    """Return the one of the lowest validation loss of all."""
    found = [outcome for outcome in outcomes if outcome.best is not None]
    return min(found, key=lambda outcome: lowest_loss(outcome.rows)) if found else None


def of_point(outcomes: list[Outcome], place: int, seeds: int) -> list[Outcome]:
    """Return the outcomes of a combination, over seeds and folds."""
    return [outcome for outcome in outcomes if outcome.number // seeds == place]


def report_of(
    arguments: argparse.Namespace, points: list[Point], varied: list[str], outcomes: list[Outcome]
) -> dict[str, Any]:
    """Return one row per combination, with means and deviations over seeds and folds."""
    rows = []
    for place, point in enumerate(points):
        found = of_point(outcomes, place, arguments.seeds)
        best = [outcome.best for outcome in found if outcome.best is not None]
        losses = [row.val_loss for row in best if row.val_loss is not None]
        accuracies = [row.val_accuracy for row in best if row.val_accuracy is not None]
        rows.append(
            {name: in_words(point.values[name]) for name in varied}
            | {
                "models": len(found),
                "diverged": sum(outcome.status == "diverged" for outcome in found),
                "val loss": mean(losses) if losses else None,
                "± loss": stdev(losses) if len(losses) > 1 else 0.0,
                "val accuracy": mean(accuracies) if accuracies else None,
                "± accuracy": stdev(accuracies) if len(accuracies) > 1 else 0.0,
                "best epoch": mean(row.epoch for row in best) if best else None,
            }
        )
    rows.sort(key=lambda row: float("inf") if row["val loss"] is None else float(row["val loss"]))
    report: dict[str, Any] = {"configurations": rows}
    seconds = {
        outcome.stack: max((r.seconds for r in outcome.rows), default=0) for outcome in outcomes
    }
    report["train_seconds"] = sum(seconds.values())
    chosen = best_outcome(outcomes)
    if chosen is not None and chosen.best is not None:
        point = points[chosen.number // arguments.seeds]
        report["best"] = {name: in_words(value) for name, value in point.values.items()} | {
            "seed": arguments.seed + chosen.number % arguments.seeds,
            "val_loss": chosen.best.val_loss,
            "val_accuracy": chosen.best.val_accuracy,
        }
    return report


def write_results(
    out: Path,
    report: dict[str, Any],
    points: list[Point],
    varied: list[str],
    outcomes: list[Outcome],
    seeds: range,
) -> None:
    """Write sweep.json, sweep.csv (one row per model), curves.png; for two axes heat_map.png."""
    save_json(report, out / "sweep.json")
    with (out / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = list(points[0].values)
        measured = ("val_loss", "val_accuracy", "train_loss", "step")
        writer.writerow([*names, "seed", "fold", "status", *(f"best_{name}" for name in measured)])
        for outcome in outcomes:
            axes = points[outcome.number // len(seeds)].values.values()
            cells = [getattr(outcome.best, name, "") for name in measured]
            seed = seeds[outcome.number % len(seeds)]
            writer.writerow([*map(in_words, axes), seed, outcome.fold, outcome.status, *cells])
    groups: dict[str, list[list[LogRow]]] = {
        point.label(varied): [o.rows for o in of_point(outcomes, place, len(seeds)) if o.rows]
        for place, point in enumerate(points)
    }
    title = str(report.get("data", ""))
    save_overlay(groups, out / "curves.png", x="epoch", title=title, zoomed=True)
    if len(varied) == 2:
        rows, columns = (list(dict.fromkeys(in_words(p.values[n]) for p in points)) for n in varied)
        found = report["configurations"]
        # A regression, or outputs that are true or false by themselves, have no accuracy.
        kind = "accuracy" if any(row["val accuracy"] is not None for row in found) else "loss"
        table = {(row[varied[0]], row[varied[1]]): row[f"val {kind}"] for row in found}
        values = [[table[r, c] for c in columns] for r in rows]
        save_heat_map(
            values,
            rows,
            columns,
            (varied[0], varied[1]),
            f"validation {kind}",
            out / "heat_map.png",
        )
