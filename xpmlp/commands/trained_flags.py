"""The flags that name a trained network."""

from __future__ import annotations

import argparse
from pathlib import Path

from xpmlp.commands.flags import Flags
from xpmlp.runs.folder import BEST, CHECKPOINT, weights_file


def add_trained_flags(parser: argparse.ArgumentParser) -> Flags:
    """Add --run and --checkpoint, of which one is needed, and return their group."""
    which = Flags(parser.add_mutually_exclusive_group(required=True))
    which.path("--run", f"run folder: its {BEST}, or without validation its {CHECKPOINT}")
    which.path("--checkpoint", "one file of a run", metavar="FILE")
    return which


def checkpoint_path(arguments: argparse.Namespace) -> Path:
    """Return the file: of a run the one that holds what it was for."""
    if arguments.checkpoint is not None:
        return Path(arguments.checkpoint)
    return weights_file(arguments.run)
