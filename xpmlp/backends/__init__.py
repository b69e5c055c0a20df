"""The one door to the hardware: a namespace, its device, transfers, and how a step is run."""

from xpmlp.backends.base import Backend, Summable
from xpmlp.backends.select import select_backend

__all__ = ["Backend", "Summable", "select_backend"]
