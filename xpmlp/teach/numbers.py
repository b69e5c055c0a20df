"""When two arrays of numbers are the same, and how they differ where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np

# Of single precision what comes out of a few products is right to a thousandth at least.
_TOLERANCE = {"float64": 1e-6, "float32": 2e-3, "float16": 5e-2}


def tolerance_of(*arrays: Any) -> float:
    """Return how far numbers of the coarsest of these types may be off."""
    kinds = [np.asarray(array).dtype.name for array in arrays]
    return max(_TOLERANCE.get(kind, 1e-6) for kind in kinds) if kinds else 1e-6


def same(found: Any, expected: Any, tolerance: float) -> bool:
    """Tell whether arrays are of one shape, and the same beside the largest number."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False
    if not found.size:
        return True
    off = float(np.abs(found - expected).max())
    return off <= tolerance * float(np.abs(expected).max()) + 1e-12


def worst(found: np.ndarray, expected: np.ndarray, name: str) -> str:
    """Return a sentence about the entry that is furthest off."""
    if found.shape != expected.shape:
        return f"{name} has the shape {found.shape}, and {expected.shape} is expected"
    if not np.isfinite(found).all():
        return f"{name} holds NaN or infinity"
    at = np.unravel_index(int(np.abs(found - expected).argmax()), found.shape)
    place = ", ".join(map(str, at))
    return f"{name}[{place}] is {found[at]:.6g}, and {expected[at]:.6g} is right"
