"""Flags for what makes training harder than the data do, and the object that they stand for."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

from xpmlp.commands.flags import Flags, not_negative, number_by, positive, share
from xpmlp.data import Dataset
from xpmlp.errors import UsageError
from xpmlp.regularization import DEFORMATION_RULES, Deformation, Regularization, grey_shape

# Flag -> its meaning and what it is counted in.
_DEFORMATION = {
    "rotation": ("up to so many degrees", "DEGREES"),
    "scaling": ("factors of height and width up to e^F (0.15)", "F"),
    "shear": ("up to so many", "DEGREES"),
    "shift": ("up to so many pixels", "PIXELS"),
    "elastic": ("standard deviation of elastic displacements", "PIXELS"),
    "elastic_width": ("of the Gaussian that these are smoothed by, its sigma", "PIXELS"),
}


def add_regularization_flags(parser: argparse.ArgumentParser) -> None:
    """Add noise, bounds and averages of weights, and deformations of images."""
    group = Flags(parser.add_argument_group("regularisation"))
    group.value(
        "--dropout", share, "of hidden units left out of each step, 0 to below 1", 0.0, "SHARE"
    )
    group.value(
        "--input-dropout", share, "of features left out of each step, 0 to below 1", 0.0, "SHARE"
    )
    group.value(
        "--noise",
        not_negative,
        "standard deviation of Gaussian noise on the outputs of hidden layers",
        0.0,
        "SIGMA",
    )
    group.value(
        "--input-noise", not_negative, "the same on the features as they are scaled", 0.0, "SIGMA"
    )
    group.value(
        "--label-smoothing",
        share,
        "of each target that belongs to all classes alike, 0 to below 1",
        0.0,
        "SHARE",
    )
    group.value("--max-norm", positive, "largest norm of a unit's incoming weights", metavar="C")
    group.value(
        "--average-decay",
        share,
        "keep an average of the weights, which forgets 1 - D of itself in each step (0.999), and "
        "validate, test and return it",
        metavar="D",
    )
    images = Flags(
        parser.add_argument_group("deformation of grey images, another one at every step")
    )
    for name, (meaning, unit) in _DEFORMATION.items():
        kind, usual = number_by(DEFORMATION_RULES[name]), getattr(Deformation, name)
        images.value(f"--{name.replace('_', '-')}", kind, meaning, usual, unit)


def regularization_of(arguments: argparse.Namespace, data: Dataset) -> Regularization:
    """Return what the flags describe; raises `UsageError` for what means nothing here."""
    hidden = [name for name in ("dropout", "noise") if getattr(arguments, name)]
    if hidden and not arguments.hidden:
        raise UsageError(f"--{hidden[0]} is of hidden units, and --hidden none has none")
    own = [each.name for each in fields(Regularization) if each.name != "deformation"]
    values = {name: getattr(arguments, name) for name in own}
    return Regularization(**values, deformation=_deformation_of(arguments, data))


def _deformation_of(arguments: argparse.Namespace, data: Dataset) -> Deformation:
    deformation = Deformation(**{name: getattr(arguments, name) for name in _DEFORMATION})
    if arguments.elastic_width != Deformation.elastic_width and not deformation.elastic:
        raise UsageError("--elastic-width means nothing without --elastic: give both")
    of_features = [f for f in ("input_dropout", "input_noise") if getattr(arguments, f)]
    if deformation.is_on:
        of_features.append(next(name for name in _DEFORMATION if getattr(deformation, name)))
    if of_features and getattr(arguments, "bias_trick", False):
        flag = of_features[0].replace("_", "-")
        raise UsageError(f"--{flag} would change the constant feature of --bias-trick: give one")
    if not deformation.is_on:
        return Deformation()
    flag, shape = of_features[-1], grey_shape(data.image_shape)
    if shape is None:
        said = data.image_shape and " × ".join(map(str, data.image_shape))
        raise UsageError(
            f"--{flag} is of grey images of 2 × 2 pixels or more, and rows of {data.name} are "
            f"{f'of the shape {said}' if said else 'no images'}: leave it out"
        )
    if getattr(arguments, "normalize", None) == "feature":
        raise UsageError(
            f"--{flag} brings pixels to other places, and --normalize feature scales each place on "
            "its own: give one"
        )
    return replace(deformation, image_shape=shape)
