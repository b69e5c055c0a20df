"""A step against its formulas written out in numpy, masks and pieces included."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xpmlp import MLP, SGD, Adam, Examples, Penalty, UsageError, select_backend
from xpmlp.backends import Backend
from xpmlp.mathematics.dropout import dropout_mask, kept
from xpmlp.mathematics.products import Product, Sums, accumulate
from xpmlp.mathematics.step import Inputs, Step, Variables, gradient
from xpmlp.regularization import PlacedRegularization

NET = MLP((3, 5, 4, 2), "tanh")
SHARE, RATE, L2 = 0.4, 0.3, 0.2


def examples() -> Examples:
    rng = np.random.default_rng(0)
    return Examples(rng.normal(size=(6, 3)), rng.integers(2, size=6))


def in_two_pieces(called: list[tuple[int, float, int]]) -> Callable[..., Sums]:
    """Return what adds up a batch of 6 in pieces of 4 and 2, noting how it was called."""

    def add_up(sums_of: Callable[[slice], Sums], count: int, flop: float, features: int) -> Sums:
        called.append((count, flop, features))
        total = sums_of(slice(0, 4))
        total.add(sums_of(slice(4, 6)))
        return total

    return add_up


def test_a_step_through_masks_is_that_of_the_formulas(backend: Backend) -> None:
    params = NET.init(np.random.default_rng(1), "he")
    params["layer1.bias"] = np.linspace(-1, 1, 5)
    data, xp = examples().to_device(backend), backend.xp
    keys = backend.to_device(np.array([7, 8], dtype=np.uint32))
    rows = backend.to_device(np.array([5, 0, 1, 4, 2, 3]))
    called: list[tuple[int, float, int]] = []
    step = Step(NET, SGD(), Penalty(l2=L2), PlacedRegularization(dropout=kept(SHARE)))
    # Keys of the images, of the features' mask and noise, and of each hidden layer's.
    inputs = Inputs(RATE, rows, backend.to_device(np.array([0, 0, 0, 7, 0, 8, 0], dtype=np.uint32)))
    variables = Variables(backend.all_to_device(params), {})
    with backend.computing():
        moved, outputs = step(variables, data, inputs, xp=xp, add_up=in_two_pieces(called))
    assert called == [(6, NET.step_flop, 3)]
    # The same in numpy: masks are of the places in the batch, one key per hidden layer.
    x, y = examples().x[[5, 0, 1, 4, 2, 3]], np.eye(2)[examples().y[[5, 0, 1, 4, 2, 3]]]
    masks = [
        backend.to_host(
            dropout_mask(keys[k, ...], backend.to_device(np.zeros((6, n))), SHARE, xp=xp)
        )
        for k, n in enumerate((5, 4))
    ]
    w = [params[f"layer{k}.weight"] for k in (1, 2, 3)]
    b = [params[f"layer{k}.bias"] for k in (1, 2, 3)]
    a1 = np.tanh(x @ w[0] + b[0])
    h1 = a1 * masks[0]
    a2 = np.tanh(h1 @ w[1] + b[1])
    h2 = a2 * masks[1]
    z = h2 @ w[2] + b[2]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    d3 = (p - y) / 6
    d2 = (d3 @ w[2].T) * masks[1] * (1 - a2**2)
    d1 = (d2 @ w[1].T) * masks[0] * (1 - a1**2)
    for k, (h, d) in enumerate(((x, d1), (h1, d2), (h2, d3)), start=1):
        weight, bias = params[f"layer{k}.weight"], params[f"layer{k}.bias"]
        found = {
            name: backend.to_host(moved.params[f"layer{k}.{name}"]) for name in ("weight", "bias")
        }
        np.testing.assert_allclose(
            found["weight"], weight - RATE * (h.T @ d + L2 * weight), rtol=1e-10
        )
        np.testing.assert_allclose(found["bias"], bias - RATE * d.sum(axis=0), rtol=1e-10)
    loss = -np.log((p * y).sum(axis=1)).mean()
    assert float(backend.to_host(outputs.loss)) == pytest.approx(loss)
    assert int(backend.to_host(outputs.correct)) == (p.argmax(axis=1) == y.argmax(axis=1)).sum()


def test_gradients_of_weights_are_left_as_products() -> None:
    """What is only added to a weight need not exist by itself."""
    backend = select_backend("cpu", "float64")
    batch = examples().to_device(backend).batch(xp=backend.xp)
    params = NET.init(np.random.default_rng(1))
    whole: Callable[..., Sums] = lambda sums_of, count, *_: sums_of(slice(0, count))  # noqa: E731
    sums = gradient(NET, params, batch, xp=backend.xp, add_up=whole)
    assert all(isinstance(sums[f"layer{k}.weight"], Product) for k in (1, 2, 3))
    assert all(sums[f"layer{k}.bias"].left is None for k in (1, 2, 3))


def test_a_namespace_that_has_the_product_is_handed_it() -> None:
    handed: list[Any] = []

    def accumulate_product(*arguments: Any) -> bool:
        handed.append(arguments)
        return len(handed) == 1  # the second time it declines

    xp = SimpleNamespace(accumulate_product=accumulate_product, matmul=np.matmul)
    left, right = np.ones((3, 2)), np.full((3, 2), 2.0)
    c = np.zeros((2, 2))
    assert accumulate(c, Product(left, right), alpha=2.0, beta=3.0, xp=xp) is c
    assert c.max() == 0
    ((given, *arrays, alpha, beta),) = handed
    assert given is c
    assert arrays[0] is left
    assert arrays[1] is right
    assert (alpha, beta) == (2.0, 3.0)
    c += 1.0
    found = accumulate(c, Product(left, right), alpha=2.0, beta=3.0, xp=xp)
    np.testing.assert_array_equal(found, np.full((2, 2), 3.0 + 2.0 * 6.0))


def test_adam_counts_in_the_dtype_of_the_weights() -> None:
    w = {"layer1.weight": np.zeros((2, 2), dtype="float32")}
    assert Adam().init(w, xp=np)["time"]["steps"].dtype == np.float32


def test_sizes_may_be_a_list_and_have_bounds() -> None:
    mlp = MLP([4, 3, 2])  # type: ignore[arg-type]
    assert mlp.sizes == (4, 3, 2)
    assert hash(mlp) == hash(MLP((4, 3, 2)))
    assert MLP((1, 1, 1), loss="mean_squared_error").parameter_count == 4
    assert MLP((2**31 - 1, 2)).layers == 1
    for sizes in ((2**31, 2), (3, 0, 2), (3,)):
        with pytest.raises(UsageError, match=r"need an input, an output, no zeros, < 2\^31"):
            MLP(sizes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MLP((2, 2, 2), "x"), "activation 'x' is not known: choose from sigmoid, tanh, "),
        (lambda: MLP((2, 2), loss="x"), "loss 'x' is not known: choose from cross_entropy, "),
        (
            lambda: NET.init(np.random.default_rng(0), "x"),
            "initialiser 'x' is not known: choose from uniform, normal, ",
        ),
        (
            lambda: MLP((2, 2, 2), ("tanh", "relu")),
            "2 activations for 1 hidden layers: name one, or each",
        ),
        (lambda: Penalty(l1=-1.0), "l1 is -1.0: choose a number from 0 up"),
        (lambda: Penalty(l2=float("inf")), "l2 is inf: choose a number from 0 up"),
    ],
    ids=["activation", "loss", "initialiser", "activations", "l1", "l2"],
)
def test_what_is_wrong_is_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError) as found:
        make()
    assert str(found.value).startswith(said)
