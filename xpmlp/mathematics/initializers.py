"""Initial weights, drawn on the host from a seeded generator: the same on every backend.

Each initialiser draws a matrix (fan_in, fan_out) in float64; biases start at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt
from typing import TypeAlias

import numpy as np

Generator: TypeAlias = np.random.Generator
HostParams: TypeAlias = dict[str, np.ndarray]
Initializer: TypeAlias = Callable[[Generator, int, int], np.ndarray]


def uniform(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """U(−1, 1)."""
    return rng.uniform(-1, 1, (fan_in, fan_out))


def normal(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """N(0, 1)."""
    return rng.standard_normal((fan_in, fan_out))


def lecun_normal(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """N(0, 1/fan_in): deviation 1/√fan_in (LeCun et al. 1998, eq. 16)."""
    return rng.standard_normal((fan_in, fan_out)) / sqrt(fan_in)


def lecun_uniform(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """U(−r, r) of the same deviation: r = √(3/fan_in)."""
    return sqrt(3 / fan_in) * uniform(rng, fan_in, fan_out)


def xavier_uniform(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """U(−r, r) with r = √(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16)."""
    return sqrt(6 / (fan_in + fan_out)) * uniform(rng, fan_in, fan_out)


def xavier_normal(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12)."""
    return sqrt(2 / (fan_in + fan_out)) * normal(rng, fan_in, fan_out)


def he_normal(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """N(0, 2/fan_in), for ReLU (He et al. 2015, eq. 10)."""
    return sqrt(2 / fan_in) * normal(rng, fan_in, fan_out)


def he_uniform(rng: Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """U(−r, r) of the same deviation: r = √(6/fan_in)."""
    return sqrt(6 / fan_in) * uniform(rng, fan_in, fan_out)


# A name without a suffix is the form of its paper.
INITIALIZERS: dict[str, Initializer] = {
    "uniform": uniform,
    "normal": normal,
    "lecun": lecun_normal,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "xavier": xavier_uniform,
    "xavier_normal": xavier_normal,
    "xavier_uniform": xavier_uniform,
    "he": he_normal,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
}


def draw_parameters(rng: Generator, sizes: Sequence[int], initializer: Initializer) -> HostParams:
    """Draw the weights of every layer, in order, and set the biases to zero."""
    params = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        params[f"layer{layer}.weight"] = initializer(rng, fan_in, fan_out)
        params[f"layer{layer}.bias"] = np.zeros(fan_out)
    return params
