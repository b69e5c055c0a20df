"""Single models into a stack, and out of it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from itertools import groupby

from xpmlp.arrays import Array, Namespace, Params, plain
from xpmlp.errors import UsageError
from xpmlp.mathematics.activations import ACTIVATIONS, Activation
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import Optimizer


def stacked(models: Sequence[Params], *, xp: Namespace) -> Params:
    """Return the stack of models: each array with a leading axis, one entry per model.

    Raises `UsageError` for no models, or models of different shapes.
    """
    if not models:
        raise UsageError("no models make no stack: give one or more")
    for number, model in enumerate(models):
        shapes = {name: tuple(array.shape) for name, array in model.items()}
        if shapes != {name: tuple(array.shape) for name, array in models[0].items()}:
            raise UsageError(f"model {number} has other layers than model 0: they make no stack")
    return {name: xp.stack([model[name] for model in models]) for name in models[0]}


def model_of(stack: Params, number: int, *, xp: Namespace) -> Params:
    """Return a copy of one model of a stack, counted from 0.

    Raises `UsageError` where there is no such model.
    """
    first = stack["layer1.weight"]
    if first.ndim != 3 or not 0 <= number < first.shape[0]:
        held = f"a stack of {first.shape[0]}" if first.ndim == 3 else "a single model"
        raise UsageError(f"{held} has no model number {number}: they are counted from 0")
    return {name: xp.asarray(array[number, ...], copy=True) for name, array in stack.items()}


def selected(stack: Params, models: Array, *, xp: Namespace) -> Params:
    """Return the stack of some of its models, by an array of their numbers."""
    return {
        name: xp.take(array, models, axis=0) if array.ndim else array
        for name, array in stack.items()
    }


@dataclass(frozen=True)
class StackedMLP(MLP):
    """The network of a stack whose models differ in activation.

    `model_activations` names the f of each model.
    """

    model_activations: tuple[str, ...] = ()

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """f and f′ of each hidden layer, of all models."""
        return (stacked_activation(self.model_activations),) * (self.layers - 1)

    def __str__(self) -> str:
        names = dict.fromkeys(self.model_activations)
        return f"{'-'.join(map(str, self.sizes))}, {', '.join(names)}"


@cache
def stacked_activation(names: tuple[str, ...]) -> Activation:
    """f of a stack whose model k has the activation names[k]; models alike should be neighbours.

    Each run of neighbours with the same activation is a slice of the leading axis.
    """
    slices, start = [], 0
    for name, run in groupby(names):
        stop = start + len(list(run))
        slices.append((ACTIVATIONS[name], slice(start, stop)))
        start = stop
    of_input = any(f.of_input for f, _ in slices)

    def function(z: Array, *, xp: Namespace) -> Array:
        return xp.concat([f.function(z[part, ...], xp=xp) for f, part in slices], axis=0)

    def derivative(kept: Array, *, xp: Namespace) -> Array:
        parts = [(f, kept[part, ...]) for f, part in slices]
        slopes = (f.slope(z, xp=xp) if of_input else f.derivative(z, xp=xp) for f, z in parts)
        return xp.concat(list(slopes), axis=0)

    kinked = any(f.kinked for f, _ in slices)
    steepest = max(f.steepest for f, _ in slices)
    return Activation(function, derivative, steepest, kinked, of_input=of_input)


def stacked_mlp(mlps: Sequence[MLP]) -> MLP:
    """Return the network of a stack of models with these, which may differ in activation.

    Raises `UsageError` for networks of different layers or losses.
    """
    names = []
    for mlp in mlps:
        if (mlp.sizes, mlp.loss) != (mlps[0].sizes, mlps[0].loss):
            raise UsageError(f"{mlp} and {mlps[0]} make no stack: their layers or losses differ")
        if not isinstance(mlp.activation, str):
            raise UsageError(f"{mlp} makes no stack: give all its hidden layers one activation")
        names.append(mlp.activation)
    if len(set(names)) == 1:
        return mlps[0]
    return StackedMLP(mlps[0].sizes, mlps[0].activation, mlps[0].loss, tuple(names))


def per_model_values(values: Sequence[float], *, like: Array, xp: Namespace) -> float | Array:
    """Return a hyperparameter of a stack: the number that all have, or an array (models,)."""
    if len(set(values)) == 1:
        return plain(values[0])
    return xp.asarray(list(map(float, values)), dtype=like.dtype, device=like.device)


def check_stackable(rules: Sequence[Optimizer]) -> None:
    """Raise `UsageError` for rules of several kinds, or that differ in what cannot be an array."""
    for rule in rules:
        if type(rule) is not type(rules[0]):
            names = f"{type(rules[0]).__name__} and {type(rule).__name__}"
            raise UsageError(f"{names} make no stack: give all models one kind of optimiser")
        for setting in fields(rule):  # type: ignore[arg-type]
            alike = getattr(rule, setting.name) == getattr(rules[0], setting.name)
            kind = str(setting.type)
            if not alike and "Array" not in kind and "Any" not in kind:
                raise UsageError(
                    f"one {setting.name} per model makes no stack: give all models the same"
                )


def stacked_optimizer(rules: Sequence[Optimizer], *, like: Array, xp: Namespace) -> Optimizer:
    """Return the update rule of a stack whose models have these, which are alike."""
    names = [field.name for field in fields(rules[0])]  # type: ignore[arg-type]
    values = {
        name: per_model_values([getattr(rule, name) for rule in rules], like=like, xp=xp)
        for name in names
    }
    return replace(rules[0], **values)  # type: ignore[type-var]
