"""numpy on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends.base import Backend


class NumpyBackend(Backend):
    """numpy arrays in main memory."""

    name = "numpy"
    device_name = "cpu"
    xp = xp
    device = "cpu"
    # 1,000 rows of a few hundred units stay in cache between two elementwise passes.
    piece_size = 1000

    def to_host(self, array: Array) -> np.ndarray:
        """Return a copy: later updates in place do not reach it."""
        return np.array(array)

    def computing(self) -> AbstractContextManager[Any]:
        """Let a diverging training reach its NaN without warnings: it is an error of its own."""
        return np.errstate(over="ignore", invalid="ignore", divide="ignore")

    def synchronize(self) -> None:
        """Nothing to wait for: numpy returns when it is done."""
