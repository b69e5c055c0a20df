"""The same training step by other libraries, each as its users would write it for speed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np

# Weights by our names: "layer1.weight" (fan_in, fan_out), "layer1.bias", ...
HostParams: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class Problem:
    """What every library is given: the network, its first weights, data, rate and threads.

    `activation` of the hidden layers is "sigmoid", "tanh" or "relu"; y are class ids (N,), or
    values (N, outputs) of a regression by mean squared error. `optimizer` is "sgd", "momentum"
    (of 0.9) or "adam"; `device` "cpu" or "gpu:N". `graph` and `precision` are xpmlp's own way with
    a GPU. `factors` multiply the rate of each step, where there are any; without `params` a
    library draws its own first weights. PyTorch and JAX leave out features and hidden units with
    the probabilities `input_dropout` and `dropout`, smooth the labels by `label_smoothing`, and
    bend square images by displacements whose standard deviation is `elastic` pixels.
    """

    sizes: tuple[int, ...]
    activation: str
    params: HostParams
    x: np.ndarray
    y: np.ndarray
    learning_rate: float
    threads: int
    device: str = "cpu"
    graph: bool = True
    precision: str = "float32"
    optimizer: str = "sgd"
    factors: tuple[float, ...] = ()
    input_dropout: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    elastic: float = 0.0

    @property
    def loss(self) -> str:
        """Our name of what is minimised."""
        return "mean_squared_error" if self.y.dtype.kind == "f" else "cross_entropy"


class Peer(ABC):
    """A library at work on a problem."""

    @abstractmethod
    def step(self, rows: np.ndarray) -> None:
        """Train on the examples of some row numbers; all of them are not gathered."""

    @abstractmethod
    def params(self) -> HostParams:
        """Return a copy of the weights as they are now, under our names."""

    @abstractmethod
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the class of each row, of a classification."""

    def finish(self) -> None:  # noqa: B027
        """Wait until all steps are done, where they are not when `step` returns."""

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        """Train on all examples in an order, cut into batches."""
        for start in range(0, len(order), batch_size):
            self.step(order[start : start + batch_size])


# Libraries that have no other way with a GPU are compared on a CPU only, and the other way round.
_ON_CPU: tuple[str, ...] = ("scikit-learn", "xpmlp.MLPClassifier")
_ON_GPU: tuple[str, ...] = ("torch.compile (reduce-overhead)", "torch CUDA graph")

# Name -> the module that must be installed, and the maker's module and name here.
_MAKERS: Mapping[str, tuple[str, str, str]] = {
    "xpmlp": ("numpy", "benchmarks.peers.own", "Own"),
    "xpmlp[jax]": ("jax", "benchmarks.peers.own", "OnJax"),
    "xpmlp[torch]": ("torch", "benchmarks.peers.own", "OnTorch"),
    "torch eager": ("torch", "benchmarks.peers.pytorch", "Eager"),
    "torch foreach": ("torch", "benchmarks.peers.pytorch", "Foreach"),
    "torch fused": ("torch", "benchmarks.peers.pytorch", "Fused"),
    "torch.compile": ("torch", "benchmarks.peers.pytorch", "Compiled"),
    "torch.compile (reduce-overhead)": ("torch", "benchmarks.peers.pytorch", "ReducedOverhead"),
    "torch CUDA graph": ("torch", "benchmarks.peers.pytorch", "Graphed"),
    "jax.jit": ("jax", "benchmarks.peers.jax_jit", "Jitted"),
    "jax lax.scan": ("jax", "benchmarks.peers.jax_jit", "Scanned"),
    "scikit-learn": ("sklearn", "benchmarks.peers.scikit_learn", "AsItIs"),
    "xpmlp.MLPClassifier": ("sklearn", "benchmarks.peers.scikit_learn", "InItsPlace"),
}


def installed_peers(device: str | None = None) -> dict[str, Callable[[Problem], Peer]]:
    """Return the makers of what is installed, ours first; none is imported yet.

    Those for a device, "cpu" or "gpu", or all.
    """
    left_out = () if device is None else _ON_GPU if device == "cpu" else _ON_CPU

    def maker(module: str, name: str) -> Callable[[Problem], Peer]:
        return lambda problem: getattr(import_module(module), name)(problem)

    return {
        label: maker(module, name)
        for label, (needed, module, name) in _MAKERS.items()
        if find_spec(needed) is not None and label not in left_out
    }
