"""A data set: training examples and, where there are any, test examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np

from xpmlp.data.checks import (
    check_counts,
    check_feature_kind,
    check_label_kind,
    check_test_ids,
    checked_features,
    checked_ids,
    count_classes,
)
from xpmlp.data.examples import Examples
from xpmlp.data.source import Unshared
from xpmlp.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Training and test examples as they were read, on the host or in a file.

    `classes` is how many there are, `image_shape` that of a row of x as a picture,
    `maximum` the largest value that a feature can have, None where its type does not tell.
    """

    name: str
    train: Unshared
    test: Unshared | None
    classes: int
    image_shape: tuple[int, int]
    maximum: float | None

    @property
    def features(self) -> int:
        """Number of values stored of one example."""
        return int(np.prod(self.train.x.shape[1:]))


@dataclass(frozen=True)
class Part:
    """Features and labels as they are stored, in memory or in an open file, and where that is."""

    x: Any
    y: Any
    x_place: str
    y_place: str


def make_dataset(
    name: str,
    train: Part,
    test: Part | None = None,
    *,
    classes: int | None = None,
    maximum: float | None = None,
) -> Dataset:
    """Check what was read and put a data set together; raises `DataError` naming the place."""
    examples = _checked(train)
    found = count_classes(np.unique(examples.y), train.y_place, classes)
    test_examples = None
    if test is not None:
        check_same_features(train.x.shape, test.x.shape, train.x_place, test.x_place)
        test_examples = _checked(test)
        check_test_ids(test_examples.y, found, test.y_place)
    return Dataset(
        name=name,
        train=examples,
        test=test_examples,
        classes=found,
        image_shape=image_shape(train.x.shape),
        maximum=maximum or type_maximum(examples.x.dtype),
    )


def dataset_of_arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    name: str = "arrays",
    classes: int | None = None,
) -> Dataset:
    """Return the data set of arrays in memory, of numpy, CuPy or any library with `__array__`.

    Features (N, F) or (N, H, W), labels (N,), (N, 1) or one-hot (N, C). They are checked as
    those of a file are; raises `DataError`.
    """
    test = None
    if (x_test is None) != (y_test is None):
        raise DataError("x_test and y_test belong together: give both or none")
    if x_test is not None:
        test = Part(_on_host(x_test), _on_host(y_test), "x_test", "y_test")
    train = Part(_on_host(x_train), _on_host(y_train), "x_train", "y_train")
    return make_dataset(name, train, test, classes=classes)


def _on_host(array: Any) -> np.ndarray:
    """Return an array of any library as numpy's, by whichever way it offers."""
    ways: tuple[Callable[[], Any], ...] = (
        lambda: array,
        lambda: array.get(),  # CuPy's refuse a silent copy to the host
        lambda: array.cpu().numpy(),  # torch's on a GPU
        lambda: np.from_dlpack(array),
    )
    for way in ways:
        try:
            return np.asarray(way())
        except (TypeError, AttributeError, ValueError, RuntimeError, BufferError):
            continue
    raise DataError(f"arrays of {type(array).__module__} cannot be copied to the host's memory")


def _checked(part: Part) -> Examples:
    check_feature_kind(part.x.dtype, part.x.shape, part.x_place)
    check_label_kind(part.y.dtype, part.y.shape, part.y_place)
    check_counts(len(part.x), len(part.y), part.x_place, part.y_place)
    return Examples(checked_features(part.x, part.x_place), checked_ids(part.y, part.y_place))


def check_same_features(
    train: tuple[int, ...], test: tuple[int, ...], train_place: str, test_place: str
) -> None:
    """Raise `DataError` unless training and test examples have as many features."""
    here, there = prod(train[1:]), prod(test[1:])
    if here != there:
        raise DataError(
            f"{train_place} has {here} features and {test_place} has {there}: they are not of one "
            "data set"
        )


def image_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of an example as a picture: its own, or a square, or one line."""
    if len(shape) == 3:
        return shape[1], shape[2]
    side = isqrt(shape[1])
    return (side, side) if side * side == shape[1] else (1, shape[1])


def type_maximum(dtype: np.dtype) -> float | None:
    """Return the largest value of a type that pictures are stored in, None for wider ones.

    Numbers of 32 and 64 bits do not tell their range; there the training set does.
    """
    if dtype.kind == "b":
        return 1.0
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" and dtype.itemsize <= 2 else None
