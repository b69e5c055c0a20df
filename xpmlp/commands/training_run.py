"""One training run, from its flags to its folder and its exit code."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import xpmlp
from xpmlp.backends import Backend
from xpmlp.commands.command_line import message, print_lines, print_result
from xpmlp.commands.hyperparameters import model_of
from xpmlp.commands.plans import plan_of
from xpmlp.commands.run_report import changes, report_lines
from xpmlp.commands.run_settings import check_same_run, settings_of
from xpmlp.data import Dataset
from xpmlp.errors import CheckFailedError, DivergedError, UsageError, XpmlpError
from xpmlp.inspection.deformed import deformed_images
from xpmlp.inspection.predictions import evaluate_mean_output, outputs_of
from xpmlp.inspection.scores import scores
from xpmlp.plots import save_curves, save_deformed
from xpmlp.progress import Progress
from xpmlp.runs.boundary import Boundary, boundary_of
from xpmlp.runs.checkpoint import load_result
from xpmlp.runs.folder import CHECKPOINT, CURVES, DEFORMED, NoRunFolder, RunFolder, host_versions
from xpmlp.runs.members import OneModel, members_of
from xpmlp.runs.stop_signals import StopSignals
from xpmlp.training.history import best_row

# What a run may fail by that is no mistake of ours: the folder is left whole, and says so.
_FAILURES = (XpmlpError, OSError, MemoryError)
_BUSY = (
    "other programs keep the cores busy: products are made on one thread until they are done, "
    "which changes last digits; --threads gives a number that is kept"
)


class TrainingRun:
    """One training run, from its flags to its folder."""

    def __init__(self, arguments: argparse.Namespace, backend: Backend, data: Dataset) -> None:
        self.arguments, self.backend, self.data = arguments, backend, data
        if arguments.min_accuracy is not None:
            if data.test is None:
                raise UsageError("--min-accuracy needs a test set to reach it on: give --test-data")
            if data.targets is not None and data.targets.task != "classification":
                raise UsageError("--min-accuracy is a share of right classes, and here are none")
        self.first_rank = backend.ranks.rank == 0
        self.model = model_of(arguments, data)
        seed, count = self.model.seed, arguments.members or 1
        self.models = [replace(self.model, seed=seed + number) for number in range(count)]
        if count > 1 and (backend.ranks.count > 1 or arguments.diagnostics):
            raise UsageError(
                "--members trains several at once: leave out --distributed and --diagnostics"
            )
        if arguments.folds and (count < 2 or data.validation is not None):
            raise UsageError(
                "--folds validates each of several members on a part of its own: give --members "
                "above 1, and --val-size 0"
            )
        self.plan = plan_of(arguments, self.model.optimizer, len(data.train))
        self.steps = self.plan.steps_for(len(data.train))
        self.batch_size = self.plan.batch_size or len(data.train)
        path = arguments.out / CHECKPOINT
        # A run that was killed before its first checkpoint has lost nothing: it starts again.
        saved = path if arguments.resume and path.exists() else None
        self.begun_with: dict[str, Any] = {}  # the settings of a run that goes on
        if saved:
            before = load_result(saved)
            check_same_run(self.config(), before, saved)
            self.begun_with = before.record.get("settings") or {}
            backend.on_one_thread = self.begun_with.get("on_one_thread") is True
        self.members = members_of(self.models, backend, saved)
        if self.members.step > self.steps:
            raise UsageError(
                f"the run has taken {self.members.step} steps, and --epochs or --steps asks for "
                f"{self.steps}: give as many or more"
            )

    def execute(self) -> int:
        """Train, whatever ends it leave a whole folder, and return the exit code."""
        if not self.arguments.quiet:
            message(xpmlp.summarize(self.model.mlp, self.batch_size))
        if self.arguments.resume and self.first_rank:
            message(self.resumed_from())
        with StopSignals(message if self.first_rank else None) as stop:
            summary, failure = self.train(stop)
        if self.first_rank:
            self.show(summary)
        if failure is None or isinstance(failure, DivergedError):
            # What follows ends all ranks alike, and not before the first has said what came out.
            self.backend.ranks.wait_for_all()
        if failure is not None:
            raise failure
        if self.members.status == "interrupted":
            return stop.exit_code
        self.check_accuracy(summary["test_accuracy"])
        return 0

    def resumed_from(self) -> str:
        """Return where a run goes on, or that it does not."""
        out, step = self.arguments.out, self.members.step
        if self.members.status == "early_stopped":
            return (
                f"{out} has stopped early, at step {step:,}: its --patience is used up, and "
                "nothing is left to train"
            )
        if step < self.steps:
            own = vars(self.arguments) | {"library": self.backend.name}
            changed = changes(own, self.begun_with, self.steps)
            return f"going on with {out} from step {step:,} of {self.steps:,}{changed}"
        return (
            f"{out} has ended already, at step {step:,}: nothing is left to train; --epochs or "
            "--steps with more than it had goes on"
        )

    def train(self, stop: StopSignals) -> tuple[dict[str, Any], Exception | None]:
        """Fill the folder; return what came out, and what has ended it before its time."""
        arguments, members = self.arguments, self.members
        wanted, alone = not arguments.quiet, self.backend.ranks.count == 1
        failures: list[Exception] = []
        kind = RunFolder if self.first_rank else NoRunFolder
        with (
            Progress(
                self.steps, members.step, self.batch_size, bar=wanted, lines=wanted
            ) as progress,
            ExitStack() as opened,
        ):

            def on_step(step: int) -> bool:
                progress.step(step)
                if self.backend.on_one_thread:
                    progress.say_once(_BUSY)
                return stop.received is not None

            before = members.history if arguments.resume else None
            rows = members.rows(self.data, self.plan, on_step, self.save)
            # Not before all is known to fit: what cannot be trained leaves no folder.
            folder = opened.enter_context(
                kind(
                    arguments.out,
                    overwrite=arguments.overwrite,
                    resumed=before,
                    log_test=arguments.log_test,
                )
            )
            folder.write_config(self.config())
            self.show_deformed()
            boundary = self.boundary()
            try:
                for row in rows:
                    folder.append(row)
                    progress.row(row)
                    if boundary is not None and isinstance(members, OneModel):
                        boundary.add(row.step, self.model.mlp, members.state.averaged)
                    if arguments.diagnostics:
                        folder.append_diagnostics(row.step, self.diagnose(row))
            except _FAILURES as error:
                if not alone and not isinstance(error, DivergedError):
                    raise  # the others know nothing of it: they are ended, and not waited for
                failures.append(error)
                members.interrupt()
            summary = self.summary()
            leave: list[Callable[[], object]] = [partial(folder.write_summary, summary)]
            if boundary is not None:
                leave.append(boundary.write)
            if self.first_rank and members.history:
                title = f"{self.data.name}: {self.model.mlp}"
                draw = partial(save_curves, train_exact=self.plan.train_exact)
                leave.append(partial(draw, members.history, arguments.out / CURVES, title))
            for each in leave:
                try:
                    each()
                except _FAILURES as error:
                    failures.append(error)
        return summary, failures[0] if failures else None

    def save(self) -> None:
        """Write the checkpoints; one rank does it for all."""
        if self.first_rank:
            self.members.save(self.arguments.out, {"settings": self.config()})

    def config(self) -> dict[str, Any]:
        """Return everything needed to run it again, and what was made of it."""
        data = self.data
        return settings_of(self.arguments) | {
            "lr": self.model.rate,
            "loss": self.model.mlp.loss,
            "task": data.targets and data.targets.task,
            # What was decided is part of the run: a stream has another order and another split.
            "stream": "yes" if data.streamed else "no",
            "val_size": len(data.validation or ()),
            "steps": self.steps,
            "library": self.backend.name,
            "on_one_thread": self.backend.on_one_thread,
            "sizes": self.model.mlp.sizes,
            **data.preparation.as_record(),
            "xpmlp": xpmlp.__version__,
        }

    def diagnose(self, row: xpmlp.LogRow) -> list[xpmlp.LayerDiagnostics]:
        """Look into the layers, on a thousand training examples."""
        assert isinstance(self.members, OneModel), "of several there are no diagnostics"
        momentum = None
        if self.plan.momentum is not None:
            per_epoch = self.plan.steps_per_epoch(len(self.data.train))
            factor = self.plan.momentum(row.step - 1, per_epoch)
            momentum = factor * self.model.optimizer.momentum  # type: ignore[attr-defined]
        with self.backend.ranks.untimed():
            return xpmlp.diagnose(
                self.model,
                self.members.state.variables,
                self.data.train.first(1000),
                backend=self.backend,
                learning_rate=row.learning_rate,
                momentum=momentum,
            )

    def show_deformed(self) -> None:
        """Draw some training images as they are, and as they are trained on."""
        deformation = self.model.regularization.deformation
        if deformation.is_on and self.backend.ranks.count == 1:
            images = deformed_images(deformation, self.data.train, backend=self.backend)
            save_deformed(images, self.arguments.out / DEFORMED)

    def boundary(self) -> Boundary | None:
        """Return what follows the boundary between classes of two features, else None."""
        if not isinstance(self.members, OneModel) or self.backend.ranks.count > 1:
            return None
        resumed = self.members.step if self.arguments.resume else None
        return boundary_of(self.data, self.arguments.out, self.backend, resumed=resumed)

    def summary(self) -> dict[str, Any]:
        """Return what came out; test figures are of the best weights."""
        state, backend, mlp = self.members, self.backend, self.model.mlp
        costs = backend.ranks.costs()  # of the steps, before the last evaluation
        test, test_loss, test_accuracy, figures = self.data.test, None, None, None
        if state.status != "diverged" and test is not None:
            result, targets = state.result, self.data.targets
            test_loss, test_accuracy = evaluate_mean_output(mlp, result, test, backend=backend)
            if backend.ranks.count == 1 and targets is not None:
                found = outputs_of(mlp, result, test, backend=backend, targets=targets)
                figures = scores(found, targets)
        best, seconds = best_row(state.history), state.seconds
        examples, kept = len(self.data.train), len(self.models) - state.diverged
        epochs = state.step / self.plan.steps_per_epoch(examples)
        return {
            "status": state.status,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "test_scores": figures,
            "best_step": best and best.step,
            "best_val_accuracy": best and best.val_accuracy,
            "best_val_loss": best and best.val_loss,
            "network": str(mlp),
            "members": kept,
            "diverged_members": state.diverged,
            "parameters": mlp.parameter_count * kept,
            "steps": state.step,
            "epochs": epochs,
            "train_seconds": seconds,
            "examples_per_second": self.plan.trained_on(examples) * epochs / seconds
            if seconds
            else None,
            "device": backend.device_name,
            "backend": backend.name,
            "dtype": backend.dtype_name,
            **backend.settings(),
            **costs,
            "seed": self.arguments.seed,
            "versions": host_versions() | {"xpmlp": xpmlp.__version__} | backend.versions(),
        }

    def show(self, summary: dict[str, Any]) -> None:
        """Print the result for a person, or as JSON."""
        out = self.arguments.out
        if self.arguments.json:
            print_result({"run": str(out)} | summary, as_json=True)
            return
        parts = {"test": self.data.test, "validation": self.data.validation}
        held = next((name for name, part in parts.items() if part is not None), "train")
        print_lines(report_lines(summary, out, held, self.data.encoding is not None))

    def check_accuracy(self, accuracy: float | None) -> None:
        """Raise `CheckFailedError` if the test accuracy is below --min-accuracy."""
        minimum = self.arguments.min_accuracy
        if minimum is not None and accuracy is not None and accuracy < minimum:
            raise CheckFailedError(
                f"the test accuracy {accuracy:.4f} is below --min-accuracy {minimum:g}: train "
                "longer or change the settings"
            )
