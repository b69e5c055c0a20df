"""Train a multi-layer perceptron and leave a run folder with its history."""

from __future__ import annotations

import argparse
from pathlib import Path

import xpmlp
from xpmlp.backends.ranks.start import start_ranks
from xpmlp.commands.command_line import (
    add_count,
    add_device_flags,
    backend_of,
    in_range,
    new_parser,
)
from xpmlp.commands.data_flags import add_data_flags, add_split_flags, prepare_data
from xpmlp.commands.hyperparameters import add_network_flags, add_optimizer_flags, add_plan_flags
from xpmlp.commands.run_settings import default_folder, named_flags, resumed
from xpmlp.commands.training_run import TrainingRun
from xpmlp.errors import UsageError
from xpmlp.plots import require_matplotlib
from xpmlp.runs.folder import refuse_existing


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_network_flags(parser)
    add_optimizer_flags(parser)
    training = parser.add_argument_group("training")
    add_plan_flags(training)
    length = training.add_mutually_exclusive_group()
    add_count(length, "--epochs", "passes over the training set", 20)
    add_count(length, "--steps", "parameter updates")
    training.add_argument(
        "--distributed",
        choices=("mpi",),
        help="share the examples out over the processes that mpiexec has started; one rank per GPU "
        "with --device gpu",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="run folder (default: runs/ and the data set's name and the time)",
    )
    output.add_argument(
        "--overwrite", action="store_true", help="replace the run that the folder holds"
    )
    output.add_argument(
        "--resume", action="store_true", help="go on with the run in --out where it was saved last"
    )
    add_count(
        output,
        "--checkpoint-every",
        "save so often, and at every row of metrics.csv (default: there alone)",
        metavar="STEPS",
    )
    add_count(
        output,
        "--log-every",
        "steps between two rows of metrics.csv (default: an epoch)",
        metavar="STEPS",
    )
    output.add_argument(
        "--log-train",
        choices=("auto", "running", "exact"),
        default="auto",
        help="training loss and accuracy of a row: running means since the row before, or exact "
        "over the training set at that step; auto: exact for the full batch",
    )
    output.add_argument(
        "--log-test", action="store_true", help="evaluate the test set at every row as well"
    )
    output.add_argument(
        "--min-accuracy",
        type=in_range(0, 1.0000001, "an accuracy from 0 to 1"),
        metavar="A",
        help="exit with 1 if the test accuracy ends below A (0 to 1)",
    )
    output.add_argument(
        "--diagnostics",
        action="store_true",
        help="write diagnostics.csv: at every row, for every layer, gradient norm, size of the "
        "update against the weights, saturated and dead units, on 1,000 training examples",
    )
    output.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def main(arguments: argparse.Namespace) -> int:
    if arguments.distributed:
        start_ranks()  # first of all: an error on one of them then ends all
    if arguments.resume:
        if arguments.out is None:
            raise UsageError("--resume needs --out DIR: the folder of the run to go on with")
        arguments = resumed(build_parser(), arguments)
    require_matplotlib()
    backend = backend_of(arguments, distributed=arguments.distributed)
    backend.ranks.check_alike({"xpmlp": xpmlp.__version__} | named_flags(arguments))
    arguments.out = arguments.out or default_folder(arguments.data)
    first = backend.ranks.rank == 0
    if first and not arguments.resume and not arguments.overwrite:
        refuse_existing(arguments.out)
    arguments.quiet = arguments.quiet or not first
    return TrainingRun(arguments, backend, prepare_data(arguments, backend)).execute()
