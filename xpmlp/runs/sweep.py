"""Sweeps: many models, those of one shape trained as one stack, each stack a job of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xpmlp.backends import select_backend
from xpmlp.data.dataset import Dataset
from xpmlp.errors import CheckpointError, InterruptedSweepError
from xpmlp.files import parse_json, read_whole, write_whole
from xpmlp.mathematics.step import Variables
from xpmlp.parts import even_parts
from xpmlp.rules import RECORD, TEXT, checked, one_of, several, whole
from xpmlp.runs.checkpoint import load_stack, save_checkpoint, save_stack
from xpmlp.runs.stop_signals import StopSignals
from xpmlp.training.history import LogRow, best_row, row_of
from xpmlp.training.loop import StackTraining
from xpmlp.training.plan import Model, Plan
from xpmlp.training.state import STATUSES, Interval, TrainingState


@dataclass(frozen=True)
class StackJob:
    """Models of one shape, to be trained on one split: all that a process needs to train them.

    `numbers` are those of the models in the sweep, `data` is on the host, and `selection` is what
    `select_backend` is given. The stack's outcome goes into `folder`/stack-`number`.json, its best
    model into stack-`number`.h5; while it is at work its state is kept in stack-`number`.part.h5
    whenever it is interrupted.
    """

    number: int
    numbers: tuple[int, ...]
    models: tuple[Model, ...]
    fold_number: int
    data: Dataset
    plan: Plan
    selection: dict[str, Any]
    folder: Path
    record: dict[str, Any] = field(default_factory=dict)

    def path(self, ending: str) -> Path:
        """Return the path of one of the stack's files."""
        return self.folder / f"stack-{self.number}{ending}"


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate on one fold."""

    number: int
    fold: int
    stack: int
    status: str
    rows: list[LogRow]
    cause: str = ""

    @property
    def best(self) -> LogRow | None:
        """The row of the lowest validation loss, None where it diverged at once."""
        return best_row(self.rows)


def stacks_of(
    models: Sequence[Model], *, batch_size: int, value_bytes: int, memory: float
) -> list[list[int]]:
    """Return the numbers of the models that train together: of one shape, fitting `memory`.

    Models with equal layers and one kind of optimiser make a stack; one that would need more
    bytes is split evenly.
    """
    groups: dict[Any, list[int]] = {}
    for number, model in enumerate(models):
        groups.setdefault((model.mlp.sizes, type(model.optimizer)), []).append(number)
    stacks = []
    for numbers in groups.values():
        most = max(1, int(memory // model_bytes(models[numbers[0]], batch_size, value_bytes)))
        parts = -(-len(numbers) // most)
        stacks += [numbers[part] for part in even_parts(len(numbers), parts)]
    return stacks


def model_bytes(model: Model, batch_size: int, value_bytes: int) -> int:
    """Estimate what one model of a stack occupies while it is trained.

    Weights, gradient, best and last weights, the optimiser's moments, and a copy of weights and
    moments to go back to; of each layer's outputs, error terms and their parts about four arrays.
    """
    copies = 5 + 2 * len(model.optimizer.moments)
    units = sum(model.mlp.sizes[1:])
    return value_bytes * (copies * model.mlp.parameter_count + 4 * batch_size * units)


def run_stack(job: StackJob, stop: Callable[[], bool] = lambda: False) -> list[Outcome]:
    """Train a stack and write down what came of it; one that was finished before is read.

    One that was interrupted goes on where it was saved. `stop` is asked after every step whether
    to save and end. Raises `CheckpointError` for a file that is not such an outcome, and
    `InterruptedSweepError` where the stack was told to stop.
    """
    path, best_path, at_work = job.path(".json"), job.path(".h5"), job.path(".part.h5")
    if path.exists():
        outcomes = read_outcomes(path)
        expected = [(number, job.fold_number, job.number) for number in job.numbers]
        if [(o.number, o.fold, o.stack) for o in outcomes] != expected:
            raise CheckpointError(f"{path}: the outcome of another stack: remove it to train anew")
        if best_path.exists() or all(outcome.best is None for outcome in outcomes):
            return outcomes
    backend = select_backend(**job.selection)
    states = None
    if at_work.exists():
        kept = load_stack(at_work)
        if len(kept) != len(job.models):
            raise CheckpointError(f"{at_work}: the state of another stack: remove it to train anew")
        states = [c.restore(model, backend) for c, model in zip(kept, job.models, strict=True)]
    training = StackTraining(
        job.models, job.data, job.plan, backend=backend, states=states, on_step=lambda _: stop()
    )
    models = training.run()
    if any(model.status == "interrupted" for model in models):
        save_stack(at_work, training.states(), job.record, backend=backend)
        raise InterruptedSweepError(f"what was finished or at work is kept in {job.folder}")
    outcomes = [
        Outcome(number, job.fold_number, job.number, model.status, model.history, model.cause)
        for number, model in zip(job.numbers, models, strict=True)
    ]
    found = [state for state in training.states() if state.best_params is not None]
    if found:
        best = min(found, key=lambda state: lowest_loss(state.history))
        save_checkpoint(best_path, best_of(best), job.record, backend=backend)
    write_whole(path, json.dumps([asdict(outcome) for outcome in outcomes]).encode())
    at_work.unlink(missing_ok=True)
    return outcomes


def best_of(state: TrainingState) -> TrainingState:
    """Return a state as it was at the lowest validation loss, without what the optimiser knew."""
    rows, best = state.history, best_row(state.history)
    if best is not None:
        rows = rows[: rows.index(best) + 1]
    last = rows[-1] if rows else None
    only = replace(state.only, history=rows, interval=Interval(), best_params=None)
    step, seconds = (last.step, last.seconds) if last else (state.step, state.seconds)
    return TrainingState(Variables(state.result, {}), [only], step, seconds)


def lowest_loss(rows: Sequence[LogRow]) -> float:
    """Return the lowest validation loss of a history, infinity without one."""
    best = best_row(rows)
    return float("inf") if best is None or best.val_loss is None else best.val_loss


_OUTCOME_RULES = {
    **dict.fromkeys(("number", "fold", "stack"), whole(0)),
    "status": one_of(*STATUSES),
    "rows": several(RECORD),
    "cause": TEXT,
}


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what `run_stack` wrote."""
    try:
        found = parse_json(read_whole(path))
        if not isinstance(found, list):
            raise ValueError("no list of outcomes")
        outcomes = [checked(outcome, _OUTCOME_RULES) for outcome in found]
        return [
            Outcome(**{name: outcome[name] for name in _OUTCOME_RULES} | {"rows": rows})
            for outcome in outcomes
            for rows in [[row_of(row) for row in outcome["rows"]]]
        ]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not the outcome of a stack ({error}): remove it") from error


def run_stacks(
    jobs: Sequence[StackJob],
    processes: int = 1,
    on_stack: Callable[[list[Outcome]], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Train stacks one after another, or in several processes or a cluster through joblib.

    With one process nothing else is started, and `stop` is asked after every step. Otherwise joblib
    decides where the work goes: its own processes, which Ctrl-C reaches, too, or what
    `joblib.parallel_config` names, such as a Dask or Ray cluster; `stop` is asked before each job.
    Raises `InterruptedSweepError` when it was told to stop.
    """
    if processes == 1:
        outcomes = []
        for job in jobs:
            found = run_stack(job, stop)
            on_stack(found)
            outcomes += found
        return outcomes
    from joblib import Parallel, delayed

    # No job is handed out before a process is free for it: none begins after a stop.
    parallel = Parallel(n_jobs=processes, pre_dispatch="n_jobs", batch_size=1)
    everything = parallel(delayed(_run_apart)(job) for job in jobs if not stop())
    if stop() or None in everything:
        raise InterruptedSweepError(f"what was finished or at work is kept in {jobs[0].folder}")
    return [outcome for found in everything for outcome in found]


def _run_apart(job: StackJob) -> list[Outcome] | None:
    """Train a stack in a process of its own; None where Ctrl-C came, and what was done is kept.

    An error here would end the other processes before they have saved theirs.
    """
    with StopSignals() as signals:
        try:
            return run_stack(job, lambda: signals.received is not None)
        except InterruptedSweepError:
            return None
