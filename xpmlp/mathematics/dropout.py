"""Dropout masks from a counter-based generator: functions of a key, no state, no host.

A unit's fate depends on (key, row, unit) alone. So a seed gives the same masks on every
backend, and a batch gets the same masks however its sum is split.
"""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace

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
    unit_ids = xp.arange(units, dtype=xp.uint32)
    row_hashes = _mix(xp.expand_dims(key, axis=-1) + _GOLDEN * row_ids, xp)
    unit_hashes = _mix(_GOLDEN * (unit_ids + 1), xp)
    bits = _mix(xp.expand_dims(row_hashes, axis=-1) + unit_hashes, xp)
    mask = xp.astype(bits < int((1.0 - rate) * 2**32), like.dtype)
    mask *= 1.0 / (1.0 - rate)
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
