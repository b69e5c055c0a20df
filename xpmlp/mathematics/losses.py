"""Losses: each returns its value and its gradient with respect to the network's output.

A loss is a sum over examples times `scale`; 1/B makes it the mean over a batch of B, of
which the examples at hand may be a part. With `weights` (..., N) each example counts that
many times; 1/Σ_n w_n then makes it the weighted mean.
"""

from __future__ import annotations

from collections.abc import Callable

from xpmlp.arrays import Array, Namespace

Loss = Callable[..., tuple[Array, Array]]


def softmax(logits: Array, *, xp: Namespace) -> Array:
    """a_i = e^(z_i) / Σ_j e^(z_j) over the last axis."""
    # Subtracting the maximum changes nothing and keeps every exponent ≤ 0.
    a = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    a /= xp.sum(a, axis=-1, keepdims=True)
    return a


def softmax_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    xp: Namespace,
    scale: float | Array = 1.0,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """C = −scale Σ_n w_n Σ_i y_ni ln a_ni with a = softmax(z), and ∂C/∂z = scale w (a − y).

    logits (..., N, C); targets class ids (..., N) of an integer dtype, or rows of
    probabilities (..., N, C). Returns the loss (...,) and a gradient of the logits' shape.
    """
    y = one_hot(targets, logits.shape[-1], like=logits, xp=xp)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    a = xp.exp(shifted)
    total = xp.sum(a, axis=-1, keepdims=True)
    # ln a_i = (z_i − max) − ln Σ e^(z_j − max): no logarithm of an underflowed probability.
    shifted -= xp.log(total)
    shifted *= y
    a /= total
    return _weighted(shifted, output_error(a, y, xp=xp), -scale, scale, weights, xp)


def output_error(a: Array, targets: Array, *, xp: Namespace) -> Array:
    """δ = a − y: ∂C/∂z of each example's cross-entropy with a = softmax(z) (..., N, C).

    targets class ids (..., N) of an integer dtype, or rows of probabilities (..., N, C).
    """
    return a - one_hot(targets, a.shape[-1], like=a, xp=xp)


def mean_squared_error(
    outputs: Array,
    targets: Array,
    *,
    xp: Namespace,
    scale: float | Array = 1.0,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """C = (scale / K) Σ_n w_n Σ_k (z_nk − y_nk)², and ∂C/∂z = (2 scale / K) w (z − y).

    outputs (..., N, K) of a linear layer; targets of that shape, or class ids (..., N) that
    stand for one-hot rows. Returns the loss (...,) and a gradient of the outputs' shape.
    """
    difference = outputs - one_hot(targets, outputs.shape[-1], like=outputs, xp=xp)
    scale = scale / outputs.shape[-1]
    return _weighted(difference * difference, difference, scale, 2.0 * scale, weights, xp)


def _weighted(
    terms: Array,
    gradient: Array,
    scale: float | Array,
    gradient_scale: float | Array,
    weights: Array | None,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Add up terms (..., N, C) and scale both, each example by its weight too; uses them up."""
    if weights is not None:
        column = weights[..., None]
        terms *= column
        gradient *= column
    gradient *= gradient_scale
    return scale * xp.sum(terms, axis=(-2, -1)), gradient


def logistic(z: Array, *, xp: Namespace) -> Array:
    """σ(z) = 1 / (1 + e^−z), as exact for probabilities near 0 as for those near 1."""
    t = xp.exp(-xp.abs(z))
    return xp.where(z < 0, t, 1.0) / (1.0 + t)


def binary_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    xp: Namespace,
    scale: float | Array = 1.0,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """C = −scale Σ_n w_n Σ_k [y ln a + (1 − y) ln(1 − a)], a = σ(z), and ∂C/∂z = scale w (a − y).

    One yes or no an output: logits (..., N, K); targets of that shape from 0 to 1, or class ids.
    """
    y = one_hot(targets, logits.shape[-1], like=logits, xp=xp)
    # −ln a = ln(1 + e^−z): with max(z, 0) taken out, no exponent is above 0.
    terms = xp.log1p(xp.exp(-xp.abs(logits)))
    terms += xp.maximum(logits, 0.0)
    terms -= y * logits
    return _weighted(terms, logistic(logits, xp=xp) - y, scale, scale, weights, xp)


def squared_error(
    outputs: Array,
    targets: Array,
    *,
    xp: Namespace,
    scale: float | Array = 1.0,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """C = (scale / 2) Σ_n w_n ‖z_n − y_n‖², and ∂C/∂z = scale w (z − y).

    A sum over the outputs, not their mean: each output is trained as it would be alone.
    """
    difference = outputs - one_hot(targets, outputs.shape[-1], like=outputs, xp=xp)
    return _weighted(difference * difference, difference, 0.5 * scale, scale, weights, xp)


def poisson_deviance(
    outputs: Array,
    targets: Array,
    *,
    xp: Namespace,
    scale: float | Array = 1.0,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """C = scale Σ_n w_n Σ_k [y ln(y / a) − y + a] with a = e^z, and ∂C/∂z = scale w (a − y).

    Half the Poisson deviance, for counts y ≥ 0 (McCullagh and Nelder 1989, section 2.3).
    """
    y, a = one_hot(targets, outputs.shape[-1], like=outputs, xp=xp), xp.exp(outputs)
    # Where y is 0, 0 ln 0 = 0 is meant.
    terms = y * (xp.log(xp.where(y > 0, y, 1.0)) - outputs)
    difference = a - y
    terms += difference
    return _weighted(terms, difference, scale, scale, weights, xp)


def one_hot(targets: Array, classes: int, *, like: Array, xp: Namespace) -> Array:
    """Rows y_n with a one at the class id, in the dtype of `like`; other targets as they are."""
    if not xp.isdtype(targets.dtype, "integral"):
        return targets
    ids = xp.arange(classes, dtype=targets.dtype, device=targets.device)
    # Examples side by side in memory, as the network's outputs are.
    return xp.astype(ids[:, None] == targets[..., None, :], like.dtype).mT


# The same gradient the long way round, to learn from and to test against.


def softmax_jacobian(a: Array, *, xp: Namespace) -> Array:
    """∂a_i/∂z_j = a_i (δ_ij − a_j) for a = softmax(z) (..., C): a symmetric (..., C, C)."""
    unit = xp.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    return a[..., None] * (unit - a[..., None, :])


def cross_entropy(a: Array, y: Array, *, xp: Namespace, scale: float = 1.0) -> tuple[Array, Array]:
    """C = −scale Σ_n Σ_i y_ni ln a_ni of probabilities, and ∂C/∂a = −scale y / a."""
    # Where y is 0 the probability may be 0 too, and 0 ln 0 = 0 is meant.
    a = xp.where(y > 0, a, 1.0)
    return -scale * xp.sum(y * xp.log(a), axis=(-2, -1)), -scale * y / a


def softmax_backward(a: Array, da: Array, *, xp: Namespace) -> Array:
    """∂C/∂z_j = Σ_i ∂C/∂a_i ∂a_i/∂z_j: the chain rule through the softmax Jacobian."""
    row = da[..., None, :]
    return xp.squeeze(xp.matmul(row, softmax_jacobian(a, xp=xp)), axis=-2)


LOSSES: dict[str, Loss] = {
    "cross_entropy": softmax_cross_entropy,
    "mean_squared_error": mean_squared_error,
    "squared_error": squared_error,
    "binary_cross_entropy": binary_cross_entropy,
    "poisson_deviance": poisson_deviance,
}
