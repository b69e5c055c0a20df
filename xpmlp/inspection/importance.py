"""Which features a network relies on: how much worse it gets when one of them is shuffled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.data.examples import Examples
from xpmlp.inspection.predictions import evaluate_mean_output
from xpmlp.mathematics.mlp import MLP
from xpmlp.randomness import random_stream


def permutation_importance(
    mlp: MLP,
    params: Params,
    examples: Examples,
    groups: dict[str, slice],
    *,
    backend: Backend,
    repeats: int = 3,
) -> dict[str, float]:
    """Return by how much the mean loss rises when each group of features is shuffled.

    `examples` are on the host, prepared; `params` on the device; `groups` are neighbouring features
    by name, which are shuffled together, `repeats` times (Breiman 2001, "Random Forests", section
    10). Raises `DataError` for examples that do not fit.
    """
    base, _ = evaluate_mean_output(mlp, params, examples.to_device(backend), backend=backend)
    found = {}
    for name, features in groups.items():
        rises = []
        for repeat in range(repeats):
            order = random_stream(0, f"importance of {name}", repeat).permutation(len(examples))
            x: Any = np.array(examples.x)
            x[:, features] = x[order, features]
            shuffled = replace(examples, x=x).to_device(backend)
            loss, _ = evaluate_mean_output(mlp, params, shuffled, backend=backend)
            rises.append(loss - base)
        found[name] = float(np.mean(rises))
    return found
