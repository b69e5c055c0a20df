"""Evaluate a trained network: loss, accuracy, confusion matrix, and its worst mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import xpmlp
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    print_result,
)
from xpmlp.commands.data_flags import add_source_flags, read_source
from xpmlp.commands.flags import Flags
from xpmlp.commands.trained_flags import add_trained_flags, checkpoint_path
from xpmlp.data import Dataset
from xpmlp.errors import CheckpointError, DataError
from xpmlp.inspection.predictions import Predictions, predict
from xpmlp.plots import save_confusion, save_first_layer, save_mistakes
from xpmlp.rules import TEXT, checked, one_of, optional, whole
from xpmlp.runs.checkpoint import Checkpoint, load_checkpoint, scaling_of


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_trained_flags(parser)
    add_device_flags(parser)
    group = Flags(parser.add_argument_group("data, by default that of the run"))
    add_source_flags(group, default=None)
    group.choice("--set", ("test", "train"), "which examples", dest="of")
    output = Flags(parser.add_argument_group("output"))
    output.path("--out", "folder for pictures (default: the checkpoint's)")
    output.count("--worst", "mistakes in the picture", 25)
    return parser


def main(arguments: argparse.Namespace) -> int:
    backend = backend_of(arguments)
    path = checkpoint_path(arguments)
    checkpoint = load_checkpoint(path)
    mlp, params = checkpoint.mlp, backend.all_to_device(checkpoint.result)
    dataset = read_source(with_settings(arguments, checkpoint))
    source = dataset.test if arguments.of == "test" else dataset.train
    if source is None:
        raise DataError("there are no test examples: give --test-data, or --set train")
    examples = source.normalized(scaling_of(checkpoint)).to_device(backend)
    loss, accuracy = xpmlp.evaluate(mlp, params, examples, backend=backend)
    result: dict[str, Any] = {"checkpoint": str(path), "network": str(mlp)}
    result |= {"step": checkpoint.numbers["step"]}
    result |= {"examples": len(examples), "loss": loss, "accuracy": accuracy}
    if mlp.loss_function.one_class:
        predictions = predict(mlp, params, examples, backend=backend)
        result["confusion"] = predictions.confusion().tolist()
        weights = backend.to_host(params["layer1.weight"])
        out = arguments.out or path.parent
        draw(predictions, source, dataset, weights, out, arguments.worst)
    show(result, arguments.json)
    return 0


_SETTINGS = {
    **dict.fromkeys(("data", "test_data", "x_key", "y_key"), optional(TEXT)),
    "classes": optional(whole(1)),
    "stream": optional(one_of("auto", "yes", "no")),
}


def with_settings(arguments: argparse.Namespace, checkpoint: Checkpoint) -> argparse.Namespace:
    """Fill in the data that the run was trained on, where the flags name none."""
    settings = checkpoint.record.get("settings") or {}
    try:
        checked(settings, _SETTINGS)
    except ValueError as error:
        raise CheckpointError(f"the settings in the checkpoint: {error}") from error
    if arguments.data is not None:  # other data: nothing of the run's own belongs to it
        settings = {"x_key": "xdata", "y_key": "ydata", "stream": "auto"}
    found = {name: getattr(arguments, name) or settings.get(name) for name in _SETTINGS}
    if found["data"] is None:
        raise DataError("the checkpoint does not say what it was trained on: give --data")
    return argparse.Namespace(**found)


def draw(
    predictions: Predictions,
    source: Any,
    dataset: Dataset,
    weights: np.ndarray,
    out: Path,
    worst: int,
) -> None:
    """Write confusion.png, mistakes.png and weights.png."""
    save_confusion(predictions.confusion(), out / "confusion.png")
    rows = predictions.worst(worst)
    images = [source.rows[int(row) : int(row) + 1] for row in rows]
    guesses = predictions.classes[rows]
    save_mistakes(
        np.array([np.reshape(image, dataset.image_shape) for image in images]),
        predictions.targets[rows].tolist(),
        guesses.tolist(),
        predictions.probabilities[rows, guesses].tolist(),
        out / "mistakes.png",
    )
    save_first_layer(weights, dataset.image_shape, out / "weights.png")
    message(f"pictures: {', '.join(str(out / f'{n}.png') for n in _PICTURES)}")


_PICTURES = ("confusion", "mistakes", "weights")


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print the result; the confusion matrix as a table with one row per true class."""
    if as_json or "confusion" not in result:
        print_result(result, as_json)
        return
    matrix = result.pop("confusion")
    print_result(result, as_json)
    width = max(len(str(value)) for row in matrix for value in row) + 2
    print("confusion (rows: true class, columns: predicted)")
    print(" " * 5 + "".join(f"{column:>{width}}" for column in range(len(matrix))))
    for number, row in enumerate(matrix):
        print(f"{number:>5}" + "".join(f"{value:>{width}}" for value in row))
