#!/usr/bin/env python3
"""Train a multi-layer perceptron and leave a run folder with its history."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from command_line import (
    INTERRUPTED,
    add_device_flags,
    message,
    new_parser,
    positive,
    print_result,
    run,
)
from data_flags import add_data_flags, add_split_flags, prepare_data
from hyperparameters import (
    add_network_flags,
    add_optimizer_flags,
    learning_rate_of,
    network_of,
    optimizer_of,
    penalty_of,
    schedule_of,
)
from progress import Progress

import xpmlp
from xpmlp.data.batches import steps_per_epoch
from xpmlp.errors import CheckFailedError, DivergedError
from xpmlp.plots import save_curves
from xpmlp.runs import CURVES, RunFolder, best_row, host_versions, refuse_existing


def batch_size(text: str) -> int | str:
    """Parse --batch-size: a number of examples, or "full"."""
    return text if text == "full" else int(positive(int)(text))


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
    training.add_argument("--seed", type=int, default=0, help="of weights, batches and split")
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
        type=float,
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
    out = arguments.out or default_folder(arguments.data)
    if not arguments.overwrite:
        refuse_existing(out)
    backend = xpmlp.select_backend(arguments.device, arguments.dtype)
    optimizer, penalty = optimizer_of(arguments), penalty_of(arguments)
    learning_rate = learning_rate_of(arguments)
    data = prepare_data(arguments, backend)
    mlp = network_of(arguments, data.train.features, data.dataset.classes)
    full = arguments.batch_size == "full"
    batch_size = len(data.train) if full else arguments.batch_size
    epoch_steps = steps_per_epoch(len(data.train), batch_size)
    steps = arguments.steps or arguments.epochs * epoch_steps
    state = xpmlp.initial_state(
        mlp, optimizer, seed=arguments.seed, backend=backend, initializer=arguments.init
    )
    history = xpmlp.fit(
        mlp,
        state,
        data.train,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule_of(arguments, steps),
        penalty=penalty,
        dropout=arguments.dropout,
        batch_size=None if full else batch_size,
        steps=steps,
        backend=backend,
        log_every=arguments.log_every,
        train_exact={"auto": full, "running": False, "exact": True}[arguments.log_train],
        validation=data.validation,
        test=data.test if arguments.log_test else None,
        on_step=(progress := Progress(steps, arguments.quiet)).step,
    )

    def diagnose(row: xpmlp.LogRow) -> list[xpmlp.LayerDiagnostics]:
        return xpmlp.diagnose(
            mlp,
            state,
            data.train.first(1000),
            optimizer=optimizer,
            learning_rate=row.learning_rate,
            backend=backend,
            penalty=penalty,
        )

    rows: list[xpmlp.LogRow] = []
    status, failure = "completed", None
    with RunFolder(out, overwrite=arguments.overwrite, log_test=arguments.log_test) as folder:
        folder.write_config(
            {name: value for name, value in vars(arguments).items() if name != "out"}
            | {"sizes": mlp.sizes, "lr": learning_rate, "val_size": len(data.validation or ())}
            | {"steps": steps, "normalization": data.normalization.as_record()}
            | {"xpmlp": xpmlp.__version__}
        )
        if not arguments.quiet:
            message(xpmlp.summarize(mlp, batch_size))
        with progress:
            try:
                for row in history:
                    rows.append(row)
                    folder.append(row)
                    progress.row(row)
                    if arguments.diagnostics:
                        folder.append_diagnostics(row.step, diagnose(row))
            except DivergedError as error:
                status, failure = "diverged", error
            except KeyboardInterrupt:
                status = "interrupted"

        test_loss, test_accuracy = None, None
        if failure is None and data.test is not None:
            test_loss, test_accuracy = xpmlp.evaluate(mlp, state.params, data.test, backend=backend)
        best = best_row(rows)
        examples = len(data.train) * state.step / epoch_steps
        summary: dict[str, Any] = {
            "status": status,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "best_step": best and best.step,
            "best_val_accuracy": best and best.val_accuracy,
            "parameters": mlp.parameter_count,
            "steps": state.step,
            "epochs": state.step / epoch_steps,
            "train_seconds": state.seconds,
            "examples_per_second": examples / state.seconds if state.seconds else None,
            "device": backend.device_name,
            "backend": backend.name,
            "dtype": backend.dtype_name,
            "seed": arguments.seed,
            "versions": host_versions() | {"xpmlp": xpmlp.__version__} | backend.versions(),
        }
        folder.write_summary(summary)
    if rows:
        save_curves(rows, out / CURVES, title=f"{data.dataset.name}: {mlp}")
    print_result({"run": str(out)} | summary, arguments.json)
    if failure is not None:
        raise failure
    if status == "interrupted":
        return INTERRUPTED
    minimum = arguments.min_accuracy
    if minimum is not None and test_accuracy is None:
        raise CheckFailedError("there is no test set to reach --min-accuracy on: give --test-data")
    if minimum is not None and test_accuracy is not None and test_accuracy < minimum:
        raise CheckFailedError(
            f"the test accuracy {test_accuracy:.4f} is below --min-accuracy {minimum:g}: "
            "train longer or change the settings"
        )
    return 0


def default_folder(source: str) -> Path:
    """Return a run folder named after the data and the time."""
    return Path("runs", f"{Path(source).stem}-{time.strftime('%Y%m%d-%H%M%S')}")


if __name__ == "__main__":
    run(main, build_parser())
