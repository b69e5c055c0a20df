"""Flags for the data and its preparation, and the examples on the device that they stand for."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from command_line import positive

from xpmlp.backends import Backend
from xpmlp.data import (
    Dataset,
    Examples,
    Normalization,
    fit_normalization,
    hold_out,
    load_data,
)


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add --data and how its features are scaled."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        default="digits",
        metavar="NAME|PATH",
        help="digits (embedded), mnist (from $XPMLP_DATA/mnist, the cache, or downloaded), or a "
        "folder of IDX files, gzipped or not",
    )
    group.add_argument(
        "--normalize",
        default="standard",
        choices=("none", "unit", "standard"),
        help="features as they are, divided by their type's maximum, or (x - mean) / std with "
        "the two scalars of the training set",
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
        type=int,
        metavar="N",
        help="examples held out for validation from the end of a seeded shuffle of the training "
        "set (default: a tenth of it; 0: none)",
    )


@dataclass(frozen=True)
class PreparedData:
    """A data set as the flags ask for it: split, scaled, on the device."""

    dataset: Dataset
    normalization: Normalization
    train: Examples
    validation: Examples
    test: Examples


def prepare_data(arguments: argparse.Namespace, backend: Backend) -> PreparedData:
    """Load, split and scale the data; the scaling is that of the training part alone."""
    dataset = load_data(arguments.data)
    source = dataset.train.first(arguments.train_size)
    val_size = len(source) // 10 if arguments.val_size is None else arguments.val_size
    train, validation = hold_out(source, val_size, arguments.seed)
    normalization = fit_normalization(arguments.normalize, train.x, dataset.maximum)
    parts = [
        normalization.apply_to(part, backend.dtype_name).to_device(backend)
        for part in (train, validation, dataset.test)
    ]
    return PreparedData(dataset, normalization, *parts)
