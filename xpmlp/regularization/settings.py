"""What a user asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from xpmlp.errors import UsageError
from xpmlp.regularization.deformation import Deformation
from xpmlp.rules import ABOVE_0, FROM_0, SHARE, check, optional

_RULES = {
    "dropout": SHARE,
    "input_dropout": SHARE,
    "noise": FROM_0,
    "input_noise": FROM_0,
    "label_smoothing": SHARE,
    "max_norm": optional(ABOVE_0),
    "average_decay": optional(SHARE),
}


@dataclass(frozen=True)
class Regularization:
    """What makes training harder, so that a network is right on new data, too.

    What is left out, noise, deformation and smoothed targets are for training alone; a bound stays
    in the weights, and an average takes their place.
    `dropout`, `input_dropout`: the share of hidden units, and of features, left out of a step.
    `noise`, `input_noise`: the standard deviation of Gaussian noise that is added to the outputs of
    hidden layers, and to the features as they are scaled. `label_smoothing`: the share of each
    target that belongs to all classes alike, or to yes and no of each of several labels.
    `max_norm`: the largest norm of a unit's incoming weights. `average_decay`: d of an exponential
    average of the weights, which forgets a share 1 − d of itself in each step, such as 0.999; it is
    what is validated, kept and returned.
    `deformation`: of images. Raises `UsageError` for anything else.

    >>> Regularization(dropout=0.5, input_dropout=0.2, max_norm=2.0).is_random
    True
    """

    dropout: float = 0.0
    input_dropout: float = 0.0
    noise: float = 0.0
    input_noise: float = 0.0
    label_smoothing: float = 0.0
    max_norm: float | None = None
    average_decay: float | None = None
    deformation: Deformation = field(default_factory=Deformation)

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            check(name, value, rule)
            object.__setattr__(self, name, value if value is None else float(value))
        if not isinstance(self.deformation, Deformation):
            raise UsageError(
                f"deformation is {self.deformation!r}: give one such as Deformation(rotation=10)"
            )

    @property
    def is_random(self) -> bool:
        """Whether something is drawn for every step."""
        drawn = (self.dropout, self.input_dropout, self.noise, self.input_noise)
        return any(drawn) or self.deformation.is_on
