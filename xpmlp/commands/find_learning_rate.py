"""Try learning rates side by side for a short while, and show which suits."""

from __future__ import annotations

import argparse
from math import isfinite

import xpmlp
from xpmlp.commands.command_line import (
    add_device_flags,
    backend_of,
    message,
    new_parser,
    print_lines,
    print_result,
    save_json,
)
from xpmlp.commands.data_flags import add_data_flags, add_split_flags, prepare_data
from xpmlp.commands.flags import Flags
from xpmlp.commands.hyperparameters import (
    add_network_flags,
    add_rule_flags,
    batch_size,
    model_of,
)
from xpmlp.commands.machine import measured_on
from xpmlp.plots import require_matplotlib, save_learning_rates


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_device_flags(parser)
    add_data_flags(parser)
    add_split_flags(parser)
    add_network_flags(parser)
    add_rule_flags(parser)
    group = Flags(parser.add_argument_group("search"))
    group.value("--batch-size", batch_size, "examples per step", "64", "N|full")
    group.count("--steps", "steps that each learning rate is tried for", 200)
    group.value("--seed", int, "of weights, batches and split", 0)
    group.out("learning-rates", "learning_rates.json and learning_rates.png")
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    backend = backend_of(arguments)
    data = prepare_data(arguments, backend)
    model = model_of(arguments, data)
    size = None if arguments.batch_size == "full" else arguments.batch_size
    plan = xpmlp.Plan(steps=arguments.steps, batch_size=size, seed=arguments.seed)
    found = xpmlp.find_learning_rate(model, data, plan, backend=backend)
    kind = "training" if data.validation is None else "validation"
    losses = {
        f"{kind} loss after {found.steps // 2} steps": found.halfway,
        f"after {found.steps} steps": found.end,
    }
    path = arguments.out / "learning_rates.png"
    rule = type(model.optimizer).__name__
    title = f"{data.name}: {model.mlp}, {rule}, batches of {arguments.batch_size}"
    save_learning_rates(found.rates, losses, found.best, title, path)
    ends = [loss if isfinite(loss) else None for loss in found.end]
    report = {
        "learning_rate": found.best,
        "loss": found.end[found.rates.index(found.best)],
        "steps": found.steps,
        "network": str(model.mlp),
        "data": data.name,
        "learning_rates": list(found.rates),
        "losses": ends,
        **measured_on(backend),
    }
    save_json(report, arguments.out / "learning_rates.json")
    if arguments.json:
        print_result(report, as_json=True)
        return 0
    for rate, loss in zip(found.rates, ends, strict=True):
        message(f"{rate:<10.3g} {'diverged' if loss is None else f'{loss:.4f}'}")
    same = ""
    if data.encoding is not None:  # of a table `train` takes another network by itself
        names = ",".join(arguments.activation)
        same = f" --optimizer {arguments.optimizer} --activation {names} --init {arguments.init}"
    lines = [
        ("learning rate", f"{found.best:.3g}"),
        ("loss", f"{report['loss']:.4f} of {kind}, after {found.steps} steps"),
        ("files", f"{arguments.out}: learning_rates.png, learning_rates.json"),
        ("train", f"xpmlp train --lr {found.best:.3g}{same} and this command's, without --steps"),
    ]
    print_lines(lines)
    return 0
