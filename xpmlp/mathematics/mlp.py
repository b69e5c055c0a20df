"""The network: the forward pass, and the backward pass that it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

from xpmlp.arrays import Array, Namespace, Params, elementwise
from xpmlp.errors import UsageError, check_known
from xpmlp.mathematics.activations import ACTIVATIONS, Activation
from xpmlp.mathematics.initializers import INITIALIZERS, Generator, HostParams, draw_parameters
from xpmlp.mathematics.losses import LOSSES, Loss
from xpmlp.mathematics.products import Gradient, product

# From δ = ∂C/∂outputs to the gradients, each hᵀ δ made by `multiply`.
Backprop = Callable[..., dict[str, Gradient]]
# noise(layer, a): what goes on in place of the output a of a hidden layer, counted from 1, or of
# the features at 0; and the factors m in it (..., N, units), None for 1.
Noise = Callable[[int, Array], tuple[Array, Array | None]]
Multiply = Callable[[Array | None, Array], Gradient]


@dataclass(frozen=True)
class MLP:
    """A fully connected network: hidden layers h = f(h W + b), and a linear output layer.

    `sizes` is (features, hidden units ..., outputs). `activation` names the f of all hidden
    layers, or of each in turn. `loss` names what the outputs are trained on: "cross_entropy"
    makes them logits of a softmax, "binary_cross_entropy" each the logit of a yes or no,
    "poisson_deviance" logarithms of counts; "mean_squared_error" leaves them linear.
    Layer l has the parameters "layer{l}.weight" (fan_in, fan_out) and "layer{l}.bias"
    (fan_out,), counted from 1. Leading axes of the parameters are independent models.
    Raises `UsageError` for anything else.

    >>> MLP((784, 400, 10), "relu").parameter_count
    318010
    """

    sizes: tuple[int, ...]
    activation: str | tuple[str, ...] = "sigmoid"
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if len(self.sizes) < 2 or min(self.sizes) < 1 or max(self.sizes) >= 2**31:
            raise UsageError(f"layer sizes {self.sizes} need an input, an output, no zeros, < 2^31")
        for name in self.activation_names:
            check_known("activation", name, ACTIVATIONS)
        check_known("loss", self.loss, LOSSES)
        given, hidden = len(self.activation_names), self.layers - 1
        if given != hidden:
            raise UsageError(f"{given} activations for {hidden} hidden layers: name one, or each")

    def __str__(self) -> str:
        names = self.activation_names
        shown = ", ".join(names if len(set(names)) > 1 else names[:1]) or "linear"
        return f"{'-'.join(map(str, self.sizes))}, {shown}"

    @property
    def layers(self) -> int:
        """Number of layers with parameters."""
        return len(self.sizes) - 1

    @property
    def activation_names(self) -> tuple[str, ...]:
        """The activation of each hidden layer."""
        if isinstance(self.activation, str):
            return (self.activation,) * (self.layers - 1)
        return self.activation

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """f and f′ of each hidden layer."""
        return tuple(ACTIVATIONS[name] for name in self.activation_names)

    @property
    def loss_function(self) -> Loss:
        """Loss and its gradient from outputs and targets, with the link of the outputs."""
        return LOSSES[self.loss]

    @property
    def weight_shapes(self) -> list[tuple[int, int]]:
        """The shape (fan_in, fan_out) of each layer's weight."""
        return list(pairwise(self.sizes))

    @cached_property
    def forward_flop(self) -> int:
        """Floating-point operations of a forward pass per example: 2 Σ fan_in fan_out."""
        return 2 * sum(fan_in * fan_out for fan_in, fan_out in self.weight_shapes)

    @cached_property
    def step_flop(self) -> int:
        """Floating-point operations of the products of one training step, per example.

        Forward there is one product with each weight, backward two: hᵀ δ, and δ Wᵀ, which the
        first layer does not need.
        """
        fan_in, fan_out = self.weight_shapes[0]
        return 3 * self.forward_flop - 2 * fan_in * fan_out

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases: Σ_l (fan_in + 1) fan_out."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.weight_shapes)

    def init(self, rng: Generator, initializer: str = "xavier") -> HostParams:
        """Draw the initial parameters on the host; biases are zero."""
        check_known("initialiser", initializer, INITIALIZERS)
        return draw_parameters(rng, self.sizes, INITIALIZERS[initializer])

    def forward(
        self, params: Params, x: Array, *, xp: Namespace, noise: Noise | None = None
    ) -> tuple[Array, Backprop]:
        """Return the outputs (..., N, outputs) of x (..., N, features), and backprop.

        `noise` makes h = m ⊙ a + n of what layers are given; dropout has no n. `backprop(doutputs)`
        takes δ = ∂C/∂outputs and returns ∂C/∂parameter under the parameters' names:

            ∂C/∂W = hᵀ δ,   ∂C/∂b = Σ_n δ_n,   δ ← (δ Wᵀ) ⊙ m ⊙ f′(z)

        with h the layer's input, from the last layer to the first; `multiply(h, δ)` makes hᵀ δ,
        and 1ᵀ δ of None, by default as arrays. What is kept of a layer lives in that closure alone.
        """
        # Per layer what the backward pass needs: its input h; of a hidden one a or z, and m.
        h = x if noise is None else noise(0, x)[0]
        inputs, kept = [h], []
        for layer, f in enumerate(self.activations, start=1):
            w, b = of_layer(params, layer)
            a, of_slope = elementwise(f.forward, xp.matmul(h, w), b, xp=xp)
            h, m = (a, None) if noise is None else noise(layer, a)
            inputs.append(h)
            kept.append((of_slope,) if m is None else (of_slope, m))
        # A loss adds up over the outputs of each example. They are few: with the examples side by
        # side in memory, of (Wᵀ hᵀ)ᵀ, such a sum is taken for many at once.
        w, b = of_layer(params, self.layers)
        outputs = xp.matmul(w.mT, h.mT).mT
        outputs += b

        def backprop(delta: Array, multiply: Multiply | None = None) -> dict[str, Gradient]:
            multiply = multiply or partial(product, xp=xp)
            gradients: dict[str, Gradient] = {}
            for layer in range(self.layers, 0, -1):
                gradients[f"layer{layer}.weight"] = multiply(inputs[layer - 1], delta)
                gradients[f"layer{layer}.bias"] = multiply(None, delta)
                if layer == 1:
                    break  # nobody asks for the gradient with respect to x
                below = layer - 2  # the hidden layer that feeds this one, from 0
                delta = xp.matmul(delta, params[f"layer{layer}.weight"].mT)
                delta = elementwise(self.activations[below].backward, delta, *kept[below], xp=xp)
            return gradients

        return outputs, backprop

    def predict(self, params: Params, x: Array, *, xp: Namespace) -> Array:
        """Return what the outputs (..., N, outputs) stand for: probabilities, counts, values."""
        outputs, _ = self.forward(params, x, xp=xp)
        return self.loss_function.link.function(outputs, xp=xp)


def of_layer(params: Params, layer: int) -> tuple[Array, Array]:
    """Return W, and b as a row, of a layer counted from 1."""
    return params[f"layer{layer}.weight"], params[f"layer{layer}.bias"][..., None, :]
