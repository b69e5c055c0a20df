"""Losses: each is a formula, and the link that its outputs go through.

A formula gives from outputs z and targets y (..., N, K) the terms of each example's loss and their
derivatives ∂/∂z; its row in `LOSSES`, called, adds them up. A new loss is a formula and a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpmlp.arrays import Array, Namespace, by_hand
from xpmlp.rows import Rows


class Link(NamedTuple):
    """From outputs to what they stand for: `function(outputs, xp=xp)` (..., N, K).

    `predicts` says what that is: "probabilities", "counts" or "values"; `onnx` and
    `scikit_learn` are the names of the function there.
    """

    name: str
    function: Callable[..., Array]
    predicts: str
    onnx: str
    scikit_learn: str


@dataclass(frozen=True)
class Loss:
    """`formula(outputs, y, xp=xp)` → (terms, derivatives), both arrays of its own.

    `link` says what the outputs stand for; `one_class` whether exactly one class is true.
    """

    formula: Callable[..., tuple[Array, Array]]
    link: Link
    one_class: bool = False

    def __call__(
        self,
        outputs: Array,
        targets: Array,
        *,
        xp: Namespace,
        scale: float | Array = 1.0,
        sample_weight: Array | None = None,
    ) -> tuple[Array, Array]:
        """C = scale Σ_n w_n Σ_k term_nk (...,), and ∂C/∂z of the outputs' shape.

        outputs (..., N, K); targets of that shape, or class ids (..., N) of an integer dtype that
        stand for one-hot rows. A scale of 1/B makes it the mean over a batch of B, of which the
        examples at hand may be a part; with weights w (..., N) 1/Σ_n w_n makes it the weighted
        mean.
        """
        y = one_hot(targets, outputs.shape[-1], like=outputs, xp=xp)
        terms, derivatives = self.formula(outputs, y, xp=xp)
        if sample_weight is not None:
            column = sample_weight[..., None]
            terms *= column
            derivatives *= column
        derivatives *= scale
        return scale * xp.sum(terms, axis=(-2, -1)), derivatives


def one_hot(targets: Array, classes: int, *, like: Array, xp: Namespace) -> Array:
    """Rows y_n with a one at the class id, in the dtype of `like`; other targets as they are."""
    if not xp.isdtype(targets.dtype, "integral"):
        return targets
    ids = xp.arange(classes, dtype=targets.dtype)
    # Examples side by side in memory, as the network's outputs are.
    return xp.astype(ids[:, None] == targets[..., None, :], like.dtype).mT


def softmax(logits: Array, *, xp: Namespace) -> Array:
    """a_i = e^(z_i) / Σ_j e^(z_j) over the last axis."""
    # Subtracting the maximum changes nothing and keeps every exponent ≤ 0.
    a = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    a /= xp.sum(a, axis=-1, keepdims=True)
    return a


def logistic(z: Array, *, xp: Namespace) -> Array:
    """σ(z) = 1 / (1 + e^−z), as exact for probabilities near 0 as for those near 1."""
    t = xp.exp(-xp.abs(z))
    return xp.where(z < 0, t, 1.0) / (1.0 + t)


SOFTMAX = Link("softmax", softmax, "probabilities", "Softmax", "softmax")
SIGMOID = Link("sigmoid", logistic, "probabilities", "Sigmoid", "logistic")
LINEAR = Link("linear", lambda z, **_: z, "values", "Identity", "identity")


def cross_entropy(logits: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """−y_i ln a_i with a = softmax(z), and a − y."""
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    a = xp.exp(shifted)
    total = xp.sum(a, axis=-1, keepdims=True)
    # −ln a_i = ln Σ e^(z_j − max) − (z_i − max): no logarithm of an underflowed probability.
    terms = xp.log(total) - shifted
    terms *= y
    a /= total
    return terms, a - y


def _binary_cross_entropy(logits: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """−y ln a − (1 − y) ln(1 − a) with a = σ(z), and a − y: one yes or no per output."""
    # −ln a = ln(1 + e^−z): with max(z, 0) taken out, no exponent is above 0.
    terms = xp.log1p(xp.exp(-xp.abs(logits)))
    terms += xp.maximum(logits, 0.0)
    terms -= y * logits
    return terms, logistic(logits, xp=xp) - y


def _mean_squared_error(outputs: Array, y: Array, **_: Namespace) -> tuple[Array, Array]:
    """(z_k − y_k)² / K, and 2 (z − y) / K: the mean over the outputs."""
    difference, share = outputs - y, 1.0 / outputs.shape[-1]
    return share * difference * difference, 2.0 * share * difference


LOSSES: Rows[Loss] = Rows(
    cross_entropy=Loss(cross_entropy, SOFTMAX, one_class=True),
    mean_squared_error=Loss(_mean_squared_error, LINEAR),
    binary_cross_entropy=Loss(_binary_cross_entropy, SIGMOID),
)
softmax_cross_entropy = LOSSES["cross_entropy"]


def count_correct(
    logits: Array, targets: Array, *, xp: Namespace, sample_weight: Array | None = None
) -> Array:
    """Number of examples (..., N, C) whose largest logit is at the target class.

    Targets are class ids (..., N) or rows of probabilities (..., N, C). With `sample_weight`
    (..., N) it is the sum of theirs.
    """
    if not xp.isdtype(targets.dtype, "integral"):
        targets = xp.argmax(targets, axis=-1)
    correct = xp.argmax(logits, axis=-1) == targets
    if sample_weight is None:
        return xp.count_nonzero(correct, axis=-1)
    return xp.sum(xp.astype(correct, sample_weight.dtype) * sample_weight, axis=-1)


@by_hand
def assess(
    loss: Loss, outputs: Array, targets: Array, weight: Array | None, scale: Any, *, xp: Namespace
) -> tuple[Array, Array, Array | None]:
    """C, ∂C/∂z, and of class ids how many examples were right."""
    c, derivatives = loss(outputs, targets, xp=xp, scale=scale, sample_weight=weight)
    ids = xp.isdtype(targets.dtype, "integral")
    return c, derivatives, count_correct(outputs, targets, xp=xp) if ids else None
