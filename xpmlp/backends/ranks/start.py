"""The ranks that this process is one of."""

from __future__ import annotations

from typing import Any

from xpmlp.backends.alone import ALONE, Ranks
from xpmlp.backends.ranks.mpi import MpiRanks, abort


class Current:
    """The ranks that this process is one of; programs ask when they end."""

    ranks: Ranks = ALONE


def start_ranks() -> Any:
    """Return this process's `MpiRanks`: one for all its backends."""
    if Current.ranks is ALONE:
        Current.ranks = MpiRanks()
    return Current.ranks


def leave_before_start(code: int) -> None:
    """End the ranks that wait for this process to join them, which it will not."""
    abort(code)
