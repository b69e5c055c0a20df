"""The two products that carry all the arithmetic of a step.

`xp.matmul` multiplies; C ← β C + α Aᵀ B adds a product to what is there. Every BLAS has the
second as one pass over C. A namespace may supply it as `accumulate_product`; written in the
standard's functions it is the reference that a supplied one is tested equal to.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self, TypeAlias

from xpmlp.arrays import Array, Namespace, per_model


class Product(NamedTuple):
    """The matrix leftᵀ right, not multiplied out.

    The gradient of a weight is one: of its layer's input (..., N, fan_in) and error term
    (..., N, fan_out). Where it is only added to something it need not exist by itself.
    """

    left: Array
    right: Array


class Decayed(NamedTuple):
    """G + λ W, not added up: a gradient with the pull of an L2 penalty on its weight.

    Where W itself takes the step, W ← W − α (G + λ W), it is (1 − α λ) W − α G.
    """

    gradient: Array | Product
    weight: Array
    strength: float | Array


Gradient: TypeAlias = Array | Product | Decayed


def multiplied(gradient: Gradient, *, xp: Namespace) -> Array:
    """Return a gradient as an array; one that was not added up is used up."""
    if isinstance(gradient, Product):
        return xp.matmul(gradient.left.mT, gradient.right)
    if isinstance(gradient, Decayed):
        g, w = multiplied(gradient.gradient, xp=xp), gradient.weight
        g += per_model(gradient.strength, like=w, xp=xp) * w
        return g
    return gradient


def accumulate(
    c: Array,
    gradient: Gradient,
    *,
    xp: Namespace,
    alpha: float | Array = 1.0,
    beta: float | Array = 1.0,
) -> Array:
    """C ← β C + α G in place, and return C; α and β numbers, or arrays (models,) for a stack."""
    alpha, beta = per_model(alpha, like=c, xp=xp), per_model(beta, like=c, xp=xp)
    if isinstance(gradient, Product):
        left, right = gradient
        supplied = getattr(xp, "accumulate_product", lambda *_: False)
        # Where it takes no factor per model, the smaller array does.
        if supplied(c, left, right, alpha, beta) or (
            getattr(alpha, "ndim", 0) and supplied(c, left, alpha * right, 1.0, beta)
        ):
            return c
    elif isinstance(gradient, Decayed):
        pull = alpha * per_model(gradient.strength, like=c, xp=xp)
        if gradient.weight is c:
            return accumulate(c, gradient.gradient, xp=xp, alpha=alpha, beta=beta + pull)
        c = accumulate(c, gradient.gradient, xp=xp, alpha=alpha, beta=beta)
        c += pull * gradient.weight
        return c
    return accumulate_plainly(c, gradient, alpha, beta, xp)


def accumulate_plainly(
    c: Array, gradient: Gradient, alpha: float | Array, beta: float | Array, xp: Namespace
) -> Array:
    """The reference in the standard's functions; α and β broadcast against C."""
    if not (isinstance(beta, float) and beta == 1):
        c *= beta
    g = multiplied(gradient, xp=xp)
    c += g if isinstance(alpha, float) and alpha == 1 else alpha * g
    return c


class Sums(dict[str, Any]):
    """Sums over examples, by name; products among them are multiplied out when more is added."""

    def __init__(self, values: dict[str, Any], *, xp: Namespace) -> None:
        super().__init__(values)
        self._xp = xp

    def add(self, other: Self) -> None:
        """Add the sums over other examples."""
        for name, more in other.items():
            total = multiplied(self[name], xp=self._xp)
            self[name] = accumulate(total, more, xp=self._xp)

    def multiply_out(self) -> None:
        """Make an array of every product, on the thread that calls this."""
        for name, value in self.items():
            self[name] = multiplied(value, xp=self._xp)
