"""A run's settings between its flags and its config.json, and back when it is resumed."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Callable, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from xpmlp.commands.hyperparameters import layer_sizes
from xpmlp.errors import CheckpointError, UsageError
from xpmlp.rules import shown
from xpmlp.runs.checkpoint import Result
from xpmlp.runs.folder import CONFIG, read_config

# What says where and how loudly a run works, and how long; not what it computes.
_FREE = {
    "data",
    "test_data",
    "device",
    "backend",
    "library",
    "steps",
    "epochs",
    "min_accuracy",
    "checkpoint_every",
}
_FREE |= {"threads", "no_graph", "precision"}
# What another version or machine may make of the same run, to rounding.
_MADE = {"normalization", "xpmlp", "on_one_thread"}
_HERE = {"out", "resume", "overwrite", "quiet", "json", "debug", "distributed"}


# Flags that are shorter than what they mean.
WORDS = {"lr": "learning rate", "init": "initial weights", "l1": "L1", "l2": "L2"}


def in_words(value: Any) -> str:
    """Return a setting as legends and tables show it."""
    if isinstance(value, list | tuple):
        return "-".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_train_exact(settings: Mapping[str, Any]) -> bool:
    """Tell whether training values of a run are of the whole set, and no means over steps."""
    kind = settings.get("log_train", "auto")
    return bool(settings.get("batch_size") == "full" if kind == "auto" else kind == "exact")


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that belong into config.json."""
    return {name: value for name, value in vars(arguments).items() if name not in _HERE}


def named_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that all ranks of a run must have alike, under the names they are given."""
    apart = _HERE | {"device", "backend", "threads"}
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
    config = checked_config(parser, arguments.out)
    # Of whole groups there are as many held out as make about the size that is asked for.
    decided = {"test_size", "val_size"} if config["group"] else set()
    decided |= {"stream"} if arguments.stream == "auto" else set()
    given = {name: value for name, value in flags_given(parser).items() if name not in decided}
    for name, value in given.items():
        if name in _FREE | _HERE or name not in config:
            continue
        if value != config[name]:
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"{arguments.out / CONFIG} has {flag} {config[name]}, not {value}: a run goes on "
                f"with its own settings; leave {flag} out, or start another run"
            )
    own = dict(config)
    if "epochs" in given:
        own["steps"] = None
    return argparse.Namespace(**vars(arguments) | own | given)


def checked_config(parser: argparse.ArgumentParser, folder: Path) -> dict[str, Any]:
    """Return the settings of a run by flag, each such as its flag would have given it.

    What config.json says is read as the command line is, and by the same parser. Raises
    `CheckpointError` for a setting that no flag gives, or that is missing.
    """
    config = read_config(folder)
    found = {}
    for action in parser._actions:
        if action.dest in _HERE or not action.option_strings or action.dest == "help":
            continue
        try:
            found[action.dest] = _setting(action, config[action.dest])
        except (KeyError, ValueError, TypeError, argparse.ArgumentTypeError) as error:
            said = "is not there" if isinstance(error, KeyError) else f"cannot be: {error}"
            raise CheckpointError(
                f"{folder / CONFIG}: the setting {action.dest} {said}: restore the file, or start "
                "another run"
            ) from error
    return found


def _setting(action: argparse.Action, value: Any) -> Any:
    """Return a value as a flag gives it; raises what its type does for any other."""
    if isinstance(action, argparse._StoreTrueAction):
        if not isinstance(value, bool):
            raise ValueError(f"{shown(value)} is neither true nor false")
        return value
    if value is None:
        if action.default is not None:
            raise ValueError("it has no value")
        return None
    if isinstance(value, list) and not value:
        text = "none" if action.type is layer_sizes else ""
    elif isinstance(value, list):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(map(str, value))  # names may have commas
        text = line.getvalue()
    else:
        text = str(value)
    kind: Callable[[str], Any] = action.type if callable(action.type) else str
    found = kind(text)
    if action.choices is not None and found not in action.choices:
        raise ValueError(f"{shown(value)} is none of {', '.join(action.choices)}")
    if json.loads(json.dumps(found)) != value or isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not what its flag gives")
    return found


def check_same_run(config: dict[str, Any], checkpoint: Result, path: Path) -> None:
    """Raise `CheckpointError` where config.json and a checkpoint tell of two runs."""
    before = checkpoint.record.get("settings") or {}
    for name, value in json.loads(json.dumps(config)).items():
        if name in _FREE | _MADE or name not in before:
            continue
        if _but_for_rounding(name, before[name]) != _but_for_rounding(name, value):
            raise CheckpointError(
                f"{path.with_name(CONFIG)} says {name} {shown(value)} and {path.name} was written "
                f"with {shown(before[name])}: restore the one that was changed"
            )
    members = range(config["seed"], config["seed"] + (config.get("members") or 1))
    if checkpoint.numbers["seed"] not in members:
        raise CheckpointError(
            f"{path} is of the seed {checkpoint.numbers['seed']} and not of {config['seed']}: "
            "restore the one of this run"
        )


def _but_for_rounding(name: str, value: Any) -> Any:
    """Return a setting without the mean and deviation of its targets, which are sums over rows."""
    return value | {"scaling": None} if name == "targets" and isinstance(value, dict) else value


def flags_given(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the flags that stand on the command line, without any defaults."""
    unset = object()
    names = [action.dest for action in parser._actions]
    parsed = parser.parse_args(sys.argv[1:], argparse.Namespace(**dict.fromkeys(names, unset)))
    return {name: value for name, value in vars(parsed).items() if value is not unset}


def default_folder(source: str) -> Path:
    """Return a run folder named after the data and the time."""
    first = Path("runs", f"{Path(source).stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    others = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(path for path in chain([first], others) if not path.exists())
