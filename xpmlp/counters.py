"""Random bits that are functions of counters: no state, no host, the same on every library."""

from __future__ import annotations

from typing import Any, TypeAlias

Array: TypeAlias = Any
Namespace: TypeAlias = Any

# Odd multipliers of a 32-bit mixing function found by search (C. Wellons 2018, "lowbias32").
_FIRST, _SECOND, _LOW = 0x7FEB352D, 0x846CA68B, 0xFFFFFFFF
# Spreads consecutive counters over all 32 bits: 2^32 divided by the golden ratio.
_GOLDEN = 0x9E3779B9


def random_bits(key: Array, rows: Array, columns: Array, *, xp: Namespace) -> Array:
    """Return 32 bits for each (key, row, column): uint32 arrays that broadcast.

    Whatever other rows and columns are asked for, those of one place are the same.
    """
    return _mix(_mix(key + _GOLDEN * rows, xp) + _mix(_GOLDEN * (columns + 1), xp), xp)


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
