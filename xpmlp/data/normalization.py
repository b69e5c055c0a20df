"""Scaling of features; its two numbers come from the training set and serve every set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpmlp.data.dataset import Examples
from xpmlp.errors import DataError, UsageError

NORMALIZATIONS = ("none", "unit", "standard")

# Rows at a time, so that statistics of bytes need no float64 copy of the whole set.
_PIECE = 2048


@dataclass(frozen=True)
class Normalization:
    """x ← (x − shift) / scale."""

    shift: float
    scale: float

    def apply(self, x: np.ndarray, dtype: str) -> np.ndarray:
        """Return the scaled features in a floating dtype."""
        scaled = x.astype(dtype)
        if self.shift:
            scaled -= self.shift
        if self.scale != 1:
            scaled /= self.scale
        return scaled

    def apply_to(self, examples: Examples, dtype: str) -> Examples:
        """Return examples with scaled features."""
        return Examples(self.apply(examples.x, dtype), examples.y)


def fit_normalization(kind: str, x_train: np.ndarray, maximum: float) -> Normalization:
    """Choose shift and scale: "none" (0, 1), "unit" (0, maximum), "standard" (mean, std).

    Mean and standard deviation are two scalars over all values of the training features
    (LeCun et al. 1998, section 4.3). Raises `DataError` where all values are the same.
    """
    if kind == "none":
        return Normalization(0.0, 1.0)
    if kind == "unit":
        return Normalization(0.0, float(maximum))
    if kind != "standard":
        raise UsageError(
            f"normalisation {kind!r} is not known: choose from {', '.join(NORMALIZATIONS)}"
        )
    pieces = [x_train[i : i + _PIECE] for i in range(0, len(x_train), _PIECE)]
    mean = sum(float(np.sum(piece, dtype=np.float64)) for piece in pieces) / x_train.size
    variance = sum(float(np.sum(np.square(piece - mean))) for piece in pieces) / x_train.size
    if variance == 0:
        raise DataError(
            f"every feature value is {mean:g}, so there is no standard deviation to divide by: "
            "check the file, or use the normalisation none"
        )
    return Normalization(mean, variance**0.5)
