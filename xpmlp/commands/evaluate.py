"""Evaluate a trained network: its loss, the figures of its task, and pictures of its mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.backends import Backend
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    print_result,
    print_table,
)
from xpmlp.commands.data_flags import add_source_flags, read_source
from xpmlp.commands.flags import Flags
from xpmlp.commands.run_report import WORDS
from xpmlp.commands.trained_flags import add_trained_flags, checkpoint_path
from xpmlp.data import Dataset, Preparation, split
from xpmlp.data.examples import Examples
from xpmlp.data.part import COLUMNS, Keys
from xpmlp.data.targets import TASKS
from xpmlp.errors import CheckpointError, DataError
from xpmlp.inspection.importance import permutation_importance
from xpmlp.inspection.predictions import Compared, Predictions, evaluate_mean_output, outputs_of
from xpmlp.inspection.scores import scores
from xpmlp.plots import (
    save_confusion,
    save_first_layer,
    save_importance,
    save_mistakes,
    save_predicted,
)
from xpmlp.rules import TEXT, checked, one_of, optional, several, whole
from xpmlp.runs.checkpoint import Result, load_result, preparation_of

# Rows that features are shuffled in, and features that are, at most.
_SHUFFLED_ROWS, _SHUFFLED_FEATURES = 2000, 500


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_trained_flags(parser)
    add_device_flags(parser)
    group = Flags(parser.add_argument_group("data, by default that of the run"))
    add_source_flags(group, default=None)
    group.choice(
        "--set",
        ("test", "validation", "train"),
        "which examples of the run's data; of other data that has no such parts all of them",
        dest="of",
    )
    output = Flags(parser.add_argument_group("output"))
    output.path("--out", "folder for pictures (default: the checkpoint's)")
    output.count("--worst", "mistakes in the picture", 25)
    return parser


def main(arguments: argparse.Namespace) -> int:
    result, names, files = evaluated(arguments)
    message(f"pictures: {', '.join(map(str, files))}")
    show(result, names, arguments.json)
    return 0


def evaluated(
    arguments: argparse.Namespace,
) -> tuple[dict[str, Any], tuple[Any, ...], list[Path]]:
    """Return the figures of a network, the names of its classes or values, and its pictures."""
    backend = backend_of(arguments)
    path = checkpoint_path(arguments)
    checkpoint = load_result(path)
    mlp, params = checkpoint.mlp, backend.all_to_device(checkpoint.params)
    own = preparation_of(checkpoint)
    dataset, source = chosen(arguments, checkpoint, own)
    prepared = own.applied(source)
    examples = prepared.to_device(backend)
    loss, accuracy = evaluate_mean_output(mlp, params, examples, backend=backend)
    result: dict[str, Any] = {"examples": len(examples), "loss": loss, "accuracy": accuracy}
    targets = own.targets or dataset.targets
    assert targets is not None, "what is read says what is to be predicted"
    found = outputs_of(mlp, params, examples, backend=backend, targets=targets)
    result |= {k: v for k, v in scores(found, targets).items() if k != "accuracy"}
    result |= {"network": str(mlp), "step": checkpoint.numbers["step"], "checkpoint": str(path)}
    pictures = Pictures(arguments.out or path.parent, dataset, source, backend, arguments.worst)
    if targets.task == "classification":
        predictions = Predictions(found.predicted, found.targets)
        result["confusion"] = predictions.confusion().tolist()
        pictures.of_classes(predictions, targets.names)
    elif targets.task == "regression":
        pictures.of_values(found, targets.names)
    pictures.of_features(checkpoint, params, prepared, own)
    return result, targets.names, pictures.files


_SETTINGS = {
    **dict.fromkeys(("data", "test_data", "x_key", "y_key"), optional(TEXT)),
    **dict.fromkeys(COLUMNS, optional(several(TEXT))),
    "image_size": optional(several(whole(1))),
    **dict.fromkeys(("train_size", "val_size", "test_size", "seed"), optional(whole(0))),
    **dict.fromkeys(("classes", "folds"), optional(whole(1))),
    "task": optional(one_of(*TASKS)),
    "stream": optional(one_of("auto", "yes", "no")),
}
_SIZES = ("train_size", "val_size", "test_size")


def chosen(
    arguments: argparse.Namespace, checkpoint: Result, own: Preparation
) -> tuple[Dataset, Any]:
    """Return the data set, and of it the examples that are asked for, as they were read."""
    if arguments.data is None and arguments.test_data is not None:
        arguments.data, arguments.test_data = arguments.test_data, None
    asked = with_settings(arguments, checkpoint)
    if own.encoding is not None:
        asked.texts = tuple(code.name for code in own.encoding.codes if code.kind == "category")
        if arguments.data is not None:  # what the network does not take may be missing
            asked.drop = ()
    dataset = read_source(asked, targets=own.targets)
    if arguments.data is not None:
        part = getattr(dataset, arguments.of)
        return dataset, dataset.train if part is None else part
    sizes = {name: getattr(asked, name) for name in _SIZES}
    if sizes["test_size"] is None:  # a run of before there were any
        sizes["test_size"] = 0
    dataset = split(dataset, seed=asked.seed or 0, **sizes)
    source = getattr(dataset, arguments.of)
    if source is None and arguments.of == "validation" and asked.folds:
        raise DataError(
            "each member of the run was validated on a fold of its own, and there is no validation "
            "set: choose --set test, or train again with --val-size"
        )
    if source is None:
        sets = ("test", "validation", "train")
        there = [name for name in sets if getattr(dataset, name) is not None]
        raise DataError(
            f"there are no {arguments.of} examples: give --test-data, or --set {there[0]}"
        )
    return dataset, source


def with_settings(arguments: argparse.Namespace, checkpoint: Result) -> argparse.Namespace:
    """Fill in the data that the run was trained on, where the flags name none."""
    settings = checkpoint.record.get("settings") or {}
    try:
        checked(settings, _SETTINGS)
    except ValueError as error:
        raise CheckpointError(f"the settings in the checkpoint: {error}") from error
    columns = ("target", "drop", "categorical", "image_size")
    if arguments.data is not None:  # of the run only the names of its columns belong to it
        columns_of_run = {name: settings.get(name) for name in columns}
        settings = {"x_key": "xdata", "y_key": "ydata", "stream": "auto"} | columns_of_run
    found = {name: getattr(arguments, name, None) or settings.get(name) for name in _SETTINGS}
    found |= {name: tuple(found[name] or ()) for name in (*COLUMNS, "image_size")}
    if found["data"] is None:
        raise DataError("the checkpoint does not say what it was trained on: give --data")
    return argparse.Namespace(**dict.fromkeys(Keys._fields) | found)


class Pictures:
    """Draws what is to be seen of a network into a folder; `files` are those that are there."""

    def __init__(
        self, out: Path, dataset: Dataset, source: Any, backend: Backend, worst: int
    ) -> None:
        self._out, self._backend, self._worst = out, backend, worst
        self._source, self._shape = source, dataset.image_shape
        self.files: list[Path] = []

    def _file(self, name: str) -> Path:
        self.files.append(self._out / f"{name}.png")
        return self.files[-1]

    def of_classes(self, predictions: Predictions, names: tuple[Any, ...]) -> None:
        """Draw the confusion matrix, and of images the worst mistakes."""
        save_confusion(predictions.confusion(), self._file("confusion"), names)
        if self._shape is None:
            return
        rows = predictions.worst(self._worst)
        images = [self._source.rows[int(row) : int(row) + 1] for row in rows]
        guesses = predictions.classes[rows]
        save_mistakes(
            np.array([np.reshape(image, self._shape) for image in images]),
            [names[k] for k in predictions.targets[rows]],
            [names[k] for k in guesses],
            predictions.probabilities[rows, guesses].tolist(),
            self._file("mistakes"),
        )

    def of_values(self, found: Compared, names: tuple[Any, ...]) -> None:
        """Draw predicted values against the true ones."""
        save_predicted(found.targets, found.predicted, names, self._file("predicted"))

    def of_features(self, checkpoint: Result, params: Any, examples: Any, own: Preparation) -> None:
        """Draw the first layer's weights as images, or a bar per feature."""
        mlp, backend = checkpoint.mlp, self._backend
        if self._shape is not None and params["layer1.weight"].ndim == 2:
            weights = backend.to_host(params["layer1.weight"])
            save_first_layer(weights, self._shape, self._file("weights"))
            return
        if self._shape is not None or not isinstance(examples, Examples):
            return
        few = examples.first(_SHUFFLED_ROWS)
        groups = own.groups(int(few.x.shape[1]))
        if len(groups) <= _SHUFFLED_FEATURES:
            rises = permutation_importance(mlp, params, few, groups, backend=backend)
            save_importance(rises, self._file("importance"), mlp.loss.replace("_", " "))


def show(result: dict[str, Any], names: tuple[Any, ...], as_json: bool) -> None:
    """Print the result: its figures, one row per class or label, and the confusion matrix."""
    if as_json:
        print_result(result, as_json)
        return
    matrix = result.pop("confusion", None)
    tables = [result.pop(name) for name in ("classes", "labels", "values") if name in result]
    print_result({WORDS.get(k, k): v for k, v in result.items() if v is not None}, as_json)
    for table in tables:
        print()
        print_table([{WORDS.get(k, k): v for k, v in row.items()} for row in table])
    if matrix is None or len(matrix) > 30:
        return
    shown = [str(name)[:12] for name in names]
    wide = max(map(len, shown))
    width = max(max(len(str(value)) for row in matrix for value in row), wide) + 2
    print("\nconfusion (rows: true class, columns: predicted)")
    print(" " * (wide + 1) + "".join(f"{name:>{width}}" for name in shown))
    for name, row in zip(shown, matrix, strict=True):
        print(f"{name:>{wide + 1}}" + "".join(f"{value:>{width}}" for value in row))
