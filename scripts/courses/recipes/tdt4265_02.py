"""The tricks of the trade one after another, and other shapes of network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from courses.conclusions import (
    effect_of_trick,
    end_of_runs,
    gap_with_more_images,
    initial_weights,
)
from courses.laboratory import Laboratory, Setting, Trained
from courses.recipes.tdt4265_02_shapes import figures, layers_at_the_start, report_shapes

import xpmlp
from xpmlp.data import Dataset
from xpmlp.plots import save_curves, save_overlay

TITLE = "Tricks of the trade, and the shape of a network"
TRAIN_SIZE = 20_000
# The momentum's form is Δw(t) = ∂C/∂w + γ Δw(t−1), w ← w − α Δw(t).
BASE = Setting(
    (64,),
    initializer="uniform",
    learning_rate=0.1,
    batch_size=32,
    epochs=50,
    validations=5,
    patience=50,
)


def run(lab: Laboratory) -> None:
    """Base, tricks, shapes, ten layers."""
    base = replace(BASE, epochs=lab.either(50, 8))
    splits = {"few": split_of(lab, lab.either(TRAIN_SIZE, 600)), "all": split_of(lab, None)}
    normalization(lab)
    tricks = {"base": base}
    tricks["+ weights N(0, 1/fan_in)"] = replace(base, initializer="lecun")
    tricks["+ scaled tanh"] = replace(tricks["+ weights N(0, 1/fan_in)"], activation="lecun_tanh")
    final = replace(
        tricks["+ scaled tanh"], optimizer=xpmlp.Momentum(momentum=0.9), learning_rate=0.02
    )
    tricks["+ momentum 0.9, rate 0.02"] = final
    trained = {size: lab.train_all(tricks, split) for size, split in splits.items()}
    split, few = splits["few"], trained["few"]
    report_base(lab, split, few["base"])
    report_tricks(lab, splits, trained)
    report_shapes(lab, split, base, final, few["+ momentum 0.9, rate 0.02"])


def split_of(lab: Laboratory, train_size: int | None) -> Dataset:
    """Return the first so many training images with a validation set.

    By default it is held out from the training images; `--course-split` takes the test images
    themselves, as the course does.
    """
    if lab.options.get("course_split"):
        split = lab.split("standard", train_size=train_size)
        return replace(split, validation=lab.moved(lab.test, split))
    source = lab.dataset.train
    wanted = len(source) if train_size is None else train_size
    held = min(10_000, len(source) // 6)
    # So many for training, where there are enough of them beside the validation set.
    return lab.split("standard", val_size=held, train_size=min(len(source), wanted + held))


def normalization(lab: Laboratory) -> None:
    """Report mean and deviation of all training pixels."""
    train = lab.dataset.train
    scale = xpmlp.fit_normalization("standard", train.rows, lab.dataset.maximum)
    mean, deviation = float(scale.shift), float(scale.scale)
    report = lab.report
    report.results |= {"mean": mean, "standard_deviation": deviation}
    report.section("Normalisation")
    report.text(
        f"Over all {len(train):,} training images a pixel's mean is {mean:.3f} and its standard "
        f"deviation {deviation:.3f}. Training, validation and test images are all normalised with "
        "numbers of the training part alone."
    )
    if lab.is_mnist:
        report.known(
            [("mean", 33.31, round(mean, 3)), ("standard deviation", 78.57, round(deviation, 3))]
        )
    where = (
        "The validation set is the course's own: the test images. What is chosen by it has been "
        "chosen with the test set's help, and its accuracy flatters."
        if lab.options.get("course_split")
        else "Validation images are held out from the training images, a sixth of them where all "
        "are used; the test images are for the last two columns of each table alone. The option "
        "`--course-split` validates on the test images instead, as the course does, and then "
        "trains on all."
    )
    report.text(where)


def report_base(lab: Laboratory, split: Dataset, base: Trained) -> None:
    """Curves and parameters of the first network."""
    report = lab.report
    report.section("The network without tricks")
    report.text(
        f"{base.mlp}, weights uniform in (−1, 1), {len(split.train):,} training images in batches "
        f"of {base.setting.batch_size}, learning rate {base.setting.learning_rate:g}, at most "
        f"{base.setting.epochs} epochs with {base.setting.validations:g} validations each, stopped "
        f"after {base.setting.patience} validations without a lower loss."
    )
    save_curves(
        base.rows, report.picture("base.png", "Training and validation, without any trick.")
    )
    report.results["parameters_of_the_base"] = base.mlp.parameter_count
    features, hidden, classes = base.mlp.sizes
    report.question(
        "How many parameters has it?",
        f"{features}·{hidden} + {hidden} + {hidden}·{classes} + {classes} = "
        f"{base.mlp.parameter_count:,}.",
    )
    if lab.is_mnist:
        report.known([("784·64 + 64 + 64·10 + 10", "50,890", base.mlp.parameter_count)])


def report_tricks(
    lab: Laboratory, splits: dict[str, Dataset], trained: dict[str, dict[str, Trained]]
) -> None:
    """Compare the tricks on both amounts of data."""
    report = lab.report
    report.section("Tricks of the trade")
    report.text("Each line adds one trick to those above it.")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for size, group in trained.items():
        found[size] = {name: figures(lab, t, splits[size]) for name, t in group.items()}
        images = f"{len(splits[size].train):,} training images"
        report.text(f"### {images}")
        report.table([{"": name} | row for name, row in found[size].items()])
        picture = report.picture(f"tricks_{size}.png", f"Validation while training, {images}.")
        save_overlay({label: [t.rows] for label, t in group.items()}, picture, zoomed=True)
    report.results["tricks"] = found
    few, everything = found["few"], found["all"]
    names = list(few)
    steps = {name: few[name]["first above 95 %"] for name in names}
    said = ", ".join(
        f"{name}: {'never' if step is None else f'step {step:,}'}" for name, step in steps.items()
    )
    losses = [few[name]["best validation loss"] for name in names]
    effects = [
        effect_of_trick(name, before, after)
        for name, before, after in zip(names[1:], losses, losses[1:], strict=False)
    ]
    accuracies = [few[name]["test accuracy"] for name in names]
    settings = [trained["few"][name].setting for name in names[:2]]
    flat = [layers_at_the_start(lab, s, splits["few"])[0].saturated for s in settings]
    report.results["flat_outputs_at_the_start"] = dict(zip(names, flat, strict=False))
    ends = {name: few[name]["end"] for name in names}
    best, last = ({name: few[name][of] for name in names} for of in ("best step", "steps"))
    report.question(
        "What does each trick change?",
        f"*Speed.* A validation accuracy above 95 % comes at: {said}. {initial_weights(*flat)} The "
        "scaled tanh has its mean at 0 and a steeper slope. Momentum adds up what successive "
        "gradients agree on: along a lasting direction the rate 0.02 comes to 0.02 / (1 − 0.9) = "
        "0.2, twice the rate before.",
        f"*Loss and accuracy.* The lowest validation loss is {losses[0]:.3f} without tricks. "
        f"{' '.join(effects)} The test accuracy goes from {accuracies[0]:.2%} to "
        f"{', '.join(f'{a:.2%}' for a in accuracies[1:])}.",
        "*Generalisation.* Between the lowest validation loss and the training loss at the end lie "
        f"{', '.join(f'{gap(few[name]):.3f}' for name in names)}. {end_of_runs(ends, best, last)} "
        f"{gap_with_more_images(gap(few[names[-1]]), gap(everything[names[-1]]))}",
    )


def gap(row: dict[str, Any]) -> float:
    """Return how far the training loss at the end lies below the lowest validation loss."""
    return float(row["best validation loss"] - row["training loss at the end"])
