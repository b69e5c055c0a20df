"""Draw the curves of runs again from their metrics.csv: one run, or several in one picture."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

from xpmlp.commands.command_line import new_parser, print_result
from xpmlp.commands.flags import Flags
from xpmlp.commands.run_settings import WORDS, in_words, is_train_exact
from xpmlp.errors import DataError, UsageError
from xpmlp.plots import save_curves, save_overlay
from xpmlp.runs.folder import CURVES, read_config, read_metrics
from xpmlp.training.history import LogRow, best_row

# Runs that differ in nothing else are one configuration with several seeds.
_NOT_COMPARED = {
    "seed",
    "device",
    "backend",
    "quiet",
    "checkpoint_every",
    "min_accuracy",
    "threads",
}


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    flags = Flags(parser)
    flags.path(
        "--out",
        f"picture, its format by its ending (default: {CURVES} in the run's folder, or "
        "out/overlay.png for several)",
        metavar="FILE",
    )
    flags.choice("--x", ("step", "epoch", "seconds"), "horizontal axis, for several runs")
    flags.choice(
        "--set",
        ("train", "val", "test"),
        "which set's loss and accuracy, for several runs",
        "val",
        dest="of",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    histories = {folder: read_metrics(folder) for folder in arguments.runs}
    for folder, rows in histories.items():
        if not rows:
            raise DataError(f"{folder}: no log point in its metrics.csv yet: let it train longer")
    if len(histories) == 1:
        if (arguments.x, arguments.of) != ("step", "val"):
            raise UsageError("--x and --set are for several runs: leave them out")
        ((folder, rows),) = histories.items()
        out = arguments.out or folder / CURVES
        exact = is_train_exact(read_config(folder))
        save_curves(rows, out, title=str(folder.name), train_exact=exact)
        result: dict[str, Any] = {"picture": str(out)}
    else:
        out, groups = arguments.out or Path("out", "overlay.png"), grouped(histories)
        sets = {str(read_config(folder).get("data")) for folder in histories}
        save_overlay(groups, out, arguments.x, arguments.of, title=", ".join(sorted(sets)))
        sizes = {label: len(runs) for label, runs in groups.items()}
        result = {"picture": str(out), "groups": sizes}
    for folder, rows in histories.items():
        best = best_row(rows)
        if best is not None:
            result[str(folder)] = f"best validation loss {best.val_loss:.4f} at step {best.step}"
    print_result(result, arguments.json)
    return 0


# What follows from other settings and the split, and says nothing new.
_FOLLOWS = {"sizes", "normalization", "encoding", "targets", "image_shape", "xpmlp"}


def grouped(histories: dict[Path, list[LogRow]]) -> dict[str, list[list[LogRow]]]:
    """Put runs of one configuration together, under the settings in which the groups differ."""
    configs = {
        folder: {
            name: in_words(value)
            for name, value in read_config(folder).items()
            if name not in _NOT_COMPARED
        }
        for folder in histories
    }
    names = {name for config in configs.values() for name in config}
    differing = sorted(
        name for name in names if len({config.get(name) for config in configs.values()}) > 1
    )
    shown = [name for name in differing if name not in _FOLLOWS]
    groups: dict[str, list[list[LogRow]]] = defaultdict(list)
    for folder, rows in histories.items():
        settings = [
            f"{WORDS.get(name, name.replace('_', ' '))} {configs[folder].get(name, '?')}"
            for name in shown
        ]
        groups[", ".join(settings) or "all runs"].append(rows)
    return groups
