"""Train a multi-layer perceptron and leave a run folder with its history."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import xpmlp
from xpmlp.backends.ranks.start import start_ranks
from xpmlp.commands.command_line import add_device_flags, backend_of, new_parser
from xpmlp.commands.data_flags import (
    add_code_flag,
    add_data_flags,
    add_split_flags,
    add_weight_flag,
    prepare_data,
)
from xpmlp.commands.flags import Flags, in_range
from xpmlp.commands.hyperparameters import add_network_flags, add_optimizer_flags
from xpmlp.commands.plans import add_plan_flags
from xpmlp.commands.run_settings import default_folder, flags_given, named_flags, resumed
from xpmlp.commands.training_run import TrainingRun
from xpmlp.commands.usual import add_recipe_flag, usual_flags
from xpmlp.errors import UsageError
from xpmlp.plots import require_matplotlib
from xpmlp.runs.folder import refuse_existing
from xpmlp.training.plan import Plan


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_recipe_flag(parser)
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_network_flags(parser)
    add_optimizer_flags(parser)
    training = Flags(parser.add_argument_group("training"))
    add_weight_flag(training)
    add_code_flag(training)
    add_plan_flags(training)
    training.count(
        "--members",
        "networks of seeds that follow each other, trained together, whose predictions are "
        "averaged (default: 1, of tables 6)",
    )
    training.count(
        "--folds",
        "deal the training examples into N parts: each member trains on all but one, which "
        "validates it, in place of a validation set (default of tables: as many as members)",
    )
    length = Flags(training.group.add_mutually_exclusive_group())
    length.count("--epochs", "passes over the training set", 20)
    length.count("--steps", "parameter updates")
    training.choice(
        "--distributed",
        ("mpi",),
        "share the examples out over the processes that mpiexec has started; one rank per GPU "
        "with --device gpu",
        None,
    )
    output = Flags(parser.add_argument_group("output"))
    output.path("--out", "run folder (default: runs/ and the data set's name and the time)")
    output.switch("--overwrite", "replace the run that the folder holds")
    output.value(
        "--resume",
        Path,
        "go on with a run where it was saved last: that of DIR, or that in --out",
        metavar="DIR",
        nargs="?",
        const=True,
    )
    output.count(
        "--checkpoint-every",
        "save so often, and at every row of metrics.csv (default: there alone)",
        metavar="STEPS",
    )
    output.count(
        "--log-every", "steps between two rows of metrics.csv (default: an epoch)", metavar="STEPS"
    )
    output.choice(
        "--log-train",
        ("auto", "running", "exact"),
        "training loss and accuracy of a row: running means since the row before, or exact "
        "over the training set at that step; auto: exact for the full batch",
    )
    output.switch("--log-test", "evaluate the test set at every row as well")
    output.value(
        "--min-accuracy",
        in_range(0, 1.0000001, "an accuracy from 0 to 1"),
        "exit with 1 if the test accuracy ends below A (0 to 1)",
        metavar="A",
    )
    output.switch(
        "--diagnostics",
        "write diagnostics.csv: at every row, for every layer, gradient norm, size of the "
        "update against the weights, saturated and dead units, on 1,000 training examples",
    )
    output.switch("--quiet", "no progress on stderr")
    return parser


def main(arguments: argparse.Namespace) -> int:
    if arguments.distributed:
        start_ranks()  # first of all: an error on one of them then ends all
    if arguments.resume is not None:
        named = None if arguments.resume is True else arguments.resume
        if named and arguments.out:
            raise UsageError(f"--resume {named} and --out {arguments.out}: name the run once")
        arguments.out = named or arguments.out
        if arguments.out is None:
            raise UsageError("--resume needs the run to go on with: give --resume DIR")
        arguments.resume = True
        arguments = resumed(build_parser(), arguments)
    require_matplotlib()
    backend = backend_of(arguments, distributed=arguments.distributed)
    backend.ranks.check_alike({"xpmlp": xpmlp.__version__} | named_flags(arguments))
    arguments.out = arguments.out or default_folder(arguments.data)
    first = backend.ranks.rank == 0
    given = flags_given(build_parser())
    if first and not arguments.resume and not arguments.overwrite:
        refuse_existing(arguments.out)
    arguments.quiet = arguments.quiet or not first
    # What is not said is that of a recipe, or what suits a table or images.
    usual = partial(usual_flags, arguments, given, backend=backend)
    data = prepare_data(arguments, backend, None if arguments.resume else usual)
    if not arguments.resume and "batch_size" not in given and arguments.batch_size != "full":
        trained_on = Plan(folds=arguments.folds).trained_on(len(data.train))
        arguments.batch_size = min(arguments.batch_size, trained_on)
    return TrainingRun(arguments, backend, data).execute()
