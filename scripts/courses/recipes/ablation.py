"""What each piece of regularisation gives on its own, on training images that are held out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from courses.conclusions import most_helpful
from courses.laboratory import Laboratory

import xpmlp
from xpmlp import Deformation, Regularization
from xpmlp.commands.command_line import message
from xpmlp.data import Dataset

TITLE = "Regularisation, piece by piece"
HIDDEN, EPOCHS, SEEDS, BATCH_SIZE = (400, 400), 20, 3, 100
# All of a stack keep an average or none does; with a decay of 0 it is the weights themselves.
NONE = Regularization(average_decay=0.0)
PIECES: dict[str, Regularization] = {
    "nothing": NONE,
    "dropout 0.3": replace(NONE, dropout=0.3),
    "dropout 0.5": replace(NONE, dropout=0.5),
    "input dropout 0.2": replace(NONE, input_dropout=0.2),
    "dropout 0.5, input dropout 0.2": replace(NONE, dropout=0.5, input_dropout=0.2),
    "noise 0.5": replace(NONE, noise=0.5),
    "input noise 0.4": replace(NONE, input_noise=0.4),
    "label smoothing 0.1": replace(NONE, label_smoothing=0.1),
    "max-norm 2": replace(NONE, max_norm=2.0),
    "average of the weights, decay 0.999": replace(NONE, average_decay=0.999),
}
DEFORMED: dict[str, Deformation] = {
    "rotation 12°, factors e^±0.12, shear 8°": Deformation(rotation=12, scaling=0.12, shear=8),
    "shift 1 pixel": Deformation(shift=1),
    "elastic displacements of 1.2 pixels": Deformation(elastic=1.2),
    "all deformations": Deformation(rotation=12, scaling=0.12, shear=8, shift=1, elastic=1.2),
}


def run(lab: Laboratory) -> None:
    """Train with each piece alone, and compare."""
    split = lab.split("standard", val_size=len(lab.dataset.train) // 6)
    seeds = lab.either(SEEDS, 1)
    # Models of a stack may differ in everything but how images are deformed.
    errors = of_stack(lab, PIECES, split, seeds)
    for name, bent in DEFORMED.items():
        pieces = {name: replace(NONE, deformation=bent)}
        errors |= of_stack(lab, pieces, split, seeds)
    rows = []
    for name, some in errors.items():
        mean = float(np.mean(some))
        spread = float(np.std(some, ddof=1)) if len(some) > 1 else None
        rows.append({"with": name, "held-out error, %": mean, "standard deviation": spread})
    lab.report.results["errors"] = errors
    lab.report.section("Each piece on its own")
    hidden, epochs = lab.either(HIDDEN, (30,)), lab.either(EPOCHS, 5)
    held = len(split.validation) if split.validation is not None else 0
    lab.report.text(
        f"Hidden layers of {' and '.join(map(str, hidden))} ReLUs, Adam with a learning rate that "
        f"falls from 0.001 along a cosine, batches of {BATCH_SIZE}, {epochs} epochs of "
        f"{len(split.train):,} images; errors on {held:,} others, mean of {seeds} seeds."
    )
    lab.report.table(
        [{k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    )
    lab.report.question(
        "What helps most?", most_helpful({k: float(np.mean(v)) for k, v in errors.items()})
    )


def of_stack(
    lab: Laboratory, pieces: Mapping[str, Regularization], split: Dataset, seeds: int
) -> dict[str, list[float]]:
    """Return the held-out errors in percent with each piece, one per seed."""
    sizes = (split.features, *lab.either(HIDDEN, (30,)), split.classes)
    mlp = xpmlp.MLP(sizes, "relu")
    models = [
        xpmlp.Model(mlp, xpmlp.Adam(), 0.001, None, "he", seed, regularization)
        for regularization in pieces.values()
        for seed in range(seeds)
    ]
    plan = xpmlp.Plan(epochs=lab.either(EPOCHS, 5), batch_size=BATCH_SIZE)
    plan = replace(plan, schedule=xpmlp.Cosine(plan.steps_for(len(split.train))))
    start = time.perf_counter()
    ended = xpmlp.StackTraining(models, split, plan, backend=lab.backend).run()
    message(f"{', '.join(pieces)}: {len(models)} models, {time.perf_counter() - start:.0f} s")
    wrong: list[Any] = [100 * (1 - (one.history[-1].val_accuracy or 0.0)) for one in ended]
    return {name: wrong[k * seeds : (k + 1) * seeds] for k, name in enumerate(pieces)}
