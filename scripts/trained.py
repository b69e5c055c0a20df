"""The flags that name a trained network, and what its checkpoint says of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from xpmlp.data import Normalization
from xpmlp.runs.checkpoint import Checkpoint
from xpmlp.runs.folder import BEST, CHECKPOINT


def add_trained_flags(parser: argparse.ArgumentParser) -> None:
    """Add --run and --checkpoint, of which one is needed."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        help=f"run folder: its {BEST}, or without validation its {CHECKPOINT}",
    )
    which.add_argument("--checkpoint", type=Path, metavar="FILE", help="one file of a run")


def checkpoint_path(arguments: argparse.Namespace) -> Path:
    """Return the file: of a run the one that holds what it was for."""
    if arguments.checkpoint is not None:
        return Path(arguments.checkpoint)
    folder: Path = arguments.run
    return folder / BEST if (folder / BEST).exists() else folder / CHECKPOINT


def normalization_of(checkpoint: Checkpoint) -> Normalization:
    """Return the scaling that the network was trained with, whatever the data is now."""
    record = checkpoint.record.get("settings", {}).get("normalization")
    return Normalization.from_record(record) if record else Normalization()
