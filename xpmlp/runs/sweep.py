"""Sweeps: many candidates, those of one shape trained as one stack, each stack a job of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from xpmlp.backends import select_backend
from xpmlp.data.source import Source
from xpmlp.errors import CheckpointError
from xpmlp.parts import even_parts
from xpmlp.runs.checkpoint import save_checkpoint
from xpmlp.training.history import LogRow, best_row
from xpmlp.training.stack_loop import ModelSetting, fit_stack
from xpmlp.training.steps import TrainingState


@dataclass(frozen=True)
class Candidate:
    """One model of a sweep: its hidden layers, and what `fit_stack` wants to know."""

    hidden: tuple[int, ...]
    setting: ModelSetting


@dataclass(frozen=True)
class Fold:
    """Examples on the host that candidates are trained and validated on."""

    train: Source
    validation: Source


@dataclass(frozen=True)
class StackJob:
    """A stack of candidates of one shape on one fold: all that a process needs to train it.

    `numbers` are those of the candidates in the sweep. The stack's outcome goes into
    `folder`/stack-`number`.json, and its best model into stack-`number`.h5.
    """

    number: int
    numbers: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    fold_number: int
    fold: Fold
    outputs: int
    course: dict[str, Any]
    device: str
    dtype: str
    threads: int | None
    folder: Path
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate on one fold."""

    number: int
    fold: int
    stack: int
    status: str
    rows: list[LogRow]

    @property
    def best(self) -> LogRow | None:
        """The row of the lowest validation loss, None where it diverged at once."""
        return best_row(self.rows)


def stacks_of(
    candidates: Sequence[Candidate],
    *,
    features: int,
    outputs: int,
    batch_size: int,
    value_bytes: int,
    memory: float,
) -> list[list[int]]:
    """Return the numbers of the candidates that train together: of one shape, fitting `memory`.

    Models with equal layers and one kind of optimiser make a stack; one that would need more
    bytes is split evenly.
    """
    groups: dict[Any, list[int]] = {}
    for number, candidate in enumerate(candidates):
        kind = (candidate.hidden, type(candidate.setting.optimizer))
        groups.setdefault(kind, []).append(number)
    stacks = []
    for numbers in groups.values():
        one = model_bytes(candidates[numbers[0]], features, outputs, batch_size, value_bytes)
        most = max(1, int(memory // one))
        parts = -(-len(numbers) // most)
        stacks += [numbers[part] for part in even_parts(len(numbers), parts)]
    return stacks


def model_bytes(
    candidate: Candidate, features: int, outputs: int, batch_size: int, value_bytes: int
) -> int:
    """Estimate what one model of a stack occupies while it is trained.

    Weights, gradient, best and last weights and the optimiser's moments; of each layer's
    outputs, error terms and their parts about four arrays.
    """
    sizes = (features, *candidate.hidden, outputs)
    parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
    copies = 4 + len(candidate.setting.optimizer.moments)
    return value_bytes * (copies * parameters + 4 * batch_size * sum(sizes[1:]))


def run_stack(job: StackJob) -> list[Outcome]:
    """Train a stack and write down what came of it; one that was finished before is read.

    Raises `CheckpointError` for a file that is not such an outcome.
    """
    path = job.folder / f"stack-{job.number}.json"
    best_path = job.folder / f"stack-{job.number}.h5"
    if path.exists():
        outcomes = read_outcomes(path)
        expected = [(number, job.fold_number, job.number) for number in job.numbers]
        if [(o.number, o.fold, o.stack) for o in outcomes] != expected:
            raise CheckpointError(f"{path}: the outcome of another stack: remove it to train anew")
        if best_path.exists() or all(outcome.best is None for outcome in outcomes):
            return outcomes
    backend = select_backend(job.device, job.dtype, threads=job.threads)
    train, validation = (part.to_device(backend) for part in (job.fold.train, job.fold.validation))
    sizes = (train.features, *job.candidates[0].hidden, job.outputs)
    settings = [candidate.setting for candidate in job.candidates]
    rounds = fit_stack(sizes, settings, train, validation=validation, backend=backend, **job.course)
    *_, models = rounds
    outcomes = [
        Outcome(number, job.fold_number, job.number, model.status, model.history)
        for number, model in zip(job.numbers, models, strict=True)
    ]
    found = [model for model in models if model.best_params is not None]
    if found:
        best = min(found, key=lambda model: _lowest_loss(model.history))
        last = best_row(best.history)
        rows = best.history if last is None else best.history[: best.history.index(last) + 1]
        seed, step = best.setting.seed, rows[-1].step
        state = TrainingState(best.result, {}, seed, step, rows[-1].seconds, rows)
        save_checkpoint(best_path, best.mlp, state, job.record, backend=backend)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps([asdict(outcome) for outcome in outcomes]), encoding="utf-8")
    part.replace(path)
    return outcomes


def _lowest_loss(rows: list[LogRow]) -> float:
    best = best_row(rows)
    return float("inf") if best is None or best.val_loss is None else best.val_loss


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what `run_stack` wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [
            Outcome(**outcome | {"rows": [LogRow(**row) for row in outcome["rows"]]})
            for outcome in found
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: not the outcome of a stack ({error}): remove it") from error


def run_stacks(
    jobs: Sequence[StackJob],
    processes: int = 1,
    on_stack: Callable[[list[Outcome]], None] = lambda _: None,
) -> list[Outcome]:
    """Train stacks one after another, or in several processes or a cluster through joblib.

    With one process nothing else is started. Otherwise joblib decides where the work goes: its
    own processes, or what `joblib.parallel_config` names, such as a Dask or Ray cluster.
    """
    if processes == 1:
        outcomes = []
        for job in jobs:
            found = run_stack(job)
            on_stack(found)
            outcomes += found
        return outcomes
    from joblib import Parallel, delayed

    together = Parallel(n_jobs=processes)(delayed(run_stack)(job) for job in jobs)
    return [outcome for found in together for outcome in found]
