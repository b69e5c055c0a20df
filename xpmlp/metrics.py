"""What is reported beside the loss."""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace


def count_correct(logits: Array, targets: Array, *, xp: Namespace) -> Array:
    """Number of examples (..., N, C) whose largest logit is at the target class.

    Targets are class ids (..., N) or rows of probabilities (..., N, C).
    """
    if not xp.isdtype(targets.dtype, "integral"):
        targets = xp.argmax(targets, axis=-1)
    return xp.count_nonzero(xp.argmax(logits, axis=-1) == targets, axis=-1)
