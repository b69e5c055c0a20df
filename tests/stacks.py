"""Stacks of models from single ones, and their arrays on a backend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.mathematics.initializers import HostParams


def to_device(backend: Backend, params: HostParams) -> Params:
    return {name: backend.to_device(array) for name, array in params.items()}


def to_host(backend: Backend, params: Params) -> HostParams:
    return {name: backend.to_host(array) for name, array in params.items()}


def stack_of(models: Sequence[HostParams]) -> HostParams:
    return {name: np.stack([model[name] for model in models]) for name in models[0]}
