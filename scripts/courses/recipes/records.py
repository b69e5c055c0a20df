"""Networks of nothing but layers at their best: recipes, errors over seeds, and every mistake left.

Each recipe is trained by `xpmlp train`, so that what broke off goes on where it was. The test set
is looked at once per recipe, when its training has ended.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from courses.laboratory import Laboratory

import xpmlp
from xpmlp.commands.command_line import message
from xpmlp.data import Examples
from xpmlp.inspection.predictions import Predictions, predict
from xpmlp.plots import save_mistakes
from xpmlp.runs.checkpoint import load_result
from xpmlp.runs.folder import CHECKPOINT, read_summary, weights_file

TITLE = "A plain multi-layer perceptron at its best"
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
# Exit codes of a terminal that is closed, Ctrl-C and SIGTERM.
INTERRUPTED = (129, 130, 143)
# Mistakes that a picture shows.
_MOST_SHOWN = 120


@dataclass(frozen=True)
class Record:
    """A recipe of `xpmlp train --recipe`, networks of how many seeds, and where it comes from."""

    recipe: str
    members: int
    source: str


RECORDS = {
    "dropout": Record(
        "mnist-dropout",
        6,
        "Srivastava et al. 2014: dropout of hidden units and of pixels; 1.25 % with three layers "
        "of 1,024 ReLUs",
    ),
    "noise": Record(
        "mnist-noise",
        6,
        "Poole et al. 2014: Gaussian noise on hidden layers in place of masks; Srivastava et al. "
        "2014: dropout of pixels, max-norm",
    ),
    "deformed": Record(
        "mnist-deformed",
        6,
        "Simard et al. 2003 (800 units: 0.70 %) and Cireşan et al. 2010 (1,000 and 500 units: "
        "0.49 %): images that are deformed anew in every epoch. Cireşan et al. 2011: the mean of "
        "several networks' probabilities",
    ),
}


class Found(NamedTuple):
    """Errors in percent of each network, and what the mean of their probabilities says."""

    each: list[float]
    together: Predictions


def run(lab: Laboratory) -> None:
    """Train what was asked for, and look at the test set."""
    wanted = lab.options.get("which")
    rows = []
    for name in [wanted] if wanted else RECORDS:
        row = of_record(lab, name, RECORDS[name])
        rows.append(row)
        lab.report.write()  # hours may follow
    lab.report.section("All of them")
    lab.report.table(rows)


def of_record(lab: Laboratory, name: str, record: Record) -> dict[str, Any]:
    """Train a recipe unless its run has ended already, evaluate it, and report."""
    report, members = lab.report, lab.options.get("members") or record.members
    folder = report.folder / name
    typed = command(lab, record, members, folder)
    train([*typed, *lab.options["machine"]], folder)
    summary = read_summary(folder)
    kept = load_result(weights_file(folder))
    data = xpmlp.prepare(lab.dataset, normalize="standard", val_size=lab.options["held_out"] or 0)
    held = data.validation if lab.options["held_out"] else data.test
    what = "held-out" if lab.options["held_out"] else "test"
    found = errors(lab, kept.mlp, kept.params, held)
    together, count = error_of(found.together), len(found.together.targets)
    minutes = summary["train_seconds"] / 60
    figures = {
        "network": str(kept.mlp),
        "parameters": kept.mlp.parameter_count,
        "epochs": summary["epochs"],
        "minutes": minutes,
        f"{what}_errors": found.each,
        f"mean_{what}_error": float(np.mean(found.each)),
        f"{what}_error_of_their_average": together,
        "command": " ".join(typed),
    }
    report.results[name] = figures
    report.section(name)
    report.text(record.source + ".")
    report.code("xpmlp train " + " ".join(typed), "sh")
    spread = ""
    if members > 1:
        spread = (
            f", standard deviation {np.std(found.each, ddof=1):.2f}, from {min(found.each):.2f} "
            f"to {max(found.each):.2f}; the mean of their probabilities errs on "
            f"{together:.2f} %"
        )
    report.text(
        f"{kept.mlp}, {summary['epochs']:g} epochs in {minutes:.0f} minutes of training steps. "
        f"Of {count:,} {what} images {np.mean(found.each):.2f} % are wrong on the "
        f"mean of {members} {'network' if members == 1 else 'networks'}{spread}."
    )
    pictures(lab, name, folder, found, held)
    return {
        "recipe": name,
        "network": str(kept.mlp),
        "networks": members,
        "epochs": round(summary["epochs"]),
        "minutes": round(minutes),
        f"{what} error, %": f"{np.mean(found.each):.2f}",
        "of their average": f"{together:.2f}" if members > 1 else "–",
    }


def command(lab: Laboratory, record: Record, members: int, folder: Path) -> list[str]:
    """Return what `xpmlp train` is told: all that a run is refused to go on with if it differs."""
    flags = ["--data", lab.options["source"], "--recipe", record.recipe, "--out", str(folder)]
    flags += ["--members", str(members), "--val-size", str(lab.options["held_out"] or 0)]
    if lab.quick:
        flags += ["--hidden", "30", "--epochs", "20"]
    return flags


def train(typed: Sequence[str], folder: Path) -> None:
    """Train, or go on with what is there; exits as the training does where it fails.

    Flags beside --resume are refused where they are not those that the run was begun with.
    """
    again = (folder / CHECKPOINT).exists()
    flags = [*typed, "--resume"] if again else [*typed, "--overwrite"]
    message("xpmlp train " + " ".join(flags))
    done = subprocess.run([sys.executable, TRAIN, *flags], check=False, stdout=subprocess.DEVNULL)
    if done.returncode in INTERRUPTED:
        message(f"the training is interrupted; the same command goes on with {folder}")
    if done.returncode:
        raise SystemExit(done.returncode)


def errors(lab: Laboratory, mlp: xpmlp.MLP, params: dict[str, Any], held: Examples) -> Found:
    """Return the errors of each network, and what all say together."""
    backend, moved = lab.backend, held.to_device(lab.backend)
    device = backend.all_to_device(params)
    together = predict(mlp, device, moved, backend=backend)
    if params["layer1.weight"].ndim == 2:
        return Found([error_of(together)], together)
    members = [
        xpmlp.model_of(device, number, xp=backend.xp)
        for number in range(len(params["layer1.weight"]))
    ]
    each = [error_of(predict(mlp, one, moved, backend=backend)) for one in members]
    return Found(each, together)


def error_of(found: Predictions) -> float:
    """Return how many of 100 examples are wrong."""
    return 100 * float((found.classes != found.targets).mean())


def pictures(lab: Laboratory, name: str, folder: Path, found: Found, held: Examples) -> None:
    """Show the curves, deformed images where there are some, and the mistakes."""
    report = lab.report
    curves = report.picture(f"{name}-curves.png", "Loss and accuracy against the epochs.")
    curves.write_bytes((folder / "curves.png").read_bytes())
    bent = folder / "deformed.png"
    if bent.exists():
        shown = report.picture(f"{name}-images.png", "Training images, and what is trained on.")
        shown.write_bytes(bent.read_bytes())
    said = found.together
    wrong, y = said.worst(len(said.targets)), said.targets
    report.results[name]["mistakes"] = [
        {"example": int(n), "true": int(y[n]), "predicted": int(said.classes[n])} for n in wrong
    ]
    some = wrong[:_MOST_SHOWN]
    shape = lab.dataset.image_shape or (1, lab.dataset.features)
    images = np.asarray(held.x)[some].reshape(-1, *shape)
    caption = f"{'All' if len(some) == len(wrong) else 'The worst of the'} {len(wrong)} mistakes."
    path = report.picture(f"{name}-mistakes.png", caption)
    true, guess = y[some].tolist(), said.classes[some].tolist()
    save_mistakes(images, true, guess, None, path, columns=10)
