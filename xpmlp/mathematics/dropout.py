"""Dropout masks from a counter-based generator: functions of a key, no state, no host.

A unit's fate depends on (key, row, unit) alone. So a seed gives the same masks on every
backend, and a batch gets the same masks however its sum is split.
"""

from __future__ import annotations

from typing import Any

from xpmlp.arrays import Array, Namespace, elementwise
from xpmlp.counters import random_bits


def kept(rate: float) -> tuple[int, float]:
    """Return the number that bits of a unit that stays are below, and the unit's factor."""
    return int((1.0 - rate) * 2**32), 1.0 / (1.0 - rate)


def dropout_mask(
    key: Array, like: Array, rate: Any, rows: Array | None = None, *, xp: Namespace
) -> Array:
    """Return m ∈ {0, 1/(1 − rate)} of the shape of `like` (..., N, units), E[m] = 1.

    Inverted dropout (Srivastava et al. 2014, section 10): activations are multiplied by m
    in training and left alone otherwise. `key` is a uint32 array, 0-d or one per model; `rate` a
    number, or what `kept` makes of it, as arrays (models, 1, 1) for one per model; `rows` (N,)
    their numbers in the batch, as uint32; by default 0, 1, ...
    """
    count, units = like.shape[-2:]
    row_ids = xp.arange(count, dtype=xp.uint32) if rows is None else rows
    numbers = key[..., None, None], row_ids[:, None], xp.arange(units, dtype=xp.uint32)
    below, scale = rate if isinstance(rate, tuple) else kept(rate)
    return elementwise(_mask, like, *numbers, below, scale, xp=xp)


def _mask(
    like: Array, key: Array, rows: Array, units: Array, below: int, scale: float, *, xp: Namespace
) -> Array:
    mask = xp.astype(random_bits(key, rows, units, xp=xp) < below, like.dtype)
    mask *= scale
    return mask
