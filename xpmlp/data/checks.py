"""What features and labels must be, checked row by row, with errors that say where they are not.

Everything that is read passes here, whatever its format: in one piece where it is in memory,
piece by piece where it is not.
"""

from __future__ import annotations

from math import prod

import numpy as np

from xpmlp.errors import DataError

_NUMBERS, _TEXT = "biuf", "USO"


def checked_features(x: np.ndarray, place: str, first_row: int = 0) -> np.ndarray:
    """Return features as rows (N, F); raises `DataError` for another kind, or for NaN and infinity.

    `place` names the file and key, `first_row` the number of the first of these rows in it.
    """
    check_feature_kind(x.dtype, x.shape, place)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        row = int(np.argmin(np.isfinite(x.reshape(len(x), -1)).all(axis=1)))
        raise DataError(
            f"{place}: row {first_row + row} holds NaN or infinity: repair the row or leave it out"
        )
    return x.reshape(len(x), -1)


def check_feature_kind(dtype: np.dtype, shape: tuple[int, ...], place: str) -> None:
    """Raise `DataError` unless a type and a shape can be features: numbers by rows or images."""
    meaning = "features are rows (N, F), or images (N, H, W) or (N, H, W, channels)"
    _check_kind(dtype, shape, place, axes=(2, 3, 4), meaning=meaning)


def checked_ids(y: np.ndarray, place: str, first_row: int = 0) -> np.ndarray:
    """Return labels as class ids (N,) of int64, from ids (N,) or (N, 1) or one-hot rows (N, C).

    Raises `DataError` for negative or fractional ids and for rows that are not one-hot.
    """
    check_label_kind(y.dtype, y.shape, place)
    if y.ndim == 2 and y.shape[1] > 1:
        return _from_one_hot(y, place, first_row)
    ids = y.reshape(len(y))
    good = np.isfinite(ids) if ids.dtype.kind == "f" else np.ones(len(ids), dtype=bool)
    with np.errstate(invalid="ignore"):  # what is not finite is found by the mask
        good &= (ids >= 0) & (ids <= 2**31) & (ids == np.floor(ids))
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"{place}: row {first_row + row} has the label {ids[row]}: class ids are 0, 1, 2, ..."
        )
    return ids.astype(np.int64)


def check_label_kind(
    dtype: np.dtype, shape: tuple[int, ...], place: str, *, text: bool = False
) -> None:
    """Raise `DataError` unless a type and a shape can be labels, with `text` names as well."""
    meaning = "labels are class ids (N,) or (N, 1), or one-hot rows (N, C)"
    kinds = _NUMBERS + _TEXT * (text and prod(shape[1:]) == 1)
    _check_kind(dtype, shape, place, axes=(1, 2), meaning=meaning, kinds=kinds)


def checked_values(y: np.ndarray, place: str, first_row: int = 0) -> np.ndarray:
    """Return numbers as float64; raises `DataError` for NaN and infinity."""
    values = y.astype(np.float64)
    good = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not good.all():
        row = first_row + int(np.argmin(good))
        raise DataError(f"{place}: row {row} holds NaN or infinity: repair it or leave it out")
    return values


def _from_one_hot(y: np.ndarray, place: str, first_row: int) -> np.ndarray:
    ones, zeros = (y == 1).sum(axis=1), (y == 0).sum(axis=1)
    good = (ones == 1) & (zeros == y.shape[1] - 1)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"{place}: row {first_row + row} is not one-hot (it sums to {y[row].sum():g}): a row "
            "has a single 1 at its class and 0 elsewhere"
        )
    ids: np.ndarray = np.argmax(y, axis=1).astype(np.int64)
    return ids


def check_counts(x_rows: int, y_rows: int, x_place: str, y_place: str) -> None:
    """Raise `DataError` unless there is a label for every row of features."""
    if x_rows != y_rows:
        raise DataError(
            f"{x_place} has {x_rows} rows and {y_place} has {y_rows}: they do not belong together"
        )


def count_classes(present: np.ndarray, place: str, classes: int | None) -> int:
    """Return the number of classes, from the sorted ids that occur in the training labels.

    Raises `DataError` for an id beyond `classes`, and where `classes` is not given for a gap.
    """
    highest = int(present[-1])
    if classes is not None:
        if highest >= classes:
            raise DataError(
                f"{place}: a label is {highest}, and {classes} classes are 0 to {classes - 1}"
            )
        return classes
    if highest == 0:
        raise DataError(
            f"{place}: every label is 0, and there is nothing to tell apart: check the file, or "
            "say how many classes there are (classes=)"
        )
    if len(present) != highest + 1:
        missing = int(np.argmin(present == np.arange(len(present))))
        raise DataError(
            f"{place}: the labels go up to {highest} and none is {missing}: renumber the classes, "
            "or say how many there are (classes=)"
        )
    return highest + 1


def _check_kind(
    dtype: np.dtype,
    shape: tuple[int, ...],
    place: str,
    *,
    axes: tuple[int, ...],
    meaning: str,
    kinds: str = _NUMBERS,
) -> None:
    """Raise `DataError` unless these are rows of numbers, with one of so many axes."""
    if dtype.kind not in kinds:
        kind = {"O": "objects", "S": "text", "U": "text", "V": "records", "c": "complex numbers"}
        raise DataError(
            f"{place}: holds {kind.get(dtype.kind, str(dtype))}, not integers or floating-point "
            "numbers: convert it"
        )
    if len(shape) not in axes or 0 in shape[1:]:
        raise DataError(f"{place}: an array of shape {_shown(shape)}: {meaning}")
    if shape[0] == 0:
        raise DataError(f"{place}: no rows in it")


def _shown(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
