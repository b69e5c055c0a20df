"""A run's settings between its flags and its config.json, and back when it is resumed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from xpmlp.errors import UsageError
from xpmlp.runs.folder import CONFIG, read_config

# What says where and how loudly a run works, and how long; not what it computes.
_FREE = {"data", "test_data", "device", "steps", "epochs", "min_accuracy", "checkpoint_every"}
_FREE |= {"threads", "no_graph", "precision"}
_HERE = {"out", "resume", "overwrite", "quiet", "json", "debug", "distributed"}
_TUPLES = {"hidden", "activation", "lr_milestones"}


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that belong into config.json."""
    return {name: value for name, value in vars(arguments).items() if name not in _HERE}


def named_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that all ranks of a run must have alike, under the names they are given."""
    apart = _HERE | {"device", "threads"}
    return {
        "--" + name.replace("_", "-"): value
        for name, value in vars(arguments).items()
        if name not in apart
    }


def resumed(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments of a run that goes on: its own, with what may change from the flags.

    Raises `CheckpointError` where there is no run, and `UsageError` for a flag that would make
    another run of it.
    """
    config = read_config(arguments.out)
    given = _given(parser)
    for name, value in given.items():
        if name in _FREE | _HERE or name not in config:
            continue
        if json.loads(json.dumps(value)) != config[name]:
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"{arguments.out / CONFIG} has {flag} {config[name]}, not {value}: a run goes on "
                f"with its own settings; leave {flag} out, or start another run"
            )
    own = {
        name: tuple(value) if name in _TUPLES and value is not None else value
        for name, value in config.items()
    }
    if "epochs" in given:
        own["steps"] = None
    return argparse.Namespace(**vars(arguments) | own | given)


def _given(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the flags that stand on the command line, without any defaults."""
    unset = object()
    names = [action.dest for action in parser._actions]
    parsed = parser.parse_args(sys.argv[1:], argparse.Namespace(**dict.fromkeys(names, unset)))
    return {name: value for name, value in vars(parsed).items() if value is not unset}


def default_folder(source: str) -> Path:
    """Return a run folder named after the data and the time."""
    return Path("runs", f"{Path(source).stem}-{time.strftime('%Y%m%d-%H%M%S')}")
