"""Flags for the data and its preparation, and the data sets that they stand for."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Collection
from typing import Any

from xpmlp.backends import Backend
from xpmlp.commands.command_line import message
from xpmlp.commands.flags import Flags
from xpmlp.commands.hyperparameters import layer_sizes
from xpmlp.data import Dataset, prepare, read_data, split
from xpmlp.data.normalization import NORMALIZATIONS
from xpmlp.data.part import COLUMNS, Keys
from xpmlp.data.tables.codes import INTERVALS
from xpmlp.data.tables.streamed import TableRows
from xpmlp.data.targets import TASKS, Targets
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
        "gzipped or not; a folder with a folder of image files per class; an .h5 or .hdf5 file; an "
        ".npz file; a table: .csv, .tsv, .parquet or .arrow",
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
    meanings = (
        "column of a table that is to be predicted, or several",
        "columns of a table to leave out",
        "columns of a table whose numbers stand for categories",
        "column of a table: rows with the same value of it are held out together, and it is no "
        "feature",
        "column of a table: the latest rows are the test set, those before them the validation set",
    )
    for name, meaning in zip(COLUMNS, meanings, strict=True):
        group.value(f"--{name}", column_names, meaning, metavar="COLUMN[,COLUMN,...]")
    group.value(
        "--image-size",
        layer_sizes,
        "pixels that image files are brought to, height and width or one number for both",
        metavar="N[,N]",
    )
    group.choice(
        "--task",
        TASKS,
        "what is to be predicted (default: what the targets tell: text and few whole numbers are "
        "classes, several columns of 0 and 1 labels, other numbers values)",
        None,
    )
    group.count("--classes", "how many there are, if not all occur in the training labels")
    group.choice(
        "--stream",
        ("auto", "yes", "no"),
        "leave the rows of an HDF5 file or a table on disk and read them in pieces; auto: if they "
        "would fill more than half of the free memory",
        default and "auto",
    )


def add_split_flags(parser: argparse.ArgumentParser) -> None:
    """Add which training examples are used, and which of them are held out."""
    group = Flags(parser.add_argument_group("split"))
    group.count("--train-size", "use the first N training examples only (default: all)")
    group.value(
        "--test-size",
        whole_number,
        "examples held out as a test set, where the data has none (default: a fifth, at most "
        "10,000; 0: none)",
        metavar="N",
    )
    group.value(
        "--val-size",
        whole_number,
        "examples held out for validation from the end of a seeded shuffle of the training set, "
        "of every class the same share (default: a tenth of it, at most 10,000; 0: none)",
        metavar="N",
    )


def add_code_flag(group: Flags) -> None:
    """Add how finely the numbers of a table are coded."""
    group.count(
        "--intervals",
        "between quantiles that a number of a table is coded by, at most (default: 16, or 2 where "
        "that suits the table better)",
    )


def add_weight_flag(group: Flags) -> None:
    """Add --class-weight."""
    group.choice(
        "--class-weight",
        ("balanced",),
        "let training examples of a class count the more, the rarer it is: all classes alike",
        None,
    )


def whole_number(text: str) -> int:
    """Parse 0, 1, 2, ..."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of examples")
    return int(text)


def read_source(
    arguments: argparse.Namespace, *, deferred: bool = False, targets: Targets | None = None
) -> Dataset:
    """Return the data set that --data and its flags name, as it is stored.

    `deferred` leaves the rows of an HDF5 file there until ranks read their own; `targets` are those
    that a network was trained on.
    """
    keys = {name: value for name in Keys._fields if (value := getattr(arguments, name, None))}
    return read_data(
        arguments.data,
        test_source=arguments.test_data,
        classes=arguments.classes,
        task=targets or arguments.task,
        deferred=deferred,
        **keys | {"stream": {"auto": None, "yes": True, "no": False}[arguments.stream]},
    )


def scaled(arguments: argparse.Namespace, dataset: Dataset, **sizes: Any) -> Dataset:
    """Return a data set scaled as the flags say, with nothing held out unless `sizes` say so."""
    return prepare(
        dataset,
        normalize=arguments.normalize,
        bias_column=arguments.bias_trick,
        class_weight=getattr(arguments, "class_weight", None),
        intervals=getattr(arguments, "intervals", None) or INTERVALS,
        **{"val_size": 0, "test_size": 0} | sizes,
    )


def prepare_data(
    arguments: argparse.Namespace,
    backend: Backend,
    usual: Callable[[Dataset], dict[str, Any]] | None = None,
) -> Dataset:
    """Read, split, scale and move the data; of several ranks each has its share.

    `usual` returns flags that suit what was read, of a table once its test set is held out.
    """
    shared = backend.ranks.count > 1
    if shared and arguments.stream == "yes":
        raise UsageError(
            "ranks hold their share of the rows in memory, and --stream yes leaves them on disk, "
            "in an order and with a split of its own: start another run without it, with more "
            "ranks if the rows do not fit"
        )
    dataset = read_source(arguments, deferred=shared)
    if not shared and arguments.stream == "auto" and dataset.streamed:
        message(f"{arguments.data} is larger than half of the free memory: it is read from disk")
    sizes, has_test = sizes_of(arguments), dataset.test is not None
    if usual is None and isinstance(dataset.train, TableRows):
        asked = {"normalize": arguments.normalize != "standard", "bias_trick": arguments.bias_trick}
        refuse_for_tables([name for name, is_asked in asked.items() if is_asked])
    if usual is not None:
        table = isinstance(dataset.train, TableRows)
        if table:
            dataset = split(dataset, seed=arguments.seed, **sizes | {"val_size": 0})
        vars(arguments).update(usual(dataset))
        sizes = {"val_size": arguments.val_size, "test_size": 0} if table else sizes_of(arguments)
    data = scaled(arguments, dataset, **sizes, seed=arguments.seed, ranks=backend.ranks)
    if data.encoding is not None and not getattr(arguments, "quiet", False):
        message(f"{data.encoding.summary()}\n{described(data)}")
    # What was decided is part of a run.
    arguments.test_size = 0 if data.test is None or has_test else len(data.test)
    return data.to_device(backend)


def sizes_of(arguments: argparse.Namespace) -> dict[str, int | None]:
    """Return which examples are used, and which of them are held out."""
    return {name: getattr(arguments, name) for name in ("train_size", "val_size", "test_size")}


def refuse_for_tables(given: Collection[str]) -> None:
    """Raise `UsageError` for a flag that is given and means nothing to a table."""
    for name in ("normalize", "bias_trick"):
        if name in given:
            raise UsageError(
                f"--{name.replace('_', '-')} means nothing to a table, whose columns are encoded: "
                "leave it out"
            )


def described(data: Dataset) -> str:
    """Return a line of what is to be predicted, and from how many rows."""
    targets = data.targets
    assert targets is not None, "what is read says what is to be predicted"
    names = ", ".join(map(str, targets.names[:5])) + (", ..." if len(targets.names) > 5 else "")
    what = {
        "classification": f"{len(targets.names)} classes ({names})",
        "multilabel": f"labels ({names})",
        "regression": f"values ({names})",
    }[targets.task]
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    rows = ", ".join(f"{len(part):,} {name}" for name, part in parts.items() if part is not None)
    return f"to predict: {what}; rows: {rows}"


def column_names(text: str) -> tuple[str, ...]:
    """Parse names of columns, separated by commas."""
    return tuple(next(csv.reader([text])))
