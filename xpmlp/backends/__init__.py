"""The one door to the hardware: a namespace, its device, transfers, and how a step is run."""

from xpmlp.backends.base import Backend
from xpmlp.backends.select import BACKENDS, DeviceRequest, select_backend

__all__ = ["BACKENDS", "Backend", "DeviceRequest", "select_backend"]
