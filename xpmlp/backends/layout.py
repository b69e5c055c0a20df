"""How a matrix lies in memory, as BLAS wants to be told."""

from __future__ import annotations

from typing import Any


def blas_strides(matrix: Any) -> tuple[bool, int] | None:
    """Return how a matrix lies in memory: by columns or not, and how far these are apart.

    Rows (or columns) may be apart, as in a slice; within one values must be neighbours. None
    for a matrix that BLAS cannot be given as it is.
    """
    return strides_of(matrix.shape, matrix.strides, matrix.itemsize)


def strides_of(
    shape: tuple[int, int], strides: tuple[int, int], size: int
) -> tuple[bool, int] | None:
    """Return the same of a shape, strides in bytes, and a value's bytes."""
    (rows, columns), (row, column) = shape, strides
    if column == size and row >= columns * size and row % size == 0:
        return False, row // size
    if row == size and column >= rows * size and column % size == 0:
        return True, column // size
    return None
