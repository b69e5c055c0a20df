"""Sums over GPUs without a way through the host, where NCCL is there."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends.base import Backend
from xpmlp.backends.ranks.mpi import MpiRanks


class Nccl:
    """One NCCL communicator over all ranks, each with a GPU of its own."""

    def __init__(self, library: Any, unique: tuple[int, ...], ranks: MpiRanks) -> None:
        self._library = library
        self._communicator = library.NcclCommunicator(ranks.count, unique, ranks.rank)

    def add_up(self, flat: Array, stream: int) -> None:
        """Replace a contiguous array on the GPU by its sum over all ranks."""
        library = self._library
        kind = library.NCCL_FLOAT32 if flat.dtype == np.float32 else library.NCCL_FLOAT64
        address = flat.data.ptr
        self._communicator.allReduce(address, address, flat.size, kind, library.NCCL_SUM, stream)


def nccl_of(ranks: MpiRanks, backend: Backend) -> Nccl | None:
    """Return NCCL's sums, or None where one rank or more cannot have them.

    All ranks decide alike: one without the library, or two on one GPU, and sums go through the
    host on all.
    """
    library, unique = None, np.zeros(128, dtype=np.int64)
    try:
        library = importlib.import_module("cupy.cuda.nccl")
        if library.get_version() and ranks.rank == 0:
            unique[:] = library.get_unique_id()
    except Exception:  # a missing library shows in several ways
        library = None
    alone = ranks.local_count <= _gpus()
    if ranks.largest(0.0 if library is not None and alone else 1.0) > 0:
        return None
    identity = tuple(int(value) for value in ranks.broadcast(unique))
    with backend.computing():
        return Nccl(library, identity, ranks)


def _gpus() -> int:
    return int(importlib.import_module("cupy").cuda.runtime.getDeviceCount())
