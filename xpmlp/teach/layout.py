"""Where weights and biases are in somebody's arrays: by their shapes, whatever their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

Params = dict[str, np.ndarray]


def number_of(name: str) -> int:
    """Return the number of the layer of a parameter's name."""
    return int(name[len("layer") : name.index(".")])


def said(name: str) -> str:
    """Return a parameter's name in words.

    >>> said("layer2.bias")
    'the bias of layer 2'
    """
    part = "weights" if name.endswith("weight") else "bias"
    return f"the {part} of layer {number_of(name)}"


@dataclass(frozen=True)
class Layout:
    """How arrays hold the weights (fan_in, fan_out) and biases (fan_out,) of each layer.

    `transposed`: weights are (fan_out, fan_in). `bias`: "apart" in arrays of its own, or the
    "first" or "last" row of the weights, whose input has a 1 there, or "none". `columns`: examples
    are columns (features, N). `flat`: one vector holds all, layer by layer, or "weights first".
    """

    sizes: tuple[int, ...]
    transposed: bool = False
    bias: str = "apart"
    columns: bool = False
    flat: str | None = None

    def __str__(self) -> str:
        weights = "(fan_out, fan_in)" if self.transposed else "(fan_in, fan_out)"
        bias = {
            "apart": "biases in arrays of their own",
            "none": "no biases",
            "first": "the bias in the first row of the weights",
            "last": "the bias in the last row of the weights",
        }[self.bias]
        examples = "columns" if self.columns else "rows"
        if self.flat is not None:
            bias = f"all in one vector, {self.flat}"
        return f"examples are {examples}, weights {weights}, {bias}"

    @property
    def layers(self) -> int:
        """How many layers have weights."""
        return len(self.sizes) - 1

    def shape_of_weight(self, layer: int) -> tuple[int, int]:
        """Return the shape of a weight, counted from 1, as it is kept."""
        fan_in, fan_out = self.sizes[layer - 1], self.sizes[layer]
        rows = fan_in + (self.bias in ("first", "last"))
        return (fan_out, rows) if self.transposed else (rows, fan_out)

    def named(self, arrays: Sequence[np.ndarray]) -> Params | None:
        """Return "layer1.weight", ... of arrays in this layout, None for others."""
        if self.flat is not None:
            return self._of_vector(arrays)
        places = self.places([array.shape for array in arrays])
        if places is None:
            return None
        found: Params = {}
        for layer in range(1, self.layers + 1):
            w = np.asarray(arrays[places[f"layer{layer}.weight"]], dtype=np.float64)
            w = w.T if self.transposed else w
            if self.bias == "apart":
                bias = arrays[places[f"layer{layer}.bias"]]
                b = np.asarray(bias, dtype=np.float64).reshape(-1)
            elif self.bias == "none":
                b = np.zeros(w.shape[1])
            else:
                at = 0 if self.bias == "first" else len(w) - 1
                b, w = w[at], np.delete(w, at, axis=0)
            found[f"layer{layer}.weight"], found[f"layer{layer}.bias"] = w, b
        return found

    def places(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int] | None:
        """Return which array is which, by name; None where they are not of this layout."""
        found: dict[str, int] = {}
        weight, bias = 1, 1
        for number, shape in enumerate(shapes):
            if weight <= self.layers and shape == self.shape_of_weight(weight):
                found[f"layer{weight}.weight"] = number
                weight += 1
            elif self.bias == "apart" and bias <= self.layers and self._is_bias(shape, bias):
                found[f"layer{bias}.bias"] = number
                bias += 1
            elif len(shape) > 0:
                return None
        done = weight > self.layers and (bias > self.layers or self.bias != "apart")
        return found if done else None

    def _is_bias(self, shape: tuple[int, ...], layer: int) -> bool:
        units = self.sizes[layer]
        return shape in ((units,), (1, units), (units, 1))

    def _of_vector(self, arrays: Sequence[np.ndarray]) -> Params | None:
        if len(arrays) != 1 or arrays[0].size != sum((a + 1) * b for a, b in pairwise(self.sizes)):
            return None
        vector, at = np.asarray(arrays[0], dtype=np.float64).reshape(-1), 0
        layers = range(1, self.layers + 1)
        both = [f"layer{k}.{part}" for k in layers for part in ("weight", "bias")]
        order = both if self.flat == "layer by layer" else [*both[::2], *both[1::2]]
        found: Params = {}
        for name in order:
            layer = number_of(name)
            shape = self.shape_of_weight(layer) if name.endswith("weight") else (self.sizes[layer],)
            size = int(np.prod(shape))
            part = vector[at : at + size].reshape(shape)
            found[name] = part.T if self.transposed and part.ndim == 2 else part
            at += size
        return {name: found[name] for name in both}


def possible_layouts(shapes: Sequence[tuple[int, ...]], sizes: tuple[int, ...]) -> Iterator[Layout]:
    """Return the layouts that arrays of these shapes may have, the usual ones first."""
    if len(shapes) == 1 and (len(shapes[0]) == 1 or 1 in shapes[0]):
        for flat, transposed in product(("layer by layer", "weights first"), (False, True)):
            layout = Layout(sizes, transposed=transposed, flat=flat)
            if layout.named([np.zeros(shapes[0])]) is not None:
                yield layout
    for bias, transposed in product(("apart", "first", "last", "none"), (False, True)):
        layout = Layout(sizes, transposed=transposed, bias=bias)
        if layout.places(shapes) is not None:
            yield layout
