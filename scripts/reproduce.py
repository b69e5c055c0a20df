#!/usr/bin/env python3
"""Reproduce the experiment of a university course, or records: figures, pictures, a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from courses.laboratory import Laboratory
from courses.recipes import RECIPES, recipe
from courses.recipes.records import RECORDS
from courses.report import Report

from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    print_result,
    run,
)
from xpmlp.commands.data_flags import add_source_flags, read_source
from xpmlp.commands.flags import Flags
from xpmlp.commands.machine import measured_on
from xpmlp.data import Examples
from xpmlp.errors import DataError, UsageError
from xpmlp.plots import require_matplotlib

# Flag -> the recipes that know it.
_OPTIONS = {
    "steps": ("augsburg-04",),
    "course_split": ("tdt4265-02",),
    "which": ("records",),
    "members": ("records",),
    "held_out": ("records",),
}


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    parser.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES))
    add_device_flags(parser)
    group = Flags(parser.add_argument_group("data"))
    add_source_flags(group)
    parser.set_defaults(data=None)
    group = Flags(parser.add_argument_group("experiment"))
    group.switch(
        "--quick",
        "a small version in under a minute, with the same files (on digits unless --data says "
        "otherwise; the full version is on mnist)",
    )
    group.count("--steps", "of augsburg-04: full-batch updates (default: 1000)")
    group.switch(
        "--course-split",
        "of tdt4265-02: validate on the test images, as the course does, instead of on "
        "training images held out",
    )
    group.choice(
        "--which", RECORDS, "of records: one of its recipes (default: all, some hours)", None
    )
    group.count("--members", "of records: networks of seeds that follow each other")
    group.count(
        "--held-out",
        "of records: hold out so many training images, and look at these in place of the test "
        "images, to choose by",
    )
    group.path(
        "--out",
        "folder for results.json, report.md and the pictures (default: reproductions/RECIPE)",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    for option, recipes in _OPTIONS.items():
        if getattr(arguments, option) and arguments.recipe not in recipes:
            flag = "--" + option.replace("_", "-")
            raise UsageError(f"{flag} means nothing to {arguments.recipe}: leave it out")
    backend = backend_of(arguments)
    arguments.data = arguments.data or ("digits" if arguments.quick else "mnist")
    dataset = read_source(arguments)
    if dataset.test is None or not isinstance(dataset.train, Examples):
        raise DataError(
            f"{arguments.data}: a recipe needs a test set, and data that fit into memory"
        )
    out = arguments.out or Path("reproductions", arguments.recipe)
    out.mkdir(parents=True, exist_ok=True)
    chosen = recipe(arguments.recipe)
    report = Report(out, chosen.TITLE)
    options = {name: getattr(arguments, name) for name in _OPTIONS}
    options |= {"source": arguments.data, "machine": machine_flags(arguments)}
    report.results |= {
        "recipe": arguments.recipe,
        "data": dataset.name,
        "quick": arguments.quick,
        "dtype": arguments.dtype,
        "training_examples": len(dataset.train),
        "test_examples": len(dataset.test),
        **measured_on(backend),
    }
    try:
        chosen.run(Laboratory(backend, dataset, report, arguments.quick, options))
    finally:
        # What was found before something went wrong is not lost.
        report.write()
    message(f"{out / 'report.md'}, {out / 'results.json'}")
    plain = {k: v for k, v in report.results.items() if not isinstance(v, dict | list)}
    print_result(report.results if arguments.json else plain, arguments.json)
    return 0


def machine_flags(arguments: argparse.Namespace) -> list[str]:
    """Return the flags that say where and from what is computed, for another process."""
    usual, flags = build_parser().parse_args([RECIPES[0]]), []
    parser = new_parser("")
    add_device_flags(parser)
    add_source_flags(Flags(parser.add_argument_group("data")))
    for action in parser._actions:
        value = getattr(arguments, action.dest, None)
        if action.dest != "data" and value != getattr(usual, action.dest, value):
            flags.append(action.option_strings[-1])
            flags += [] if action.nargs == 0 else [str(value)]
    return flags


if __name__ == "__main__":
    run(main, build_parser())
