"""Targets that are not quite sure: a share of each belongs to all classes alike.

Families of `LOSSES`, named with their shares: "smoothed_cross_entropy(0.1)".
"""

from __future__ import annotations

from functools import partial

from xpmlp.arrays import Array, Namespace
from xpmlp.errors import UsageError
from xpmlp.mathematics.losses import LOSSES, Loss
from xpmlp.rows import named
from xpmlp.rules import SHARE, check

_CLASSES = {"cross_entropy": None, "binary_cross_entropy": 2}


def smoothed(loss: str, shares: list[float]) -> str:
    """Return the name of a loss with y ← (1 − ε) y + ε/K, one ε for all or one per model.

    Raises `UsageError` for another loss than the two cross-entropies.
    """
    if not any(shares):
        return loss
    if loss not in _CLASSES:
        raise UsageError(
            f"label_smoothing works with {' and '.join(_CLASSES)}, and the loss is {loss}: leave "
            "label_smoothing out"
        )
    return named(f"smoothed_{loss}", *(shares[:1] if len(set(shares)) == 1 else shares))


def _smoothing(loss: str, *shares: float) -> Loss:
    """y ← (1 − ε) y + ε/K with K classes (Szegedy et al. 2016, section 7), for each ε a model."""
    for share in shares:
        check("label_smoothing", share, SHARE)
    usual, classes = LOSSES[loss], _CLASSES[loss]

    def formula(outputs: Array, y: Array, *, xp: Namespace) -> tuple[Array, Array]:
        of_each = 1.0 / (classes or outputs.shape[-1])
        if len(shares) == 1:
            return usual.formula(outputs, (1.0 - shares[0]) * y + shares[0] * of_each, xp=xp)
        if outputs.ndim < 3:
            raise UsageError(
                f"there are {len(shares)} label_smoothing for one model: give one, or train a stack"
            )
        share = xp.asarray(shares, dtype=outputs.dtype)[:, None, None]
        return usual.formula(outputs, (1.0 - share) * y + share * of_each, xp=xp)

    return Loss(formula, usual.link, usual.one_class)


LOSSES.families |= {f"smoothed_{loss}": partial(_smoothing, loss) for loss in _CLASSES}
