"""The flags that are not given: those of a recipe, or what suits a table or images."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from xpmlp.backends import Backend
from xpmlp.commands.command_line import message
from xpmlp.commands.data_flags import refuse_for_tables
from xpmlp.commands.flags import Flags
from xpmlp.commands.hyperparameters import add_network_flags, add_optimizer_flags
from xpmlp.commands.recipes import OF_ONE_OPTIMIZER, PICTURES, PIXELS, PLAIN, RECIPES, is_pictures
from xpmlp.data import Dataset
from xpmlp.data.tables.streamed import TableRows
from xpmlp.errors import UsageError
from xpmlp.regularization import DEFORMATION_RULES, Deformation, grey_shape
from xpmlp.training.tabular import Tabular, is_tried, suited


def add_recipe_flag(parser: argparse.ArgumentParser) -> None:
    """Add --recipe."""
    known = "; ".join(f"{name}: {recipe.what}" for name, recipe in RECIPES.items())
    Flags(parser.add_argument_group("recipe")).choice(
        "--recipe",
        ("auto", *RECIPES),
        "the flags that are not given. auto: of a table, what suits its rows; of "
        f"{PICTURES:,} pictures and more of at least {PIXELS} pixels, those of images, where no "
        f"flag is about the network, its optimiser or regularisation. {known}",
    )


def usual_flags(
    arguments: argparse.Namespace, given: Collection[str], raw: Dataset, *, backend: Backend
) -> dict[str, Any]:
    """Return flags that are not given, by what is asked for and by the data as they were read.

    Raises `UsageError` for flags that are given and mean nothing to such data.
    """
    name, is_table = arguments.recipe, isinstance(raw.train, TableRows)
    if is_table:
        refuse_for_tables(given)
    elif "intervals" in given:
        raise UsageError("--intervals means nothing to data that are no table: leave it out")
    if name == "auto":
        if is_table:
            return usual_of_tables(arguments, given, raw, backend=backend)
        name = "images" if is_pictures(raw) and not _about_model() & set(given) else PLAIN
    left_out, flags = set(given), RECIPES[name].flags
    if "optimizer" in given and arguments.optimizer != flags.get("optimizer"):
        left_out |= set(OF_ONE_OPTIMIZER)
    if "momentum" in given:
        left_out.add("momentum_start")
    if "lr_milestones" in given:
        left_out.add("lr_schedule")
    if "hidden" in given and not arguments.hidden:
        left_out |= {"dropout", "noise"}
    if "patience" in given:  # which needs a validation set
        left_out.add("val_size")
    if Deformation(**{k: v for k, v in flags.items() if k in DEFORMATION_RULES}).is_on:
        if grey_shape(raw.image_shape) is None:
            raise UsageError(
                f"--recipe {name} deforms grey images, and rows of {raw.name} are none: choose "
                "another recipe"
            )
        if getattr(arguments, "bias_trick", False):
            raise UsageError(
                f"--recipe {name} deforms images, and --bias-trick adds a feature that is none of "
                "their pixels: give one"
            )
    return {k: v for k, v in flags.items() if k not in left_out}


def _about_model() -> set[str]:
    """Return the flags that say what is trained, and not for how long; --bias-trick is one."""
    parser = argparse.ArgumentParser(add_help=False)
    add_network_flags(parser)
    add_optimizer_flags(parser)
    return {action.dest for action in parser._actions} | {"bias_trick"}


def usual_of_tables(
    arguments: argparse.Namespace, given: Collection[str], raw: Dataset, *, backend: Backend
) -> dict[str, Any]:
    """Return the flags of networks that suit the rows of a table, but for those that were given.

    What belongs to one optimiser goes with it; several ranks train a single network. Members are
    validated on folds of their own, unless a validation set is asked for, or rows belong together.
    """
    usual = Tabular()
    if backend.ranks.count > 1:
        usual = replace(usual, members=1)
    elif "members" in given:
        usual = replace(usual, members=arguments.members)
    shared = {"val_size", "group", "time"} & set(given) or raw.validation is not None
    folds = None if shared else usual.folds(raw)
    asked = {"optimizer", "weight_decay", "intervals", "folds"} & set(given)
    if folds and not asked and is_tried(raw, usual):
        say = (lambda _: None) if arguments.quiet else message
        say("trying two settings on folds of the rows; --intervals N takes one without a trial")
        usual = suited(raw, usual, seed=arguments.seed, backend=backend)
        say(f"taken: {usual.intervals} intervals per number, weight decay {usual.weight_decay:g}")
    validated = folds or raw.validation is not None or arguments.val_size != 0
    found = usual.flags(raw) | {"folds": folds, "patience": usual.patience if validated else None}
    if folds:
        found["val_size"] = 0
    left_out = set(given)
    if "optimizer" in given:
        left_out |= set(OF_ONE_OPTIMIZER)
    if "hidden" in given and not arguments.hidden:
        left_out.add("dropout")
    return {name: value for name, value in found.items() if name not in left_out}
