"""Sparse features: rows of mostly zeros, which only the first layer's two products ever see."""

from __future__ import annotations

from typing import Any, Self

import numpy as np


class SparseRows:
    """Rows (N, F) of a SciPy matrix, in place of an array where numpy computes.

    numpy hands its own functions over to it: `matmul`, x W and xᵀ δ, `take` and `isfinite`. What
    comes of a product is dense. Slices of rows are such rows again.
    """

    ndim = 2
    # No steps that BLAS could take from number to number.
    strides, itemsize = (0, 0), 1

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        rows, columns = self.matrix.shape
        return int(rows), int(columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the numbers that are stored."""
        dtype: np.dtype[Any] = np.dtype(self.matrix.dtype)
        return dtype

    @property
    def mT(self) -> Self:  # noqa: N802
        """Columns as rows."""
        return type(self)(self.matrix.T)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Self:
        """Return some rows: of `x[rows, ...]` or `x[rows, :]` all columns are taken."""
        return type(self)(self.matrix[rows[0] if isinstance(rows, tuple) else rows])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        if method != "__call__" or settings or ufunc not in (np.matmul, np.isfinite):
            return NotImplemented
        if ufunc is np.isfinite:
            return np.isfinite(self.matrix.data)
        left, right = inputs
        if isinstance(left, SparseRows):
            return _product(left.matrix, right)
        return _product(right.matrix.T, left.mT).mT

    def __array_function__(self, function: Any, types: Any, inputs: Any, settings: Any) -> Any:
        if function is np.take and settings == {"axis": 0}:
            return self[inputs[1]]
        return NotImplemented


def _product(matrix: Any, dense: np.ndarray) -> np.ndarray:
    """Return matrix dense, of a stack with each of its matrices: one product for all."""
    if dense.ndim == 2:
        return np.ascontiguousarray(matrix @ dense)
    models, rows, columns = dense.shape
    beside = dense.transpose(1, 0, 2).reshape(rows, models * columns)
    product = (matrix @ beside).reshape(-1, models, columns)
    return np.ascontiguousarray(product.transpose(1, 0, 2))
