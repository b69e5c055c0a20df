"""Arrays of any library of the Array API standard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from xpmlp.arrays import Array, Namespace
from xpmlp.backends.base import Backend


class StandardBackend(Backend):
    """A namespace of the standard and one of its devices, as `fit(..., backend=...)` takes it.

    `xp` is the namespace, `device` what its functions take as `device=` (None for its default),
    `dtype` "float32" or "float64". `to_host` makes a numpy array of one of its arrays, by default
    through DLPack. Functions are called one by one; nothing beyond the standard is asked for but
    integers that wrap around, in uint32 or, where there is none, in int64.
    Raises `UsageError` for a dtype that is not offered.

    >>> import array_api_compat.numpy, xpmlp
    >>> backend = xpmlp.StandardBackend(array_api_compat.numpy)
    >>> model, data = xpmlp.Model(xpmlp.MLP((64, 10))), xpmlp.load_data("digits")
    >>> xpmlp.fit(model, data, xpmlp.Plan(epochs=3), backend=backend).status
    'completed'
    """

    piece_size = 65536

    def __init__(
        self,
        xp: Namespace,
        device: Any = None,
        dtype: str = "float32",
        *,
        to_host: Callable[[Array], np.ndarray] | None = None,
    ) -> None:
        self.xp = xp if hasattr(xp, "uint32") else _WithUint32(xp)
        self.device = device
        self.name = xp.__name__.removeprefix("array_api_compat.")
        self.device_name = self.name if device is None else f"{self.name}:{device}"
        self._to_host = to_host or _by_dlpack
        super().__init__(dtype)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy to the host."""
        return np.array(self._to_host(array))

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Compute as the library does of itself; warnings of numpy underneath are silenced."""
        return np.errstate(all="ignore")

    def synchronize(self) -> None:
        """Nothing: to read an array waits for it."""


def _by_dlpack(array: Array) -> np.ndarray:
    # numpy itself gives scalars in place of arrays without axes.
    return np.from_dlpack(array) if hasattr(array, "__dlpack__") else np.asarray(array)


class _WithUint32:
    """A namespace in which int64 stands in for the uint32 that it lacks."""

    def __init__(self, xp: Namespace) -> None:
        self._xp = xp
        self.uint32 = xp.int64

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)
