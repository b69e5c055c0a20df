"""Forward throughput, the gradient check, and a shallow against a deep network."""

from __future__ import annotations

from typing import Any

from benchmarks.timing import forward_seconds
from courses.conclusions import after_the_best_epoch, rates_by_batch, wide_batches
from courses.laboratory import Laboratory, Setting, Trained

import xpmlp
from xpmlp.data import Dataset
from xpmlp.plots import save_overlay, save_throughput
from xpmlp.randomness import random_stream
from xpmlp.training.state import initial_params

TITLE = "A shallow and a deep network: throughput, gradients, a study of settings"
SHALLOW, DEEP, REVIEW = (150,), (150, 200, 150, 50), (100, 200, 50)
TOLERANCE = 3e-7
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000)
RATES, BATCHES = (0.1, 0.3, 1.0), (16, 64, 256)


def run(lab: Laboratory) -> None:
    """Throughput, check, study, and the parameters of one more network."""
    split = lab.split("standard", val_size=len(lab.dataset.train) // 6)
    throughput(lab)
    check(lab)
    study(lab, split)
    mlp = lab.mlp(Setting(REVIEW))
    lab.report.section("Parameters")
    lab.report.results["parameters_of_three_hidden_layers_100_200_50"] = mlp.parameter_count
    terms = " + ".join(f"({a} + 1)·{b}" for a, b in zip(mlp.sizes, mlp.sizes[1:], strict=False))
    lab.report.question(
        "How many parameters has a network with hidden layers of 100, 200 and 50 units?",
        f"Weights and biases of each layer: {terms} = {mlp.parameter_count:,}.",
    )
    if lab.is_mnist:
        lab.report.known([("parameters of 784-100-200-50-10", "109,260", mlp.parameter_count)])


def throughput(lab: Laboratory) -> None:
    """Time a forward pass over the whole training set for many mini-batch sizes."""
    split = lab.split("standard")
    setting = Setting(SHALLOW)
    mlp, backend, count = lab.mlp(setting), lab.backend, len(split.train)
    params = initial_params(mlp, seed=0, backend=backend)
    rows: list[dict[str, Any]] = []
    for size in sorted({min(size, count) for size in SIZES}):
        seconds = min(forward_seconds(mlp, params, split.train, size, backend) for _ in range(3))
        rows.append(
            {"batch_size": size, "seconds": seconds, "examples_per_second": count / seconds}
        )
    report = lab.report
    report.results["forward_throughput"] = rows
    report.section("Forward propagation")
    report.text(
        f"One forward pass of {mlp} over all {count:,} training images, the shortest of three."
    )
    report.table([{k.replace("_", " "): v for k, v in row.items()} for row in rows])
    picture = report.picture("throughput.png", "Examples a second against the mini-batch size.")
    save_throughput(rows, picture, f"forward pass of {mlp} on {backend.device_name}")
    best = max(rows, key=lambda row: float(row["examples_per_second"]))
    gain = best["examples_per_second"] / rows[0]["examples_per_second"]
    loss = best["examples_per_second"] / rows[-1]["examples_per_second"]
    alone, shared = (1e6 * row["seconds"] / count for row in (rows[0], best))
    itemsize = next(iter(params.values())).dtype.itemsize
    outputs = itemsize * count * sum(mlp.sizes[1:]) / 1e6
    report.question(
        "What does one observe?",
        f"One image at a time costs {alone:.0f} µs, and one of {best['batch_size']:,} together "
        f"{shared:.2g} µs: the pass is {gain:.0f} times as fast. The arithmetic is the same; what "
        "a single image pays for beside it is calling a dozen functions, and that each weight, "
        f"though all of them ({itemsize * mlp.parameter_count / 1e3:,.0f} kB) stay in the cache, "
        "is fetched for one multiplication alone. A mini-batch shares both between its images. "
        f"{wide_batches(loss, count, outputs)}",
    )


def check(lab: Laboratory) -> None:
    """Hold gradients against central differences: all of a network, samples of the big ones."""
    exact = lab.in_float64()
    few = lab.few(5, of=100)
    rows, found = [], []
    for hidden, samples in (((10,), None), (SHALLOW, 500), (DEEP, 500), (REVIEW, 500)):
        mlp = lab.mlp(Setting(hidden))
        params = mlp.init(random_stream(0, "weights"))
        arrays = xpmlp.check_gradients(mlp, params, few, backend=exact, samples=samples)
        worst = max(arrays, key=lambda row: row.relative)
        rows.append(
            {
                "network": "-".join(map(str, mlp.sizes)),
                "parameters": mlp.parameter_count,
                "checked": sum(row.checked for row in arrays),
                "largest relative difference": worst.relative,
                "at": f"`{worst.name}`",
            }
        )
        found.append(worst.relative)
    report = lab.report
    report.results["gradient_check"] = rows
    report.section("Gradient check")
    report.text(
        f"Backpropagation against central differences in float64; {TOLERANCE:g} is allowed. All "
        "parameters of the first network are checked, and a seeded sample of 500 of each array of "
        "the larger ones."
    )
    report.table(rows)
    passed = max(found) <= TOLERANCE
    report.results["gradient_check_passed"] = passed
    report.text("Passed." if passed else "**Not passed.**")


def study(lab: Laboratory, split: Dataset) -> None:
    """Train both networks at several learning rates and batch sizes."""
    epochs = lab.either(20, 4)
    rates, batches = lab.either(RATES, (0.3, 1.0)), lab.either(BATCHES, (16, 64))
    test = lab.moved(lab.test, split)
    report, best = lab.report, dict[str, Trained]()
    rows: list[dict[str, Any]] = []
    for name, hidden in (("shallow", SHALLOW), ("deep", DEEP)):
        settings = {
            f"{name}, {batch_size}, {rate:g}": Setting(
                hidden, learning_rate=rate, batch_size=batch_size, epochs=epochs
            )
            for batch_size in batches
            for rate in rates
        }
        for trained in lab.train_all(settings, split).values():
            _, accuracy = lab.evaluate(trained, test)
            if name not in best or trained.best.val_loss < best[name].best.val_loss:  # type: ignore[operator]
                best[name] = trained
            rows.append(
                {
                    "network": name,
                    "batch size": trained.setting.batch_size,
                    "learning rate": trained.setting.learning_rate,
                    "best epoch": round(trained.best.epoch),
                    "validation loss": trained.best.val_loss,
                    "test error": f"{1 - accuracy:.2%}",
                }
            )
    report.results["study"] = rows
    report.section("Training")
    shallow, deep = (lab.mlp(Setting(hidden)) for hidden in (SHALLOW, DEEP))
    report.text(
        f"Shallow: {shallow}, {shallow.parameter_count:,} parameters. Deep: {deep}, "
        f"{deep.parameter_count:,} parameters. {epochs} epochs of gradient descent; a sixth of the "
        "training images is held out, and the weights of the lowest validation loss are tested. "
        "Settings that differ in their rate alone are trained as one stack."
    )
    report.table(rows)
    save_overlay(
        {
            f"{name}, batches of {t.setting.batch_size}, rate {t.setting.learning_rate:g}": [t.rows]
            for name, t in best.items()
        },
        report.picture("learning_curves.png", "The best setting of each network: validation."),
        x="epoch",
    )
    errors = {name: 1 - lab.evaluate(t, test)[1] for name, t in best.items()}
    report.results["test_error_of_the_best"] = errors
    chosen = {name: t.setting for name, t in best.items()}
    slow = [r for r in rows if r["network"] == "deep" and float(r["test error"][:-1]) > 50]
    report.question(
        "What are suitable learning rates, batch sizes and numbers of epochs?",
        "By validation loss the shallow network did best with batches of "
        f"{chosen['shallow'].batch_size} at the rate {chosen['shallow'].learning_rate:g}, reached "
        f"in epoch {best['shallow'].best.epoch:.0f} (test error {errors['shallow']:.2%}); the deep "
        f"one with {chosen['deep'].batch_size} at {chosen['deep'].learning_rate:g} in epoch "
        f"{best['deep'].best.epoch:.0f} ({errors['deep']:.2%}). {rates_by_batch(best_rates(rows))}",
        "How many epochs are enough: "
        + "; ".join(
            f"for the {name} network {t.best.epoch:.0f}, {after_the_best_epoch(*epochs_of(t))}"
            for name, t in best.items()
        )
        + ".",
        "Depth pays on this task."
        if errors["deep"] < errors["shallow"]
        else "Depth does not pay on this task.",
        (
            f"{len(slow)} of the {len(rows) // 2} settings left the deep network near chance "
            f"within {epochs} epochs: four sigmoid layers pass on at most (1/4)⁴ of a gradient, so "
            "that it waits on a plateau until the first layers have learnt something."
            if slow
            else "The deep network learns at every setting here, though four sigmoid layers pass "
            "on at most (1/4)⁴ of a gradient."
        ),
    )


def best_rates(rows: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Return the rate of the lowest validation loss, by network and batch size."""
    found: dict[str, dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: float(row["validation loss"]), reverse=True):
        found.setdefault(row["network"], {})[row["batch size"]] = row["learning rate"]
    return {name: dict(sorted(found[name].items())) for name in sorted(found, reverse=True)}


def epochs_of(trained: Trained) -> tuple[float, float, float, float]:
    """Return the best and the last epoch, and their validation losses."""
    best, last = trained.best, trained.rows[-1]
    return best.epoch, last.epoch, best.val_loss or 0.0, last.val_loss or 0.0
