"""The gradient of softmax and cross-entropy the long way round, to learn from and test against."""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace
from xpmlp.mathematics.losses import one_hot


def output_error(a: Array, targets: Array, *, xp: Namespace) -> Array:
    """δ = a − y: ∂C/∂z of each example's cross-entropy with a = softmax(z) (..., N, C).

    targets class ids (..., N) of an integer dtype, or rows of probabilities (..., N, C).
    """
    return a - one_hot(targets, a.shape[-1], like=a, xp=xp)


def softmax_jacobian(a: Array, *, xp: Namespace) -> Array:
    """∂a_i/∂z_j = a_i (δ_ij − a_j) for a = softmax(z) (..., C): a symmetric (..., C, C)."""
    unit = xp.eye(a.shape[-1], dtype=a.dtype)
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
