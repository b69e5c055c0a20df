"""Neighbouring rows by their first and last: what examples of a file are made of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

import numpy as np

# (start, stop) of each, in order.
Spans = tuple[tuple[int, int], ...]


def cut(spans: Spans, size: int) -> Spans:
    """Cut spans into pieces of at most `size` rows."""
    return tuple(
        (start, min(start + size, last))
        for first, last in spans
        for start in range(first, last, size)
    )


def between(spans: Spans, start: int, stop: int) -> Spans:
    """Return the parts of spans that hold their rows number `start` to `stop`."""
    ends = list(accumulate(last - first for first, last in spans))
    found = []
    for i in range(bisect_right(ends, start), len(spans)):
        first, last = spans[i]
        before = ends[i] - (last - first)
        if before >= stop:
            break
        found.append((first + max(start - before, 0), first + min(stop - before, last - first)))
    return tuple(found)


def joined(spans: list[tuple[int, int]]) -> Spans:
    """Join sorted spans that touch."""
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)


def spans_of(rows: np.ndarray) -> Spans:
    """Return the spans of row numbers that rise."""
    if not len(rows):
        return ()
    edges = np.flatnonzero(np.diff(rows) > 1) + 1
    starts, stops = np.append(rows[:1], rows[edges]), np.append(rows[edges - 1], rows[-1:]) + 1
    return tuple(zip(starts.tolist(), stops.tolist(), strict=True))


def rows_of(spans: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return the row numbers that spans hold."""
    return np.concatenate([np.arange(0), *(np.arange(start, stop) for start, stop in spans)])
