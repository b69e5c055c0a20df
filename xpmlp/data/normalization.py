"""Scaling of features: its numbers come from the training set and serve every set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from xpmlp.arrays import Array, Namespace
from xpmlp.backends import Backend
from xpmlp.backends.alone import ALONE, Ranks
from xpmlp.errors import DataError, UsageError

NORMALIZATIONS = ("none", "unit", "standard", "feature")

# Rows at a time: statistics of bytes need no float64 copy of the whole set.
_PIECE = 2048


class Rows(Protocol):
    """Rows of features, in memory or in a file: whatever has a length and can be sliced."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


@dataclass(frozen=True)
class Normalization:
    """x ← (x − shift) / scale, with scalars or with arrays (F,).

    With `bias_column` a feature that is always 1 follows: the bias trick, by which the first
    layer's weights hold another bias in their last row.
    """

    shift: float | Array = 0.0
    scale: float | Array = 1.0
    bias_column: bool = False

    def width(self, features: int) -> int:
        """Return how many features the network is given for so many that are stored."""
        return features + self.bias_column

    def to_device(self, backend: Backend) -> Self:
        """Return it with its arrays, if it has any, on the backend's device."""
        moved = {
            name: backend.to_device(value)
            for name in ("shift", "scale")
            if isinstance(value := getattr(self, name), np.ndarray)
        }
        return replace(self, **moved) if moved else self

    def apply(self, x: Array, dtype: Any, *, xp: Namespace) -> Array:
        """Return stored features (N, F) as the network is given them; x stays as it is."""
        scaled = xp.astype(x, dtype)
        if not _is(self.shift, 0):
            scaled -= self.shift
        if not _is(self.scale, 1):
            scaled *= 1.0 / self.scale
        if self.bias_column:
            ones = xp.ones((x.shape[0], 1), dtype=dtype)
            scaled = xp.concat([scaled, ones], axis=-1)
        return scaled

    def applied_on_host(self, x: np.ndarray, dtype: str) -> tuple[np.ndarray, Self]:
        """Return features scaled in float64, and what is left to do to them."""
        scaled = (x.astype(np.float64) - self.shift) / self.scale
        return scaled.astype(dtype), replace(self, shift=0.0, scale=1.0)

    def as_record(self) -> dict[str, Any]:
        """Return it as plain numbers and lists, for a run's record."""
        shift, scale = (np.asarray(value).tolist() for value in (self.shift, self.scale))
        return {"shift": shift, "scale": scale, "bias_column": self.bias_column}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return what `as_record` wrote down."""
        shift, scale = (
            np.array(value) if isinstance(value, list) else float(value)
            for value in (record["shift"], record["scale"])
        )
        return cls(shift, scale, bool(record["bias_column"]))


def _is(value: float | Array, number: int) -> bool:
    return isinstance(value, float | int) and value == number


def fit_normalization(
    kind: str,
    x_train: Rows,
    maximum: float | None,
    *,
    bias_column: bool = False,
    ranks: Ranks = ALONE,
) -> Normalization:
    """Choose shift and scale from rows of training features, read a piece at a time.

    "none": (0, 1). "unit": (0, maximum), with None the largest |x| of these rows. "standard":
    mean and standard deviation of all values, two scalars (LeCun et al. 1998, section 4.3).
    "feature": mean and deviation of each feature; one that never changes is only shifted.
    Where `ranks` share the rows, each gives its own. Raises `DataError` where there is nothing
    to divide by.
    """
    if kind == "none":
        return Normalization(bias_column=bias_column)
    if kind == "unit":
        own = (float(np.abs(piece).max()) for piece in _pieces(x_train))
        largest = maximum or ranks.largest(max(own, default=0.0))
        if largest == 0:
            raise DataError("every value is 0, and there is no largest to divide by")
        return Normalization(0.0, float(largest), bias_column)
    if kind not in NORMALIZATIONS:
        known = ", ".join(NORMALIZATIONS)
        raise UsageError(f"normalisation {kind!r} is not known: choose from {known}")
    per_feature = kind == "feature"
    mean = _mean_of(lambda piece: piece, x_train, per_feature, ranks)
    variance = _mean_of(lambda piece: np.square(piece - mean), x_train, per_feature, ranks)
    if not np.any(variance):
        raise DataError(
            f"every row has the same value{'s' if per_feature else f' {mean:g}'}, and there is no "
            "deviation to divide by: check the file, or use the normalisation none"
        )
    scale = np.sqrt(variance)
    if per_feature:
        return Normalization(mean, np.where(scale > 0, scale, 1.0), bias_column)
    return Normalization(float(mean), float(scale), bias_column)


def _mean_of(
    value: Callable[[np.ndarray], np.ndarray], x: Rows, per_feature: bool, ranks: Ranks
) -> np.ndarray | float:
    """Return the mean of a function of all values, or of each feature's, in float64."""
    axis = 0 if per_feature else None
    width = int(np.prod(np.asarray(x[0:0]).shape[1:])) if per_feature else 1
    total, count = np.zeros(width), 0
    for piece in _pieces(x):
        total += np.sum(value(piece), axis=axis, dtype=np.float64)
        count += len(piece) if per_feature else piece.size
    *sums, count = ranks.sum(np.append(total, count))
    mean: np.ndarray = np.array(sums) / count
    return mean if per_feature else float(mean[0])


def _pieces(x: Rows) -> Iterator[np.ndarray]:
    for start in range(0, len(x), _PIECE):
        piece = np.asarray(x[start : min(start + _PIECE, len(x))])
        yield piece.reshape(len(piece), -1)
