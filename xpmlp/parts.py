"""Cutting n things into parts, in order: as even as can be, or as large as memory allows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

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


def fits_in_memory(size: int) -> bool:
    """Tell whether so many bytes fill at most half of the memory that is free."""
    return size <= _free_memory() / 2


def _free_memory() -> int:
    """Return the bytes that can be had without swapping, caches given back."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, ValueError, StopIteration):  # not Linux
        return 4 * 2**30
