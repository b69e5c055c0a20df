"""The one door to the hardware: a namespace, its device, transfers, and how a step is run."""

from xpmlp.backends.base import Backend, Summable
from xpmlp.backends.ranks import leave_before_start, start_ranks
from xpmlp.backends.select import select_backend

__all__ = ["Backend", "Summable", "leave_before_start", "select_backend", "start_ranks"]
