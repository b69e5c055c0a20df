"""Predict the classes or values of new rows with a trained network."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.commands.command_line import add_device_flag, message, new_parser, print_result
from xpmlp.commands.flags import Flags
from xpmlp.commands.trained_flags import add_trained_flags
from xpmlp.data.formats.features import read_features
from xpmlp.data.formats.image_folder import images_in, read_images
from xpmlp.data.formats.tables import TABLES, read_batches
from xpmlp.data.tables.table import arrow
from xpmlp.errors import DataError, UsageError
from xpmlp.files import make_folder, replacing
from xpmlp.parts import rows_at_a_time
from xpmlp.progress import counter
from xpmlp.trained import Trained, load

# Rows that are predicted, and written, at a time.
_PIECE = 8192

Columns = dict[str, np.ndarray]


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    which = add_trained_flags(parser)
    which.path("--model", "a .safetensors file", metavar="FILE")
    flags = Flags(parser)
    add_device_flag(flags)
    flags.path(
        "--data",
        "features alone, as they were before the run's scaling: .npz, .npy, .h5, .hdf5, a .csv of "
        "numbers without a header; for a run on a table .csv, .tsv, .parquet or .arrow with its "
        "columns; for one on images a folder of image files",
        metavar="FILE",
        required=True,
    )
    flags.value("--x-key", str, "of them in HDF5 and npz", "xdata", "KEY")
    flags.path(
        "--out",
        "a .csv or .parquet with one row per row of the data, or an .npz",
        Path("out", "predictions.csv"),
        metavar="FILE",
    )
    flags.switch("--overwrite", "replace the file that is there")
    flags.switch("--quiet", "no progress on stderr")
    return parser


def main(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if out.suffix not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise UsageError(f"--out {out} names no format: choose a file that ends in one of {known}")
    if out.exists() and not arguments.overwrite:
        raise UsageError(f"{out} is there already: choose another --out, or give --overwrite")
    source = arguments.model or arguments.checkpoint or arguments.run
    trained = load(source, device=arguments.device, backend=arguments.backend)
    total, rows = rows_of(arguments, trained)
    make_folder(out.parent)
    with replacing(out) as part, counter(total, " rows", shown=not arguments.quiet) as count:
        _WRITERS[out.suffix](part, predicted(trained, rows, count))
    result = {"rows": count.done, "network": str(trained.mlp), "file": str(out)}
    print_result(result, arguments.json)
    if not arguments.quiet:
        message(f"each row of {out} is that of {arguments.data}, in the same order")
    return 0


def rows_of(arguments: argparse.Namespace, trained: Trained) -> tuple[int | None, Iterator[Any]]:
    """Return how many rows there are, where that is known, and some of them at a time."""
    path: Path = arguments.data
    encoding = trained.preparation.encoding
    if encoding is not None:
        if path.suffix.lower() not in TABLES:
            raise DataError(
                f"{path}: the network was trained on a table: give one that ends in "
                f"{', '.join(TABLES)}"
            )
        texts = [code.name for code in encoding.codes if code.kind != "number"]
        return None, read_batches(path, texts, [code.name for code in encoding.codes])
    if path.is_dir():
        files = images_in(path)
        shape = trained.preparation.image_shape
        if shape is None or not files:
            raise DataError(
                f"{path}: a folder without images, or the network was not trained on any"
            )
        size = rows_at_a_time(8 * int(np.prod(shape)), _PIECE)
        pieces = (files[start : start + size] for start in range(0, len(files), size))
        return len(files), (read_images(some, shape) for some in pieces)
    x = read_features(path, arguments.x_key)
    size = rows_at_a_time(8 * int(np.prod(x.shape[1:])), _PIECE)
    starts = range(0, len(x), size)
    return len(x), (np.asarray(x[start : start + size]) for start in starts)


def predicted(
    trained: Trained, rows: Iterator[Any], count: Callable[[int], None]
) -> Iterator[Columns]:
    """Yield what is said of some rows at a time: class and probabilities, or values, by column."""
    targets, link = trained.preparation.targets, trained.mlp.loss_function.link
    for some in rows:
        outputs = trained.outputs(some)
        word = {"probabilities": "probability"}.get(link.predicts, link.predicts[:-1])
        names = targets.names if targets else range(outputs.shape[1])
        found: Columns = {}
        if trained.mlp.loss_function.one_class:
            found["class"] = targets.decided(outputs) if targets else outputs.argmax(axis=1)
        found |= {f"{word}_{name}": outputs[:, k] for k, name in enumerate(names)}
        yield found
        count(len(outputs))


def write_csv(path: Path, pieces: Iterator[Columns]) -> None:
    """Write a header and a line per row, some rows at a time."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, found in enumerate(pieces):
            if number == 0:
                writer.writerow(found)
            writer.writerows(zip(*(column.tolist() for column in found.values()), strict=True))


def write_parquet(path: Path, pieces: Iterator[Columns]) -> None:
    """Write the same as columns of a Parquet file, some rows at a time."""
    pa = arrow()
    from pyarrow import parquet

    writer = None
    try:
        for found in pieces:
            table = pa.table(found)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def write_npz(path: Path, pieces: Iterator[Columns]) -> None:
    """Write the same as arrays: class (N,), and probability or value (N, outputs)."""
    found = list(pieces)
    groups: dict[str, list[str]] = {}
    for name in found[0]:
        groups.setdefault(name.partition("_")[0], []).append(name)
    arrays: dict[str, Any] = {}
    for group, names in groups.items():
        rows = [np.stack([piece[name] for name in names], axis=1) for piece in found]
        whole = np.concatenate(rows)
        arrays[group] = whole[:, 0] if group == "class" else whole
    with path.open("wb") as file:
        np.savez(file, **arrays)


_WRITERS = {".csv": write_csv, ".parquet": write_parquet, ".npz": write_npz}
