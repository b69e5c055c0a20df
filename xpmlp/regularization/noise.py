"""Gaussian noise from counters: functions of a key, no state, no host, as dropout masks are."""

from __future__ import annotations

from math import pi

from xpmlp.arrays import Array, Namespace, elementwise
from xpmlp.counters import random_bits


def gaussian_noise(
    key: Array, like: Array, deviation: float | Array, rows: Array, *, xp: Namespace
) -> Array:
    """Return ε (..., N, units) with mean 0 and a standard deviation, in the dtype of `like`.

    `like` is (..., N, units), `key` a uint32 array, 0-d or one per model; `rows` (N,) the numbers
    of the examples in the batch, as uint32. `deviation` is a number, or one per model
    (models, 1, 1).
    """
    columns = xp.arange(like.shape[-1], dtype=xp.uint32)
    return elementwise(
        _gaussian, like, key[..., None, None], rows[:, None], columns, deviation, xp=xp
    )


def _gaussian(
    like: Array, key: Array, rows: Array, columns: Array, deviation: Array, *, xp: Namespace
) -> Array:
    """σ √(−2 ln u) cos(2π v) with u, v even in 0 to 1 (Box and Muller 1958)."""
    bits = random_bits(key, rows, columns, xp=xp)
    # 16 bits for each: |ε| is below 4.9 σ, and never infinite.
    u = xp.astype(bits >> 16, like.dtype) * 2.0**-16 + 2.0**-17
    v = xp.astype(bits & 0xFFFF, like.dtype) * (2 * pi * 2.0**-16)
    return deviation * xp.sqrt(-2.0 * xp.log(u)) * xp.cos(v)
