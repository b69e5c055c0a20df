"""What scikit-learn's MLPs draw from their random state, in their order: the same numbers.

The same `random_state` then means the same initial weights, the same examples held out and the
same batches as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import shuffle

from xpmlp.mathematics.initializers import INITIALIZERS, HostParams, draw_parameters


def initial_weights(
    rng: np.random.RandomState, sizes: Sequence[int], activations: Sequence[str], init: str | None
) -> HostParams:
    """Draw the weights of all layers.

    Weights and biases from U(−r, r) with r = √(6 / (fan_in + fan_out)), and √(2 / ...) where the
    activation is the logistic sigmoid; or by the initialiser that `init` names. `activations` are
    those of all layers, the output layer's being that of the layer below.
    """
    if init is not None:
        generator = np.random.default_rng(rng.randint(2**31))
        return draw_parameters(generator, sizes, INITIALIZERS[init])
    params = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        factor = 2.0 if activations[layer - 1] == "sigmoid" else 6.0
        r = sqrt(factor / (fan_in + fan_out))
        params[f"layer{layer}.weight"] = rng.uniform(-r, r, (fan_in, fan_out))
        params[f"layer{layer}.bias"] = rng.uniform(-r, r, fan_out)
    return params


def held_out(
    rng: np.random.RandomState, examples: int, fraction: float, stratify: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw (training, validation) row numbers; `stratify` keeps the shares of its values."""
    rows = np.arange(examples)
    train, validation = train_test_split(
        rows, random_state=rng, test_size=fraction, stratify=stratify
    )
    return train, validation


def orders(
    rng: np.random.RandomState, examples: int, shuffled: bool
) -> Callable[[int], np.ndarray]:
    """Return the order of the examples as a function of the epoch, which goes up by one.

    Every order is a shuffle of the one before it.
    """
    drawn: dict[int, np.ndarray] = {-1: np.arange(examples)}

    def order(epoch: int) -> np.ndarray:
        if not shuffled:
            return drawn[-1]
        if epoch not in drawn:
            drawn[epoch] = shuffle(drawn[epoch - 1], random_state=rng)
            drawn.pop(epoch - 2, None)  # a run that diverges goes back one, not more
        return drawn[epoch]

    return order
