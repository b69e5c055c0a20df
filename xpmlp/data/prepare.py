"""From a data set as it was read to one that can be trained on: split, and scaled alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np

from xpmlp.backends.alone import ALONE, Ranks
from xpmlp.data.dataset import Dataset, dataset_of_arrays
from xpmlp.data.examples import Examples
from xpmlp.data.normalization import fit_normalization
from xpmlp.data.preparation import Preparation
from xpmlp.data.shared import SharedExamples, rank_share
from xpmlp.data.stored import StoredExamples, stored
from xpmlp.data.streaming import StreamedExamples
from xpmlp.data.tables.codes import INTERVALS
from xpmlp.data.tables.encoding import fit_encoding
from xpmlp.data.tables.streamed import TableRows
from xpmlp.data.targets import Targets, as_names
from xpmlp.errors import DataError, UsageError
from xpmlp.rules import check, one_of, optional, whole

# Rows whose features ranks compare, evenly spaced.
_LOOKED_AT = 64
# Of a file that is streamed no more than this is held out, unless more is asked for.
_HELD_OUT_BYTES = 64 * 2**20


def split(
    dataset: Dataset,
    *,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Hold out what is not trained on, as `prepare` does, and leave all of it as it was read."""
    if not isinstance(dataset, Dataset):
        raise UsageError(
            f"dataset is a {type(dataset).__name__}: give what read_data or dataset_of_arrays "
            "returns; load_data reads and prepares a file"
        )
    for name, size in (("train", train_size), ("val", val_size), ("test", test_size)):
        check(f"{name}_size", size, optional(whole(0)))
    source, own, test = dataset.train.first(train_size), dataset.validation, dataset.test
    if own is not None and val_size:
        raise DataError("the data set has a validation set already: leave val_size out")
    if test is not None and test_size:
        raise DataError("the data set has a test set already: leave test_size out")
    if test is None and test_size is None:
        test_size = _usual_size(source, 5)
    if test_size:
        source, test = source.hold_out(test_size, seed)
    if own is None and val_size is None:
        val_size = _usual_size(source, 10)
    train, validation = source.hold_out(val_size, seed) if val_size else (source, own)
    return replace(dataset, train=train, validation=validation, test=test)


def prepare(
    dataset: Dataset,
    *,
    normalize: str = "standard",
    bias_column: bool = False,
    class_weight: str | None = None,
    intervals: int = INTERVALS,
    seed: int = 0,
    ranks: Ranks = ALONE,
    **sizes: int | None,
) -> Dataset:
    """Hold out what is not trained on, and scale all parts by numbers of the training part alone.

    `normalize`: "none", "unit", "standard" or "feature" (see `fit_normalization`), `bias_column`
    appends a feature that is always 1; the columns of a table are encoded in place of that (see
    `Encoding`), numbers by at most so many `intervals` between quantiles, and the values of a
    regression scaled to mean 0 and deviation 1. `class_weight` "balanced" lets every training
    example of a class with n of N examples and K classes count N / (K n) times.
    `sizes`: the first `train_size` training examples are used (None: all); `test_size` of them are
    held out as a test set where there is none (None: a fifth; 0: none), then `val_size` for
    validation (None: a tenth; 0: none), by default at most 10,000, and of a file that is streamed
    at most 64 MiB; each from the end of a shuffle by `seed`, of every class the same share. A
    data set that has a validation set keeps it. Of several `ranks` each is left with its share of
    the rows.
    Raises `DataError` for sizes that leave nothing to train on, a second validation or test set,
    or a training part that cannot be scaled, `UsageError` for anything but a data set.

    >>> import xpmlp
    >>> data = prepare(xpmlp.read_data("digits"), normalize="unit", val_size=200)
    >>> len(data.train), len(data.validation), float(data.normalization.scale)
    (1237, 200, 16.0)
    """
    if ranks.count > 1:
        if dataset.streamed and isinstance(dataset.train, TableRows):
            raise UsageError(
                "ranks hold their share of the rows in memory: read the table with stream=False"
            )
        dataset = replace(dataset, train=stored(dataset.train))
    parts = split(dataset, seed=seed, **sizes)
    encoding = None
    if isinstance(parts.train, TableRows):
        encoding = fit_encoding(parts.train.sample, intervals)
        parts = parts.mapped(lambda some: some.encoded(encoding))
        normalize, bias_column = "none", False
    if ranks.count > 1:
        parts = _shared_parts(parts, parts if encoding else dataset, ranks)
    train, targets = parts.train, dataset.targets
    scaling = fit_normalization(
        normalize, train.rows, dataset.maximum, bias_column=bias_column, ranks=ranks
    )
    if targets is not None and targets.task == "regression":
        values = fit_normalization("feature", train.target_rows, None, ranks=ranks)
        targets = replace(targets, scaling=values)
    own = Preparation(scaling, targets, encoding)
    parts = parts.mapped(own.applied)
    if class_weight is not None:
        check("class_weight", class_weight, one_of("balanced"))
        parts = replace(parts, train=_balanced(parts.train, targets))
    return replace(parts, normalization=scaling, targets=targets, encoding=encoding)


def _balanced(train: Any, targets: Targets | None) -> Examples:
    """Return training examples that count more in rarer classes."""
    if not isinstance(train, Examples) or targets is None or targets.task != "classification":
        raise UsageError("class_weight is for examples of classes in memory: leave it out")
    counts = np.bincount(train.y, minlength=len(targets.names))
    weights = len(train) / (len(counts) * np.maximum(counts, 1))
    return replace(train, sample_weight=weights[train.y])


def _shared_parts(parts: Dataset, whole: Dataset, ranks: Ranks) -> Dataset:
    """Leave each rank its share, where all have read the same."""
    checksums: dict[str, object] = {"the training data": _fingerprint(whole.train)}
    if whole.test is not None:
        checksums["the test data"] = _fingerprint(whole.test)
    kind = (whole.name, whole.outputs, whole.train.features, whole.maximum)
    ranks.check_alike({"the data set": kind} | checksums)
    return parts.mapped(lambda some: shared_out(stored(some), ranks))


def _usual_size(source: Any, share: int) -> int:
    """Return how many examples are held out: one in so many, at most 10,000."""
    size = min(len(source) // share, 10_000)
    if isinstance(source, StreamedExamples):  # those that are held out are kept in memory
        size = min(size, _HELD_OUT_BYTES // max(1, source.x.dtype.itemsize * source.features))
    return size


def shared_out(examples: Examples | StoredExamples, ranks: Ranks) -> SharedExamples:
    """Return this rank's share of examples, on the host."""
    if isinstance(examples, StoredExamples):
        return examples.read_share(ranks)
    return rank_share(examples, ranks)


def _fingerprint(examples: Examples | StoredExamples) -> str:
    """Return the number of examples, and checksums of all labels and of some rows' features."""
    count, total = len(examples), 0
    labels = np.asarray(examples.y[0:count])
    if labels.dtype.kind == "O":  # the texts, and not where in memory each lies
        labels = np.char.encode(as_names(labels), "utf-8")
    for row in sorted({count * part // _LOOKED_AT for part in range(_LOOKED_AT)}):
        total = crc32(np.ascontiguousarray(examples.x[row : row + 1]).tobytes(), total)
    return f"{count:,} examples, {crc32(np.ascontiguousarray(labels).tobytes()):08x} {total:08x}"


def as_dataset(data: Any) -> Dataset:
    """Return a data set as it is, that of training examples alone, or that of a pair (x, y).

    A pair is prepared: scaled, with a tenth held out for validation. Raises `UsageError` for
    anything else, `DataError` for arrays that cannot be examples.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return prepare(dataset_of_arrays(*data), test_size=0)
    if not hasattr(data, "batches"):
        raise UsageError(
            f"data is a {type(data).__name__}: give a data set, such as load_data(path, ...), or a "
            "pair of arrays (x, y)"
        )
    return Dataset("examples", data)
