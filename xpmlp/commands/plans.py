"""How a training goes on, from flags: schedules, batches, and the plan that they stand for."""

from __future__ import annotations

import argparse
from dataclasses import replace

from xpmlp.commands.flags import Flags, counted
from xpmlp.commands.hyperparameters import batch_size
from xpmlp.commands.run_settings import is_train_exact
from xpmlp.errors import UsageError
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.mathematics.schedules import SCHEDULES, Constant, Schedule, StepDecay, Warmup
from xpmlp.training.plan import Plan


def schedule_of(arguments: argparse.Namespace, steps: int) -> Schedule:
    """Return the schedule for a run of so many steps."""
    if arguments.lr_milestones and arguments.lr_schedule != "constant":
        raise UsageError("--lr-milestones and --lr-schedule exclude each other: give one of them")
    if arguments.lr_factor and not arguments.lr_milestones:
        raise UsageError("--lr-factor means nothing without --lr-milestones: give both")
    if arguments.lr_decay and arguments.lr_schedule in ("constant", "cosine"):
        raise UsageError("--lr-decay means nothing without --lr-schedule exponential: give both")
    schedule = SCHEDULES[arguments.lr_schedule](steps, arguments.lr_decay or 0.95)
    if arguments.lr_milestones:
        schedule = StepDecay(arguments.lr_milestones, arguments.lr_factor or 0.5)
    return Warmup(schedule, arguments.warmup_steps) if arguments.warmup_steps else schedule


def momentum_of(
    arguments: argparse.Namespace, optimizer: Optimizer, per_epoch: int, steps: int
) -> Schedule | None:
    """Return the schedule of the momentum's factor for a run of so many steps, None for none."""
    start, epochs = arguments.momentum_start, arguments.momentum_epochs
    if start is None:
        if epochs is not None:
            raise UsageError("--momentum-epochs means nothing without --momentum-start: give both")
        return None
    end = getattr(optimizer, "momentum", None)
    if end is None:
        raise UsageError(
            f"--momentum-start means nothing to --optimizer {arguments.optimizer}: choose "
            "--optimizer momentum or nesterov"
        )
    if not start <= end:
        raise UsageError(
            f"--momentum-start {start:g} is above --momentum {end:g}, which it rises to: give less"
        )
    if not end:
        return None
    return Warmup(Constant(), epochs * per_epoch if epochs else steps, start / end)


def add_plan_flags(group: Flags, *, full: bool = True) -> None:
    """Add --batch-size, --patience and --seed; `full` allows the full batch."""
    kind, metavar = (batch_size, "N|full") if full else (counted, "N")
    group.value("--batch-size", kind, "examples per step", "64", metavar)
    group.count(
        "--patience",
        "stop a model when N validations in a row were not better than its best before them",
    )
    group.value("--seed", int, "of weights, batches, split and what regularisation draws", 0)


def plan_of(arguments: argparse.Namespace, optimizer: Optimizer, examples: int) -> Plan:
    """Return how `train` trains a model with an optimiser on so many examples."""
    plan = Plan(
        epochs=None if arguments.steps else arguments.epochs,
        steps=arguments.steps,
        batch_size=None if arguments.batch_size == "full" else arguments.batch_size,
        log_every=arguments.log_every,
        patience=arguments.patience,
        train_exact=is_train_exact(vars(arguments)),
        log_test=arguments.log_test,
        save_every=arguments.checkpoint_every,
        folds=arguments.folds,
        seed=arguments.seed,
    )
    return scheduled(plan, arguments, optimizer, examples)


def scheduled(
    plan: Plan, arguments: argparse.Namespace, optimizer: Optimizer, examples: int
) -> Plan:
    """Return a plan with the schedules that the flags ask for."""
    steps = plan.steps_for(examples)
    momentum = momentum_of(arguments, optimizer, plan.steps_per_epoch(examples), steps)
    return replace(plan, schedule=schedule_of(arguments, steps), momentum=momentum)
