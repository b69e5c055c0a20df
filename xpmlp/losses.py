"""Losses: each returns its value and its gradient with respect to the network's output.

A loss is a sum over examples times `scale`; 1/B makes it the mean over a batch of B, of
which the examples at hand may be a part.
"""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace


def softmax(logits: Array, *, xp: Namespace) -> Array:
    """a_i = e^(z_i) / Σ_j e^(z_j) over the last axis."""
    # Subtracting the maximum changes nothing and keeps every exponent ≤ 0.
    a = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    a /= xp.sum(a, axis=-1, keepdims=True)
    return a


def softmax_cross_entropy(
    logits: Array, targets: Array, *, xp: Namespace, scale: float = 1.0
) -> tuple[Array, Array]:
    """C = −scale Σ_n Σ_i y_ni ln a_ni with a = softmax(z), and ∂C/∂z = scale (a − y).

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
    loss = -scale * xp.sum(shifted, axis=(-2, -1))
    a /= total
    a -= y
    a *= scale
    return loss, a


def one_hot(targets: Array, classes: int, *, like: Array, xp: Namespace) -> Array:
    """Rows y_n with a one at the class id, in the dtype of `like`; other targets as they are."""
    if not xp.isdtype(targets.dtype, "integral"):
        return targets
    ids = xp.arange(classes, dtype=targets.dtype, device=targets.device)
    return xp.astype(xp.expand_dims(targets, axis=-1) == ids, like.dtype)
