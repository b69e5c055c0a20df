"""What each slip would make of the gradients: the one mathematics with that slip put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpmlp.mathematics.activations import Activation
from xpmlp.mathematics.losses import LOSSES
from xpmlp.teach.layout import Params, number_of, said
from xpmlp.teach.truth import Truth


class Variant(NamedTuple):
    """What the gradients are with a slip, by its name; where, and what else there is to say."""

    slip: str
    place: str
    gradients: Params
    detail: str = ""


def variants(truth: Truth, rate: float | None = None) -> Iterator[Variant]:
    """Return the gradients that each slip leads to; `rate` is of steps that are taken at once."""
    yield from _of_zeros(truth)
    yield from _of_derivatives(truth)
    yield from _of_errors(truth)
    yield from _of_one_example(truth)
    yield from _of_other_derivatives(truth)
    yield from _of_biases(truth)
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


def _of_zeros(truth: Truth) -> Iterator[Variant]:
    right, layers = truth.gradients, range(1, truth.mlp.layers + 1)
    some = {said(name): [name] for name in right}
    some |= {f"layer {k}": [f"layer{k}.weight", f"layer{k}.bias"] for k in layers}
    some |= {"all biases": [name for name in right if name.endswith("bias")]}
    for place, names in some.items():
        yield Variant(
            "gradient_zero", place, {k: 0 * g if k in names else g for k, g in right.items()}
        )


def _of_one_example(truth: Truth) -> Iterator[Variant]:
    for which, example in (("last", -1), ("first", 0)):
        for factor in (1.0, float(truth.count)):

            def alone(d: np.ndarray, _: Any, at: int = example, c: float = factor) -> np.ndarray:
                found = np.zeros_like(d)
                found[at] = c * d[at]
                return found

            yield Variant("one_example", "all layers", truth.gradients_with(delta=alone), which)


# What is taken for the derivative of a = f(z), and is not that of f.
_FORMULAS: dict[str, Callable[[Any], Any]] = {
    "1 − a": lambda a: 1 - a,
    "a": lambda a: a,
    "a (1 − a)": lambda a: a * (1 - a),
    "1 − a²": lambda a: 1 - a * a,
    "a²": lambda a: a * a,
    "1 + a²": lambda a: 1 + a * a,
    "a (1 + a)": lambda a: a * (1 + a),
    "1 where a > 0": lambda a: (a > 0) * 1.0,
}


def _of_other_derivatives(truth: Truth) -> Iterator[Variant]:
    hidden = range(1, truth.mlp.layers)
    for detail, formula in _FORMULAS.items():
        others = {
            k: truth.mlp.activations[k - 1]._replace(
                derivative=lambda a, *, xp, f=formula: f(a),  # noqa: ARG005
                of_input=False,
            )
            for k in hidden
        }
        found = truth.gradients_with(truth.with_activations(others))
        yield Variant("other_derivative", "the hidden layers", found, detail)


def _of_derivatives(truth: Truth) -> Iterator[Variant]:
    hidden = range(1, truth.mlp.layers)
    sets = [list(hidden), *([k] for k in hidden)] if len(hidden) > 1 else [[k] for k in hidden]
    for some in sets:
        place = _layers(some, len(hidden))
        for slip, changed in (
            ("derivative_forgotten", _without_derivative),
            ("derivative_of_output_at_z", _derivative_at_z),
            ("derivative_of_z_at_output", _derivative_at_output),
            ("derivative_of_error", _derivative_at_error),
        ):
            others = {k: changed(truth.mlp.activations[k - 1]) for k in some}
            yield Variant(slip, place, truth.gradients_with(truth.with_activations(others)))


def _without_derivative(f: Activation) -> Activation:
    return f._replace(derivative=lambda a, *, xp: xp.ones_like(a))


class _OfError(Activation):
    """An activation whose derivative is taken at the error term that it multiplies."""

    def backward(self, delta: Any, kept: Any, *masks: Any, xp: Any) -> Any:  # noqa: ARG002
        return delta * self.derivative(self.function(delta.copy(), xp=xp), xp=xp)


def _derivative_at_error(f: Activation) -> Activation:
    return _OfError(*f)


def _derivative_at_z(f: Activation) -> Activation:
    return f._replace(of_input=True)


def _derivative_at_output(f: Activation) -> Activation:
    return f._replace(derivative=lambda a, *, xp: f.slope(a.copy(), xp=xp), of_input=False)


def _of_errors(truth: Truth) -> Iterator[Variant]:
    classes = truth.mlp.loss_function.one_class
    if classes:
        there = (truth.y.sum(axis=0) > 0) * 1.0
        yield Variant(
            "all_labels_taken",
            "the output layer",
            truth.gradients_with(delta=lambda *_: (truth.predicted - there) / truth.count),
        )
        yield Variant(
            "output_derivative",
            "the output layer",
            truth.gradients_with(delta=lambda d, _: d * truth.predicted * (1 - truth.predicted)),
        )
        yield Variant(
            "softmax_derivative_twice",
            "the output layer",
            truth.gradients_with(delta=lambda d, _: _through_softmax(d, truth.predicted)),
        )
        for factor, name in ((2.0 / truth.mlp.sizes[-1], "mean"), (2.0, "sum"), (1.0, "half")):
            yield Variant(
                "gradient_of_another_loss",
                "the output layer",
                truth.gradients_with(
                    delta=lambda d, _, factor=factor: _through_softmax(  # type: ignore[misc]
                        factor * d, truth.predicted
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


def _of_biases(truth: Truth) -> Iterator[Variant]:
    biases = [name for name in truth.gradients if name.endswith("bias")]
    for place, some in ({"all layers": biases} | {said(name): [name] for name in biases}).items():
        for which, example in (("first", 0), ("last", -1)):
            for factor in (1.0, float(truth.count)):

                def alone(  # the loops' values are kept as defaults
                    name: str,
                    h: Any,
                    error: np.ndarray,
                    _: Params,
                    some: list[str] = some,
                    at: int = example,
                    c: float = factor,
                ) -> np.ndarray:
                    return c * error[at] if name in some else truth.usual(h, error)

                found = truth.gradients_with(multiply=alone)
                yield Variant("bias_not_summed", place, found, which)


def _of_products(truth: Truth) -> Iterator[Variant]:
    right = truth.gradients
    weights = [name for name in right if name.endswith("weight")]
    hidden = [h for _, h in truth.hidden()]
    for name in weights:
        turned = {k: g.T.reshape(g.shape) if k == name else g for k, g in right.items()}
        yield Variant("product_transposed", said(name), turned)
        layer, (fan_in, fan_out) = number_of(name), right[name].shape
        if layer <= len(hidden) and fan_in == fan_out:

            def of_output(
                k: str,
                h: Any,
                error: np.ndarray,
                _: Params,
                only: str = name,
                output: np.ndarray = hidden[layer - 1],
            ) -> np.ndarray:
                return output.T @ error if k == only else truth.usual(h, error)

            found = truth.gradients_with(multiply=of_output)
            yield Variant("input_of_another_layer", said(name), found)
    turned = {k: g.T.reshape(g.shape) if k in weights else g for k, g in right.items()}
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
    for row in ("last", "first"):

        def leave_out(params: Params, row: str = row) -> None:
            for layer in range(2, truth.mlp.layers + 1):
                w, b = params[f"layer{layer}.weight"], params[f"layer{layer}.bias"]
                rows = [w[1:], b[None]] if row == "last" else [b[None], w[:-1]]
                params[f"layer{layer}.weight"] = np.concatenate(rows)

        yield Variant(
            "wrong_row_left_out", "the upper layers", truth.gradients_with(below=leave_out), row
        )
    if rate is not None:

        def at_once(name: str, h: Any, error: np.ndarray, params: Params) -> np.ndarray:
            g = truth.usual(h, error)
            if name.endswith("weight"):
                params[name] = params[name] - rate * g
            return g

        yield Variant(
            "updated_too_early", "the upper layers", truth.gradients_with(multiply=at_once)
        )


def _layers(some: list[int], hidden: int) -> str:
    if len(some) == 1:
        return f"layer {some[0]}"
    return "all hidden layers" if len(some) == hidden else ", ".join(map(str, some))
