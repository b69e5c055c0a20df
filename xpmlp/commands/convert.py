"""Turn any data set into HDF5 files of training and test examples, chunked and compressed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.commands.command_line import new_parser, print_result
from xpmlp.commands.data_flags import add_source_flags, read_source
from xpmlp.commands.flags import Flags
from xpmlp.data import Dataset, Examples, StreamedExamples
from xpmlp.data.formats.hdf5 import write_hdf5
from xpmlp.data.tables.streamed import TableRows
from xpmlp.errors import UsageError
from xpmlp.files import make_folder


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_source_flags(Flags(parser.add_argument_group("data")))
    output = Flags(parser.add_argument_group("output"))
    output.path("--out", "folder for NAME_traindata.hdf5 and NAME_testdata.hdf5", Path("data"))
    output.value("--name", str, "of the files (default: the data set's)")
    output.choice(
        "--labels",
        ("ids", "one-hot"),
        "class ids or names (N,), or rows (N, C) with a 1 at the class",
    )
    output.choice("--store", ("same", "uint8", "float32", "float64"), "type of the features")
    output.switch("--overwrite", "replace files that are there")
    return parser


def main(arguments: argparse.Namespace) -> int:
    dataset = read_source(arguments)
    if isinstance(dataset.train, TableRows):
        raise UsageError(
            f"{arguments.data} is a table, which is trained on as it is: it needs no conversion"
        )
    name = arguments.name or dataset.name
    parts = {f"{name}_traindata.hdf5": dataset.train, f"{name}_testdata.hdf5": dataset.test}
    paths = {arguments.out / file: part for file, part in parts.items() if part is not None}
    present = [str(path) for path in paths if path.exists()]
    if present and not arguments.overwrite:
        raise UsageError(f"{', '.join(present)} is there already: replace it with --overwrite")
    keys = (arguments.x_key, arguments.y_key)
    if not all(keys) or len(set(keys)) == 1:
        raise UsageError(f"the keys {keys[0]!r} and {keys[1]!r} must be two names")
    targets = dataset.targets
    if arguments.labels == "one-hot" and targets is not None and targets.task != "classification":
        raise UsageError("--labels one-hot is for classes, one per example, and here are none")
    shape = dataset.image_shape
    if shape is not None and len(set(shape)) == 1:
        shape = None  # rows are taken for squares as they are
    made = {path: as_written(arguments, part, dataset, shape) for path, part in paths.items()}
    there = arguments.out.exists()
    make_folder(arguments.out)
    try:
        for path, (x, y) in made.items():
            write_hdf5(path, x, y, arguments.x_key, arguments.y_key)
    finally:
        if not there and not any(arguments.out.iterdir()):  # nothing could be written
            arguments.out.rmdir()
    print_result(
        {str(path): f"{len(part):,} examples" for path, part in paths.items()}, arguments.json
    )
    return 0


def as_written(
    arguments: argparse.Namespace, part: Any, dataset: Dataset, shape: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and labels of a part as they are written, images of a shape as such."""
    examples = in_memory(part)
    x, y = stored_as(arguments.store, examples.x), examples.y
    if shape is not None:
        x = x.reshape(len(x), *shape)
    targets = dataset.targets
    if arguments.labels == "one-hot":
        y = (y[:, np.newaxis] == np.arange(dataset.classes)).astype(np.uint8)
    elif targets is not None and targets.task == "classification":
        names = np.array(targets.names)
        y = np.char.encode(names[y], "utf-8") if names.dtype.kind == "U" else names[y]
    return x, y


def in_memory(source: Examples | StreamedExamples) -> Examples:
    """Return examples in host memory, whatever held them."""
    return source if isinstance(source, Examples) else source.read(0, len(source))


def stored_as(kind: str, x: np.ndarray) -> np.ndarray:
    """Return features in another type, rounded to it.

    Raises `UsageError` for values beyond its range, and where bytes would change them at all.
    """
    if kind == "same":
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        stored = x.astype(kind)
    if kind == "uint8" and (stored != x).any():
        raise UsageError("--store uint8 would change values: they are not whole numbers to 255")
    if not np.isfinite(stored).all():
        raise UsageError(f"--store {kind} cannot hold the largest values: choose float64")
    return stored
