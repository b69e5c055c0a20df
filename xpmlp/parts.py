"""Cutting n things into parts, in order: as even as can be, or as large as memory allows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

# Rows worked on at a time: so many, and of wide rows no more than fit so many bytes.
_ROWS, _BYTES = 2048, 16 * 2**20


def even_parts(count: int, parts: int) -> list[slice]:
    """Return slices that cover 0 ... count − 1 once; their lengths differ by one at most."""
    ends = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def rows_at_a_time(row_bytes: int, most: int = _ROWS) -> int:
    """Return how many rows of so many bytes are worked on at a time: one at least."""
    return max(1, min(most, _BYTES // max(1, row_bytes)))


def pieces(count: int, row_bytes: int) -> Iterator[slice]:
    """Yield slices that cover 0 ... count − 1 once, each of rows to work on at a time."""
    size = rows_at_a_time(row_bytes)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
