"""Hold backpropagation against central differences in float64, for any network."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

import xpmlp
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    print_table,
)
from xpmlp.commands.data_flags import add_data_flags, read_source, scaled
from xpmlp.commands.flags import Flags, counted, positive
from xpmlp.commands.hyperparameters import add_network_flags, network_of, penalty_of
from xpmlp.errors import CheckFailedError
from xpmlp.randomness import random_stream


def samples(text: str) -> int | None:
    """Parse --samples: a number of entries, or None for "all"."""
    return None if text == "all" else int(counted(text))


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser, dtype=False)
    add_data_flags(parser)
    add_network_flags(parser)
    check = Flags(parser.add_argument_group("check"))
    check.value("--tolerance", positive, "largest relative difference that passes", 3e-7, "D")
    check.value(
        "--samples",
        samples,
        "entries of each parameter array, drawn by seed, or all of them",
        "200",
        "N|all",
    )
    check.count("--examples", "training examples used", 7)
    check.value("--seed", int, "of the weights and the sample", 0)
    return parser


def main(arguments: argparse.Namespace) -> int:
    backend = backend_of(arguments, "float64")
    dataset = scaled(arguments, read_source(arguments))
    examples = dataset.train.first(arguments.examples)
    mlp = network_of(arguments, dataset)
    params = mlp.init(random_stream(arguments.seed, "weights"), arguments.init)
    message(f"{mlp}: {mlp.parameter_count:,} parameters on {backend.device_name}")
    rows = xpmlp.check_gradients(
        mlp,
        params,
        examples,
        backend=backend,
        penalty=penalty_of(arguments),
        samples=arguments.samples,
        seed=arguments.seed,
    )
    worst = max(rows, key=lambda row: row.relative)
    passed = all(row.relative <= arguments.tolerance for row in rows)
    if arguments.json:
        result = {"passed": passed, "tolerance": arguments.tolerance}
        print(json.dumps(result | {"rows": [asdict(row) for row in rows]}))
    else:
        print_table([table_row(row) for row in rows])
    if not passed:
        # An error is handed down from layer to layer: it began in the last one that shows it.
        first = [row for row in rows if not row.relative <= arguments.tolerance][-1]
        raise CheckFailedError(
            f"the gradient of {entry_of(first)} is {first.backpropagated:.6g} by backpropagation "
            f"and {first.numeric:.6g} by central differences, which differ by "
            f"{first.relative:.2g} of their size, above --tolerance {arguments.tolerance:g}: look "
            "at what this layer's output goes through"
        )
    message(
        f"passed: the largest relative difference is {worst.relative:.2g}, at {entry_of(worst)}, "
        f"and {arguments.tolerance:g} is allowed"
    )
    return 0


def entry_of(row: xpmlp.GradientRow) -> str:
    """Return the name of a parameter array with its worst entry."""
    return f"{row.name}[{', '.join(map(str, row.worst))}]"


def table_row(row: xpmlp.GradientRow) -> dict[str, Any]:
    """Return what the table shows of a parameter array."""
    return {
        "parameter": row.name,
        "shape": " x ".join(map(str, row.shape)),
        "checked": row.checked,
        "kinks": row.skipped,
        "relative": row.relative,
        "absolute": row.absolute,
        "worst entry": ", ".join(map(str, row.worst)),
        "backpropagated": row.backpropagated,
        "numeric": row.numeric,
    }
