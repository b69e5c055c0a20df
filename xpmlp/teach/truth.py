"""What is right for a network and a batch, and what each slip would make of it.

Both by the one mathematics: a slip is that with another product, derivative or error term put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpmlp.backends import select_backend
from xpmlp.mathematics.activations import ACTIVATIONS, Activation
from xpmlp.mathematics.losses import LOSSES, softmax
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.products import product
from xpmlp.teach.layout import Params

Delta = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Variant(NamedTuple):
    """What the gradients are with a slip, by its name; where, and what else there is to say."""

    slip: str
    place: str
    gradients: Params
    detail: str = ""


class Truth:
    """Outputs, loss and gradients of a batch: x (N, F), y (N, K) as rows, in float64."""

    def __init__(self, mlp: MLP, params: Params, x: np.ndarray, y: np.ndarray) -> None:
        self.mlp, self.params, self.x, self.y = mlp, params, x, y
        self.xp = select_backend("cpu", "float64").xp
        self.count = len(x)
        self.outputs = self.outputs_of(mlp)
        self.predicted = mlp.loss_function.link.function(self.outputs, xp=self.xp)
        loss, _ = mlp.loss_function(self.outputs, y, xp=self.xp, scale=1.0 / self.count)
        self.loss = float(loss)
        self.gradients = self.gradients_with()

    @property
    def backwards(self) -> list[str]:
        """The names of the parameters in the order in which their gradients are made."""
        return [
            f"layer{layer}.{part}"
            for layer in range(self.mlp.layers, 0, -1)
            for part in ("weight", "bias")
        ]

    def hidden(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return z and h of each hidden layer."""
        found, h = [], self.x
        for layer, f in enumerate(self.mlp.activations, start=1):
            z = h @ self.params[f"layer{layer}.weight"] + self.params[f"layer{layer}.bias"]
            h = f.function(z.copy(), xp=self.xp)
            found.append((z, h))
        return found

    def outputs_of(self, mlp: MLP, params: Params | None = None) -> np.ndarray:
        """Return the outputs of another network, or with other parameters."""
        outputs, _ = mlp.forward(dict(params or self.params), self.x, xp=self.xp)
        return np.array(outputs)

    def with_activations(self, activations: dict[int, Activation]) -> MLP:
        """Return the network with others in some hidden layers, counted from 1."""
        mlp = MLP(self.mlp.sizes, self.mlp.activation, self.mlp.loss)
        own = [activations.get(k, f) for k, f in enumerate(self.mlp.activations, start=1)]
        mlp.__dict__["activations"] = tuple(own)
        return mlp

    def gradients_with(
        self,
        mlp: MLP | None = None,
        delta: Delta | None = None,
        multiply: Callable[[str, Any, np.ndarray, Params], np.ndarray] | None = None,
        below: Callable[[Params], None] | None = None,
    ) -> Params:
        """Return the gradients with some of it done in another way.

        `delta(δ, outputs)` is another error term of the outputs, `multiply(name, h, δ, params)` the
        gradient of a parameter, and `below(params)` changes the weights that δ goes down through.
        """
        mlp, params = mlp or self.mlp, {name: w.copy() for name, w in self.params.items()}
        outputs, backprop = mlp.forward(params, self.x, xp=self.xp)
        _, d = mlp.loss_function(outputs, self.y, xp=self.xp, scale=1.0 / self.count)
        if delta is not None:
            d = delta(np.array(d), np.array(outputs))
        if below is not None:
            below(params)
        names = iter(self.backwards)

        def made(h: Any, error: np.ndarray) -> np.ndarray:
            name = next(names)
            if multiply is None:
                found: np.ndarray = product(h, error, xp=self.xp)
                return found
            return multiply(name, h, error, params)

        return {name: np.array(g) for name, g in backprop(np.array(d), made).items()}

    def usual(self, h: Any, error: np.ndarray) -> np.ndarray:
        """Return the gradient as it is made."""
        found: np.ndarray = product(h, error, xp=self.xp)
        return found


def variants(truth: Truth, rate: float | None = None) -> Iterator[Variant]:
    """Return the gradients that each slip leads to; `rate` is of steps that are taken at once."""
    yield from _of_derivatives(truth)
    yield from _of_errors(truth)
    yield from _of_products(truth)
    yield from _of_ways_down(truth, rate)
    yield from _of_factors(truth)


def _of_factors(truth: Truth) -> Iterator[Variant]:
    right, n = truth.gradients, float(truth.count)
    yield Variant("sign", "all layers", {name: -g for name, g in right.items()})
    for slip, factor in (("not_divided", n), ("divided_twice", 1.0 / n)):
        yield Variant(slip, "all layers", {name: factor * g for name, g in right.items()})
        for part in ("weight", "bias"):
            some = {k: factor * g if k.endswith(part) else g for k, g in right.items()}
            yield Variant(slip, f"the {'weights' if part == 'weight' else 'biases'}", some)
        for only in right:
            some = {name: factor * g if name == only else g for name, g in right.items()}
            yield Variant(slip, said(only), some)


def _of_derivatives(truth: Truth) -> Iterator[Variant]:
    hidden = range(1, truth.mlp.layers)
    sets = [list(hidden), *([k] for k in hidden)] if len(hidden) > 1 else [[k] for k in hidden]
    for some in sets:
        place = _layers(some, len(hidden))
        ones, at_z, at_output = (
            {k: make(truth.mlp.activations[k - 1]) for k in some}
            for make in (_without_derivative, _derivative_at_z, _derivative_at_output)
        )
        for slip, others in (
            ("derivative_forgotten", ones),
            ("derivative_of_output_at_z", at_z),
            ("derivative_of_z_at_output", at_output),
        ):
            yield Variant(slip, place, truth.gradients_with(truth.with_activations(others)))


def _without_derivative(f: Activation) -> Activation:
    return f._replace(derivative=lambda a, *, xp: xp.ones_like(a))


def _derivative_at_z(f: Activation) -> Activation:
    return f._replace(of_input=True)


def _derivative_at_output(f: Activation) -> Activation:
    return f._replace(derivative=lambda a, *, xp: f.slope(a.copy(), xp=xp), of_input=False)


def _of_errors(truth: Truth) -> Iterator[Variant]:
    classes = truth.mlp.loss_function.one_class
    if classes:
        yield Variant(
            "softmax_derivative_twice",
            "the output layer",
            truth.gradients_with(delta=lambda d, z: _through_softmax(d, softmax(z, xp=truth.xp))),
        )
        for factor, name in ((2.0 / truth.mlp.sizes[-1], "mean"), (2.0, "sum"), (1.0, "half")):
            yield Variant(
                "gradient_of_another_loss",
                "the output layer",
                truth.gradients_with(
                    delta=lambda d, z, factor=factor: _through_softmax(  # type: ignore[misc]
                        factor * d, softmax(z, xp=truth.xp)
                    )
                ),
                f"the {name} of squared errors of the probabilities",
            )
    other = "squared_error" if classes else "absolute_error"
    _, d = LOSSES[other](truth.outputs, truth.y, xp=truth.xp, scale=1.0 / truth.count)
    yield Variant(
        "gradient_of_another_loss",
        "the output layer",
        truth.gradients_with(delta=lambda *_: np.array(d)),
        f"the {other.replace('_', ' ')} of the outputs",
    )


def _through_softmax(d: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return Jᵀ d with J = diag(a) − a aᵀ of each example."""
    found: np.ndarray = a * (d - (a * d).sum(axis=1, keepdims=True))
    return found


def _of_products(truth: Truth) -> Iterator[Variant]:
    outputs_of = {k: h for k, (_, h) in enumerate(truth.hidden(), start=1)}

    def other(change: Callable[[str, Any, np.ndarray], np.ndarray | None]) -> Params:
        def multiply(name: str, h: Any, error: np.ndarray, _: Params) -> np.ndarray:
            found = change(name, h, error)
            return truth.usual(h, error) if found is None else found

        return truth.gradients_with(multiply=multiply)

    n = truth.count
    for which, example in (("first", 0), ("last", -1)):
        for factor in (1.0, float(n)):
            yield Variant(
                "bias_not_summed",
                "all layers",
                other(lambda _, h, e, k=example, c=factor: c * e[k] if h is None else None),  # type: ignore[misc]
                which,
            )
    yield Variant(
        "bias_forgotten", "all layers", other(lambda _, h, e: 0 * e[0] if h is None else None)
    )
    for name in truth.gradients:
        layer = number_of(name)
        if name.endswith("bias"):
            some = other(lambda k, _, e, name=name: e[0] if k == name else None)  # type: ignore[misc]
            yield Variant("bias_not_summed", said(name), some)
            some = other(lambda k, _, e, name=name: 0 * e[0] if k == name else None)  # type: ignore[misc]
            yield Variant("bias_forgotten", said(name), some)
            continue
        fan_in, fan_out = truth.gradients[name].shape
        turned = {k: g.T.reshape(g.shape) if k == name else g for k, g in truth.gradients.items()}
        yield Variant("product_transposed", said(name), turned)
        if layer in outputs_of and fan_in == fan_out:
            h = outputs_of[layer]
            yield Variant(
                "input_of_another_layer",
                said(name),
                other(lambda k, _, e, name=name, h=h: h.T @ e if k == name else None),  # type: ignore[misc]
            )
    turned = {
        k: g.T.reshape(g.shape) if k.endswith("weight") else g for k, g in truth.gradients.items()
    }
    yield Variant("product_transposed", "all layers", turned)


def _of_ways_down(truth: Truth, rate: float | None) -> Iterator[Variant]:
    square = [
        layer
        for layer in range(2, truth.mlp.layers + 1)
        if len(set(truth.mlp.sizes[layer - 1 : layer + 1])) == 1
    ]

    def turn(params: Params) -> None:
        for layer in square:
            params[f"layer{layer}.weight"] = params[f"layer{layer}.weight"].T

    if square:
        place = ", ".join(f"layer {k}" for k in square)
        yield Variant("weights_not_transposed", place, truth.gradients_with(below=turn))
    if rate is not None:

        def at_once(name: str, h: Any, error: np.ndarray, params: Params) -> np.ndarray:
            g = truth.usual(h, error)
            if name.endswith("weight"):
                params[name] = params[name] - rate * g
            return g

        yield Variant(
            "updated_too_early", "the upper layers", truth.gradients_with(multiply=at_once)
        )


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


def _layers(some: list[int], hidden: int) -> str:
    if len(some) == 1:
        return f"layer {some[0]}"
    return "all hidden layers" if len(some) == hidden else ", ".join(map(str, some))


def other_activations(truth: Truth) -> Iterator[tuple[str, np.ndarray]]:
    """Return the outputs with each other activation in the hidden layers."""
    for name, f in ACTIVATIONS.items():
        if f not in truth.mlp.activations:
            every = dict.fromkeys(range(1, truth.mlp.layers), f)
            yield name, truth.outputs_of(truth.with_activations(every))
