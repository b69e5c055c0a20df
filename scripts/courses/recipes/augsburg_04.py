"""Full batch against minibatches on 784-400-400-10, and the derivatives behind them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from math import inf

import numpy as np
from courses.conclusions import full_against_minibatches, rates_of_batches
from courses.laboratory import Laboratory, Setting, Trained

from xpmlp import LogRow
from xpmlp.data import Dataset
from xpmlp.inspection.softmax_by_hand import output_error, softmax_jacobian
from xpmlp.mathematics.activations import sigmoid, sigmoid_derivative
from xpmlp.mathematics.losses import softmax, softmax_cross_entropy
from xpmlp.plots import save_overlay

TITLE = "Backpropagation by hand: the full batch, and minibatches of 64"
HIDDEN = (400, 400)
# Rates that are tried, and steps of the full batch that each is tried for.
RATES, TRIALS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0), 60
LOG_COLUMNS = ("step", "seconds", "train_loss", "train_accuracy", "test_loss", "test_accuracy")


def run(lab: Laboratory) -> None:
    """Derivatives; the full batch at 0.01, minibatches at 0.5; both at the best of some rates."""
    derivatives(lab)
    steps = lab.options.get("steps") or lab.either(1000, 300)
    log_every = max(1, min(100, steps // 10))
    split = lab.split("standard")
    test = lab.moved(lab.test, split)
    setting = Setting(
        lab.either(HIDDEN, (60, 60)),
        learning_rate=0.01,
        batch_size=None,
        steps=steps,
        validations=1 / log_every,
        train_exact=True,
    )
    log = Log(lab)
    full = lab.train("full batch", setting, split, test=test, on_row=log.append)
    minibatch = Setting(setting.hidden, learning_rate=0.5, epochs=lab.either(10, 5), validations=10)
    mini = lab.train("minibatches of 64", minibatch, split, test=test)
    report_full_batch(lab, full)
    report_minibatches(lab, full, mini)
    tried = {
        "full batch": losses_at(lab, replace(setting, steps=TRIALS, validations=1 / TRIALS), split),
        "batches of 64": losses_at(lab, replace(minibatch, epochs=1, validations=1), split),
    }
    best = {name: min(losses, key=losses.__getitem__) for name, losses in tried.items()}
    runs = {"full batch, rate 0.01": full, "batches of 64, rate 0.5": mini}
    often = replace(setting, train_exact=False, validations=1 / max(1, log_every // 20))
    for name, of in (("full batch", often), ("batches of 64", minibatch)):
        own = replace(of, learning_rate=best[name])
        key = f"{name}, rate {best[name]:g}"
        runs[key] = runs.get(key) or lab.train(key, own, split, test=test)
    report_best_rates(lab, tried, best, runs)


class Log:
    """log.csv, and the same for human readers in log.txt, a line as soon as it is known."""

    def __init__(self, lab: Laboratory) -> None:
        self._csv, self._text = (lab.report.folder / f"log.{kind}" for kind in ("csv", "txt"))
        self._write("w", LOG_COLUMNS, "".join(f"{name:>16}" for name in LOG_COLUMNS))

    def append(self, row: LogRow) -> None:
        """Add a log point to both."""
        values = [getattr(row, name) for name in LOG_COLUMNS]
        cells = [f"{v:>16,}" if isinstance(v, int) else f"{v:>16.4f}" for v in values]
        self._write("a", values, "".join(cells))

    def _write(self, mode: str, values: object, line: str) -> None:
        with self._csv.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(values)  # type: ignore[arg-type]
        with self._text.open(mode, encoding="utf-8") as file:
            file.write(line + "\n")


def derivatives(lab: Laboratory) -> None:
    """Hold three named functions against central differences in float64."""
    report = lab.report
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 2, (6, 10)), rng.integers(10, size=6)
    loss_of = lambda at: softmax_cross_entropy(at, y, xp=np)[0]  # noqa: E731
    error = output_error(softmax(z, xp=np), y, xp=np)
    of_loss = np.abs(error - difference(loss_of, z)).max()
    slope = sigmoid_derivative(sigmoid(z, xp=np), xp=np)
    numeric = (sigmoid(z + 1e-5, xp=np) - sigmoid(z - 1e-5, xp=np)) / 2e-5
    of_sigmoid = np.abs(slope - numeric).max()
    x = rng.normal(0, 2, 5)
    a = softmax(x, xp=np)
    jacobian = softmax_jacobian(a, xp=np)
    columns = [difference(lambda at, i=i: softmax(at, xp=np)[i], x) for i in range(5)]  # type: ignore[misc]
    of_softmax = np.abs(jacobian - np.stack(columns)).max()
    report.results["largest_difference_to_central_differences"] = {
        "error_of_the_last_layer": of_loss,
        "sigmoid_derivative": of_sigmoid,
        "softmax_jacobian": of_softmax,
    }
    report.section("The derivatives")
    report.text(
        "Each is a named function of the library, and here held against central differences in "
        "float64 on random inputs."
    )
    report.table(
        [
            {
                "what": "error of the last layer, softmax with cross-entropy: δ = a − y",
                "function": "`softmax_by_hand.output_error`",
                "largest difference": of_loss,
            },
            {
                "what": "sigmoid, from its output: σ′ = a (1 − a)",
                "function": "`activations.sigmoid_derivative`",
                "largest difference": of_sigmoid,
            },
            {
                "what": "softmax: ∂aᵢ/∂xⱼ = aᵢ (δᵢⱼ − aⱼ)",
                "function": "`softmax_by_hand.softmax_jacobian`",
                "largest difference": of_softmax,
            },
        ]
    )
    report.question(
        "Why is the derivative of softmax aᵢ (1 − aᵢ) on the diagonal and −aᵢ aⱼ elsewhere?",
        "With s = Σₖ exp(xₖ) and aᵢ = exp(xᵢ) / s, the quotient rule gives ∂aᵢ/∂xⱼ = "
        "[i = j] exp(xᵢ)/s − exp(xᵢ) exp(xⱼ)/s², which is [i = j] aᵢ − aᵢ aⱼ. For "
        f"x = ({', '.join(f'{value:.2f}' for value in x)}) the formula and the differences are:",
    )
    report.code(
        "formula\n"
        + np.array2string(jacobian, precision=6, suppress_small=True)
        + "\n\ncentral differences\n"
        + np.array2string(np.stack(columns), precision=6, suppress_small=True)
    )
    report.question(
        "What is the error of the last layer?",
        "The loss of an example is −ln a_c for its class c. By the chain rule ∂L/∂zⱼ = "
        "−(1/a_c) a_c ([j = c] − aⱼ) = aⱼ − [j = c]: the probabilities minus the one-hot row, of "
        "shape (examples, classes). Every earlier layer multiplies by its weights and by σ′.",
    )


def difference(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """∂f/∂x by central differences."""
    gradient = np.zeros_like(at)
    for entry in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[entry] = 1e-5
        gradient[entry] = (function(at + step) - function(at - step)) / 2e-5
    return gradient


def report_full_batch(lab: Laboratory, full: Trained) -> None:
    """Write what the full batch reached."""
    report, last = lab.report, full.rows[-1]
    both = (min(row.train_accuracy or 0.0, row.test_accuracy or 0.0) for row in full.rows)
    above = next((row for row, low in zip(full.rows, both, strict=True) if low > 0.55), None)
    best = max(full.rows, key=lambda row: row.test_accuracy or 0.0)
    report.results["full_batch"] = {
        "steps": last.step,
        "learning_rate": 0.01,
        "seconds": last.seconds,
        "train_loss": last.train_loss,
        "train_accuracy": last.train_accuracy,
        "test_loss": last.test_loss,
        "test_accuracy": last.test_accuracy,
        "first_log_point_above_55_percent": above and above.step,
        "highest_test_accuracy": best.test_accuracy,
    }
    report.section("The full batch")
    examples = len(lab.dataset.train)
    report.text(
        f"{full.mlp}: {full.mlp.parameter_count:,} parameters, {last.step:,} steps of gradient "
        f"descent at 0.01, each on all {examples:,} training images, whose pixels are normalised "
        "by mean and deviation. Loss and accuracy on both sets are in `log.csv`, and for reading "
        "in `log.txt`."
    )
    every = max(1, len(full.rows) // 10)
    report.table(
        [
            {name.replace("_", " "): getattr(row, name) for name in LOG_COLUMNS}
            for row in full.rows[every - 1 :: every]
        ]
    )
    if lab.is_mnist:
        passed = f"yes, at step {above.step:,}" if above else "no"
        rows: list[tuple[str, object, object]] = [
            ("both accuracies above 55 % on the way", "yes", passed)
        ]
        if last.step >= 10_000:
            reached = f"{last.test_accuracy:.1%}"
            rows.append(("test accuracy of the long run", "above 85 %", reached))
        report.known(rows)


def losses_at(lab: Laboratory, setting: Setting, split: Dataset) -> dict[float, float]:
    """Return the training loss that each of `RATES` comes to; one that diverges comes to none."""
    settings = {f"{rate:g}": replace(setting, learning_rate=rate) for rate in RATES}
    trained = lab.train_all(settings, split)
    return {
        t.setting.learning_rate: t.rows[-1].train_loss if t.state.status == "completed" else inf
        for t in trained.values()
    }


def report_minibatches(lab: Laboratory, full: Trained, mini: Trained) -> None:
    """Write what the course's minibatches reached beside its full batch."""
    report, end, last = lab.report, full.rows[-1], mini.rows[-1]
    report.results["minibatches_of_64"] = {
        "steps": last.step,
        "epochs": last.epoch,
        "learning_rate": 0.5,
        "seconds": last.seconds,
        "train_loss": last.train_loss,
        "test_loss": last.test_loss,
        "test_accuracy": last.test_accuracy,
    }
    report.section("Minibatches")
    report.text(
        f"The same network from the same weights, {last.epoch:.0f} epochs of batches of 64 in a "
        "new order each epoch, at the learning rate 0.5."
    )
    report.table(
        [
            {
                "": name,
                "updates": row.step,
                "epochs": row.epoch,
                "seconds": row.seconds,
                "test loss": row.test_loss,
                "test accuracy": row.test_accuracy,
            }
            for name, row in (("full batch", end), ("minibatches of 64", last))
        ]
    )


def report_best_rates(
    lab: Laboratory,
    tried: dict[str, dict[float, float]],
    best: dict[str, float],
    runs: dict[str, Trained],
) -> None:
    """Write which is sooner at what, each at the course's learning rate and at its best."""
    report = lab.report
    report.results["training_loss_by_rate"] = {
        name: {f"{rate:g}": None if loss == inf else loss for rate, loss in losses.items()}
        for name, losses in tried.items()
    }
    report.results["best_rates"] = best
    report.section("Each at its best rate")
    report.text(
        "The two above differ in batch and in learning rate. So that one can tell which of them "
        "does what, several rates are tried: the training loss of the full batch after "
        f"{TRIALS} steps, and the mean of the first epoch of minibatches."
    )
    report.table(
        [
            {"": name} | {f"{rate:g}": None if loss == inf else loss for rate, loss in row.items()}
            for name, row in tried.items()
        ]
    )
    course, mini = runs["full batch, rate 0.01"], runs["batches of 64, rate 0.5"]
    full = runs[f"full batch, rate {best['full batch']:g}"]
    accuracy = course.rows[-1].test_accuracy or 0.0
    seconds = {name: run.first_above(accuracy, "test") for name, run in runs.items()}
    report.results["seconds_to_the_accuracy_of_the_full_batch"] = {
        name: row and row.seconds for name, row in seconds.items()
    }
    report.table(
        [
            {
                "": name,
                f"seconds to {accuracy:.1%}": row and row.seconds,
                "updates": row and row.step,
                "test accuracy at the end": runs[name].rows[-1].test_accuracy,
                "test loss": runs[name].rows[-1].test_loss,
            }
            for name, row in seconds.items()
        ]
    )
    save_overlay(
        {name: [run.rows] for name, run in runs.items()},
        report.picture("comparison.png", "Test loss and accuracy against seconds of training."),
        x="seconds",
        of="test",
        logarithmic=True,
    )
    at_best, small = full.first_above(accuracy, "test"), mini.first_above(accuracy, "test")
    report.question(
        "Does one get good results faster with minibatches?",
        full_against_minibatches(
            accuracy,
            course.rows[-1].seconds,
            at_best.seconds if at_best else None,
            small.seconds if small else None,
        ),
        rates_of_batches(
            best["full batch"],
            best["batches of 64"],
            round(mini.rows[-1].step / mini.rows[-1].epoch),
        ),
    )
