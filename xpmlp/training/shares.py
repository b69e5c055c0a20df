"""Which models train together, and on which examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from xpmlp.backends import Backend
from xpmlp.data.dataset import Dataset
from xpmlp.data.folds import folded
from xpmlp.data.prepare import as_dataset
from xpmlp.errors import DataError, UsageError
from xpmlp.parts import even_parts
from xpmlp.regularization import grey_shape
from xpmlp.training.evaluation import check_fit
from xpmlp.training.plan import Model, Plan, check_asked

# Numbers of models, and what they train on.
Share = tuple[list[int], Dataset]


def shares_of(
    models: Sequence[Model],
    data: Dataset,
    plan: Plan,
    backend: Backend,
    at_work: Iterable[int] | None = None,
) -> list[Share]:
    """Return groups of models that train as one stack, of those `at_work` or of all.

    Neighbours of the same activation are in one group, and models of one fold alone.
    """
    wanted = range(len(models)) if at_work is None else at_work
    order = sorted(wanted, key=lambda k: str(models[k].mlp.activation))
    if plan.folds is None:
        parts = even_parts(len(order), max(1, backend.shares(len(order))))
        return [(order[part], data) for part in parts if order]
    own = folded(data, plan.folds, plan.seed, backend)
    groups = [[k for k in order if k % len(own) == fold] for fold in range(len(own))]
    return [(some, part) for some, part in zip(groups, own, strict=True) if some]


def of_images(model: Model, data: Dataset) -> Model:
    """Return a model that deforms images of the shape that a data set's rows have.

    Rows of arrays may be squares, or what `image_shape` says. Raises `DataError` for rows that are
    no images, or images that are not grey, of another shape, or scaled pixel by pixel; and
    `UsageError` for what would change a feature that is always 1.
    """
    extra, scaling = model.regularization, data.preparation.normalization
    deformation, shape = extra.deformation, data.image_shape
    changing = [name for name in ("input_dropout", "input_noise") if getattr(extra, name)]
    changing += ["a deformation"] if deformation.is_on else []
    if changing and scaling.bias_column:
        raise UsageError(
            f"{changing[0]} would change the feature of bias_column, which is always 1: leave one "
            "of them out"
        )
    if not deformation.is_on:
        return model
    if data.encoding is not None:
        raise DataError(
            f"the columns of {data.name} are no images, and only images can be deformed: leave the "
            "deformation out"
        )
    if any(getattr(value, "ndim", 0) for value in (scaling.shift, scaling.scale)):
        raise DataError(
            f"each pixel of {data.name} is scaled on its own, and a deformed image has pixels from "
            "other places: leave normalize='feature', or the deformation, out"
        )
    if shape is None:
        return model
    own, grey = deformation.image_shape, grey_shape(shape)
    if own is not None and grey is not None and len(set(grey)) == 1 and prod(own) == prod(grey):
        return model  # flat rows are taken for squares, and may be others
    if grey is None or own not in (None, grey):
        wanted = "grey" if own is None else " × ".join(map(str, own))
        raise DataError(
            f"rows of {data.name} are images of {' × '.join(map(str, shape))}, and those that are "
            f"deformed are {wanted}: leave image_shape, or the deformation, out"
        )
    deformation = replace(deformation, image_shape=grey)
    regularization = replace(model.regularization, deformation=deformation)
    return replace(model, regularization=regularization)


def prepared(data: Any, model: Model, plan: Plan, backend: Backend) -> Dataset:
    """Return data on the device, once they have been found to fit a model and a plan."""
    check_asked(model, plan)
    dataset = as_dataset(data).to_device(backend)
    if not plan.log_test:
        dataset = replace(dataset, test=None)
    for part in (dataset.train, dataset.validation, dataset.test):
        if part is not None:
            check_fit(model.mlp, part, backend)
    if plan.folds is not None and (dataset.validation is not None or dataset.streamed):
        raise UsageError("folds are of training examples in memory, without a validation set")
    if plan.patience is not None and dataset.validation is None and plan.folds is None:
        raise UsageError(f"a patience of {plan.patience} needs a validation set to wait for")
    return dataset
