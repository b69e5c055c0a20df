"""The flags that name a trained network."""

from __future__ import annotations

import argparse
from pathlib import Path

from xpmlp.runs.folder import BEST, CHECKPOINT, weights_file


def add_trained_flags(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add --run and --checkpoint, of which one is needed, and return their group."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        help=f"run folder: its {BEST}, or without validation its {CHECKPOINT}",
    )
    which.add_argument("--checkpoint", type=Path, metavar="FILE", help="one file of a run")
    return which


def checkpoint_path(arguments: argparse.Namespace) -> Path:
    """Return the file: of a run the one that holds what it was for."""
    if arguments.checkpoint is not None:
        return Path(arguments.checkpoint)
    return weights_file(arguments.run)
