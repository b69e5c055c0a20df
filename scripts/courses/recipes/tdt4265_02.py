"""The tricks of the trade one after another, and other shapes of network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from courses.laboratory import Laboratory, Setting, Trained

import xpmlp
from xpmlp.data import Dataset
from xpmlp.plots import save_curves, save_layer_norms, save_overlay
from xpmlp.training.state import initial_state

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
    splits = {"20,000 images": split_of(lab, lab.either(TRAIN_SIZE, 600))}
    splits["all images"] = split_of(lab, None)
    normalization(lab)
    tricks = {"base": base}
    tricks["+ weights N(0, 1/fan_in)"] = replace(base, initializer="lecun")
    tricks["+ scaled tanh"] = replace(tricks["+ weights N(0, 1/fan_in)"], activation="lecun_tanh")
    final = replace(
        tricks["+ scaled tanh"], optimizer=xpmlp.Momentum(momentum=0.9), learning_rate=0.02
    )
    tricks["+ momentum 0.9, rate 0.02"] = final
    trained = {size: lab.train_all(tricks, split) for size, split in splits.items()}
    size, split = next(iter(splits.items()))
    report_base(lab, split, trained[size]["base"])
    report_tricks(lab, splits, trained)
    report_shapes(lab, split, final, trained[size]["+ momentum 0.9, rate 0.02"])


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


def figures(lab: Laboratory, trained: Trained, split: Dataset) -> dict[str, Any]:
    """Return what a table says of a training."""
    loss, accuracy = lab.evaluate(trained, lab.moved(lab.test, split))
    above, last = trained.first_above(0.95), trained.rows[-1]
    return {
        "parameters": trained.mlp.parameter_count,
        "steps": last.step,
        "end": trained.state.status.replace("_", " "),
        "first above 95 %": above and above.step,
        "best step": trained.best.step,
        "best validation loss": trained.best.val_loss,
        "validation accuracy": trained.best.val_accuracy,
        "training loss at the end": last.train_loss,
        "test loss": loss,
        "test accuracy": accuracy,
    }


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
        name = f"tricks_{'20000' if size == '20,000 images' else 'all'}.png"
        report.text(f"### {images}")
        report.table([{"": name} | row for name, row in found[size].items()])
        picture = report.picture(name, f"Validation while training, {images}.")
        save_overlay({label: [t.rows] for label, t in group.items()}, picture, zoomed=True)
    report.results["tricks"] = found
    first = next(iter(found.values()))
    names = list(first)
    steps = [first[name]["first above 95 %"] for name in names]
    said = ", ".join(
        f"{name}: {'never' if step is None else f'step {step:,}'}"
        for name, step in zip(names, steps, strict=True)
    )
    losses = [first[name]["best validation loss"] for name in names]
    accuracies = [first[name]["test accuracy"] for name in names]
    sooner = (steps[-1] or 0) < (steps[-2] or 0)
    lower = losses[-1] < losses[-2]
    gap = [
        first[name]["best validation loss"] - first[name]["training loss at the end"]
        for name in names
    ]
    report.question(
        "What does each trick change?",
        f"*Speed.* A validation accuracy above 95 % comes at: {said}. Uniform weights in (−1, 1) "
        "drive most hidden units far into the flat parts of the sigmoid, where next to nothing of "
        "a gradient passes; with deviation 1/√fan_in their inputs are about 1 in size. The scaled "
        "tanh has its mean at 0 and a steeper slope. Momentum adds up what successive gradients "
        "agree on: along a lasting direction the rate 0.02 comes to 0.02 / (1 − 0.9) = 0.2, twice "
        f"the rate before. Here that is {'sooner' if sooner else 'no sooner'} above 95 % than "
        f"without it, and the lowest validation loss is {'lower' if lower else 'no lower'}.",
        f"*Loss and accuracy.* The lowest validation loss goes from {losses[0]:.3f} to "
        f"{', '.join(f'{loss:.3f}' for loss in losses[1:])}; the test accuracy from "
        f"{accuracies[0]:.2%} to {', '.join(f'{a:.2%}' for a in accuracies[1:])}.",
        "*Generalisation.* The faster a network learns the training images, the sooner its "
        "validation loss turns upwards: between the lowest validation loss and the training loss "
        f"at the end lie {', '.join(f'{g:.3f}' for g in gap)}. Early stopping ends the run there, "
        "and the best weights are kept; more images are the better remedy.",
    )


def report_shapes(lab: Laboratory, split: Dataset, final: Setting, reference: Trained) -> None:
    """Compare widths and depths with all tricks on."""
    report = lab.report
    equal = equal_width(lab, reference.mlp.parameter_count)
    settings = {
        "32 units": replace(final, hidden=(32,)),
        "128 units": replace(final, hidden=(128,)),
        f"two layers of {equal}": replace(final, hidden=(equal, equal)),
        "ten layers of 64": replace(final, hidden=(64,) * 10),
    }
    trained = {"64 units": reference} | lab.train_all(settings, split)
    rows = {name: figures(lab, t, split) for name, t in trained.items()}
    report.results["shapes"] = rows
    report.section("The shape of the network")
    report.text(f"All tricks are on; {len(split.train):,} training images.")
    report.table([{"": name} | row for name, row in rows.items()])
    widths = ("32 units", "64 units", "128 units")
    save_overlay(
        {name: [trained[name].rows] for name in widths},
        report.picture("widths.png", "One hidden layer of 32, 64 and 128 units: validation."),
        zoomed=True,
    )
    small, middle, large = (rows[name] for name in widths)
    gains = large["test accuracy"] > middle["test accuracy"]
    gain = "still gain" if gains else "gain nothing any more"
    report.question(
        "What happens with too few hidden units, and with too many?",
        f"32 units reach {small['test accuracy']:.2%} of the test images, 64 reach "
        f"{middle['test accuracy']:.2%}, 128 reach {large['test accuracy']:.2%}. Too few cannot "
        f"tell the classes apart even on what they were trained on (training loss "
        f"{small['training loss at the end']:.4f} at the end, against "
        f"{large['training loss at the end']:.4f} with 128). More units cost more time a step and "
        "learn the training images by heart sooner, so that they depend on early stopping; here "
        f"they {gain}.",
    )
    two = f"two layers of {equal}"
    for of, name in (("train", "training"), ("val", "validation")):
        save_overlay(
            {label: [trained[label].rows] for label in ("64 units", two)},
            report.picture(f"two_layers_{name}.png", f"One layer and two: {name}."),
            of=of,
            zoomed=True,
        )
    report.question(
        "How do two hidden layers compare, with about as many parameters?",
        f"Two layers of {equal} units have {rows[two]['parameters']:,} parameters, the single one "
        f"of 64 has {middle['parameters']:,}. They reach a validation loss of "
        f"{rows[two]['best validation loss']:.3f} at step {rows[two]['best step']:,} (one layer: "
        f"{middle['best validation loss']:.3f} at {middle['best step']:,}), and "
        f"{rows[two]['test accuracy']:.2%} of the test images ({middle['test accuracy']:.2%}).",
    )
    ten_layers(lab, split, trained, rows)


def equal_width(lab: Laboratory, parameters: int) -> int:
    """Return the width of two equal hidden layers with the nearest number of parameters."""

    def distance(width: int) -> int:
        return abs(lab.mlp(Setting((width, width))).parameter_count - parameters)

    return min(range(1, 200), key=distance)


def ten_layers(
    lab: Laboratory, split: Dataset, trained: dict[str, Trained], rows: dict[str, dict[str, Any]]
) -> None:
    """Show the training loss of ten layers, and the gradients that reach each."""
    report = lab.report
    two = next(name for name in trained if name.startswith("two"))
    names = ("64 units", two, "ten layers of 64")
    save_overlay(
        {name: [trained[name].rows] for name in names},
        report.picture("ten_layers.png", "Training loss and accuracy of one, two and ten layers."),
        of="train",
    )
    tried = {
        "scaled tanh, N(0, 1/fan_in)": trained["ten layers of 64"].setting,
        "sigmoid, N(0, 1/fan_in)": replace(
            trained["ten layers of 64"].setting, activation="sigmoid"
        ),
        "sigmoid, uniform in (−1, 1)": replace(
            BASE, hidden=trained["ten layers of 64"].setting.hidden
        ),
    }
    norms = {name: gradient_norms(lab, s, split) for name, s in tried.items()}
    report.results["gradient_norm_of_each_layer_at_the_start"] = norms
    save_layer_norms(
        norms,
        report.picture("gradient_norms.png", "Norm of ∂C/∂W of each layer before the first step."),
    )
    scaled, plain = norms["scaled tanh, N(0, 1/fan_in)"], norms["sigmoid, N(0, 1/fan_in)"]
    report.question(
        "What happens to a network of ten layers, and why?",
        f"It trains more slowly than its parameters let one expect: validation loss "
        f"{rows['ten layers of 64']['best validation loss']:.3f} against "
        f"{rows['64 units']['best validation loss']:.3f} of the single layer, and "
        f"{rows['ten layers of 64']['test accuracy']:.2%} against "
        f"{rows['64 units']['test accuracy']:.2%} of the test images.",
        "On its way down a gradient is multiplied by each layer's weights and slopes. With the "
        f"plain sigmoid, whose slope is at most ¼, it vanishes: the norm at the first layer is "
        f"{plain[0] / plain[-1]:.1g} of that at the last before the first step. With the scaled "
        f"tanh it is {scaled[0] / scaled[-1]:.1g}: the tricks keep the signal alive, but what "
        "is left of it is noisier than in a shallow network.",
    )


def gradient_norms(lab: Laboratory, setting: Setting, split: Dataset) -> list[float]:
    """Return ‖∂C/∂W‖ of every layer with the initial weights, on 1,000 training images."""
    model = lab.model(setting)
    variables = initial_state(model, lab.backend).variables
    few = split.train.first(1000)
    layers = xpmlp.diagnose(model, variables, few, backend=lab.backend)
    return [layer.gradient_norm for layer in layers]
