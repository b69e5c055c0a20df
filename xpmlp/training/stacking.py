"""Single models into a stack, and out of it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from xpmlp.arrays import Array, Namespace, Params, plain
from xpmlp.errors import UsageError
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
    return replace(mlps[0], model_activations=tuple(names) if len(set(names)) > 1 else ())


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
