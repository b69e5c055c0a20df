"""How many cores this process may use, and one pool of threads for all of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from threadpoolctl import threadpool_info


def usable_cores() -> int:
    """Return the cores that this process may keep busy.

    The least of the processors that it may run on, a container's share of them, and the threads
    that BLAS has been allowed: joblib, Dask and OMP_NUM_THREADS divide a machine that way.
    """
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    quota = _container_quota()
    if quota is not None:
        limits.append(max(1, int(quota)))
    blas = [int(info["num_threads"]) for info in threadpool_info() if info["user_api"] == "blas"]
    return max(1, min([*limits, *blas]))


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


@cache
def shared_pool(threads: int) -> ThreadPoolExecutor:
    """Return the process's pool of so many threads: several trainings share it."""
    return ThreadPoolExecutor(threads, thread_name_prefix="xpmlp")
