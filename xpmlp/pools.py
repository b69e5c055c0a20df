"""Threads that the trainings of a process share; a forked process makes its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def shared_pool(threads: int, name: str = "xpmlp") -> ThreadPoolExecutor:
    """Return the process's pool of a name and of so many threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name)


if hasattr(os, "register_at_fork"):
    # A forked process has the pools without their threads: what is handed to them waits for ever.
    os.register_at_fork(after_in_child=shared_pool.cache_clear)
