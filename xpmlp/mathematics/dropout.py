"""Dropout masks from a counter-based generator: functions of a key, no state, no host.

A unit's fate depends on (key, row, unit) alone. So a seed gives the same masks on every
backend, and a batch gets the same masks however its sum is split.
"""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace, elementwise

# Odd multipliers of a 32-bit mixing function found by search (C. Wellons 2018, "lowbias32").
_FIRST, _SECOND, _LOW = 0x7FEB352D, 0x846CA68B, 0xFFFFFFFF
# Spreads consecutive counters over all 32 bits: 2^32 divided by the golden ratio.
_GOLDEN = 0x9E3779B9


def dropout_mask(
    key: Array, like: Array, rate: float, rows: Array | None = None, *, xp: Namespace
) -> Array:
    """Return m ∈ {0, 1/(1 − rate)} of the shape of `like` (..., N, units), E[m] = 1.

    Inverted dropout (Srivastava et al. 2014, section 10): activations are multiplied by m
    in training and left alone otherwise. `key` is a uint32 array, 0-d or one per model;
    `rows` (N,) their numbers in the batch, as uint32; by default 0, 1, ...
    """
    count, units = like.shape[-2:]
    row_ids = xp.arange(count, dtype=xp.uint32) if rows is None else rows
    numbers = key[..., None, None], row_ids[:, None], xp.arange(units, dtype=xp.uint32)
    below, scale = int((1.0 - rate) * 2**32), 1.0 / (1.0 - rate)
    return elementwise(_mask, like, *numbers, below, scale, xp=xp)


def _mask(
    like: Array, key: Array, rows: Array, units: Array, below: int, scale: float, *, xp: Namespace
) -> Array:
    bits = _mix(_mix(key + _GOLDEN * rows, xp) + _mix(_GOLDEN * (units + 1), xp), xp)
    mask = xp.astype(bits < below, like.dtype)
    mask *= scale
    return mask


def _mix(x: Array, xp: Namespace) -> Array:
    """Scramble 32-bit numbers so that each bit of x moves every bit of the result."""
    wide = x.dtype == xp.int64  # stands in where a library cannot calculate in uint32
    x = x & _LOW if wide else x
    x = xp.bitwise_xor(x, x >> 16)
    for factor, shift in ((_FIRST, 15), (_SECOND, 16)):
        x *= factor
        x = x & _LOW if wide else x
        x ^= x >> shift
    return x
