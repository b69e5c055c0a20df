"""Losses of values, counts and quantiles, and of several classes at once.

Rows of `LOSSES` and families of rows, added as anybody may add them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise

from xpmlp.arrays import Array, Namespace
from xpmlp.errors import UsageError
from xpmlp.mathematics.losses import LINEAR, LOSSES, Link, Loss, cross_entropy, logistic, softmax

EXPONENTIAL = Link("exp", lambda z, *, xp: xp.exp(z), "counts", "Exp", "exp")


def poisson_deviance(outputs: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """y ln(y / a) − y + a with a = e^z, and a − y.

    Half the Poisson deviance, for counts y ≥ 0 (McCullagh and Nelder 1989, section 2.3).
    """
    # Where y is 0, 0 ln 0 = 0 is meant.
    terms = y * (xp.log(xp.where(y > 0, y, 1.0)) - outputs)
    difference = xp.exp(outputs) - y
    terms += difference
    return terms, difference


def squared_error(outputs: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:  # noqa: ARG001
    """½ (z_k − y_k)², and z − y: each output is trained as it would be alone."""
    difference = outputs - y
    return 0.5 * difference * difference, difference


def absolute_error(outputs: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
    """|z − y|, and sign(z − y): it is least at the median."""
    difference = outputs - y
    return xp.abs(difference), xp.sign(difference)


def huber(delta: float) -> Loss:
    """½ d² of an error d = z − y up to δ, and δ (|d| − ½ δ) beyond (Huber 1964).

    With c = d cut off at ±δ that is c (d − ½ c), whose derivative is c.
    """
    if not 0 < delta < float("inf"):
        raise UsageError(f"delta is {delta}: choose a number above 0")

    def formula(outputs: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
        difference = outputs - y
        c = xp.minimum(xp.maximum(difference, -delta), delta)
        return c * (difference - 0.5 * c), c

    return Loss(formula, LINEAR)


def quantiles(*levels: float) -> Loss:
    """Σ_k ρ_k(y − q_k) with ρ_k(u) = max(τ_k u, (τ_k − 1) u), at levels τ₁ < τ₂ < ...

    It is least where a share τ_k of the values lies below q_k (Koenker and Bassett 1978). The
    quantiles of outputs z are q₁ = z₁ and q_k = q_{k−1} + ln(1 + e^{z_k}): they never cross.
    """
    rising = all(low < high for low, high in pairwise(levels))
    if not rising or not all(0 < level < 1 for level in levels):
        raise UsageError(f"the levels of quantiles are {levels}: choose rising shares in 0 to 1")

    def upper(outputs: Array, xp: Namespace) -> Array:
        """Return the matrix by which steps (..., K) become their sums so far."""
        count = len(levels)
        ones = xp.ones((count, count), dtype=outputs.dtype)
        return xp.triu(ones)

    def values(outputs: Array, *, xp: Namespace) -> Array:
        z = outputs[..., 1:]
        widths = xp.log1p(xp.exp(-xp.abs(z))) + xp.maximum(z, 0.0)
        steps = xp.concat([outputs[..., :1], widths], axis=-1)
        return xp.matmul(steps, upper(outputs, xp))

    def formula(outputs: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
        q = values(outputs, xp=xp)
        below = xp.astype(q > y, q.dtype)
        slopes = xp.concat([below[..., k : k + 1] - t for k, t in enumerate(levels)], axis=-1)
        terms = slopes * (q - y)
        d = xp.matmul(slopes, upper(outputs, xp).mT)
        d = xp.concat([d[..., :1], d[..., 1:] * logistic(outputs[..., 1:], xp=xp)], axis=-1)
        return terms, d

    return Loss(formula, Link("quantiles", values, "values", "", "quantiles"))


def several_classes(*sizes: float) -> Loss:
    """Σ_g −Σ_i y_gi ln a_gi: a softmax for each of several questions with so many classes.

    Outputs and targets (..., N, Σ sizes) have the classes of one question after another.
    """
    if not all(1 <= size < 1e9 and size == int(size) for size in sizes):
        raise UsageError(f"the numbers of classes are {sizes}: choose whole numbers from 1 up")
    ends = list(accumulate(map(int, sizes)))

    def parts(array: Array) -> Iterator[Array]:
        for start, end in zip([0, *ends], ends, strict=False):
            yield array[..., start:end]

    def probabilities(outputs: Array, *, xp: Namespace) -> Array:
        return xp.concat([softmax(z, xp=xp) for z in parts(outputs)], axis=-1)

    def formula(outputs: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
        found = [cross_entropy(z, t, xp=xp) for z, t in zip(parts(outputs), parts(y), strict=True)]
        terms, derivatives = zip(*found, strict=True)
        return xp.concat(terms, axis=-1), xp.concat(derivatives, axis=-1)

    return Loss(formula, Link("softmaxes", probabilities, "probabilities", "", "softmax"))


LOSSES["poisson_deviance"] = Loss(poisson_deviance, EXPONENTIAL)
LOSSES["squared_error"] = Loss(squared_error, LINEAR)
LOSSES["absolute_error"] = Loss(absolute_error, LINEAR)
LOSSES.families |= {"huber": huber, "quantiles": quantiles, "several_classes": several_classes}
