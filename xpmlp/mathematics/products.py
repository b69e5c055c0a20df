"""The two products that carry all the arithmetic of a step.

`xp.matmul` multiplies; C ← β C + α Aᵀ B adds a product to what is there. Every BLAS has the
second as one pass over C. A namespace may supply it as `accumulate_product`; written in the
standard's functions it is the reference that a supplied one is tested equal to.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self, TypeAlias

from xpmlp.arrays import Array, Namespace, elementwise, per_model


class Product(NamedTuple):
    """The matrix leftᵀ right, not multiplied out; without a left one 1ᵀ right = Σ_n right_n.

    The gradient of a weight is one: of its layer's input (..., N, fan_in) and error term
    (..., N, fan_out). Where it is only added to something it need not exist by itself.
    """

    left: Array | None
    right: Array


class Decayed(NamedTuple):
    """G + λ W, not added up: a gradient with the pull of an L2 penalty on its weight.

    Where W itself takes the step, W ← W − α (G + λ W), it is (1 − α λ) W − α G.
    """

    gradient: Array | Product
    weight: Array
    strength: float | Array


Gradient: TypeAlias = Array | Product | Decayed


def product(left: Array | None, right: Array, *, xp: Namespace) -> Array:
    """leftᵀ right, or the sum over the rows of right."""
    if left is not None:
        return xp.matmul(left.mT, right)
    # A product reads δ twice as fast as a sum over rows does.
    return xp.matmul(xp.ones((1, right.shape[-2]), dtype=right.dtype), right)[..., 0, :]


def multiplied(gradient: Gradient, *, xp: Namespace) -> Array:
    """Return a gradient as an array; one that was not added up is used up."""
    if isinstance(gradient, Product):
        return product(*gradient, xp=xp)
    if isinstance(gradient, Decayed):
        g = multiplied(gradient.gradient, xp=xp)
        return accumulate(g, gradient.weight, alpha=gradient.strength, xp=xp)
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
        if supplied(c, left, right, alpha, beta):
            return c
        # It may take no factor per model: the smaller array does.
        each = getattr(alpha, "ndim", 0) > 0
        if each and supplied(c, left, per_model(alpha, like=right, xp=xp) * right, 1.0, beta):
            return c
        gradient = product(left, right, xp=xp)
    elif isinstance(gradient, Decayed):
        pull = alpha * per_model(gradient.strength, like=c, xp=xp)
        if gradient.weight is c:
            return accumulate(c, gradient.gradient, xp=xp, alpha=alpha, beta=beta + pull)
        c = accumulate(c, gradient.gradient, xp=xp, alpha=alpha, beta=beta)
        return accumulate(c, gradient.weight, xp=xp, alpha=pull)
    return elementwise(_added, c, gradient, alpha, beta, xp=xp)


def _added(c: Array, g: Array, alpha: float | Array, beta: float | Array, **_: Namespace) -> Array:
    """β C + α G; α and β broadcast against C."""
    if not (isinstance(beta, float) and beta == 1):
        c *= beta
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
            self[name] = accumulate(multiplied(self[name], xp=self._xp), more, xp=self._xp)

    def multiply_out(self) -> None:
        """Make an array of every product, on the thread that calls this."""
        for name, value in self.items():
            self[name] = multiplied(value, xp=self._xp)
