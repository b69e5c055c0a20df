"""The same training step by other libraries, each as its users would write it for speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from xpmlp.initializers import HostParams


@dataclass(frozen=True)
class Problem:
    """What every library is given: the network, its first weights, data, rate and threads."""

    sizes: tuple[int, ...]
    params: HostParams
    x: np.ndarray
    y: np.ndarray
    learning_rate: float
    threads: int


class Peer(Protocol):
    """A library at work on a problem."""

    def step(self, rows: np.ndarray) -> None:
        """Train on the examples of some row numbers; returns when the step is done."""

    def params(self) -> HostParams:
        """Return the weights as they are now."""
        ...


# Name -> the module that must be installed, and the maker's module and name here.
_MAKERS: Mapping[str, tuple[str, str, str]] = {
    "xpmlp": ("numpy", "peers.own", "Own"),
    "torch eager": ("torch", "peers.pytorch", "Eager"),
    "torch.compile": ("torch", "peers.pytorch", "Compiled"),
    "jax.jit": ("jax", "peers.jax_jit", "Jitted"),
    "scikit-learn": ("sklearn", "peers.scikit_learn", "AsItIs"),
}


def installed_peers() -> dict[str, Callable[[Problem], Peer]]:
    """Return the makers of what is installed, ours first; none is imported yet."""

    def maker(module: str, name: str) -> Callable[[Problem], Peer]:
        return lambda problem: getattr(import_module(module), name)(problem)

    return {
        label: maker(module, name)
        for label, (needed, module, name) in _MAKERS.items()
        if find_spec(needed) is not None
    }
