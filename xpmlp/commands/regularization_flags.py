"""Flags for what makes training harder than the data do, and the object that they stand for."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

from xpmlp.commands.flags import Flags, in_range, not_negative, positive, share
from xpmlp.data import Dataset
from xpmlp.errors import UsageError
from xpmlp.regularization import Deformation, Regularization, grey_shape

_WIDTH = 4.0
# Flag -> the name that a deformation has for it.
_DEFORMATION = {
    "rotation": "rotation",
    "scaling": "scale",
    "shear": "shear",
    "shift": "shift",
    "elastic": "elastic",
    "elastic_width": "elastic_width",
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
    group.value(
        "--max-norm", positive(float), "largest norm of a unit's incoming weights", metavar="C"
    )
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
    images.value("--rotation", not_negative, "up to so many degrees", 0.0, "DEGREES")
    images.value(
        "--scaling", not_negative, "factors of height and width up to e^F (0.15)", 0.0, "F"
    )
    images.value(
        "--shear", in_range(0, 90, "degrees from 0 to below 90"), "up to so many", 0.0, "DEGREES"
    )
    images.value("--shift", not_negative, "up to so many pixels", 0.0, "PIXELS")
    images.value(
        "--elastic", not_negative, "standard deviation of elastic displacements", 0.0, "PIXELS"
    )
    images.value(
        "--elastic-width",
        in_range(1, 1e4, "pixels from 1 to below 10,000"),
        "of the Gaussian that these are smoothed by, its sigma",
        _WIDTH,
        "PIXELS",
    )


def regularization_of(arguments: argparse.Namespace, data: Dataset) -> Regularization:
    """Return what the flags describe; raises `UsageError` for what means nothing here."""
    hidden = [name for name in ("dropout", "noise") if getattr(arguments, name)]
    if hidden and not arguments.hidden:
        raise UsageError(f"--{hidden[0]} is of hidden units, and --hidden none has none")
    own = [each.name for each in fields(Regularization) if each.name != "deformation"]
    values = {name: getattr(arguments, name) for name in own}
    return Regularization(**values, deformation=_deformation_of(arguments, data))


def _deformation_of(arguments: argparse.Namespace, data: Dataset) -> Deformation:
    deformation = Deformation(
        **{name: getattr(arguments, flag) for flag, name in _DEFORMATION.items()}
    )
    if arguments.elastic_width != _WIDTH and not deformation.elastic:
        raise UsageError("--elastic-width means nothing without --elastic: give both")
    of_features = [f for f in ("input_dropout", "input_noise") if getattr(arguments, f)]
    if deformation.is_on:
        of_features.append(next(f for f, n in _DEFORMATION.items() if getattr(deformation, n)))
    if of_features and getattr(arguments, "bias_trick", False):
        flag = of_features[0].replace("_", "-")
        raise UsageError(f"--{flag} would change the constant feature of --bias-trick: give one")
    if not deformation.is_on:
        return Deformation()
    shape = grey_shape(data.image_shape)
    if shape is None:
        said = data.image_shape and " × ".join(map(str, data.image_shape))
        raise UsageError(
            f"--{of_features[-1]} is of grey images, and rows of {data.name} are "
            f"{f'of the shape {said}' if said else 'no images'}: leave it out"
        )
    return replace(deformation, image_shape=shape)
