#!/usr/bin/env python3
"""Train a multi-layer perceptron and leave a run folder with its history."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from command_line import (
    add_device_flags,
    backend_of,
    in_range,
    message,
    new_parser,
    positive,
    print_result,
    run,
)
from data_flags import PreparedData, add_data_flags, add_split_flags, prepare_data
from hyperparameters import (
    add_network_flags,
    add_optimizer_flags,
    batch_size,
    learning_rate_of,
    network_of,
    optimizer_of,
    penalty_of,
    schedule_of,
)
from progress import Progress
from run_settings import default_folder, named_flags, resumed, settings_of
from stop_signals import StopSignals

import xpmlp
from xpmlp.backends import Backend
from xpmlp.backends.ranks.start import start_ranks
from xpmlp.data.batches import steps_per_epoch
from xpmlp.errors import (
    CheckFailedError,
    CheckpointError,
    DivergedError,
    UsageError,
    XpmlpError,
)
from xpmlp.plots import require_matplotlib, save_curves
from xpmlp.runs.checkpoint import load_checkpoint, save_checkpoint
from xpmlp.runs.folder import (
    BEST,
    CHECKPOINT,
    CURVES,
    NoRunFolder,
    RunFolder,
    host_versions,
    refuse_existing,
)
from xpmlp.training.history import best_row
from xpmlp.training.steps import TrainingState


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_network_flags(parser)
    add_optimizer_flags(parser)
    training = parser.add_argument_group("training")
    training.add_argument(
        "--batch-size",
        type=batch_size,
        default="64",
        metavar="N|full",
        help="examples a step, or the whole training set at once",
    )
    length = training.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        type=positive(int),
        default=20,
        metavar="N",
        help="passes over the training set",
    )
    length.add_argument("--steps", type=positive(int), metavar="N", help="parameter updates")
    training.add_argument(
        "--patience",
        type=positive(int),
        metavar="N",
        help="stop when N validations in a row were not better than the best before them",
    )
    training.add_argument("--seed", type=int, default=0, help="of weights, batches and split")
    training.add_argument(
        "--distributed",
        choices=("mpi",),
        help="share the examples out over the processes that mpiexec has started; a rank a GPU "
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
    output.add_argument(
        "--checkpoint-every",
        type=positive(int),
        metavar="STEPS",
        help="save so often, and at every row of metrics.csv (default: there alone)",
    )
    output.add_argument(
        "--log-every",
        type=positive(int),
        metavar="STEPS",
        help="steps between two rows of metrics.csv (default: an epoch)",
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
    return Run(arguments, backend, prepare_data(arguments, backend)).execute()


class Run:
    """One training run, from its flags to its folder."""

    def __init__(self, arguments: argparse.Namespace, backend: Backend, data: PreparedData) -> None:
        self.arguments, self.backend, self.data = arguments, backend, data
        if arguments.min_accuracy is not None and data.test is None:
            raise UsageError("--min-accuracy needs a test set to reach it on: give --test-data")
        if arguments.dropout and not arguments.hidden:
            raise UsageError("--dropout leaves out hidden units, and --hidden none has none")
        self.first_rank = backend.ranks.rank == 0
        self.optimizer, self.penalty = optimizer_of(arguments), penalty_of(arguments)
        arguments.lr = learning_rate_of(arguments)
        self.mlp = network_of(arguments, data.train.features, data.dataset.classes)
        self.full = arguments.batch_size == "full"
        self.batch_size = len(data.train) if self.full else arguments.batch_size
        self.epoch_steps = steps_per_epoch(len(data.train), self.batch_size)
        self.steps = arguments.steps or arguments.epochs * self.epoch_steps
        self.state = self.first_state()
        self.saved_best: int | None = None

    def first_state(self) -> TrainingState:
        """Return the state of the checkpoint to go on from, or that of the seed."""
        path = self.arguments.out / CHECKPOINT
        # A run that was killed before its first checkpoint has lost nothing: it starts again.
        if self.arguments.resume and path.exists():
            checkpoint = load_checkpoint(path)
            checkpoint.require(self.mlp, path)
            return checkpoint.restore(self.backend)
        return xpmlp.initial_state(
            self.mlp,
            self.optimizer,
            seed=self.arguments.seed,
            backend=self.backend,
            initializer=self.arguments.init,
        )

    def execute(self) -> int:
        """Train, whatever ends it leave a whole folder, and return the exit code."""
        arguments, out = self.arguments, self.arguments.out
        failure: XpmlpError | None = None
        if not arguments.quiet:
            message(xpmlp.summarize(self.mlp, self.batch_size))
        with (
            StopSignals(quiet=not self.first_rank) as stop,
            Progress(self.steps, self.batch_size, arguments.quiet, self.state.step) as progress,
        ):

            def on_step(step: int) -> bool:
                progress.step(step)
                return stop.received is not None

            history = self.fit(on_step)
            kind = RunFolder if self.first_rank else NoRunFolder
            with kind(
                out,
                overwrite=arguments.overwrite,
                resumed=self.state.history if arguments.resume else None,
                log_test=arguments.log_test,
            ) as folder:
                folder.write_config(self.config())
                try:
                    for row in history:
                        folder.append(row)
                        progress.row(row)
                        if arguments.diagnostics:
                            folder.append_diagnostics(row.step, self.diagnose(row))
                except DivergedError as error:
                    self.state.status, failure = "diverged", error
                except CheckpointError as error:
                    if self.backend.ranks.count > 1:
                        raise  # the others know nothing of it: they are ended, and not waited for
                    self.state.status, failure = "interrupted", error
                summary = self.summary()
                folder.write_summary(summary)
        if self.first_rank and self.state.history:
            title = f"{self.data.dataset.name}: {self.mlp}"
            save_curves(self.state.history, out / CURVES, title)
        if self.first_rank:
            print_result({"run": str(out)} | summary, arguments.json)
        if failure is not None:
            raise failure
        if self.state.status == "interrupted":
            return stop.exit_code
        self.check_accuracy(summary["test_accuracy"])
        return 0

    def fit(self, on_step: Callable[[int], bool]) -> Iterator[xpmlp.LogRow]:
        """Return the rows of the training; what does not fit together is refused at once."""
        arguments = self.arguments
        return xpmlp.fit(
            self.mlp,
            self.state,
            self.data.train,
            optimizer=self.optimizer,
            learning_rate=arguments.lr,
            schedule=schedule_of(arguments, self.steps),
            penalty=self.penalty,
            dropout=arguments.dropout,
            batch_size=None if self.full else self.batch_size,
            steps=self.steps,
            backend=self.backend,
            log_every=arguments.log_every,
            train_exact={"auto": self.full, "running": False, "exact": True}[arguments.log_train],
            validation=self.data.validation,
            test=self.data.test if arguments.log_test else None,
            patience=arguments.patience,
            on_step=on_step,
            save=self.save,
            save_every=arguments.checkpoint_every,
        )

    def save(self, state: TrainingState) -> None:
        """Write checkpoint.h5, and best.h5 where there is a new best; one rank does it for all."""
        if not self.first_rank:
            return
        out, best = self.arguments.out, best_row(state.history)
        record = {"settings": self.config()}
        if best is not None and best.step != self.saved_best:
            kept = replace(state, params=state.result, optimizer_state={}, best_params=None)
            save_checkpoint(out / BEST, self.mlp, kept, record, backend=self.backend)
            self.saved_best = best.step
        save_checkpoint(out / CHECKPOINT, self.mlp, state, record, backend=self.backend)

    def config(self) -> dict[str, Any]:
        """Return everything needed to run it again, and what was made of it."""
        return settings_of(self.arguments) | {
            "val_size": len(self.data.validation or ()),
            "steps": self.steps,
            "sizes": self.mlp.sizes,
            "normalization": self.data.normalization.as_record(),
            "xpmlp": xpmlp.__version__,
        }

    def diagnose(self, row: xpmlp.LogRow) -> list[xpmlp.LayerDiagnostics]:
        """Look into the layers, on a thousand training examples."""
        with self.backend.ranks.untimed():
            return xpmlp.diagnose(
                self.mlp,
                self.state,
                self.data.train.first(1000),
                optimizer=self.optimizer,
                learning_rate=row.learning_rate,
                backend=self.backend,
                penalty=self.penalty,
            )

    def summary(self) -> dict[str, Any]:
        """Return what came out; test figures are of the best weights."""
        state, backend = self.state, self.backend
        costs = backend.ranks.costs()  # of the steps, before the last evaluation
        test_loss, test_accuracy = None, None
        if state.status != "diverged" and self.data.test is not None:
            test_loss, test_accuracy = xpmlp.evaluate(
                self.mlp, state.result, self.data.test, backend=backend
            )
        best = best_row(state.history)
        epochs = state.step / self.epoch_steps
        seconds = state.seconds
        return {
            "status": state.status,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "best_step": best and best.step,
            "best_val_accuracy": best and best.val_accuracy,
            "parameters": self.mlp.parameter_count,
            "steps": state.step,
            "epochs": epochs,
            "train_seconds": seconds,
            "examples_per_second": len(self.data.train) * epochs / seconds if seconds else None,
            "device": backend.device_name,
            "backend": backend.name,
            "dtype": backend.dtype_name,
            **backend.settings(),
            **costs,
            "seed": state.seed,
            "versions": host_versions() | {"xpmlp": xpmlp.__version__} | backend.versions(),
        }

    def check_accuracy(self, accuracy: float | None) -> None:
        """Raise `CheckFailedError` if the test accuracy is below --min-accuracy."""
        minimum = self.arguments.min_accuracy
        if minimum is not None and accuracy is not None and accuracy < minimum:
            raise CheckFailedError(
                f"the test accuracy {accuracy:.4f} is below --min-accuracy {minimum:g}: train "
                "longer or change the settings"
            )


if __name__ == "__main__":
    run(main, build_parser())
