"""Flags for the data and its preparation, and the data sets that they stand for."""

from __future__ import annotations

import argparse
from typing import Any

from xpmlp.backends import Backend
from xpmlp.commands.command_line import add_count, message
from xpmlp.data import Dataset, StreamedExamples, prepare, read_data
from xpmlp.data.normalization import NORMALIZATIONS
from xpmlp.errors import UsageError


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add --data with its keys, and how its features are scaled."""
    group = parser.add_argument_group("data")
    add_source_flags(group)
    group.add_argument(
        "--normalize",
        default="standard",
        choices=NORMALIZATIONS,
        help="features as they are, divided by their type's maximum, or (x - mean) / std of the "
        "training set: two scalars (standard), or two for each feature",
    )
    group.add_argument(
        "--bias-trick",
        action="store_true",
        help="append a feature that is always 1: the first layer learns a bias as a weight",
    )


def add_source_flags(group: argparse._ArgumentGroup, default: str | None = "digits") -> None:
    """Add --data and what belongs to it; without a default data set, none of them has one."""
    group.add_argument(
        "--data",
        default=default,
        metavar="NAME|PATH",
        help="digits (embedded); mnist or fashion-mnist (from a folder of that name under "
        "$XPMLP_DATA, the cache, or downloaded); a folder of IDX files or one of images, gzipped "
        "or not; an .h5 or .hdf5 file; an .npz file",
    )
    group.add_argument(
        "--test-data", metavar="PATH", help="a separate file of test examples, of the same format"
    )
    for letter, what in (("x", "features"), ("y", "labels")):
        group.add_argument(
            f"--{letter}-key",
            default=default and f"{letter}data",
            metavar="KEY",
            help=f"of the {what} in HDF5 and npz",
        )
    add_count(group, "--classes", "how many there are, if not all occur in the training labels")
    group.add_argument(
        "--stream",
        choices=("auto", "yes", "no"),
        default=default and "auto",
        help="leave the rows of an HDF5 file on disk and read them in pieces; auto: if they would "
        "fill more than half of the free memory",
    )


def add_split_flags(parser: argparse.ArgumentParser) -> None:
    """Add which training examples are used, and which of them are held out."""
    group = parser.add_argument_group("split")
    add_count(group, "--train-size", "use the first N training examples only (default: all)")
    group.add_argument(
        "--val-size",
        type=whole_number,
        metavar="N",
        help="examples held out for validation from the end of a seeded shuffle of the training "
        "set (default: a tenth of it, at most 10,000; 0: none)",
    )


def whole_number(text: str) -> int:
    """Parse 0, 1, 2, ..."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of examples")
    return int(text)


def read_source(arguments: argparse.Namespace, *, deferred: bool = False) -> Dataset:
    """Return the data set that --data and its flags name, as it is stored.

    `deferred` leaves the rows of an HDF5 file there until ranks read their own.
    """
    return read_data(
        arguments.data,
        test_source=arguments.test_data,
        x_key=arguments.x_key,
        y_key=arguments.y_key,
        classes=arguments.classes,
        stream={"auto": None, "yes": True, "no": False}[arguments.stream],
        deferred=deferred,
    )


def scaled(arguments: argparse.Namespace, dataset: Dataset, **split: Any) -> Dataset:
    """Return a data set scaled as the flags say, with nothing held out unless `split` says so."""
    return prepare(
        dataset,
        normalize=arguments.normalize,
        bias_column=arguments.bias_trick,
        **{"val_size": 0} | split,
    )


def prepare_data(arguments: argparse.Namespace, backend: Backend) -> Dataset:
    """Read, split, scale and move the data; of several ranks each has its share."""
    shared = backend.ranks.count > 1
    if shared and arguments.stream == "yes":
        raise UsageError(
            "ranks hold their share of the rows in memory, and --stream yes leaves them on disk, "
            "in an order and with a split of its own: start another run without it, with more "
            "ranks if the rows do not fit"
        )
    dataset = read_source(arguments, deferred=shared)
    if not shared and arguments.stream == "auto" and isinstance(dataset.train, StreamedExamples):
        message(f"{arguments.data} is larger than half of the free memory: it is read from disk")
    split = {"train_size": arguments.train_size, "val_size": arguments.val_size}
    split |= {"seed": arguments.seed, "ranks": backend.ranks}
    return scaled(arguments, dataset, **split).to_device(backend)
