"""What is said of a run when it goes on, and at its end: result, files, what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from xpmlp.runs.folder import CHECKPOINT, files_of

# A class with a smaller part of its even share of the examples than this has its own lines.
_RARE = 0.2
# What is said of the test set, and what a figure is called.
_SAID = ("rmse", "mae", "r2", "exact_match", "f1")
WORDS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "exact_match": "all labels right",
    "f1": "F1",
    "balanced_accuracy": "balanced accuracy",
    "roc_auc": "area under ROC",
}


def report_lines(
    summary: dict[str, Any], folder: Path, held: str, table: bool
) -> list[tuple[str, str]]:
    """Return name and value of every line.

    `held` names the set that is looked at closer, and `table` tells whether the data are one.
    """
    seconds = f"{summary['train_seconds']:,.1f} s"
    length = f"{summary['steps']:,} steps ({round(summary['epochs'], 2):g} epochs) in {seconds}"
    lines = [("status", f"{summary['status']}: {length}"), *_of_test(summary)]
    if summary["best_step"] is not None:
        figures = {"accuracy": summary["best_val_accuracy"], "loss": summary["best_val_loss"]}
        shown = ", ".join(f"{k} {v:.4f}" for k, v in figures.items() if v is not None)
        lines.append(("validation", f"{shown}, best at step {summary['best_step']:,}"))
    several = f"{summary['members']} of " if summary["members"] > 1 else ""
    parameters = f"{summary['parameters']:,} parameters"
    lines.append(("network", f"{several}{summary['network']}: {parameters}"))
    if summary["diverged_members"]:
        lines.append(("left out", f"{summary['diverged_members']} that diverged"))
    lines.append(("files", f"{folder}: {', '.join(files_of(folder))}"))
    return [*lines, *_next(summary["status"], folder, held, table)]


def _of_test(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of the test set, of a rare class its own too."""
    figures = {"test accuracy": summary["test_accuracy"], "test loss": summary["test_loss"]}
    scores = summary["test_scores"] or {}
    figures |= {f"test {WORDS[name]}": scores[name] for name in _SAID if name in scores}
    classes = scores.get("classes") or []
    total = sum(one["examples"] for one in classes)
    limit = _RARE * total / max(1, len(classes))
    rare = [one for one in classes if 0 < one["examples"] < limit]
    if classes:  # each of the rare ones has its own
        figures.pop("test F1", None)
    lines = [(name, f"{value:,.4f}") for name, value in figures.items() if value is not None]
    if rare:
        balanced = {WORDS[name]: scores[name] for name in ("balanced_accuracy", "roc_auc")}
        lines += [(name, f"{value:.4f}") for name, value in balanced.items() if value is not None]
        for one in rare[:3]:
            share = f"{one['examples'] / total:.1%} of the rows"
            found = f"precision {one['precision']:.3f}, recall {one['recall']:.3f}"
            lines.append((f"class {one['class']}", f"{share}: {found}, F1 {one['f1']:.3f}"))
    return lines


def _next(status: str, folder: Path, held: str, table: bool) -> list[tuple[str, str]]:
    """Return what to type next."""
    run, there = quote(str(folder)), (folder / CHECKPOINT).exists()
    run = f"./{run}" if run.startswith("-") else run
    if not there:
        return []
    on = ("go on", f"xpmlp train --resume {run}")
    if status in ("interrupted", "diverged"):
        return [on] if status == "interrupted" else []
    new = "new.csv" if table else "new.npz"
    lines = [
        ("look closer", f"xpmlp evaluate --run {run}{'' if held == 'test' else f' --set {held}'}"),
        ("new rows", f"xpmlp predict --run {run} --data {new} --out predictions.csv"),
    ]
    return lines if status == "early_stopped" else [*lines, ("train longer", f"{on[1]} --epochs N")]


def changes(own: Mapping[str, Any], before: Mapping[str, Any], steps: int) -> str:
    """Return what is not as a run was begun, whose settings are those `before`."""
    name, begun, said = own["library"], str(before.get("library", own["library"])), ""
    if name != begun:
        said = f", with {name} what {begun} has begun: the same to rounding"
    if all(own[length] == before.get(length, own[length]) for length in ("epochs", "steps")):
        return said
    stretched = ["the cosine of the learning rate"] if own["lr_schedule"] == "cosine" else []
    if own["momentum_start"] is not None and own["momentum_epochs"] is None:
        stretched.append("the rise of the momentum")
    if stretched:
        said += f"; stretched to {steps:,} steps: {', '.join(stretched)}"
    return said
