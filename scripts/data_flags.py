"""Flags for the data and its preparation, and the examples on the device that they stand for."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from command_line import message, positive

from xpmlp.backends import Backend
from xpmlp.backends.alone import ALONE, Ranks
from xpmlp.data import (
    Dataset,
    Normalization,
    Source,
    StreamedExamples,
    fit_normalization,
    load_data,
    shared_out,
)
from xpmlp.data.normalization import NORMALIZATIONS
from xpmlp.data.source import Unshared
from xpmlp.data.stored import stored
from xpmlp.errors import UsageError

# Rows whose features ranks compare, evenly spaced.
_LOOKED_AT = 64


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
    group.add_argument(
        "--classes",
        type=positive(int),
        metavar="N",
        help="how many there are, if not all occur in the training labels",
    )
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
    group.add_argument(
        "--train-size",
        type=positive(int),
        metavar="N",
        help="use the first N training examples only (default: all)",
    )
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


@dataclass(frozen=True)
class PreparedData:
    """A data set as the flags ask for it: split, scaled, on the device."""

    dataset: Dataset
    normalization: Normalization
    train: Source
    validation: Source | None
    test: Source | None


def load_source(arguments: argparse.Namespace, *, deferred: bool = False) -> Dataset:
    """Return the data set that --data and its flags name.

    `deferred` leaves the rows of an HDF5 file there until ranks read their own.
    """
    return load_data(
        arguments.data,
        test_source=arguments.test_data,
        x_key=arguments.x_key,
        y_key=arguments.y_key,
        classes=arguments.classes,
        stream={"auto": None, "yes": True, "no": False}[arguments.stream],
        deferred=deferred,
    )


def normalization_of(
    arguments: argparse.Namespace, dataset: Dataset, train: Source, ranks: Ranks = ALONE
) -> Normalization:
    """Return the scaling that the flags ask for, from training examples alone, of all ranks."""
    return fit_normalization(
        arguments.normalize,
        train.rows,
        dataset.maximum,
        bias_column=arguments.bias_trick,
        ranks=ranks,
    )


def prepare_data(arguments: argparse.Namespace, backend: Backend) -> PreparedData:
    """Load, split, scale and move the data; of several ranks each has its share."""
    if backend.ranks.count > 1:
        return _shared_data(arguments, backend)
    dataset = load_source(arguments)
    if arguments.stream == "auto" and isinstance(dataset.train, StreamedExamples):
        message(f"{arguments.data} is larger than half of the free memory: it is read from disk")
    # What was decided is part of the run: a stream has another order and another split.
    arguments.stream = "yes" if isinstance(dataset.train, StreamedExamples) else "no"
    source = dataset.train.first(arguments.train_size)
    train, validation = source.hold_out(_val_size(arguments, len(source)), arguments.seed)
    return _on_device(arguments, dataset, (train, validation, dataset.test), backend)


def _shared_data(arguments: argparse.Namespace, backend: Backend) -> PreparedData:
    """Do the same where ranks share the rows: split as one rank does, then read one's own."""
    if arguments.stream == "yes":
        raise UsageError(
            "ranks hold their share of the rows in memory, and --stream yes leaves them on disk, "
            "in an order and with a split of its own: start another run without it, with more "
            "ranks if the rows do not fit"
        )
    arguments.stream = "no"
    dataset, ranks = load_source(arguments, deferred=True), backend.ranks
    source = stored(dataset.train).first(arguments.train_size)
    parts = source.hold_out(_val_size(arguments, len(source)), arguments.seed)
    train, validation = (shared_out(part, ranks) if len(part) else None for part in parts)
    test = None if dataset.test is None else shared_out(stored(dataset.test), ranks)
    assert train is not None
    ranks.check_alike(
        {
            "the data set": (dataset.name, dataset.classes, train.features, dataset.maximum),
            "the training data": _fingerprint(dataset.train),
            "the test data": dataset.test and _fingerprint(dataset.test),
        }
    )
    # Nobody needs all rows any more.
    kept = replace(dataset, train=dataset.train.first(0), test=None)
    return _on_device(arguments, kept, (train, validation, test), backend)


def _on_device(
    arguments: argparse.Namespace,
    dataset: Dataset,
    parts: tuple[Source, Source | None, Source | None],
    backend: Backend,
) -> PreparedData:
    """Scale training, validation and test examples by the first of them, and move them."""
    normalization = normalization_of(arguments, dataset, parts[0], backend.ranks)
    train, validation, test = (
        part.normalized(normalization).to_device(backend) if part else None for part in parts
    )
    assert train is not None  # a split leaves some to train on
    return PreparedData(dataset, normalization, train, validation, test)


def _fingerprint(examples: Unshared) -> str:
    """Return the number of examples, and checksums of all labels and of some rows' features."""
    count, total = len(examples), 0
    labels = np.ascontiguousarray(examples.y[0:count])
    for row in sorted({count * part // _LOOKED_AT for part in range(_LOOKED_AT)}):
        total = crc32(np.ascontiguousarray(examples.x[row : row + 1]).tobytes(), total)
    return f"{count:,} examples, {crc32(labels.tobytes()):08x} {total:08x}"


def _val_size(arguments: argparse.Namespace, examples: int) -> int:
    if arguments.val_size is None:
        return min(examples // 10, 10_000)
    return int(arguments.val_size)
