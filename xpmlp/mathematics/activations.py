"""Activation functions f and their derivatives: of the output a = f(z) where it tells the slope.

Then nothing but the output has to be kept for the backward pass; else z is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from xpmlp.arrays import Array, Namespace

# LeCun et al. 1998, "Efficient BackProp", section 4.4: f(±1) = ±1, and |f″| is largest there.
_LECUN_SCALE, _LECUN_SLOPE = 1.7159, 2.0 / 3.0
_LEAK = 0.01
# The normal distribution function is near σ(z (A + B z²)): A = 2 √(2/π), B = 0.044715 A.
_GELU_A, _GELU_B = 1.5957691216057308, 0.07135481627260025


class Activation(NamedTuple):
    """f and f′ with what is known of them.

    `function(z, xp=xp)` → a, `derivative(a, xp=xp)` → f′(z) from that output, or, `of_input`, from
    z itself; `steepest` the largest slope, `kinked` whether f′ jumps at z = 0. `onnx` are the
    operators that make f there one after the other, each with what it adds or multiplies by, a
    number or "z", or its attributes; none where ONNX does not know f.
    """

    function: Callable[..., Array]
    derivative: Callable[..., Array]
    steepest: float = 1.0
    kinked: bool = False
    onnx: tuple[tuple[str, Any], ...] = ()
    of_input: bool = False

    def forward(self, z: Array, b: Array, *, xp: Namespace) -> tuple[Array, Array]:
        """Return f(z + b), and what the derivative is taken from; z is used up."""
        z += b
        a = self.function(z, xp=xp)
        return a, z if self.of_input else a

    def backward(self, delta: Array, kept: Array, *masks: Array, xp: Namespace) -> Array:
        """Return δ ⊙ f′, and ⊙ m of a mask; δ is used up."""
        for mask in masks:
            delta *= mask
        delta *= self.derivative(kept, xp=xp)
        return delta

    def slope(self, z: Array, *, xp: Namespace) -> Array:
        """Return f′(z) from z."""
        return self.derivative(z if self.of_input else self.function(z, xp=xp), xp=xp)


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


def silu_gate(z: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """g(z) = σ(z) and g′(z) (Elfwing et al. 2018)."""
    g = sigmoid(z, xp=xp)
    return g, sigmoid_derivative(g, xp=xp)


def gelu_gate(z: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """g(z) = σ(z (A + B z²)) and g′(z) (Hendrycks and Gimpel 2016)."""
    square = z * z
    g = sigmoid(z * (_GELU_A + _GELU_B * square), xp=xp)
    return g, sigmoid_derivative(g, xp=xp) * (_GELU_A + 3.0 * _GELU_B * square)


def mish_gate(z: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """g(z) = tanh(ln(1 + e^z)) and g′(z) (Misra 2019)."""
    g = xp.tanh(xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z))))
    return g, tanh_derivative(g, xp=xp) * sigmoid(z, xp=xp)


def gated(
    gate: Callable[..., tuple[Array, Array]], steepest: float, *onnx: tuple[str, Any]
) -> Activation:
    """f(z) = z g(z) and f′(z) = g(z) + z g′(z) of `gate(z, xp=xp)` → (g, g′)."""

    def function(z: Array, *, xp: Namespace) -> Array:
        return z * gate(z, xp=xp)[0]

    def derivative(z: Array, *, xp: Namespace) -> Array:
        g, slope = gate(z, xp=xp)
        return g + z * slope

    function.__name__, derivative.__name__ = gate.__name__, f"{gate.__name__}_derivative"
    return Activation(function, derivative, steepest, onnx=(*onnx, ("Mul", "z")), of_input=True)


_GELU_ONNX: Any = ("Mul", "z"), ("Mul", _GELU_B), ("Add", _GELU_A), ("Mul", "z")
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
    "silu": gated(silu_gate, 1.099839, ("Sigmoid", {})),
    "gelu": gated(gelu_gate, 1.128993, *_GELU_ONNX, ("Sigmoid", {})),
    "mish": gated(mish_gate, 1.088498, ("Exp", {}), ("Add", 1.0), ("Log", {}), ("Tanh", {})),
}
