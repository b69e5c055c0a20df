"""Show how a run has learned: one page for a browser, without a server or a network."""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

from xpmlp.commands.command_line import message, new_parser
from xpmlp.commands.evaluate import build_parser as parser_of_evaluate, evaluated
from xpmlp.commands.flags import Flags
from xpmlp.commands.run_report import WORDS
from xpmlp.commands.run_settings import is_train_exact
from xpmlp.errors import DataError
from xpmlp.files import read_whole, write_whole
from xpmlp.plots import require_matplotlib, save_curves
from xpmlp.plots.layers import PANELS, save_layers
from xpmlp.plots.page import Section, moving_boundary, page_of, picture, table
from xpmlp.runs.boundary import read_frames
from xpmlp.runs.folder import BOUNDARY, DIAGNOSTICS, read_config, read_metrics, read_summary

_FIGURES = ("status", "network", "parameters", "steps", "epochs", "train_seconds", "test_loss")
_TEXTS = {
    "curves": ("Loss and accuracy", "The best log point by validation is marked."),
    "layers": (
        "How the layers moved",
        "Weights that do not grow without end, steps of about a thousandth of the weights, and few "
        "flat or dead units are the signs of a healthy training.",
    ),
    "weights": (
        "What the first layer looks for",
        "The weights into each unit as an image: red is positive, blue negative.",
    ),
    "importance": (
        "Which features matter",
        "By how much the loss rises when a feature's values are shuffled.",
    ),
    "confusion": ("Which classes are taken for which", "Rows are true classes."),
    "mistakes": (
        "The worst mistakes",
        "Those that the network was surest of, with the probability that it gave them.",
    ),
    "predicted": ("Predicted and true values", "On the line they are equal."),
}


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    parser.add_argument("run", type=Path, help="the folder of a run")
    group = Flags(parser.add_argument_group("output"))
    group.path("--out", "the page (default: page.html in the run's folder)", metavar="FILE")
    group.count("--worst", "mistakes in the picture", 25)
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    run: Path = arguments.run
    config = read_config(run)
    summary = read_summary(run)
    out = arguments.out or run / "page.html"
    with tempfile.TemporaryDirectory() as folder:
        sections = sections_of(run, Path(folder), summary, arguments.worst)
    title = f"{config.get('data')}: {summary.get('network', run.name)}"
    write_whole(out, page_of(title, sections).encode("utf-8", "backslashreplace"))
    if arguments.json:
        print(json.dumps({"page": str(out), "sections": [one.title for one in sections]}))
    else:
        print(f"files: {out}")
        print(f"next: open {out} in a browser")
    return 0


def sections_of(run: Path, folder: Path, summary: dict[str, Any], worst: int) -> list[Section]:
    """Return what there is to show of a run; pictures are drawn into a folder."""
    shown = {WORDS.get(k, k): _in_short(summary[k]) for k in _FIGURES if summary.get(k) is not None}
    if summary.get("test_accuracy") is not None:
        shown["test accuracy"] = f"{summary['test_accuracy']:.4f}"
    sections = [Section("In short", "", table(shown))]
    history = read_metrics(run)
    if history:
        exact = is_train_exact(read_config(run))
        save_curves(history, folder / "curves.png", train_exact=exact)
        sections.append(_drawn(folder / "curves.png"))
    if (run / BOUNDARY).exists():
        frames = read_frames(run)
        if len(frames.steps):
            text = "Which class the network gives where; move the slider, or press play."
            sections.append(Section("The boundary as it moves", text, moving_boundary(frames)))
    rows = read_diagnostics(run)
    if rows:
        save_layers(rows, folder / "layers.png")
        sections.append(_drawn(folder / "layers.png"))
    else:
        message("to see how the layers moved, train with --diagnostics")
    return sections + [_drawn(file) for file in _of_evaluation(run, folder, worst)]


def _of_evaluation(run: Path, folder: Path, worst: int) -> list[Path]:
    """Return the pictures of an evaluation; none, with a message, where the data are not there."""
    for part in ("test", "validation", "train"):
        asked = [f"--run={run}", "--out", str(folder), "--worst", str(worst), "--set", part]
        try:
            return evaluated(parser_of_evaluate().parse_args(asked))[2]
        except DataError as error:
            why = str(error)
    message(f"without mistakes and weights: {why}")
    return []


def _drawn(path: Path) -> Section:
    title, text = _TEXTS[path.stem]
    return Section(title, text, picture(path, title))


def _in_short(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def read_diagnostics(run: Path) -> list[dict[str, float | None]]:
    """Return the rows of diagnostics.csv, none where there is none; raises `DataError`."""
    path = run / DIAGNOSTICS
    if not path.exists():
        return []
    try:
        lines = read_whole(path).decode().splitlines()
        return [
            {
                name: float(text) if text else None
                for name, text in row.items()
                if name in ("step", "layer", *PANELS)
            }
            for row in csv.DictReader(lines)
        ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path}: not the diagnostics of a run ({error})") from error
