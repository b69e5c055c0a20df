"""Cutting n things into parts as even as can be, in order."""

from __future__ import annotations

from itertools import pairwise


def even_parts(count: int, parts: int) -> list[slice]:
    """Return slices that cover 0 ... count − 1 once; their lengths differ by one at most."""
    ends = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]
