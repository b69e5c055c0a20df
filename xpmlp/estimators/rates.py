"""scikit-learn's learning rates that depend on how a training goes."""

from __future__ import annotations

# "adaptive" divides the rate by this until it is so small.
_DIVISOR, _SMALLEST_RATE = 5.0, 1e-6


class InverseScaling:
    """α_t = α / (t + 1)^power with t the examples seen before the epoch.

    The first epoch of a `fresh` training has α, whatever was seen before.
    """

    def __init__(self, power: float, examples: int, seen: int, *, fresh: bool) -> None:
        self._power, self._examples, self._seen, self._fresh = power, examples, seen, fresh

    def __call__(self, step: int, steps_per_epoch: int) -> float:
        """Return the factor of a step's learning rate."""
        epoch = step // steps_per_epoch
        if self._fresh and epoch == 0:
            return 1.0
        return float((self._seen + epoch * self._examples + 1) ** -self._power)


class Adaptive:
    """The rate stays as it is until the training stalls, and is then divided by 5."""

    def __init__(self, learning_rate: float, factor: float = 1.0) -> None:
        self._learning_rate, self.factor = learning_rate, factor

    def __call__(self, step: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        """Return the factor of a step's learning rate."""
        return self.factor

    def lowered(self) -> bool:
        """Divide the rate; tell False where it is as small as it gets."""
        if self._learning_rate * self.factor <= _SMALLEST_RATE:
            return False
        self.factor /= _DIVISOR
        return True
