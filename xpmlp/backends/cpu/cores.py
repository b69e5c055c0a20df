"""The cores that this process may use, and BLAS's share of them."""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path

from threadpoolctl import ThreadpoolController, threadpool_info


def usable_cores() -> int:
    """Return the cores that this process may keep busy.

    The least of the processors that it may run on, a container's share of them, and the threads
    that BLAS has been allowed: joblib, Dask and OMP_NUM_THREADS divide a machine that way.
    """
    blas = [int(info["num_threads"]) for info in threadpool_info() if info["user_api"] == "blas"]
    return max(1, min([shared_cores(), *blas]))


def shared_cores() -> int:
    """Return the cores that this process may run on, maybe with others: BLAS's share left out."""
    quota = _container_quota()
    limits = [len(core_numbers())] if quota is None else [len(core_numbers()), max(1, int(quota))]
    return max(1, min(limits))


def core_numbers() -> list[int]:
    """Return the numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _container_quota() -> float | None:
    """Return the processors that a control group grants, None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        quota, period = ((folder / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return None if int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None


class SingleThreadedBlas:
    """Holds BLAS to one thread while anybody is inside, and gives it back what it had before.

    The setting is the process's own: of several trainings at once the first in changes it and
    the last out restores it.
    """

    def __init__(self) -> None:
        controller = ThreadpoolController().select(user_api="blas")
        self._libraries = controller.lib_controllers
        self._lock, self._inside = threading.Lock(), 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [library.num_threads for library in self._libraries]
                self._set([1] * len(self._before))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._before)

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(self._libraries, numbers, strict=True):
            library.set_num_threads(number)


@cache
def single_threaded_blas() -> SingleThreadedBlas:
    """Return the one for this process."""
    return SingleThreadedBlas()
