"""One training run, from its flags to its folder and its exit code."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import xpmlp
from xpmlp.backends import Backend
from xpmlp.commands.command_line import message, print_result
from xpmlp.commands.hyperparameters import model_of, schedule_of
from xpmlp.commands.run_settings import check_same_run, settings_of
from xpmlp.data import Dataset, StreamedExamples
from xpmlp.data.batches import steps_per_epoch
from xpmlp.errors import CheckFailedError, DivergedError, UsageError, XpmlpError
from xpmlp.plots import save_curves
from xpmlp.progress import Progress
from xpmlp.runs.checkpoint import load_checkpoint, save_checkpoint
from xpmlp.runs.folder import BEST, CHECKPOINT, CURVES, NoRunFolder, RunFolder, host_versions
from xpmlp.runs.stop_signals import StopSignals
from xpmlp.training.history import best_row
from xpmlp.training.state import TrainingState, initial_state

# What a run may fail by that is no mistake of ours: the folder is left whole, and says so.
_FAILURES = (XpmlpError, OSError, MemoryError)


class TrainingRun:
    """One training run, from its flags to its folder."""

    def __init__(self, arguments: argparse.Namespace, backend: Backend, data: Dataset) -> None:
        self.arguments, self.backend, self.data = arguments, backend, data
        if arguments.min_accuracy is not None and data.test is None:
            raise UsageError("--min-accuracy needs a test set to reach it on: give --test-data")
        if arguments.dropout and not arguments.hidden:
            raise UsageError("--dropout leaves out hidden units, and --hidden none has none")
        self.first_rank = backend.ranks.rank == 0
        self.model = model_of(arguments, data.train.features, data.classes)
        full = arguments.batch_size == "full"
        plan = xpmlp.Plan(
            epochs=None if arguments.steps else arguments.epochs,
            steps=arguments.steps,
            batch_size=None if full else arguments.batch_size,
            dropout=arguments.dropout,
            log_every=arguments.log_every,
            patience=arguments.patience,
            train_exact={"auto": full, "running": False, "exact": True}[arguments.log_train],
            log_test=arguments.log_test,
            save_every=arguments.checkpoint_every,
            seed=arguments.seed,
        )
        self.steps = plan.steps_for(len(data.train))
        self.plan = replace(plan, schedule=schedule_of(arguments, self.steps))
        self.batch_size = len(data.train) if full else arguments.batch_size
        self.state = self.first_state()
        if self.state.step > self.steps:
            raise UsageError(
                f"the run has taken {self.state.step} steps, and --epochs or --steps asks for "
                f"{self.steps}: give as many or more"
            )
        self.saved_best: int | None = None

    def first_state(self) -> TrainingState:
        """Return the state of the checkpoint to go on from, or that of the seed."""
        path = self.arguments.out / CHECKPOINT
        # A run that was killed before its first checkpoint has lost nothing: it starts again.
        if self.arguments.resume and path.exists():
            checkpoint = load_checkpoint(path)
            check_same_run(self.config(), checkpoint, path)
            return checkpoint.restore(self.model, self.backend)
        return initial_state(self.model, self.backend)

    def execute(self) -> int:
        """Train, whatever ends it leave a whole folder, and return the exit code."""
        if not self.arguments.quiet:
            message(xpmlp.summarize(self.model.mlp, self.batch_size))
        with StopSignals(message if self.first_rank else None) as stop:
            summary, failure = self.train(stop)
        if self.first_rank:
            print_result({"run": str(self.arguments.out)} | summary, self.arguments.json)
        if failure is not None:
            raise failure
        if self.state.status == "interrupted":
            return stop.exit_code
        self.check_accuracy(summary["test_accuracy"])
        return 0

    def train(self, stop: StopSignals) -> tuple[dict[str, Any], Exception | None]:
        """Fill the folder; return what came out, and what has ended it before its time."""
        arguments, state = self.arguments, self.state
        wanted, alone = not arguments.quiet, self.backend.ranks.count == 1
        failures: list[Exception] = []
        kind = RunFolder if self.first_rank else NoRunFolder
        with (
            Progress(self.steps, state.step, self.batch_size, bar=wanted, lines=wanted) as progress,
            ExitStack() as opened,
        ):

            def on_step(step: int) -> bool:
                progress.step(step)
                return stop.received is not None

            training = xpmlp.Training(
                self.model,
                self.data,
                self.plan,
                backend=self.backend,
                state=state,
                on_step=on_step,
                save=self.save,
            )
            # Not before all is known to fit: what cannot be trained leaves no folder.
            folder = opened.enter_context(
                kind(
                    arguments.out,
                    overwrite=arguments.overwrite,
                    resumed=state.history if arguments.resume else None,
                    log_test=arguments.log_test,
                )
            )
            folder.write_config(self.config())
            try:
                for row in training:
                    folder.append(row)
                    progress.row(row)
                    if arguments.diagnostics:
                        folder.append_diagnostics(row.step, self.diagnose(row))
            except _FAILURES as error:
                if not alone and not isinstance(error, DivergedError):
                    raise  # the others know nothing of it: they are ended, and not waited for
                failures.append(error)
                if state.status in ("running", "completed"):
                    state.only.status = "interrupted"
            summary = self.summary()
            leave = [partial(folder.write_summary, summary)]
            if self.first_rank and state.history:
                title = f"{self.data.name}: {self.model.mlp}"
                leave.append(partial(save_curves, state.history, arguments.out / CURVES, title))
            for each in leave:
                try:
                    each()
                except _FAILURES as error:
                    failures.append(error)
        return summary, failures[0] if failures else None

    def save(self, state: TrainingState) -> None:
        """Write checkpoint.h5, and best.h5 where there is a new best; one rank does it for all."""
        if not self.first_rank:
            return
        out, best = self.arguments.out, best_row(state.history)
        record = {"settings": self.config()}
        if best is not None and best.step != self.saved_best:
            only = replace(state.only, best_params=None)
            variables = xpmlp.Variables(state.result, {})
            kept = replace(state, variables=variables, models=[only])
            save_checkpoint(out / BEST, kept, record, backend=self.backend)
            self.saved_best = best.step
        save_checkpoint(out / CHECKPOINT, state, record, backend=self.backend)

    def config(self) -> dict[str, Any]:
        """Return everything needed to run it again, and what was made of it."""
        scaling, streamed = self.data.normalization, isinstance(self.data.train, StreamedExamples)
        return settings_of(self.arguments) | {
            "lr": self.model.rate,
            # What was decided is part of the run: a stream has another order and another split.
            "stream": "yes" if streamed else "no",
            "val_size": len(self.data.validation or ()),
            "steps": self.steps,
            "sizes": self.model.mlp.sizes,
            "normalization": scaling and scaling.as_record(),
            "xpmlp": xpmlp.__version__,
        }

    def diagnose(self, row: xpmlp.LogRow) -> list[xpmlp.LayerDiagnostics]:
        """Look into the layers, on a thousand training examples."""
        with self.backend.ranks.untimed():
            return xpmlp.diagnose(
                self.model,
                self.state.variables,
                self.data.train.first(1000),
                backend=self.backend,
                learning_rate=row.learning_rate,
            )

    def summary(self) -> dict[str, Any]:
        """Return what came out; test figures are of the best weights."""
        state, backend, mlp = self.state, self.backend, self.model.mlp
        costs = backend.ranks.costs()  # of the steps, before the last evaluation
        test_loss, test_accuracy = None, None
        if state.status != "diverged" and self.data.test is not None:
            test_loss, test_accuracy = xpmlp.evaluate(
                mlp, state.result, self.data.test, backend=backend
            )
        best, seconds = best_row(state.history), state.seconds
        epochs = state.step / steps_per_epoch(len(self.data.train), self.plan.batch_size)
        return {
            "status": state.status,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "best_step": best and best.step,
            "best_val_accuracy": best and best.val_accuracy,
            "parameters": mlp.parameter_count,
            "steps": state.step,
            "epochs": epochs,
            "train_seconds": seconds,
            "examples_per_second": len(self.data.train) * epochs / seconds if seconds else None,
            "device": backend.device_name,
            "backend": backend.name,
            "dtype": backend.dtype_name,
            **backend.settings(),
            **costs,
            "seed": self.arguments.seed,
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
