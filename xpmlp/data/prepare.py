"""From a data set as it was read to one that can be trained on: split, and scaled alike."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np

from xpmlp.backends.alone import ALONE, Ranks
from xpmlp.data.dataset import Dataset
from xpmlp.data.examples import Examples
from xpmlp.data.normalization import fit_normalization
from xpmlp.data.shared import SharedExamples, rank_share
from xpmlp.data.stored import StoredExamples, stored
from xpmlp.data.streaming import StreamedExamples
from xpmlp.errors import DataError

# Rows whose features ranks compare, evenly spaced.
_LOOKED_AT = 64
# Of a file that is streamed no more than this is held out, unless more is asked for.
_HELD_OUT_BYTES = 64 * 2**20


def prepare(
    dataset: Dataset,
    *,
    normalize: str = "standard",
    bias_column: bool = False,
    train_size: int | None = None,
    val_size: int | None = None,
    seed: int = 0,
    ranks: Ranks = ALONE,
) -> Dataset:
    """Hold out a validation set, and scale all parts by numbers of the training part alone.

    `normalize`: "none", "unit", "standard" or "feature" (see `fit_normalization`), `bias_column`
    appends a feature that is always 1. The first `train_size` training examples are used (None:
    all); `val_size` of them are held out, from the end of a shuffle by `seed` (None: a tenth, at
    most 10,000, and of a file that is streamed at most 64 MiB; 0: none). A data set that has a
    validation set keeps it. Of several `ranks` each is left with its share of the rows.
    Raises `DataError` for sizes that leave nothing to train on, a second validation set, or a
    training part that cannot be scaled.

    >>> import xpmlp
    >>> data = prepare(xpmlp.read_data("digits"), normalize="unit", val_size=200)
    >>> len(data.train), len(data.validation), float(data.normalization.scale)
    (1237, 200, 16.0)
    """
    if ranks.count > 1:
        dataset = replace(dataset, train=stored(dataset.train))
    source = dataset.train.first(train_size)
    own = dataset.validation
    if own is not None and val_size:
        raise DataError("the data set has a validation set already: leave val_size out")
    size = _usual_val_size(source) if val_size is None and own is None else val_size
    train, validation = source.hold_out(size, seed) if size else (source, own)
    test = dataset.test
    if ranks.count > 1:
        train, validation = (some and shared_out(some, ranks) for some in (train, validation))
        checksums: dict[str, object] = {"the training data": _fingerprint(dataset.train)}
        if test is not None:
            checksums["the test data"] = _fingerprint(test)
            test = shared_out(stored(test), ranks)
        kind = (dataset.name, dataset.classes, dataset.train.features, dataset.maximum)
        ranks.check_alike({"the data set": kind} | checksums)
    scaling = fit_normalization(
        normalize, train.rows, dataset.maximum, bias_column=bias_column, ranks=ranks
    )
    train, validation, test = (
        some and some.normalized(scaling) for some in (train, validation, test)
    )
    return replace(dataset, train=train, validation=validation, test=test, normalization=scaling)


def _usual_val_size(source: Examples | StoredExamples | StreamedExamples) -> int:
    size = min(len(source) // 10, 10_000)
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
    labels = np.ascontiguousarray(examples.y[0:count])
    for row in sorted({count * part // _LOOKED_AT for part in range(_LOOKED_AT)}):
        total = crc32(np.ascontiguousarray(examples.x[row : row + 1]).tobytes(), total)
    return f"{count:,} examples, {crc32(labels.tobytes()):08x} {total:08x}"
