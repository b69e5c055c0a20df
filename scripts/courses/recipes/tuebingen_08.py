"""One hidden layer: the chain of partial derivatives, its order of computation, and training."""

from __future__ import annotations

import numpy as np
from courses.laboratory import Laboratory, Setting

import xpmlp
from xpmlp.mathematics.step import piece_gradient
from xpmlp.plots import save_curves
from xpmlp.randomness import random_stream
from xpmlp.training.state import initial_params

TITLE = "Backpropagation through one hidden layer"


def run(lab: Laboratory) -> None:
    """Derive, check in float64, train."""
    setting = Setting(
        (lab.either(100, 20),), learning_rate=0.5, epochs=lab.either(20, 10), validations=4
    )
    mlp = lab.mlp(setting)
    chain(lab, mlp)
    check(lab, mlp)
    average(lab, mlp)
    train(lab, setting)


def chain(lab: Laboratory, mlp: xpmlp.MLP) -> None:
    """Write the derivatives and their order, with this network's sizes."""
    features, hidden, classes = mlp.sizes
    report = lab.report
    report.section("The chain of partial derivatives")
    report.text(
        f"The network is u¹ = x W¹ + b¹, z¹ = σ(u¹), u² = z¹ W² + b², y = softmax(u²), with the "
        f"cross-entropy L of y and the target y′. For one example x has {features} values, u¹ and "
        f"z¹ {hidden}, u² and y {classes}; W¹ is {features} × {hidden}, W² {hidden} × {classes}: "
        f"{mlp.parameter_count:,} parameters."
    )
    report.question(
        "Which chain leads to each parameter?",
        "- ∂L/∂W² = ∂L/∂u² · ∂u²/∂W² and ∂L/∂b² = ∂L/∂u² · ∂u²/∂b²\n"
        "- ∂L/∂W¹ = ∂L/∂u² · ∂u²/∂z¹ · ∂z¹/∂u¹ · ∂u¹/∂W¹\n"
        "- ∂L/∂b¹ = ∂L/∂u² · ∂u²/∂z¹ · ∂z¹/∂u¹ · ∂u¹/∂b¹",
    )
    report.question(
        "What does each factor come to?",
        "- ∂u²ₖ/∂W²ⱼₖ = z¹ⱼ, so ∂L/∂W²ⱼₖ = z¹ⱼ ∂L/∂u²ₖ; ∂u²ₖ/∂b²ₖ = 1, so ∂L/∂b² = ∂L/∂u²\n"
        "- ∂u²ₖ/∂z¹ⱼ = W²ⱼₖ and ∂z¹ⱼ/∂u¹ⱼ = σ′(u¹ⱼ), so ∂L/∂u¹ⱼ = σ′(u¹ⱼ) Σₖ W²ⱼₖ ∂L/∂u²ₖ\n"
        "- ∂L/∂W¹ᵢⱼ = xᵢ ∂L/∂u¹ⱼ, and ∂L/∂b¹ = ∂L/∂u¹\n"
        "- with softmax and cross-entropy ∂L/∂u² is y − y′",
    )
    report.question(
        "In which order is nothing computed twice?",
        "Both parameters of a layer need ∂L/∂u of that layer, and the layer below needs it again: "
        "it is computed once and kept.",
        "| step | expression | shape | multiplications |\n|---|---|---|---|\n"
        f"| 1 | δ² = ∂L/∂u² = y − y′ | {classes} | 0 |\n"
        f"| 2 | ∂L/∂b² = δ² | {classes} | 0 |\n"
        f"| 3 | ∂L/∂W² = z¹ᵀ δ² | {hidden} × {classes} | {hidden * classes:,} |\n"
        f"| 4 | δ¹ = (δ² W²ᵀ) ⊙ z¹ ⊙ (1 − z¹) | {hidden} | {hidden * (classes + 2):,} |\n"
        f"| 5 | ∂L/∂b¹ = δ¹ | {hidden} | 0 |\n"
        f"| 6 | ∂L/∂W¹ = xᵀ δ¹ | {features} × {hidden} | {features * hidden:,} |",
        "`MLP.forward` returns this as a function `backprop`; for a batch each row of x, z¹, δ¹ "
        "and δ² is an example, and the products of steps 3 and 6 add up over them.",
    )


def check(lab: Laboratory, mlp: xpmlp.MLP) -> None:
    """Hold backpropagation against central differences."""
    exact = lab.in_float64()
    params = mlp.init(random_stream(0, "weights"))
    few = lab.few(7, of=7)
    rows = xpmlp.check_gradients(mlp, params, few, backend=exact, samples=lab.either(5000, 500))
    report = lab.report
    report.section("Gradients against central differences")
    report.table(
        [
            {
                "parameter": f"`{row.name}`",
                "shape": " × ".join(map(str, row.shape)),
                "entries checked": row.checked,
                "largest relative difference": row.relative,
            }
            for row in rows
        ]
    )
    worst = max(row.relative for row in rows)
    report.results["largest_relative_difference_to_central_differences"] = worst
    report.text(
        f"In float64 the two agree to {worst:.1g} of an entry's size; up to 3e-7 would be the "
        "rounding of the differences."
    )


def average(lab: Laboratory, mlp: xpmlp.MLP) -> None:
    """Show that the gradient of a batch is the mean of its examples' gradients."""
    exact = lab.in_float64()
    few = lab.few(64, of=64).to_device(exact)
    params = initial_params(mlp, seed=0, backend=exact)

    def gradients(rows: slice) -> dict[str, np.ndarray]:
        piece, scale = few.batch(xp=exact.xp).read(rows), 1 / (rows.stop - rows.start)
        found = piece_gradient(mlp, params, piece, scale=scale, xp=exact.xp)
        return {name: exact.to_host(found[name]) for name in params}

    together = gradients(slice(0, 64))
    single = [gradients(slice(n, n + 1)) for n in range(64)]
    gap = max(
        float(np.abs(together[name] - np.mean([g[name] for g in single], axis=0)).max())
        for name in together
    )
    lab.report.results["batch_gradient_minus_mean_of_64_single_ones"] = gap
    lab.report.text(
        "A batch's loss is the mean over its examples, and so is its gradient: that of 64 examples "
        f"at once and the mean of their 64 gradients one by one differ by {gap:.1g} at most."
    )


def train(lab: Laboratory, setting: Setting) -> None:
    """Train, and show the curve."""
    split = lab.split("standard", val_size=len(lab.dataset.train) // 10)
    trained = lab.train("training", setting, split)
    loss, accuracy = lab.evaluate(trained, lab.moved(lab.test, split))
    report, best = lab.report, trained.best
    report.results["training"] = {
        "network": str(trained.mlp),
        "parameters": trained.mlp.parameter_count,
        "epochs": trained.rows[-1].epoch,
        "batch_size": setting.batch_size,
        "learning_rate": setting.learning_rate,
        "best_step": best.step,
        "best_val_accuracy": best.val_accuracy,
        "test_loss": loss,
        "test_accuracy": accuracy,
        "seconds": trained.rows[-1].seconds,
    }
    report.section("Training")
    save_curves(trained.rows, report.picture("curves.png", "Loss and accuracy in training."))
    report.text(
        f"{setting.epochs} epochs of batches of {setting.batch_size} at the learning rate "
        f"{setting.learning_rate:g} took {trained.rows[-1].seconds:.1f} s. A tenth of the training "
        f"images was held out; the weights of the lowest validation loss (step {best.step:,}) "
        f"classify {accuracy:.2%} of the test images right."
    )
