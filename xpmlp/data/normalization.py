"""Scaling of features: its numbers come from the training set and serve every set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from xpmlp.arrays import Array, Namespace, elementwise
from xpmlp.backends import Backend
from xpmlp.backends.alone import ALONE, Ranks
from xpmlp.errors import DataError, UsageError
from xpmlp.parts import pieces
from xpmlp.rules import ABOVE_0, BOOLEAN, FINITE, checked, either, several

NORMALIZATIONS = ("none", "unit", "standard", "feature")

_RULES = {
    "shift": either(FINITE, several(FINITE)),
    "scale": either(ABOVE_0, several(ABOVE_0)),
    "bias_column": BOOLEAN,
}
_EPSILON = float(np.finfo(np.float64).eps)
# Values that are added up in a chain, at most: so much can rounding grow.
_CHAIN = 2048


class Rows(Protocol):
    """Rows of features, in memory or in a file: whatever has a length and can be sliced."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


@dataclass(frozen=True)
class _Scaling:
    """What is done to every value: whether it is shifted and scaled, and by one scale or many."""

    dtype: Any
    shifts: bool
    scales: bool
    per_feature: bool

    __name__ = "scaling"

    def __call__(self, x: Array, shift: Any, scale: Any, *, xp: Namespace) -> Array:
        scaled = xp.astype(x, self.dtype)
        if self.shifts:
            scaled -= shift
        if self.scales:
            scaled *= 1.0 / scale if self.per_feature else scale
        return scaled


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
        scale, per_feature = self.scale, not isinstance(self.scale, float | int)
        if not per_feature:  # of two plain numbers CuPy would make one of half precision
            scale = 1.0 / scale
        scaling = _Scaling(dtype, not _is(self.shift, 0), not _is(self.scale, 1), per_feature)
        scaled = elementwise(scaling, x, self.shift, scale, xp=xp)
        if self.bias_column:
            ones = xp.ones((x.shape[0], 1), dtype=dtype)
            scaled = xp.concat([scaled, ones], axis=-1)
        return scaled

    @property
    def is_extreme(self) -> bool:
        """Whether float32 cannot hold what dividing by the scale passes through."""
        scale = np.abs(self.scale)
        return bool(np.any((scale < 1e-30) | (scale > 1e30)))

    def applied_on_host(self, x: np.ndarray, dtype: str) -> tuple[np.ndarray, Self]:
        """Return features scaled in float64, and what is left to do to them."""
        scaled = (x.astype(np.float64) - self.shift) / self.scale
        return scaled.astype(dtype), replace(self, shift=0.0, scale=1.0)

    def as_record(self) -> dict[str, Any]:
        """Return it as plain numbers and lists, for a run's record."""
        shift, scale = (np.asarray(value).tolist() for value in (self.shift, self.scale))
        return {"shift": shift, "scale": scale, "bias_column": self.bias_column}

    @classmethod
    def from_record(cls, record: object, features: int) -> Self:
        """Return what `as_record` wrote down, for a network of so many features.

        Raises `DataError` for numbers that no scaling has, or are not one per feature.
        """
        try:
            found = checked(record, _RULES)
        except ValueError as error:
            raise DataError(f"normalization: {error}") from error
        width = features - found["bias_column"]
        for name in ("shift", "scale"):
            if isinstance(found[name], list) and len(found[name]) != width:
                raise DataError(
                    f"normalization: {len(found[name])} numbers of {name} for {width} features"
                )
        shift, scale = (
            np.array(value) if isinstance(value, list) else float(value)
            for value in (found["shift"], found["scale"])
        )
        return cls(shift, scale, found["bias_column"])


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
    to divide by, or nothing finite.
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
    with np.errstate(over="ignore", invalid="ignore"):
        mean, count = _mean_of(lambda piece: piece, x_train, per_feature, ranks)
        variance, _ = _mean_of(lambda piece: np.square(piece - mean), x_train, per_feature, ranks)
        scale = np.sqrt(variance)
    if not np.isfinite(scale).all():
        raise DataError(
            "the features are too large for their deviation to be computed in float64: divide "
            "them by a large number first, or use the normalisation none"
        )
    # The mean of equal values is off by its rounding, and so is their deviation.
    changes = scale > _EPSILON * (_CHAIN + count / _CHAIN) * np.abs(mean)
    if not np.any(changes):
        raise DataError(
            f"every row has the same value{'s' if per_feature else f' {float(mean[0]):g}'}, as "
            "far as float64 tells, and there is no deviation to divide by: check the file, or use "
            "the normalisation none"
        )
    if per_feature:
        return Normalization(mean, np.where(changes, scale, 1.0), bias_column)
    return Normalization(float(mean[0]), float(scale[0]), bias_column)


def _mean_of(
    value: Callable[[np.ndarray], np.ndarray], x: Rows, per_feature: bool, ranks: Ranks
) -> tuple[np.ndarray, float]:
    """Return the mean of a function of all values (1,), or of each feature's (F,), and of how many.

    Values are taken as float64 whatever they are stored as: the same numbers have the same mean.
    """
    axis = 0 if per_feature else None
    total, count = np.zeros(_width(x) if per_feature else 1), 0
    for piece in _pieces(x):
        total += np.sum(value(piece), axis=axis)
        count += len(piece) if per_feature else piece.size
    *sums, count = ranks.sum(np.append(total, count))
    return np.array(sums) / count, float(count)


def _width(x: Rows) -> int:
    return int(np.prod(np.asarray(x[0:0]).shape[1:]))


def _pieces(x: Rows) -> Iterator[np.ndarray]:
    for rows in pieces(len(x), 8 * _width(x)):
        piece = np.ascontiguousarray(x[rows], dtype=np.float64)
        yield piece.reshape(len(piece), -1)
