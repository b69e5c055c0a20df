"""What scikit-learn's MLPs do otherwise than the papers: the same here, where they are wanted."""

from __future__ import annotations

from dataclasses import dataclass

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.mathematics.optimizers import Adam
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.products import Sums


@dataclass(frozen=True)
class PenaltyPerExample(Penalty):
    """R / N, added to the mean loss and reported with it.

    scikit-learn adds R to the sum of the losses of a batch before it takes the mean.
    """

    def penalize(self, sums: Sums, params: Params, *, scale: float | Array, xp: Namespace) -> None:
        """Add ∂(R/N)/∂W to the gradients and R/N to the loss; `scale` is 1/N."""
        share = Penalty(self.l2 * scale, self.l1 * scale)
        sums["loss"] += share.loss(params, xp=xp)
        share.penalize(sums, params, scale=scale, xp=xp)


@dataclass(frozen=True)
class AdamEpsilonHat(Adam):
    """Adam with ε beside √v and not √v̂: the shorter form (Kingma and Ba 2015, section 2)."""

    def epsilon_beside(self, root: Array) -> float:  # noqa: ARG002
        """Return ε itself."""
        return self.epsilon


def determination(
    values: Array, targets: Array, *, xp: Namespace, sample_weight: Array | None = None
) -> Array:
    """R² = 1 − Σ_n w_n (y_n − v_n)² / Σ_n w_n (y_n − ȳ)², the mean over outputs (N, K).

    An output whose targets never change has R² = 1 if it is exact, else 0.
    """
    w = xp.ones_like(targets[:, :1]) if sample_weight is None else sample_weight[:, None]
    mean = xp.sum(w * targets, axis=0) / xp.sum(w)
    left = xp.sum(w * (targets - values) ** 2, axis=0)
    whole = xp.sum(w * (targets - mean) ** 2, axis=0)
    unexplained = xp.where(whole > 0, left / xp.where(whole > 0, whole, 1.0), 1.0)
    return xp.mean(xp.where(left > 0, 1.0 - unexplained, 1.0))
