"""A backend whose sums over examples are those of all ranks, each of which has its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

import numpy as np

from xpmlp.arrays import Array, SomeRows
from xpmlp.backends.base import Backend, Sums
from xpmlp.backends.ranks.mpi import MpiRanks

# Counts travel in two halves, each of them exact in float32: for up to 2^36 examples.
_HALF = 4096


class DistributedBackend(Backend):
    """Another backend on every rank, and one all-reduce of one flat buffer for every sum.

    The buffer holds all arrays of a sum one after another, and a number by which the ranks agree
    to stop. A GPU's buffer is summed by NCCL, else by MPI on the host: an MPI is not handed
    memory that it may not know.
    """

    def __init__(self, inner: Backend, ranks: MpiRanks) -> None:
        self._inner, self.ranks, self._mpi = inner, ranks, ranks
        self.name, self.device_name = inner.name, inner.device_name
        self.on_host = inner.on_host
        self.xp, self.device, self.piece_size = inner.xp, inner.device, inner.piece_size
        self.dtype, self.dtype_name = inner.dtype, inner.dtype_name
        self._nccl = None
        if inner.sums_by_nccl:
            from xpmlp.backends.ranks.nccl import nccl_of

            self._nccl = nccl_of(ranks, inner)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy to the host, as the backend underneath does."""
        return self._inner.to_host(array)

    def synchronize(self) -> None:
        """Wait for this rank's device."""
        self._inner.synchronize()

    @property
    def on_one_thread(self) -> bool:
        """Whether the backend underneath has gone over to one thread."""
        return self._inner.on_one_thread

    @on_one_thread.setter
    def on_one_thread(self, value: bool) -> None:
        self._inner.on_one_thread = value

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:
        """Compute as the backend underneath does."""
        return self._inner.computing(flop)

    def versions(self) -> dict[str, str]:
        """Return the versions of the backend underneath."""
        return self._inner.versions()

    def settings(self) -> dict[str, Any]:
        """Add the ranks, and how they sum."""
        return self._inner.settings() | {
            "ranks": self.ranks.count,
            "all_reduce": "nccl" if self._nccl else "mpi",
        }

    def sum_over_examples(
        self,
        sums_of: Callable[[SomeRows], Sums],
        examples: int,
        flop: float = 0.0,
        features: int = 1,
    ) -> Sums:
        """Return the sum over this rank's rows and those of all others; `examples` are its own."""
        sums = self._inner.sum_over_examples(sums_of, examples, flop, features)
        sums.multiply_out()
        if self.ranks.count > 1:
            names, arrays = zip(*sums.items(), strict=True)
            sums.update(zip(names, self._added_up(list(arrays)), strict=True))
        return sums

    def _added_up(self, arrays: list[Array]) -> list[Array]:
        """Return the sums of arrays over all ranks."""
        xp, whole = self.xp, [self.xp.isdtype(a.dtype, "integral") for a in arrays]
        parts = [xp.full((1,), self._mpi.wish, dtype=self.dtype, device=self.device)]
        for array, counts in zip(arrays, whole, strict=True):
            flat = xp.reshape(array, (-1,))
            if counts:
                parts += [xp.astype(half, self.dtype) for half in (flat // _HALF, flat % _HALF)]
            else:
                parts.append(flat)
        total = self._reduced(xp.concat(parts))
        self._mpi.settle(float(self.to_host(total[0])))
        found, at = [], 1
        for array, counts in zip(arrays, whole, strict=True):
            values = total[at : at + array.size]
            at += array.size
            if counts:
                low = total[at : at + array.size]
                at += array.size
                values = _HALF * xp.astype(values, array.dtype) + xp.astype(low, array.dtype)
            found.append(xp.reshape(values, array.shape))
        return found

    def _reduced(self, flat: Array) -> Array:
        """Return a flat buffer summed over all ranks."""
        if self._nccl is not None:
            start = perf_counter()
            with self._mpi.together():
                self._nccl.add_up(flat, self.xp.cuda.get_current_stream().ptr)
                self.synchronize()
            self._mpi.seconds += perf_counter() - start
            return flat
        if self.on_host:
            self._mpi.add_up(flat)
            return flat
        host = self.to_host(flat)
        self._mpi.add_up(host)
        return self.to_device(host)
