"""Right programs in styles that are looked at rarely, for `check`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import numpy as np


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


class Layer:
    """Remembers its input and its output for the way back, and knows the layer below it."""

    def __init__(self, fan_in: int, fan_out: int, below: Layer | None, rng: Any) -> None:
        self.below, self.above = below, cast("Layer | None", None)
        if below is not None:
            below.above = self
        self.weight = rng.normal(0, fan_in**-0.5, (fan_in, fan_out))
        self.bias = np.zeros(fan_out)
        self.x: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x, z = x, x @ self.weight + self.bias
        self.output = softmax(z) if self.above is None else sigmoid(z)
        return self.output


class Objects:
    @staticmethod
    def initialize(sizes: tuple[int, ...], seed: int) -> list[Layer]:
        rng = np.random.default_rng(seed)
        layers: list[Layer] = []
        for fan_in, fan_out in pairwise(sizes):
            layers.append(Layer(fan_in, fan_out, layers[-1] if layers else None, rng))
        return layers

    @staticmethod
    def forward(params: list[Layer], x: np.ndarray) -> np.ndarray:
        for layer in params:
            x = layer.forward(x)
        return x

    @staticmethod
    def loss(outputs: np.ndarray, y: np.ndarray) -> float:
        return float(-np.log(np.maximum((outputs * y).sum(axis=1), 1e-300)).mean())

    @staticmethod
    def gradients(params: list[Layer], x: np.ndarray, y: np.ndarray) -> list[Any]:
        delta, found = (Objects.forward(params, x) - y) / len(x), []
        for layer in params[::-1]:
            found.append((layer.x.T @ delta, delta.sum(axis=0)))
            if layer.below is not None:
                a = layer.below.output
                delta = delta @ layer.weight.T * a * (1 - a)
        return found[::-1]

    @staticmethod
    def step(params: list[Layer], x: np.ndarray, y: np.ndarray, rate: float) -> list[Layer]:
        for layer, (weight, bias) in zip(params, Objects.gradients(params, x, y), strict=True):
            layer.weight -= rate * weight
            layer.bias -= rate * bias
        return params


class OneOutput:
    """One output and class ids: the probability of class 1."""

    @staticmethod
    def initialize(sizes: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {
            f"{kind}{k}": rng.normal(0, sizes[k] ** -0.5, sizes[k : k + 2])
            if kind == "w"
            else np.zeros(sizes[k + 1])
            for k in range(len(sizes) - 1)
            for kind in "wb"
        }

    @staticmethod
    def forward(params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return sigmoid(sigmoid(x @ params["w0"] + params["b0"]) @ params["w1"] + params["b1"])

    @staticmethod
    def loss(outputs: np.ndarray, y: np.ndarray) -> float:
        a = outputs[:, 0]
        return float(-(y * np.log(a) + (1 - y) * np.log(1 - a)).mean())

    @staticmethod
    def gradients(params: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Any:
        h = sigmoid(x @ params["w0"] + params["b0"])
        delta = (OneOutput.forward(params, x) - y[:, None]) / len(x)
        below = delta @ params["w1"].T * h * (1 - h)
        return {"w0": x.T @ below, "b0": below.sum(0), "w1": h.T @ delta, "b1": delta.sum(0)}

    @staticmethod
    def update(params: Any, gradients: Any, rate: float, momentum: float, velocity: Any) -> None:
        for name, gradient in gradients.items():
            velocity[name] = momentum * velocity[name] + gradient
            params[name] -= rate * velocity[name]


def functions_of(program: type, **others: Any) -> dict[str, Any]:
    """Return a program's functions, some of them replaced."""
    return {
        name: f.__func__ for name, f in vars(program).items() if hasattr(f, "__func__")
    } | others
