"""Experiments of five university courses, and records: settings, and what came out of them."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from courses.laboratory import Laboratory

# Name -> module here; none is imported before it is asked for.
_MODULES = {
    "augsburg-04": "augsburg_04",
    "tuebingen-08": "tuebingen_08",
    "mse-05": "mse_05",
    "tdt4265-02": "tdt4265_02",
    "ee541-05": "ee541_05",
    "records": "records",
    "ablation": "ablation",
}
RECIPES = tuple(_MODULES)


class Recipe(Protocol):
    """What a recipe's module offers: a title, and the experiment that fills the report."""

    TITLE: str

    def run(self, lab: Laboratory) -> None:
        """Do the experiment."""
        ...


def recipe(name: str) -> Recipe:
    """Return the recipe of a name."""
    module: Recipe = import_module(f"courses.recipes.{_MODULES[name]}")
    return module
