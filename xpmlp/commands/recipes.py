"""Recipes: flags that belong together, and what came out of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from xpmlp.data import Dataset

# What one optimiser needs is of no use to another.
OF_ONE_OPTIMIZER = ("lr", "weight_decay", "momentum", "momentum_start")
# The recipe that says nothing.
PLAIN = "none"
# Pictures with fewer pixels, such as the embedded digits, are for lessons, which begin plainly; and
# few pictures need fewer examples in a batch.
PIXELS, PICTURES = 400, 1000


@dataclass(frozen=True)
class Recipe:
    """`flags` by name, each as its flag gives it; `what` is said of them in a line."""

    what: str
    flags: dict[str, Any]


def is_pictures(data: Dataset) -> bool:
    """Tell whether rows are pictures, none of them tiny, and many."""
    shape = data.image_shape
    return shape is not None and prod(shape) >= PIXELS and len(data.train) >= PICTURES


_RELU_ADAM = {
    "activation": ("relu",),
    "init": "he",
    "optimizer": "adam",
    "lr": 0.001,
    "lr_schedule": "cosine",
    "batch_size": 100,
}
_RECORD = _RELU_ADAM | {"hidden": (800, 800), "val_size": 0}
_DEFORMED = {"rotation": 12.0, "scaling": 0.12, "shear": 8.0, "shift": 1.0, "elastic": 1.2}

IMAGES = Recipe(
    "dropout, Adam and a falling rate",
    _RELU_ADAM | {"hidden": (400, 400), "epochs": 20, "dropout": 0.3, "input_dropout": 0.1},
)
RECIPES: dict[str, Recipe] = {
    PLAIN: Recipe("the defaults below", {}),
    "images": IMAGES,
    "mnist-99": Recipe(
        "deformed images, 99 of 100 right in five minutes", _RECORD | _DEFORMED | {"epochs": 30}
    ),
    "mnist-dropout": Recipe(
        "no deformed images, dropout of units and pixels, 160 epochs",
        _RECORD | {"epochs": 160, "dropout": 0.5, "input_dropout": 0.2},
    ),
    "mnist-noise": Recipe(
        "Gaussian noise of hidden units, dropout of pixels, a bound of the weights, 100 epochs",
        _RECORD | {"epochs": 100, "noise": 1.0, "input_dropout": 0.3, "max_norm": 2.0},
    ),
    "mnist-deformed": Recipe(
        "deformed images and noise of hidden units, a larger network, 120 epochs",
        _RECORD | _DEFORMED | {"hidden": (1500, 1000), "epochs": 120, "noise": 0.5},
    ),
}
