"""What the outputs of a network mean: classes, yes or no, or values, each by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Self

import numpy as np

from xpmlp.data.checks import check_label_kind, checked_ids, checked_values, count_classes
from xpmlp.data.normalization import Normalization
from xpmlp.errors import DataError, UsageError
from xpmlp.parts import pieces
from xpmlp.rules import RECORD, TEXT, checked, either, one_of, optional, several, whole

# A task, and the loss that suits it.
TASKS = {
    "classification": "cross_entropy",
    "multilabel": "binary_cross_entropy",
    "regression": "mean_squared_error",
}
# Whole numbers of a table with more different values than these are values, and no classes.
_MOST_CLASSES = 20
_RULES = {
    "task": one_of(*TASKS),
    "names": several(either(TEXT, whole(-(2**63)))),
    "scaling": optional(RECORD),
}


@dataclass(frozen=True)
class Targets:
    """`task` is a name in `TASKS`; `names` are those of the outputs: classes, labels, or values.

    Of a regression `scaling` makes of its values, one number per name, what the network is
    trained on; it is fitted on the training part.

    >>> Targets("classification", ("cat", "dog")).encoded(np.array(["dog", "cat"]), "pets")
    array([1, 0])
    """

    task: str
    names: tuple[str | int, ...]
    scaling: Normalization | None = None

    @property
    def loss(self) -> str:
        """The loss that suits the task."""
        return TASKS[self.task]

    @property
    def numbered(self) -> bool:
        """Whether the outputs have no other names than 0, 1, 2, ..."""
        return self.names == tuple(range(len(self.names)))

    def encoded(self, y: np.ndarray, place: str, first_row: int = 0) -> np.ndarray:
        """Return targets as they are trained on, values not scaled yet.

        Class ids (N,) of int64, or rows (N, outputs). `place` and `first_row` are for the
        errors: raises `DataError` for targets of another task, and for unknown classes.
        """
        check_label_kind(y.dtype, y.shape, place, text=True)
        if self.task == "classification":
            return self._class_ids(y, place, first_row)
        rows = checked_values(y, place, first_row).reshape(len(y), -1)
        if rows.shape[1] != len(self.names):
            raise DataError(
                f"{place}: {rows.shape[1]} targets in a row, and training has {len(self.names)}"
            )
        if self.task == "multilabel":
            good = ((rows == 0) | (rows == 1)).all(axis=1)
            if not good.all():
                row = int(np.argmin(good))
                raise DataError(
                    f"{place}: row {first_row + row} holds {rows[row].tolist()}: labels of a "
                    "multilabel task are 0 or 1"
                )
        return rows

    def empty(self, count: int) -> np.ndarray:
        """Return an array that holds so many encoded targets."""
        if self.task == "classification":
            return np.empty(count, dtype=np.int64)
        return np.empty((count, len(self.names)))

    def _class_ids(self, y: np.ndarray, place: str, first_row: int) -> np.ndarray:
        if self.numbered and y.dtype.kind in "biuf":
            ids = checked_ids(y, place, first_row)
            known, labels = ids < len(self.names), ids
        else:
            columns = y.reshape(len(y), -1)
            if columns.shape[1] > 1:
                raise DataError(f"{place}: {columns.shape[1]} labels in a row, and training has 1")
            labels = checked_names(columns[:, 0], place, first_row)
            names = as_names(np.array(self.names))
            order = np.argsort(names)
            if labels.dtype.kind != names.dtype.kind:
                labels, names = labels.astype(str), names.astype(str)
                order = np.argsort(names)
            at = np.minimum(np.searchsorted(names[order], labels), len(names) - 1)
            ids = order[at].astype(np.int64)
            known = names[ids] == labels
        if not known.all():
            row = int(np.argmin(known))
            few = ", ".join(map(str, self.names[:10]))
            classes = f"0 to {len(self.names) - 1}" if self.numbered else few
            raise DataError(
                f"{place}: row {first_row + row} has the label {labels[row]}, and the training set "
                f"has the classes {classes}"
            )
        return ids

    def decided(self, outputs: np.ndarray) -> np.ndarray:
        """Return what is predicted: names of classes (N,), labels 0 or 1, or values (N, outputs).

        `outputs` are probabilities (N, outputs), or values.
        """
        if self.task == "regression":
            return outputs
        if self.task == "multilabel":
            return (outputs > 0.5).astype(np.int64)
        found: np.ndarray = np.array(self.names)[outputs.argmax(axis=1)]
        return found

    def unscaled(self, outputs: np.ndarray) -> np.ndarray:
        """Return a regression's outputs as values in their own unit; others as they are."""
        if self.scaling is None:
            return outputs
        values: np.ndarray = outputs.astype(np.float64) * self.scaling.scale + self.scaling.shift
        return values

    def as_record(self) -> dict[str, Any]:
        """Return it as plain values, for a run's record."""
        scaling = self.scaling and self.scaling.as_record()
        return {"task": self.task, "names": list(self.names), "scaling": scaling}

    @classmethod
    def from_record(cls, record: object, outputs: int) -> Self:
        """Return what `as_record` wrote down, for a network of so many outputs.

        Raises `DataError` for what no targets are.
        """
        try:
            found = checked(record, _RULES)
        except ValueError as error:
            raise DataError(f"targets: {error}") from error
        if len(found["names"]) != outputs or len(set(map(type, found["names"]))) > 1:
            raise DataError(f"targets: {len(found['names'])} names for {outputs} outputs")
        scaling = found.get("scaling")
        own = Normalization.from_record(scaling, outputs) if scaling else None
        return cls(found["task"], tuple(found["names"]), own)

    def scaled_by(self, normalization: Normalization) -> Self:
        """Return them with the scaling of their values."""
        return replace(self, scaling=normalization)


def checked_names(labels: np.ndarray, place: str, first_row: int = 0) -> np.ndarray:
    """Return labels as `as_names` does; raises `DataError` where one is missing, or a fraction."""
    if labels.dtype.kind == "f":
        bad = ~np.isfinite(labels) | (labels != np.floor(labels))
    elif labels.dtype.kind == "O":
        bad = np.array([one is None or one != one for one in labels.tolist()], dtype=bool)
    else:
        bad = np.zeros(len(labels), dtype=bool)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{place}: row {first_row + row} has the label {labels[row]}: classes are whole "
            "numbers or texts; leave such rows out, or give the task regression"
        )
    try:
        return as_names(labels)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: a label is no text in UTF-8") from error


def as_names(labels: np.ndarray) -> np.ndarray:
    """Return labels as texts or as whole numbers, whatever holds them."""
    if labels.dtype.kind in "SO":
        texts = (one.decode() if isinstance(one, bytes) else str(one) for one in labels.tolist())
        return np.array(list(texts), dtype=str)
    return labels.astype(np.int64) if labels.dtype.kind in "biuf" else labels


def targets_of_arrays(
    y: Any, place: str, *, task: str | None = None, classes: int | None = None
) -> Targets:
    """Return what the targets of an array say of the outputs, looking through all of them once.

    Without a `task`: text and whole numbers are classes, others a regression. Raises `DataError`
    for targets that are neither, or that `classes` are too few for.
    """
    check_task(task)
    check_label_kind(y.dtype, y.shape, place, text=True)
    width = prod(y.shape[1:])
    if task is None:
        values = y.dtype.kind == "f" and _holds_fraction(y)
        task = "regression" if values else "classification"
    if task != "classification":
        if y.dtype.kind not in "biuf":
            raise DataError(f"{place}: holds text, and a {task} has numbers")
        targets = Targets(task, tuple(range(width)))
        for rows in pieces(len(y), 8 * width):
            targets.encoded(np.asarray(y[rows]), place, rows.start)
        return targets
    if y.dtype.kind in "biuf":
        found: set[int] = set()
        for rows in pieces(len(y), 8 * width):
            some = checked_ids(np.asarray(y[rows]), place, rows.start)
            found.update(np.unique(some).tolist())
        count = count_classes(np.array(sorted(found)), place, classes)
        return Targets(task, tuple(range(count)))
    return _of_classes(y, place)


def targets_of_columns(y: np.ndarray, names: tuple[str, ...], place: str, task: str | None) -> Any:
    """Return what the target columns of a table say of the outputs.

    Without a `task`: one column of text, of booleans or of at most 20 different whole numbers are
    classes, several columns of 0 and 1 labels, and other numbers a regression.
    """
    check_task(task)
    numbers = y.dtype.kind in "biuf"
    if task is None and len(names) > 1 and numbers:
        task = "multilabel" if np.isin(y, (0, 1)).all() else "regression"
    if task is None:
        few = not numbers or (not _holds_fraction(y) and len(np.unique(y)) <= _MOST_CLASSES)
        task = "classification" if few else "regression"
    if task == "classification" and len(names) > 1:
        raise DataError(f"{place}: several targets, and not all of them are numbers: choose one")
    if task == "classification":
        return _of_classes(y, place)
    if not numbers:
        raise DataError(f"{place}: holds text, and a {task} has numbers")
    targets = Targets(task, names)
    targets.encoded(y, place)
    return targets


def _of_classes(labels: Any, place: str) -> Targets:
    """Return the classes that occur in an array of names or numbers."""
    seen: set[Any] = set()
    for rows in pieces(len(labels), 64):
        some = np.asarray(labels[rows]).reshape(-1)
        seen.update(checked_names(some, place, rows.start).tolist())
    names = sorted(seen)
    if len(names) < 2:
        raise DataError(
            f"{place}: every label is {names[0]}, and there is nothing to tell apart: check the "
            "file"
        )
    return Targets("classification", tuple(names))


def _holds_fraction(y: Any) -> bool:
    return y.dtype.kind == "f" and any(map(_fractional, _numbers(y)))


def _fractional(y: np.ndarray) -> bool:
    finite = y[np.isfinite(y)]
    return bool((finite != np.floor(finite)).any())


def _numbers(y: Any) -> Iterator[np.ndarray]:
    for rows in pieces(len(y), 8 * prod(y.shape[1:])):
        yield np.asarray(y[rows])


def check_task(task: str | None) -> None:
    """Raise `UsageError` for a word that is no task."""
    if task is not None and task not in TASKS:
        raise UsageError(f"task {task!r} is not known: choose from {', '.join(TASKS)}")
