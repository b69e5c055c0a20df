"""Two activations at three learning rates, the best of them retrained, the test set opened once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from courses.conclusions import best_configuration
from courses.laboratory import Laboratory, Setting, Trained

from xpmlp.data import Examples, read_data
from xpmlp.data.formats.hdf5 import write_hdf5
from xpmlp.plots import save_accuracy_panels, save_curves

TITLE = "tanh and ReLU at three learning rates, from HDF5"
ACTIVATIONS = {"tanh": "xavier", "relu": "he"}
RATES = (0.05, 0.1, 0.2)
HIDDEN, BATCH_SIZE, EPOCHS, HALVED_AT = (300, 100), 100, 50, (20, 40)

OpenTest = Callable[[], Examples]


def run(lab: Laboratory) -> None:
    """Write the HDF5 files, then work from them alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "test"):
            examples = getattr(lab.dataset, part)
            write_hdf5(folder / f"{part}data.hdf5", examples.x, examples.y, "xdata", "ydata")
        train = read_data(folder / "traindata.hdf5", stream=False)
        assert isinstance(train.train, Examples)
        experiment(lab, train.train, lambda: open_test(folder / "testdata.hdf5"))


def open_test(path: Path) -> Examples:
    """Read the test set: called once, when everything is decided."""
    found: Examples = read_data(path, stream=False).train
    return found


def experiment(lab: Laboratory, train: Examples, test: OpenTest) -> None:
    """Six configurations, the best retrained on all, and the test set at the end."""
    epochs, halved_at = lab.either((EPOCHS, HALVED_AT), (10, (4, 8)))
    split = lab.split("unit", val_size=len(train) // 6, train=train)
    # Every step of an epoch trains on as many examples: the batch size divides the training set.
    batch_size = max(n for n in range(1, BATCH_SIZE + 1) if len(split.train) % n == 0)
    settings = {
        f"{activation}, {rate:g}": Setting(
            lab.either(HIDDEN, (40, 20)),
            activation,
            initializer,
            learning_rate=rate,
            batch_size=batch_size,
            epochs=epochs,
            halved_at=halved_at,
        )
        for activation, initializer in ACTIVATIONS.items()
        for rate in RATES
    }
    trained = lab.train_all(settings, split)
    assert split.validation is not None
    report_configurations(lab, trained, len(split.train), len(split.validation))

    chosen = max(trained, key=lambda name: trained[name].rows[-1].val_accuracy or 0.0)
    everything = lab.split("unit", train=train)
    final = lab.train(f"{chosen}, on everything", trained[chosen].setting, everything)
    loss, accuracy = lab.evaluate(final, lab.moved(test(), everything))
    report_final(lab, chosen, final, len(train), loss, accuracy)


def report_configurations(
    lab: Laboratory, trained: dict[str, Trained], examples: int, held_out: int
) -> None:
    """Show the six configurations."""
    report, first = lab.report, next(iter(trained.values()))
    setting = first.setting
    batch_size = setting.batch_size or examples
    rows: list[dict[str, Any]] = [
        {
            "activation": t.setting.activation,
            "initial learning rate": t.setting.learning_rate,
            "training accuracy": t.rows[-1].train_accuracy,
            "validation accuracy": t.rows[-1].val_accuracy,
            "highest validation accuracy": max(row.val_accuracy or 0.0 for row in t.rows),
        }
        for t in trained.values()
    ]
    report.results["configurations"] = rows
    report.section("Six configurations")
    report.text(
        f"{'-'.join(map(str, first.mlp.sizes))} with {first.mlp.parameter_count:,} parameters; "
        f"{examples:,} images for training, the rest of the training file for validation. Batches "
        f"of {batch_size}, which divides the training set: {examples // batch_size:,} updates an "
        "epoch, each with the mean gradient of its batch. Weights of the tanh networks are drawn "
        "by Xavier's rule, those of the ReLU networks by He's; pixels are divided by the largest "
        f"value, and nothing else is done to them. {setting.epochs} epochs; the learning rate is "
        f"halved after epochs {setting.halved_at[0]} and {setting.halved_at[1]}, to a quarter at "
        "the end. No regulariser. The six are trained together, as one stack, in "
        f"{first.rows[-1].seconds:.0f} s."
    )
    save_accuracy_panels(
        {
            f"{t.setting.activation}, learning rate {t.setting.learning_rate:g}": t.rows
            for t in trained.values()
        },
        report.picture(
            "configurations.png",
            "Training and validation accuracy; the learning rate is halved at the dashed lines.",
        ),
        marks=setting.halved_at,
    )
    report.table(rows)
    report.text("Accuracies are those at the last epoch, if nothing else is said.")
    compared: list[dict[str, float | str]] = [
        {
            "activation": t.setting.activation,
            "rate": t.setting.learning_rate,
            "training": t.rows[-1].train_accuracy or 0.0,
            "validation": t.rows[-1].val_accuracy or 0.0,
        }
        for t in trained.values()
    ]
    report.question(
        "tanh or ReLU, which learning rate, and why?", *best_configuration(compared, held_out)
    )


def report_final(
    lab: Laboratory, chosen: str, final: Trained, examples: int, loss: float, accuracy: float
) -> None:
    """Show the network that was chosen."""
    report, setting = lab.report, final.setting
    report.results["chosen"] = {
        "activation": setting.activation,
        "initial_learning_rate": setting.learning_rate,
        "initializer": setting.initializer,
        "hidden": setting.hidden,
        "batch_size": setting.batch_size,
        "trained_on": examples,
    }
    report.results |= {"final_test_loss": loss, "final_test_accuracy": accuracy}
    report.section("The best, on everything")
    report.text(
        f"{chosen} has the highest validation accuracy at the last epoch. The same network is "
        f"trained anew on all {examples:,} images, with the same epochs, batches and decay. Only "
        "then the file with the test set is opened, for the first and only time."
    )
    save_curves(
        [replace(row, val_loss=None) for row in final.rows],
        report.picture("final.png", "Training on all images."),
    )
    report.question("How accurate is it on the test set?", f"{accuracy:.2%} of the images.")
    if lab.is_mnist:
        report.known([("final test accuracy", "95 to 99 %", f"{accuracy:.2%}")])
