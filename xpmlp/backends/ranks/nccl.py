"""Sums over GPUs without a way through the host, where NCCL is there."""

from __future__ import annotations

import importlib
import socket
import warnings
from typing import Any

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends.base import Backend
from xpmlp.backends.ranks.mpi import MpiRanks


class Nccl:
    """One NCCL communicator over all ranks, each with a GPU of its own."""

    def __init__(self, library: Any, unique: bytes, ranks: MpiRanks) -> None:
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
    library, unique = _library(), np.zeros(128, dtype=np.uint8)
    if library is not None and ranks.rank == 0:
        unique[:] = np.frombuffer(library.get_unique_id(), dtype=np.uint8)
    card = {"machine": socket.gethostname(), "card": backend.device.pci_bus_id}
    alone = ranks.gathered(card).count(card) == 1
    if ranks.largest(0.0 if library is not None and alone else 1.0) > 0:
        return None
    with backend.computing():
        return Nccl(library, ranks.broadcast(unique).tobytes(), ranks)


def _library() -> Any:
    """Return CuPy's NCCL, None with a warning where the library itself is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy's, of a module that is left empty
            library = importlib.import_module("cupy.cuda.nccl")
        library.get_version()
    except (ImportError, AttributeError) as error:
        warnings.warn(
            f"sums of GPUs go through the host, because NCCL is missing ({error}): the extras "
            "cuda12 and cuda13 bring it",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return library
