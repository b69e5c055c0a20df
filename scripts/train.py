#!/usr/bin/env python3
"""Train a multi-layer perceptron and leave a run folder with its history."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from command_line import (
    INTERRUPTED,
    add_data_flags,
    add_device_flags,
    layer_sizes,
    new_parser,
    positive,
    print_result,
    run,
)
from progress import Progress

import xpmlp
from xpmlp.activations import ACTIVATIONS
from xpmlp.errors import CheckFailedError, DivergedError
from xpmlp.initializers import INITIALIZERS
from xpmlp.optimizers import OPTIMIZERS
from xpmlp.plots import save_curves
from xpmlp.runs import CURVES, RunFolder, best_row, host_versions, refuse_existing


def batch_size(text: str) -> int | str:
    """Parse --batch-size: a number of examples, or "full"."""
    return text if text == "full" else int(positive(int)(text))


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    parser.add_argument(
        "--val-size",
        type=int,
        metavar="N",
        help="examples held out for validation from the end of a seeded shuffle of the training "
        "set (default: a tenth of it; 0: none)",
    )

    network = parser.add_argument_group("network")
    network.add_argument(
        "--hidden",
        type=layer_sizes,
        default=(100,),
        metavar="N,N,...",
        help="units of each hidden layer, or none",
    )
    network.add_argument(
        "--activation", default="sigmoid", choices=ACTIVATIONS, help="of the hidden layers"
    )
    network.add_argument(
        "--init", default="xavier", choices=INITIALIZERS, help="distribution of initial weights"
    )

    training = parser.add_argument_group("training")
    training.add_argument("--optimizer", default="sgd", choices=OPTIMIZERS, help="update rule")
    training.add_argument(
        "--lr", type=positive(float), default=0.5, metavar="RATE", help="learning rate"
    )
    training.add_argument(
        "--batch-size",
        type=batch_size,
        default=64,
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
    output.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def main(arguments: argparse.Namespace) -> int:
    out = arguments.out or Path(
        "runs", f"{Path(arguments.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    )
    if not arguments.overwrite:
        refuse_existing(out)
    backend = xpmlp.select_backend(arguments.device, arguments.dtype)
    dataset = xpmlp.load_data(arguments.data)
    val_size = len(dataset.train) // 10 if arguments.val_size is None else arguments.val_size
    training_set, validation_set = xpmlp.hold_out(dataset.train, val_size, arguments.seed)
    normalization = xpmlp.fit_normalization(arguments.normalize, training_set.x, dataset.maximum)
    batches = xpmlp.Batches(
        len(training_set),
        None if arguments.batch_size == "full" else arguments.batch_size,
        seed=arguments.seed,
        backend=backend,
    )
    mlp = xpmlp.MLP((dataset.features, *arguments.hidden, dataset.classes), arguments.activation)
    optimizer = OPTIMIZERS[arguments.optimizer]()
    state = xpmlp.initial_state(
        mlp, optimizer, seed=arguments.seed, backend=backend, initializer=arguments.init
    )
    train, validation, test = (
        normalization.apply_to(examples, backend.dtype_name).to_device(backend)
        for examples in (training_set, validation_set, dataset.test)
    )
    steps = arguments.steps or arguments.epochs * batches.steps_per_epoch
    exact = {"auto": batches.full, "running": False, "exact": True}[arguments.log_train]

    rows: list[xpmlp.LogRow] = []
    status, failure = "completed", None
    with RunFolder(out, overwrite=arguments.overwrite, log_test=arguments.log_test) as folder:
        settings = {name: value for name, value in vars(arguments).items() if name != "out"}
        folder.write_config(
            settings
            | {"val_size": val_size, "steps": steps, "normalization": asdict(normalization)}
            | {"sizes": mlp.sizes, "xpmlp": xpmlp.__version__}
        )
        with Progress(steps, arguments.quiet) as progress:
            try:
                for row in xpmlp.fit(
                    mlp,
                    state,
                    train,
                    optimizer=optimizer,
                    learning_rate=arguments.lr,
                    batches=batches,
                    steps=steps,
                    backend=backend,
                    log_every=arguments.log_every,
                    train_exact=exact,
                    validation=validation if len(validation) else None,
                    test=test if arguments.log_test else None,
                    on_step=progress.step,
                ):
                    rows.append(row)
                    folder.append(row)
                    progress.row(row)
            except DivergedError as error:
                status, failure = "diverged", error
            except KeyboardInterrupt:
                status = "interrupted"

        test_loss, test_accuracy = None, None
        if failure is None:
            test_loss, test_accuracy = xpmlp.evaluate(mlp, state.params, test, backend=backend)
        best = best_row(rows)
        epochs = state.step / batches.steps_per_epoch
        summary: dict[str, Any] = {
            "status": status,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "best_step": best and best.step,
            "best_val_accuracy": best and best.val_accuracy,
            "parameters": mlp.parameter_count,
            "steps": state.step,
            "epochs": epochs,
            "train_seconds": state.seconds,
            "examples_per_second": len(train) * epochs / state.seconds if state.seconds else None,
            "device": backend.device_name,
            "backend": backend.name,
            "dtype": backend.dtype_name,
            "seed": arguments.seed,
            "versions": host_versions() | {"xpmlp": xpmlp.__version__} | backend.versions(),
        }
        folder.write_summary(summary)
    if rows:
        save_curves(rows, out / CURVES, title=f"{dataset.name}: {mlp}")
    print_result({"run": str(out)} | summary, arguments.json)
    if failure is not None:
        raise failure
    if status == "interrupted":
        return INTERRUPTED
    if arguments.min_accuracy is not None and test_accuracy < arguments.min_accuracy:
        raise CheckFailedError(
            f"the test accuracy {test_accuracy:.4f} is below --min-accuracy "
            f"{arguments.min_accuracy:g}: train longer or change the settings"
        )
    return 0


if __name__ == "__main__":
    run(main, build_parser())
