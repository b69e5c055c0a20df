"""A network as others have it: one weight and one bias per layer, and nothing but features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from xpmlp.data.normalization import Normalization
from xpmlp.errors import UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.training.stacking import StackedMLP


class Layer(NamedTuple):
    """z = h W + b with weight (fan_in, fan_out), bias (fan_out,); then the activation's name."""

    weight: np.ndarray
    bias: np.ndarray
    activation: str | None


def networks_of(params: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return the parameters of each network of a stack, or of the only one."""
    arrays = {name: np.asarray(array) for name, array in params.items()}
    if arrays["layer1.weight"].ndim == 2:
        return [arrays]
    count = len(arrays["layer1.weight"])
    return [{name: array[k] for name, array in arrays.items()} for k in range(count)]


def layers_of(
    mlp: MLP, params: Mapping[str, np.ndarray], normalization: Normalization
) -> list[Layer]:
    """Return a single network's layers; what a bias column was multiplied with is a bias.

    Raises `UsageError` for a stack.
    """
    if isinstance(mlp, StackedMLP) or np.asarray(params["layer1.weight"]).ndim != 2:
        raise UsageError("a stack of models is no single network: take one out with model_of")
    layers = []
    names = [*mlp.activation_names, None]
    for number, activation in enumerate(names, start=1):
        weight, bias = (np.asarray(params[f"layer{number}.{part}"]) for part in ("weight", "bias"))
        if number == 1 and normalization.bias_column:
            weight, bias = weight[:-1], bias + weight[-1]
        layers.append(Layer(np.ascontiguousarray(weight), bias, activation))
    return layers
