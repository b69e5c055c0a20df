"""Predict the classes or values of new rows with a trained network."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.commands.command_line import add_device_flag, new_parser, print_result
from xpmlp.commands.flags import Flags
from xpmlp.commands.trained_flags import add_trained_flags
from xpmlp.data.formats.features import read_features
from xpmlp.errors import UsageError
from xpmlp.files import make_folder, replacing
from xpmlp.parts import rows_at_a_time
from xpmlp.trained import Trained, load

# Rows that are predicted, and written, at a time.
_PIECE = 8192


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    which = add_trained_flags(parser)
    which.path("--model", "a .safetensors file", metavar="FILE")
    flags = Flags(parser)
    add_device_flag(flags)
    flags.path(
        "--data",
        "features alone, as they were before the run's scaling: .npz, .npy, .h5, .hdf5, or a .csv "
        "of numbers without a header",
        metavar="FILE",
        required=True,
    )
    flags.value("--x-key", str, "of them in HDF5 and npz", "xdata", "KEY")
    flags.path(
        "--out",
        "a .csv with one row per row of the data, or an .npz",
        Path("out", "predictions.csv"),
        metavar="FILE",
    )
    flags.switch("--overwrite", "replace the file that is there")
    return parser


def main(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if out.suffix not in (".csv", ".npz"):
        raise UsageError(f"--out {out} names no format: choose a file that ends in .csv or .npz")
    if out.exists() and not arguments.overwrite:
        raise UsageError(f"{out} is there already: choose another --out, or give --overwrite")
    source = arguments.model or arguments.checkpoint or arguments.run
    trained = load(source, device=arguments.device)
    x = read_features(arguments.data, arguments.x_key)
    make_folder(out.parent)
    with replacing(out) as part:
        write_csv(part, trained, x) if out.suffix == ".csv" else write_npz(part, trained, x)
    print_result({"rows": len(x), "network": str(trained.mlp), "file": str(out)}, arguments.json)
    return 0


def pieces(trained: Trained, x: Any) -> Iterator[dict[str, np.ndarray]]:
    """Yield what is said of some rows at a time: class and probabilities, or values."""
    size = rows_at_a_time(8 * int(np.prod(x.shape[1:])), _PIECE)
    for start in range(0, len(x), size):
        outputs = trained.outputs(np.asarray(x[start : start + size]))
        if trained.mlp.loss_function.one_class:
            yield {"class": outputs.argmax(axis=1), "probability": outputs}
        else:
            yield {trained.mlp.loss_function.link.predicts.removesuffix("s"): outputs}


def write_csv(path: Path, trained: Trained, x: Any) -> None:
    """Write a header and a line per row, some rows at a time."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, found in enumerate(pieces(trained, x)):
            columns = {name: np.reshape(a, (len(a), -1)) for name, a in found.items()}
            if number == 0:
                names = [
                    name if array.ndim == 1 else f"{name}_{k}"
                    for name, array in found.items()
                    for k in range(columns[name].shape[1])
                ]
                writer.writerow(names)
            for row in zip(*(array.tolist() for array in columns.values()), strict=True):
                writer.writerow([value for cells in row for value in cells])


def write_npz(path: Path, trained: Trained, x: Any) -> None:
    """Write the same as arrays."""
    found = list(pieces(trained, x))
    arrays: dict[str, Any] = {
        name: np.concatenate([piece[name] for piece in found]) for name in found[0]
    }
    with path.open("wb") as file:
        np.savez(file, **arrays)
