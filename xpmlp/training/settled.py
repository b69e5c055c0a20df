"""A state to go back to: copies of what steps and log points change."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from xpmlp.backends import Backend
from xpmlp.mathematics.step import Variables
from xpmlp.training.state import ModelState, TrainingState, copied_variables


class Settled(NamedTuple):
    """A state as it was when all its steps were accounted for: each model, and a copy of it."""

    variables: Variables
    step: int
    seconds: float
    models: list[tuple[ModelState, ModelState]]


def settled_state(state: TrainingState, backend: Backend) -> Settled:
    """Return copies of a state that is settled now."""
    with backend.computing():
        variables = copied_variables(state.variables, xp=backend.xp)
    models = [(model, _copied(model)) for model in state.models]
    return Settled(variables, state.step, state.seconds, models)


def put_back(settled: Settled, state: TrainingState, backend: Backend) -> None:
    """Make a state what it was; a model that was at work then is interrupted."""
    with backend.computing():
        state.variables = copied_variables(settled.variables, xp=backend.xp)
    state.step, state.seconds = settled.step, settled.seconds
    state.models = [model for model, _ in settled.models]
    for model, before in settled.models:
        copy = _copied(before)
        model.history[:], model.interval = copy.history, copy.interval
        model.best_params, model.params = copy.best_params, copy.params
        model.status = "interrupted" if copy.status == "running" else copy.status
        model.cause = copy.cause


def _copied(model: ModelState) -> ModelState:
    """Copy what is changed in place; parameters kept of a model are replaced and not changed."""
    interval = replace(model.interval, losses=list(model.interval.losses))
    return replace(model, history=list(model.history), interval=interval)
