"""A data set dealt into folds: each is left out once, and validates what trains on the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xpmlp.backends import Backend
from xpmlp.data.dataset import Dataset
from xpmlp.data.held_out import fold_rows, left_by_folds


def folded(data: Dataset, folds: int, seed: int, backend: Backend) -> list[Dataset]:
    """Return for each fold the data set that trains on the others and is validated on it.

    `data` is on the backend's device. Of every class about the same share is in each fold. All
    train on as many examples, so that their steps are the same: beside a fold that is smaller by
    one, the last one is left out. Raises `DataError` as `fold_rows` does.
    """
    examples, count = data.train, len(data.train)
    integral = backend.xp.isdtype(examples.y.dtype, "integral")
    classes = backend.to_host(examples.y) if integral else None
    found = []
    for held in fold_rows(count, folds, seed, classes):
        kept = np.setdiff1d(np.arange(count), held)[: left_by_folds(count, folds)]
        with backend.computing():
            train, validation = (
                examples.take(backend.to_device(some), backend) for some in (kept, held)
            )
        found.append(replace(data, train=train, validation=validation))
    return found
