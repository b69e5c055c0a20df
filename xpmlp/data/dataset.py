"""A data set on the host, and its examples on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.errors import DataError
from xpmlp.randomness import random_stream


@dataclass(frozen=True)
class Examples:
    """Features x (N, F) and targets y, on the host or on a device.

    Integer targets are class ids (N,); floating ones are rows (N, outputs): probabilities of
    classes, or the values of a regression.
    """

    x: Array
    y: Array

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def first(self, count: int | None) -> Self:
        """Return the first so many of them, or all for None."""
        if count is None or count >= len(self):
            return self
        return replace(self, x=self.x[:count, ...], y=self.y[:count, ...])

    def _target_dtype(self, backend: Backend) -> str:
        return "int64" if np.issubdtype(self.y.dtype, np.integer) else backend.dtype_name

    def to_device(self, backend: Backend) -> Self:
        """Copy them to the backend's device, features in its dtype."""
        return replace(
            self,
            x=backend.to_device(np.asarray(self.x, dtype=backend.dtype_name)),
            y=backend.to_device(np.asarray(self.y, dtype=self._target_dtype(backend))),
        )


@dataclass(frozen=True)
class Dataset:
    """Training and test examples as they were read.

    `classes` is how many there are, `image_shape` that of a row of x as a picture,
    `maximum` the largest value that a feature can have.
    """

    name: str
    train: Examples
    test: Examples
    classes: int
    image_shape: tuple[int, int]
    maximum: float

    @property
    def features(self) -> int:
        """Number of values of one example."""
        return int(self.train.x.shape[1])


def hold_out(examples: Examples, size: int, seed: int) -> tuple[Examples, Examples]:
    """Split (training, validation): `size` examples from the end of a seeded shuffle."""
    n = len(examples)
    if not 0 <= size < n:
        raise DataError(
            f"a validation set of {size} leaves no training example of {n}: choose less than {n}"
        )
    order = random_stream(seed, "validation").permutation(n)
    # The training part keeps the order of its file; batches are shuffled anyway.
    train, validation = np.sort(order[: n - size]), np.sort(order[n - size :])
    return (
        Examples(examples.x[train], examples.y[train]),
        Examples(examples.x[validation], examples.y[validation]),
    )
