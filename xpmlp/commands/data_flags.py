"""Flags for the data and its preparation, and the data sets that they stand for."""

from __future__ import annotations

import argparse
from typing import Any

from xpmlp.backends import Backend
from xpmlp.commands.command_line import message
from xpmlp.commands.flags import Flags
from xpmlp.data import Dataset, StreamedExamples, prepare, read_data
from xpmlp.data.normalization import NORMALIZATIONS
from xpmlp.errors import UsageError


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add --data with its keys, and how its features are scaled."""
    group = Flags(parser.add_argument_group("data"))
    add_source_flags(group)
    group.choice(
        "--normalize",
        NORMALIZATIONS,
        "features as they are, divided by their type's maximum, or (x - mean) / std of the "
        "training set: two scalars (standard), or two for each feature",
        "standard",
    )
    group.switch(
        "--bias-trick",
        "append a feature that is always 1: the first layer learns a bias as a weight",
    )


def add_source_flags(group: Flags, default: str | None = "digits") -> None:
    """Add --data and what belongs to it; without a default data set, none of them has one."""
    group.value(
        "--data",
        str,
        "digits (embedded); mnist or fashion-mnist (from a folder of that name under "
        "$XPMLP_DATA, the cache, or downloaded); a folder of IDX files or one of images, "
        "gzipped or not; an .h5 or .hdf5 file; an .npz file",
        default,
        "NAME|PATH",
    )
    group.value(
        "--test-data", str, "a separate file of test examples, of the same format", metavar="PATH"
    )
    for letter, what in (("x", "features"), ("y", "labels")):
        group.value(
            f"--{letter}-key",
            str,
            f"of the {what} in HDF5 and npz",
            default and f"{letter}data",
            "KEY",
        )
    group.count("--classes", "how many there are, if not all occur in the training labels")
    group.choice(
        "--stream",
        ("auto", "yes", "no"),
        "leave the rows of an HDF5 file on disk and read them in pieces; auto: if they would "
        "fill more than half of the free memory",
        default and "auto",
    )


def add_split_flags(parser: argparse.ArgumentParser) -> None:
    """Add which training examples are used, and which of them are held out."""
    group = Flags(parser.add_argument_group("split"))
    group.count("--train-size", "use the first N training examples only (default: all)")
    group.value(
        "--val-size",
        whole_number,
        "examples held out for validation from the end of a seeded shuffle of the training set "
        "(default: a tenth of it, at most 10,000; 0: none)",
        metavar="N",
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
