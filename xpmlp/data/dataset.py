"""A data set: training examples and, where there are any, validation and test examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isqrt, prod
from typing import Any, Self

import numpy as np

from xpmlp.backends import Backend
from xpmlp.backends.exchange import on_host
from xpmlp.data.checks import check_counts, check_feature_kind, check_label_kind, checked_features
from xpmlp.data.examples import Examples
from xpmlp.data.normalization import Normalization
from xpmlp.data.part import Part
from xpmlp.data.preparation import Preparation
from xpmlp.data.shared import SharedExamples
from xpmlp.data.streaming import StreamedExamples
from xpmlp.data.tables.encoding import Encoding
from xpmlp.data.tables.rows import TableExamples
from xpmlp.data.tables.streamed import StreamedTable
from xpmlp.data.tables.table import Table, is_frame, table_of
from xpmlp.data.targets import Targets, targets_of_arrays, targets_of_columns
from xpmlp.errors import DataError, UsageError
from xpmlp.parts import fits_in_memory, pieces

# Rows of fewer values are no pictures, even where they would make a square.
_SMALLEST_SIDE = 8


@dataclass(frozen=True, repr=False)
class Dataset:
    """Training, validation and test examples, on the host, in a file, or on a device.

    `name` is what reports call it, `targets` say what is to be predicted, `image_shape` is that of
    a row of x as a picture, None for rows that are none; `maximum` the largest value that a feature
    can have, None where its type does not tell. `normalization` scales all of them, once the data
    set is prepared, and `encoding` has made features of a table's columns; as it was read both are
    None.

    >>> digits = read_data("digits")
    >>> len(digits.train), len(digits.test), digits.classes, digits.image_shape
    (1437, 360, 10, (8, 8))
    """

    name: str
    train: Any
    test: Any = None
    targets: Targets | None = None
    image_shape: tuple[int, ...] | None = None
    maximum: float | None = None
    validation: Any = None
    normalization: Normalization | None = None
    encoding: Encoding | None = None

    def __repr__(self) -> str:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        rows = ", ".join(f"{len(part):,} {name}" for name, part in parts.items() if part)
        what = f"{self.outputs} outputs" + (f", {self.targets.task}" if self.targets else "")
        return f"<Dataset {self.name}: {rows}; {self.features} features, {what}>"

    @property
    def outputs(self) -> int:
        """Number of outputs that a network for it has: one per class, label or value."""
        return len(self.targets.names) if self.targets else 0

    @property
    def classes(self) -> int:
        """Number of classes, 0 where they are none."""
        classified = self.targets is not None and self.targets.task == "classification"
        return self.outputs if classified else 0

    @property
    def streamed(self) -> bool:
        """Whether the training examples stay in their file."""
        return isinstance(self.train, StreamedExamples | StreamedTable)

    @property
    def preparation(self) -> Preparation:
        """What other rows need before a network that was trained on these can take them."""
        scaling = self.normalization or getattr(self.train, "of_raw", None)
        scaling = scaling or getattr(self.train, "normalization", None) or Normalization()
        return Preparation(scaling, self.targets, self.encoding, self.image_shape)

    @property
    def features(self) -> int:
        """Number of values that the network is given of one example."""
        return int(self.train.features)

    def to_device(self, backend: Backend) -> Self:
        """Return it with its examples on a backend's device; those that are on one stay there."""
        return self.mapped(lambda part: part.to_device(backend))

    def mapped(self, of: Callable[[Any], Any]) -> Self:
        """Return it with a function of each of its parts."""
        parts = {name: getattr(self, name) for name in ("train", "validation", "test")}
        return replace(self, **{name: part and of(part) for name, part in parts.items()})


def make_dataset(
    name: str,
    parts: list[Part],
    *,
    classes: int | None = None,
    task: str | Targets | None = None,
    stream: bool | None = None,
    deferred: bool = False,
) -> Dataset:
    """Check what was read and put a data set together; raises `DataError` naming the place.

    `classes` says how many there are where not all occur; `task` what is to be predicted, one of
    "classification", "multilabel" and "regression", or the targets of another data set; without
    it the targets tell.

    Rows of a file are left there with `stream` (None: where they would fill more than half of the
    memory that is free); `deferred` leaves them there until it is known which are wanted.
    """
    train, *rest = parts
    if isinstance(train.x, Table):
        return _dataset_of_tables(name, parts, task)
    if train.in_file and stream is None and not deferred:
        stream = not fits_in_memory(sum(map(_bytes_in_memory, parts)))
    in_place = train.in_file and bool(stream or deferred)
    for part in parts:
        check_feature_kind(part.x.dtype, part.x.shape, part.x_place)
        check_label_kind(part.y.dtype, part.y.shape, part.y_place, text=True)
        check_counts(len(part.x), len(part.y), part.x_place, part.y_place)
    targets = (
        task
        if isinstance(task, Targets)
        else targets_of_arrays(train.y, train.y_place, task=task, classes=classes)
    )
    for test in rest:
        _check_same_features(train, test)
    if in_place:
        for part in parts:
            _scan(part, targets, labels_alone=deferred and not stream)
    sources: list[Any] = [
        _in_file(part, targets) if in_place else _in_memory(part, targets) for part in parts
    ]
    return Dataset(
        name=name,
        train=sources[0],
        test=sources[1] if rest else None,
        targets=targets,
        image_shape=_image_shape(train.x.shape),
        maximum=train.maximum or _type_maximum(train.x.dtype),
    )


def dataset_of_arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    name: str = "arrays",
    classes: int | None = None,
    task: str | None = None,
) -> Dataset:
    """Return the data set of arrays in memory, of numpy, CuPy or any library of the standard.

    `x_train` and `x_test`: features (N, F), images (N, H, W) or (N, H, W, channels), or data
    frames. `y_train` and `y_test`: labels (N,), (N, 1) or one-hot (N, C), names or numbers; of a
    regression values (N,) or (N, outputs). `name` is what reports call it; `classes` says how many
    there are where not all occur; `task` is "classification", "multilabel" or "regression", by
    default what the targets tell. The rows are checked as those of a file are, and raise
    `DataError`.

    >>> data = dataset_of_arrays(np.eye(4), np.array([0, 1, 2, 1]))
    >>> data.features, data.classes
    (4, 3)
    """
    if (x_test is None) != (y_test is None):
        raise DataError("x_test and y_test belong together: give both or none")
    parts = [_part(x_train, y_train, "x_train", "y_train")]
    if x_test is not None:
        parts.append(_part(x_test, y_test, "x_test", "y_test"))
    return make_dataset(name, parts, classes=classes, task=task)


def _part(x: Any, y: Any, x_place: str, y_place: str) -> Part:
    """Return features and targets that are in memory, on some device."""
    targets = _host(y)
    if not is_frame(x):
        return Part(_host(x), targets, x_place, y_place)
    table, rows = table_of(x, x_place), targets.reshape(len(targets), -1)
    check_counts(len(table), len(rows), x_place, y_place)
    names = tuple(map(str, getattr(y, "columns", ()))) or tuple(map(str, range(rows.shape[1])))
    return Part(table, rows, x_place, y_place, names=names)


def check_shared_out(examples: Any, ranks: int) -> None:
    """Raise `UsageError` for examples that each of several ranks would add to the same sum."""
    if ranks > 1 and not isinstance(examples, SharedExamples):
        raise UsageError(
            f"{ranks} ranks would each count all examples: share them out with "
            "xpmlp.data.shared_out(examples, backend.ranks), validation and test sets too"
        )


def _host(array: Any) -> np.ndarray:
    """Return an array of any library as numpy's, by whichever way it offers."""
    ways: tuple[Callable[[], Any], ...] = (
        lambda: array,
        lambda: array.get(),  # CuPy's refuse a silent copy to the host
        lambda: on_host(array),
    )
    for way in ways:
        try:
            return np.asarray(way())
        except (TypeError, AttributeError, ValueError, RuntimeError, BufferError):
            continue
    raise DataError(f"arrays of {type(array).__module__} cannot be copied to the host's memory")


def _dataset_of_tables(name: str, parts: list[Part], task: str | Targets | None) -> Dataset:
    """Return the data set of tables, whose columns are encoded when it is prepared."""
    train, targets = parts[0], task
    if not isinstance(targets, Targets):
        targets = targets_of_columns(train.y, train.names, train.y_place, targets)
    examples: list[Any] = []
    for part in parts:
        y = targets.encoded(part.y, part.y_place)
        if part.in_file:
            examples.append(StreamedTable(part.x, y, targets, ((0, len(y)),), part.apart))
        else:
            examples.append(TableExamples(part.x, y, part.apart))
    return Dataset(name, examples[0], examples[1] if len(parts) > 1 else None, targets)


def _in_memory(part: Part, targets: Targets) -> Examples:
    x = checked_features(part.x[:] if part.in_file else part.x, part.x_place)
    # A piece at a time: one-hot rows may be much wider than the features.
    y = [targets.encoded(part.y[rows], part.y_place, rows.start) for rows in _pieces_of(part.y)]
    return Examples(x, np.concatenate(y))


def _in_file(part: Part, targets: Targets) -> StreamedExamples:
    return StreamedExamples(
        part.x, part.y, part.x_place, part.y_place, ((0, len(part.x)),), targets
    )


def _pieces_of(*arrays: Any) -> Iterator[slice]:
    """Yield neighbouring rows of arrays, as many as are checked at a time."""
    # What is found of a value takes up to eight bytes, whatever it is stored in.
    return pieces(len(arrays[0]), 8 * sum(prod(array.shape[1:]) for array in arrays))


def _scan(part: Part, targets: Targets, *, labels_alone: bool) -> None:
    """Look at all rows, a piece at a time."""
    for rows in _pieces_of(part.y) if labels_alone else _pieces_of(part.y, part.x):
        if not labels_alone:
            checked_features(part.x[rows], part.x_place, rows.start)
        targets.encoded(part.y[rows], part.y_place, rows.start)


def _bytes_in_memory(part: Part) -> int:
    """Return what the examples take in memory: bytes as they are, wider types as float64."""
    rows, *row = part.x.shape
    return int(rows * (prod(row) * (1 if part.x.dtype.itemsize == 1 else 8) + 8))


def _check_same_features(train: Part, test: Part) -> None:
    here, there = prod(train.x.shape[1:]), prod(test.x.shape[1:])
    if here != there:
        raise DataError(
            f"{train.x_place} has {here} features and {test.x_place} has {there}: they are not of "
            "one data set"
        )


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape of an example as a picture: its own, or a square of 8 × 8 or more."""
    if len(shape) > 2:
        return shape[1:]
    side = isqrt(shape[1])
    return (side, side) if side * side == shape[1] and side >= _SMALLEST_SIDE else None


def _type_maximum(dtype: np.dtype) -> float | None:
    """Return the largest value of a type that pictures are stored in, None for wider ones.

    Numbers of 32 and 64 bits do not tell their range; there the training set does.
    """
    if dtype.kind == "b":
        return 1.0
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" and dtype.itemsize <= 2 else None
