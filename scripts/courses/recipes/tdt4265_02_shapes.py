"""Widths and depths of a network, with all tricks on; and gradients through ten layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from courses.conclusions import depth, too_few_units, too_many_units, vanishing, wide_weights
from courses.laboratory import Laboratory, Setting, Trained

import xpmlp
from xpmlp.data import Dataset
from xpmlp.plots import save_layer_norms, save_overlay
from xpmlp.training.state import initial_state


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


def report_shapes(
    lab: Laboratory, split: Dataset, base: Setting, final: Setting, reference: Trained
) -> None:
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
    accuracies = (middle["test accuracy"], large["test accuracy"])
    report.question(
        "What happens with too few hidden units, and with too many?",
        f"32 units reach {small['test accuracy']:.2%} of the test images, 64 reach "
        f"{middle['test accuracy']:.2%}, 128 reach {large['test accuracy']:.2%}. "
        f"{too_few_units(small['training loss at the end'], large['training loss at the end'])} "
        f"{too_many_units(middle['best step'], large['best step'], accuracies)}",
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
        f"of 64 has {middle['parameters']:,}. "
        f"{depth('the pair', rows[two]['best validation loss'], middle['best validation loss'])} "
        f"They come to it at step {rows[two]['best step']:,} (one layer: "
        f"{middle['best step']:,}), and reach {rows[two]['test accuracy']:.2%} of the test images "
        f"({middle['test accuracy']:.2%}).",
    )
    ten_layers(lab, split, base, trained, rows)


def equal_width(lab: Laboratory, parameters: int) -> int:
    """Return the width of two equal hidden layers with the nearest number of parameters."""

    def distance(width: int) -> int:
        return abs(lab.mlp(Setting((width, width))).parameter_count - parameters)

    return min(range(1, 200), key=distance)


def ten_layers(
    lab: Laboratory,
    split: Dataset,
    base: Setting,
    trained: dict[str, Trained],
    rows: dict[str, dict[str, Any]],
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
            base, hidden=trained["ten layers of 64"].setting.hidden
        ),
    }
    norms = {
        name: [layer.gradient_norm for layer in layers_at_the_start(lab, s, split)]
        for name, s in tried.items()
    }
    report.results["gradient_norm_of_each_layer_at_the_start"] = norms
    save_layer_norms(
        norms,
        report.picture("gradient_norms.png", "Norm of ∂C/∂W of each layer before the first step."),
    )
    _, plain, wide = (layers[0] / layers[-1] for layers in norms.values())
    ten, one = rows["ten layers of 64"], rows["64 units"]
    report.question(
        "What happens to a network of ten layers, and why?",
        f"{depth('it', ten['best validation loss'], one['best validation loss'])} It reaches "
        f"{ten['test accuracy']:.2%} of the test images, the single layer "
        f"{one['test accuracy']:.2%}.",
        "On its way down a gradient is multiplied by each layer's weights and slopes; that of the "
        "plain sigmoid is ¼ at most. Before the first step, of the three lines of the picture:",
        "\n".join(f"- {said}" for said in vanishing(norms)),
        wide_weights(plain, wide),
    )


def layers_at_the_start(
    lab: Laboratory, setting: Setting, split: Dataset
) -> list[xpmlp.LayerDiagnostics]:
    """Look at every layer with the initial weights, on 1,000 training images."""
    model = lab.model(setting)
    variables = initial_state(model, lab.backend).variables
    few = split.train.first(1000)
    return xpmlp.diagnose(model, variables, few, backend=lab.backend)
