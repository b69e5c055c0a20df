"""The one door to the hardware: a namespace, its device, transfers, and how a step is run."""

from xpmlp.backends.base import Backend as Backend
from xpmlp.backends.select import (
    BACKENDS as BACKENDS,
    DeviceRequest as DeviceRequest,
    chosen_backend as chosen_backend,
    select_backend as select_backend,
)
from xpmlp.backends.standard import StandardBackend as StandardBackend
