"""What is reported beside the loss."""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace


def count_correct(
    logits: Array, targets: Array, *, xp: Namespace, weights: Array | None = None
) -> Array:
    """Number of examples (..., N, C) whose largest logit is at the target class.

    Targets are class ids (..., N) or rows of probabilities (..., N, C). With `weights` (..., N)
    it is the sum of theirs.
    """
    if not xp.isdtype(targets.dtype, "integral"):
        targets = xp.argmax(targets, axis=-1)
    correct = xp.argmax(logits, axis=-1) == targets
    if weights is None:
        return xp.count_nonzero(correct, axis=-1)
    return xp.sum(xp.astype(correct, weights.dtype) * weights, axis=-1)


def determination(
    values: Array, targets: Array, *, xp: Namespace, weights: Array | None = None
) -> Array:
    """R² = 1 − Σ_n w_n (y_n − v_n)² / Σ_n w_n (y_n − ȳ)², the mean over outputs (N, K).

    An output whose targets never change has R² = 1 if it is exact, else 0.
    """
    w = xp.ones_like(targets[:, :1]) if weights is None else weights[:, None]
    mean = xp.sum(w * targets, axis=0) / xp.sum(w)
    left = xp.sum(w * (targets - values) ** 2, axis=0)
    whole = xp.sum(w * (targets - mean) ** 2, axis=0)
    unexplained = xp.where(whole > 0, left / xp.where(whole > 0, whole, 1.0), 1.0)
    return xp.mean(xp.where(left > 0, 1.0 - unexplained, 1.0))
