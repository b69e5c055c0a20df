"""All of it on a device, for one model or a stack, as a training step takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.errors import UsageError
from xpmlp.mathematics.dropout import dropout_mask, kept
from xpmlp.mathematics.mlp import Noise
from xpmlp.mathematics.optimizers import OptimizerState
from xpmlp.regularization.deformation import Deformed
from xpmlp.regularization.noise import gaussian_noise
from xpmlp.regularization.settings import Regularization
from xpmlp.regularization.weights import bounded, with_average

# What is drawn for a step: a key for the images, then for each layer that is given something one
# of its mask and one of its noise.
_IMAGES, _MASK, _NOISE, _EACH = 0, 1, 2, 2


def key_count(layers: int) -> int:
    """Return how many keys a step of a network of so many layers has."""
    return 1 + _EACH * layers


@dataclass(frozen=True)
class PlacedRegularization:
    """What `Step` calls. Shares and deviations are of the features, and of hidden layers' outputs.

    Each is None where it is not asked for; else dropout is what `dropout_mask` takes as a rate, and
    the others numbers, or arrays of one value per model.
    """

    deformed: Deformed | None = None
    input_dropout: Any = None
    dropout: Any = None
    input_noise: float | Array | None = None
    noise: float | Array | None = None
    max_norm: float | Array | None = None
    average_decay: float | Array | None = None

    def noise_of(self, keys: Array, numbers: Array, *, xp: Namespace) -> Noise:
        """Return what becomes of the inputs of layers, of examples with these numbers."""

        def noise(layer: int, h: Array) -> tuple[Array, Array | None]:
            rate, deviation = self.dropout, self.noise
            if layer == 0:
                rate, deviation = self.input_dropout, self.input_noise
                if self.deformed is not None:
                    h = self.deformed(h, keys[_IMAGES, ...], numbers, xp=xp)
            m, key = None, _EACH * layer
            if rate is not None:
                m = dropout_mask(keys[key + _MASK, ...], h, rate, numbers, xp=xp)
                h = h * m
            if deviation is not None:
                h = h + gaussian_noise(keys[key + _NOISE, ...], h, deviation, numbers, xp=xp)
            return h, m

        return noise

    def after(
        self, params: Params, state: OptimizerState, *, xp: Namespace
    ) -> tuple[Params, OptimizerState]:
        """Return weights and state once an update is done."""
        if self.max_norm is not None:
            params = bounded(params, self.max_norm, xp=xp)
        if self.average_decay is not None:
            state = with_average(params, state, self.average_decay, xp=xp)
        return params, state


def check_in_stack(wanted: Sequence[Regularization]) -> None:
    """Raise `UsageError` for what the models of a stack cannot have each for itself."""
    if any(each.deformation != wanted[0].deformation for each in wanted):
        raise UsageError("one deformation per model makes no stack: give all models the same")
    if len({each.average_decay is None for each in wanted}) > 1:
        raise UsageError("average_decay is of all models of a stack, or of none")


def placed(
    wanted: Sequence[Regularization], features: int, *, like: Array, xp: Namespace
) -> PlacedRegularization | None:
    """Return what a step needs of one model's regularisation, or of those of a stack's models.

    `like` is one of their parameters. Returns None where a step has nothing to do. Raises
    `DataError` for images that are none.
    """
    first, made = wanted[0], {"dtype": like.dtype, "device": like.device}

    def of_each(name: str, of: Callable[[float], Any], off: float | None) -> Any:
        """Return what all have, or an array of what each has; None where all are off."""
        values = [getattr(each, name) for each in wanted]
        if all(value == off for value in values):
            return None
        if len(set(values)) == 1:
            return of(values[0])
        return [of(value) for value in values]

    def column(values: Any, **kind: Any) -> Any:
        return xp.asarray(values, **made | kind)[:, None, None]

    def masks(name: str) -> Any:
        found = of_each(name, kept, 0.0)
        if not isinstance(found, list):
            return found
        below, scale = zip(*found, strict=True)
        return column(below, dtype=xp.int64), column(scale)

    def deviations(name: str) -> Any:
        found = of_each(name, float, 0.0)
        return column(found) if isinstance(found, list) else found

    def values(name: str, of: Callable[[Any], float]) -> Any:
        found = of_each(name, of, None)
        return xp.asarray(found, **made) if isinstance(found, list) else found

    deformed = None
    if first.deformation.is_on:
        deformed = first.deformation.of_images(features, like=like, xp=xp)
    parts = (
        deformed,
        masks("input_dropout"),
        masks("dropout"),
        deviations("input_noise"),
        deviations("noise"),
        values("max_norm", lambda most: float("inf") if most is None else float(most)),
        values("average_decay", float),
    )
    return None if all(part is None for part in parts) else PlacedRegularization(*parts)
