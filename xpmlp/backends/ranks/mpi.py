"""Ranks of an MPI program, started by mpiexec or srun; the only place that imports mpi4py."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from xpmlp.backends.alone import Ranks
from xpmlp.backends.cpu.cores import core_numbers
from xpmlp.backends.ranks.lifeline import Lifeline
from xpmlp.errors import DeviceError, UsageError

# How launchers tell a process how many they have started.
_COUNTS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
# Where all ranks fail alike the first says so; the others wait this long before they do.
_GRACE = 3.0
# A launcher that is told to end all forgets what it has not passed on yet of their output.
_PASSING_ON = 0.3


class MpiRanks(Ranks):
    """All processes of this MPI program.

    `local_rank` counts those on this machine, of which there are `local_count`. Raises
    `DeviceError` without a usable MPI.
    """

    def __init__(self) -> None:
        self._mpi = _import_mpi()
        self._world = self._mpi.COMM_WORLD
        self.rank, self.count = self._world.rank, self._world.size
        _check_launcher(self.count)
        local = self._world.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_count = local.rank, local.size
        self._wish = self._agreed = False
        self._waiting_since: float | None = None
        # Ranks on this machine that may run on the same cores, this one included.
        self.sharers = 1
        if self.count > 1:
            sys.excepthook = self._unhandled
            machine, cores = socket.gethostname(), core_numbers()
            where = self.gathered({"process": os.getpid(), "machine": machine, "cores": cores})
            here = [w for w in where if w["machine"] == machine]
            self.sharers = sum(bool(set(w["cores"]) & set(cores)) for w in here)
            names = [
                f"rank {k} (process {w['process']} on {w['machine']})" for k, w in enumerate(where)
            ]
            self._lifeline = Lifeline(
                self.rank,
                names,
                shared=self._shared_text,
                abort=self._abort,
                waiting_since=lambda: self._waiting_since,
                one_machine=len(here) == self.count,
            )

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sums over all ranks, in float64."""
        total = np.array(values, dtype=np.float64)
        with self.together():
            self._world.Allreduce(self._mpi.IN_PLACE, total)
        return total

    def largest(self, value: float) -> float:
        """Return the largest of the ranks' values."""
        found = np.array([value], dtype=np.float64)
        with self.together():
            self._world.Allreduce(self._mpi.IN_PLACE, found, op=self._mpi.MAX)
        return float(found[0])

    def costs(self) -> dict[str, float]:
        """Return what the sums have cost, waiting for the slowest rank included."""
        own = self.seconds  # before this sum
        mean = float(self.sum(np.array([own]))[0]) / self.count
        return {"all_reduce_seconds": mean, "all_reduce_seconds_at_most": self.largest(own)}

    def agreed(self, wish: bool) -> bool:
        """Send a wish along with the next sum; return whether the last sum brought one."""
        if self.count == 1:
            return wish
        self._wish = self._wish or wish
        return self._agreed

    @property
    def wish(self) -> float:
        """1 where this rank wishes to stop, to be summed with everything else."""
        return float(self._wish)

    def settle(self, wishes: float) -> None:
        """Note the sum of all wishes."""
        self._agreed = wishes > 0

    def add_up(self, flat: np.ndarray) -> None:
        """Replace a contiguous host array by its sum over all ranks."""
        start = time.perf_counter()
        with self.together():
            self._world.Allreduce(self._mpi.IN_PLACE, flat)
        self.seconds += time.perf_counter() - start

    def broadcast(self, values: np.ndarray) -> np.ndarray:
        """Return the array of rank 0; the others give one of its shape and dtype."""
        with self.together():
            self._world.Bcast(values, root=0)
        return values

    def check_alike(self, described: Mapping[str, object]) -> None:
        """Raise `UsageError` naming what differs from rank to rank; a training begins so."""
        self._wish = self._agreed = False  # of a training before
        # Where an object lies in memory says nothing of it.
        mine = {n: re.sub(r" at 0x[0-9a-f]+", "", str(v)) for n, v in described.items()}
        everyones = self.gathered(mine)
        for other, theirs in enumerate(everyones):
            names = [n for n in {**everyones[0], **theirs} if everyones[0].get(n) != theirs.get(n)]
            if names:
                differences = "; ".join(
                    f"{n} is {theirs.get(n, 'missing')} there and {everyones[0].get(n, 'missing')} "
                    "here"
                    for n in names
                )
                raise UsageError(
                    f"rank {other} is not like rank 0: {differences}: start all ranks with the "
                    "same program, flags and data"
                )

    def end(self, text: str, code: int) -> None:
        """Print an error and end all ranks; of one that all have, rank 0 alone speaks."""
        if self.rank > 0:
            time.sleep(_GRACE)  # rank 0 ends us meanwhile, if it has the same
            text = f"rank {self.rank}: {text}"
        print(text, file=sys.stderr, flush=True)
        self._abort(code)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Note that this rank waits for all others."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def _unhandled(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """A rank that ends by an error would leave the others waiting for ever."""
        self.end("".join(traceback.format_exception(kind, error, trace)).rstrip(), 1)

    def _abort(self, code: int) -> NoReturn:
        sys.stdout.flush()
        time.sleep(_PASSING_ON)
        self._world.Abort(code)
        os._exit(code)

    def gathered(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the records of all ranks, carried as JSON."""
        mine = np.frombuffer(json.dumps(record).encode(), dtype=np.uint8)
        sizes = np.empty(self.count, dtype=np.int64)
        with self.together():
            self._world.Allgather(np.array([mine.size], dtype=np.int64), sizes)
            everything = np.empty(int(sizes.sum()), dtype=np.uint8)
            self._world.Allgatherv(mine, (everything, sizes.tolist()))
        ends = np.cumsum(sizes)
        texts = [part.tobytes() for part in np.split(everything, ends[:-1])]
        return [json.loads(text) for text in texts]

    def _shared_text(self, text: str) -> str:
        """Return rank 0's text."""
        return str(self.gathered({"text": text})[0]["text"])


def abort(code: int) -> None:
    """End all processes of this MPI program, where there are others."""
    try:
        mpi = _import_mpi()
    except DeviceError:
        return
    if mpi.COMM_WORLD.size > 1:
        mpi.COMM_WORLD.Abort(code)


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except ModuleNotFoundError as error:
        raise DeviceError(
            'several ranks need mpi4py and an MPI: pip install "xpmlp[mpi]", or on a cluster '
            "mpi4py built for its own"
        ) from error
    except (ImportError, RuntimeError, OSError) as error:
        raise DeviceError(
            f"mpi4py finds no MPI to work with ({str(error).splitlines()[0]}): pip install mpich, "
            "or load the cluster's module"
        ) from error
    return MPI


def _check_launcher(count: int) -> None:
    """Raise where several copies were started that know nothing of each other."""
    if count > 1:
        return
    for name in _COUNTS:
        if int(os.environ.get(name, "1") or 1) > 1:
            raise DeviceError(
                f"this is one of {os.environ[name]} processes ({name}), and MPI knows of one: "
                "mpiexec and mpi4py belong to different MPIs, take both from the same"
            )
