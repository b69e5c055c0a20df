"""Activation functions f and their derivatives, written in terms of the output a = f(z).

Each f here determines z's slope by its value alone, so nothing but the output has to be
kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

from xpmlp.arrays import Array, Namespace

# LeCun et al. 1998, "Efficient BackProp", section 4.4: f(±1) = ±1, and the second
# derivative is largest there.
_LECUN_SCALE, _LECUN_SLOPE = 1.7159, 2.0 / 3.0
_LEAK = 0.01


class Activation(NamedTuple):
    """f and f′ with what is known of them.

    `function(z, xp=xp)` → a, `derivative(a, xp=xp)` → f′(z) from that output, `steepest`
    the largest slope, `kinked` whether f′ jumps at z = 0. `onnx` are the operators that make f
    there, each with its factor or its attributes; none where ONNX does not know f.
    """

    function: Callable[..., Array]
    derivative: Callable[..., Array]
    steepest: float = 1.0
    kinked: bool = False
    onnx: tuple[tuple[str, Any], ...] = ()


def sigmoid(z: Array, *, xp: Namespace) -> Array:
    """σ(z) = 1 / (1 + e^−z), to the rounding of numbers near 1.

    In float32 what is below 3e-8 (z < −17) becomes 0, as what is within 3e-8 of 1 becomes 1.
    """
    # ½ (1 + tanh(z/2)): equal in exact arithmetic, no overflow, a third of the time.
    a = xp.tanh(0.5 * z)
    a += 1.0
    a *= 0.5
    return a


def sigmoid_derivative(a: Array, *, xp: Namespace) -> Array:
    """σ′(z) = a (1 − a)."""
    slope = 1.0 - a
    slope *= a
    return slope


def tanh(z: Array, *, xp: Namespace) -> Array:
    """f(z) = tanh z."""
    return xp.tanh(z)


def tanh_derivative(a: Array, *, xp: Namespace) -> Array:
    """f′(z) = 1 − a²."""
    return 1.0 - a * a


def lecun_tanh(z: Array, *, xp: Namespace) -> Array:
    """f(z) = 1.7159 tanh(2z/3) (LeCun et al. 1998, section 4.4)."""
    a = xp.tanh(_LECUN_SLOPE * z)
    a *= _LECUN_SCALE
    return a


def lecun_tanh_derivative(a: Array, *, xp: Namespace) -> Array:
    """f′(z) = (2/3) (1.7159 − a² / 1.7159)."""
    return _LECUN_SLOPE * _LECUN_SCALE - (_LECUN_SLOPE / _LECUN_SCALE) * (a * a)


def relu(z: Array, *, xp: Namespace) -> Array:
    """f(z) = max(z, 0)."""
    return xp.maximum(z, 0.0)


def relu_derivative(a: Array, *, xp: Namespace) -> Array:
    """f′(z) = 1 where a > 0, else 0, at the kink as well."""
    return xp.astype(a > 0, a.dtype)


def leaky_relu(z: Array, *, xp: Namespace) -> Array:
    """f(z) = max(z, z/100) (Maas et al. 2013)."""
    return xp.maximum(z, _LEAK * z)


def leaky_relu_derivative(a: Array, *, xp: Namespace) -> Array:
    """f′(z) = 1 where a > 0, else 1/100."""
    slope = xp.astype(a > 0, a.dtype)
    slope *= 1.0 - _LEAK
    slope += _LEAK
    return slope


def identity(z: Array, *, xp: Namespace) -> Array:
    """f(z) = z: a linear layer."""
    return z


def identity_derivative(a: Array, *, xp: Namespace) -> Array:
    """f′(z) = 1."""
    return xp.ones_like(a)


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative, steepest=0.25, onnx=(("Sigmoid", {}),)),
    "tanh": Activation(tanh, tanh_derivative, onnx=(("Tanh", {}),)),
    "lecun_tanh": Activation(
        lecun_tanh,
        lecun_tanh_derivative,
        steepest=_LECUN_SLOPE * _LECUN_SCALE,
        onnx=(("Mul", _LECUN_SLOPE), ("Tanh", {}), ("Mul", _LECUN_SCALE)),
    ),
    "relu": Activation(relu, relu_derivative, kinked=True, onnx=(("Relu", {}),)),
    "leaky_relu": Activation(
        leaky_relu, leaky_relu_derivative, kinked=True, onnx=(("LeakyRelu", {"alpha": _LEAK}),)
    ),
    "identity": Activation(identity, identity_derivative, onnx=(("Identity", {}),)),
}


@cache
def stacked_activation(names: tuple[str, ...]) -> Activation:
    """f of a stack whose model k has the activation names[k]; models alike should be neighbours.

    Each run of neighbours with the same activation is a slice of the leading axis.
    """
    slices, start = [], 0
    for name, run in groupby(names):
        stop = start + len(list(run))
        slices.append((ACTIVATIONS[name], slice(start, stop)))
        start = stop
    if len(slices) == 1:
        return slices[0][0]

    def function(z: Array, *, xp: Namespace) -> Array:
        return xp.concat([f.function(z[part, ...], xp=xp) for f, part in slices], axis=0)

    def derivative(a: Array, *, xp: Namespace) -> Array:
        return xp.concat([f.derivative(a[part, ...], xp=xp) for f, part in slices], axis=0)

    kinked = any(f.kinked for f, _ in slices)
    return Activation(function, derivative, max(f.steepest for f, _ in slices), kinked)
