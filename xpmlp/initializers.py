"""Initial weights, drawn on the host from a seeded generator: the same on every backend.

Each initialiser draws a matrix (fan_in, fan_out) in float64; biases start at zero.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

Initializer = Callable[[np.random.Generator, int, int], np.ndarray]


def xavier_uniform(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """U(−r, r) with r = √(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16)."""
    limit = sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


INITIALIZERS: dict[str, Initializer] = {
    "xavier": xavier_uniform,
}
