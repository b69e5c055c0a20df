"""Everything that training changes, of one model or of a stack; it knows what it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xpmlp.arrays import Array, Namespace, Params, copied
from xpmlp.backends import Backend
from xpmlp.errors import DivergedError, UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.mathematics.step import Variables
from xpmlp.randomness import random_stream
from xpmlp.regularization import averaged, steps_averaged, with_average_or_without
from xpmlp.training.history import LogRow
from xpmlp.training.plan import Model
from xpmlp.training.stacking import model_of, stacked, stacked_optimizer

# A model that has ended so has left its stack for good.
ENDED = ("early_stopped", "diverged")
STATUSES = ("started", "running", "completed", "interrupted", *ENDED)


@dataclass
class Interval:
    """What the steps since the last log point have brought, on the host.

    `losses` are the steps' mean losses times their examples; `correct` is None in a regression.
    """

    losses: list[float] = field(default_factory=list)
    correct: int | None = 0
    examples: int = 0


@dataclass
class ModelState:
    """What one model has come to, alone or in a stack.

    `status` is "started", "running", or how it ended: "completed", "early_stopped",
    "interrupted", or "diverged" with its `cause`. `best_params` are the parameters at the lowest
    validation loss so far, None without validation; `params` the last ones of a model that has
    left its stack; `first_loss` is that of the first batch, with the initial weights.
    """

    model: Model
    status: str = "started"
    history: list[LogRow] = field(default_factory=list)
    interval: Interval = field(default_factory=Interval)
    best_params: Params | None = None
    params: Params | None = None
    cause: str = ""
    first_loss: float | None = None

    @property
    def mlp(self) -> MLP:
        """The model's network."""
        return self.model.mlp

    @property
    def result(self) -> Params:
        """The best parameters, or without validation the last.

        Raises `DivergedError` for a model that has diverged before it was any good.
        """
        if self.status == "diverged" and self.best_params is None:
            raise DivergedError(self.cause)
        found = self.params if self.best_params is None else self.best_params
        if found is None:
            raise UsageError("the model has not been trained to its end: let its training go on")
        return found


@dataclass
class TrainingState:
    """The arrays of one model, or of the models at work in a stack, and what these have come to.

    `variables` are those of a step, `models` in the order of the arrays' leading axis; a single
    model's arrays have none. `step` counts the steps taken, `seconds` the time that they took.
    Raises `UsageError` for arrays that are not those of the models.
    """

    variables: Variables
    models: list[ModelState]
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.variables = Variables(*self.variables)
        check_shapes(self.params, self.models[0].mlp)

    @property
    def is_stack(self) -> bool:
        """Whether the arrays have a leading axis of models."""
        return bool(self.params["layer1.weight"].ndim == 3)

    @property
    def params(self) -> Params:
        """The parameters as they are now."""
        return self.variables.params

    @property
    def averaged(self) -> Params:
        """What predicts: the average of the weights where one is kept, else the parameters."""
        return averaged(self.params, self.variables.optimizer_state)

    @property
    def only(self) -> ModelState:
        """What the only model has come to; raises `UsageError` for a stack."""
        if len(self.models) != 1:
            raise UsageError(f"there are {len(self.models)} models here: choose one of them")
        return self.models[0]

    @property
    def history(self) -> list[LogRow]:
        """The only model's history."""
        return self.only.history

    @property
    def best_params(self) -> Params | None:
        """The only model's parameters at its lowest validation loss."""
        return self.only.best_params

    @property
    def status(self) -> str:
        """Whether the only model trains, or how it ended."""
        return self.only.status

    @property
    def result(self) -> Params:
        """The only model's best parameters, or without validation the last."""
        return self.averaged if self.best_params is None else self.best_params

    def params_of(self, place: int, *, xp: Namespace) -> Params:
        """Return a copy of what predicts of one model."""
        variables = variables_of(self.variables, place, xp=xp)
        return averaged(variables.params, variables.optimizer_state)


def check_shapes(params: Params, mlp: MLP) -> None:
    """Raise `UsageError` for parameters that are not those of a network."""
    names = [f"layer{k}.weight" for k in range(1, len(params) // 2 + 1)]
    shapes = [tuple(params[name].shape[-2:]) for name in names if name in params]
    if shapes != mlp.weight_shapes:
        sizes = [*(fan_in for fan_in, _ in shapes), *(fan_out for _, fan_out in shapes[-1:])]
        found = "-".join(map(str, sizes)) or "without layers"
        raise UsageError(
            f"the parameters are those of a network {found}, and not of {mlp}: give that network, "
            "or begin anew"
        )


def check_state_of(state: TrainingState, model: Model, backend: Backend) -> None:
    """Raise `UsageError` for a state that a training of this model cannot go on from."""
    if state.params["layer1.weight"].dtype != backend.dtype:
        raise UsageError(
            f"the state is of {state.params['layer1.weight'].dtype}, and the backend of "
            f"{backend.dtype_name}: choose a backend of the state's own dtype"
        )
    before, rule = state.only.model, type(model.optimizer).__name__
    if before.mlp != model.mlp:
        raise UsageError(
            f"the state is of the network {before.mlp}, {before.mlp.loss}, and not of {model.mlp}, "
            f"{model.mlp.loss}: give the model that it is of, or begin anew"
        )
    if type(before.optimizer) is not type(model.optimizer):
        raise UsageError(
            f"the state is of the optimiser {type(before.optimizer).__name__}, and not of {rule}: "
            "give the one that it is of, or begin anew"
        )
    bias, held = {"layer1.bias": state.params["layer1.bias"]}, state.variables.optimizer_state
    with backend.computing():
        needed = model.optimizer.init(bias, xp=backend.xp)
    missing = [kind for kind, own in needed.items() if not own.keys() <= held.get(kind, {}).keys()]
    if missing:
        raise UsageError(
            f"the state has no {' and no '.join(missing)}, which {rule} remembers: no training can "
            "go on from it"
        )


def check_states_of(
    states: Sequence[TrainingState], models: Sequence[Model], backend: Backend
) -> None:
    """Give each state its model; raise `UsageError` unless a stack can go on from them."""
    if len(states) != len(models) or len(set(map(id, states))) != len(states):
        raise UsageError(f"{len(states)} states for {len(models)} models: give each its own")
    for state, model in zip(states, models, strict=True):
        if state.status not in ENDED:
            check_state_of(state, model, backend)
            state.only.model = model
            settle_average(state, backend)
        elif state.only.params is None:  # it has ended alone, and not in a stack
            state.only.params = state.averaged
    at_work = [state for state in states if state.status not in ENDED]
    counts = [steps_averaged(state.variables.optimizer_state) for state in at_work]
    if len({None if count is None else float(backend.to_host(count)) for count in counts}) > 1:
        raise UsageError(
            "the averages of the states are of different numbers of steps: a stack goes on from "
            "states that have been trained alike"
        )
    steps = sorted({state.step for state in at_work})
    if len(steps) > 1:
        raise UsageError(
            f"the states have come to the steps {', '.join(map(str, steps))}: a stack goes on from "
            "one step that all have come to"
        )


def settle_average(state: TrainingState, backend: Backend) -> None:
    """Have a state keep an average of its weights from now on, if its models ask for one."""
    keeps = state.models[0].model.regularization.average_decay is not None
    with backend.computing():
        moments = with_average_or_without(*state.variables, keeps, xp=backend.xp)
    state.variables = state.variables._replace(optimizer_state=moments)


def copied_variables(variables: Variables, *, xp: Namespace) -> Variables:
    """Return copies, which updates in place of the originals do not reach."""
    moments = {name: copied(arrays, xp=xp) for name, arrays in variables.optimizer_state.items()}
    return Variables(copied(variables.params, xp=xp), moments)


def variables_of(variables: Variables, place: int, *, xp: Namespace) -> Variables:
    """Return a copy of one model's variables; those of a single model are number 0."""
    if variables.params["layer1.weight"].ndim == 2:
        return copied_variables(variables, xp=xp)
    moments = {
        name: {
            key: xp.asarray(array[place, ...] if array.ndim else array, copy=True)
            for key, array in arrays.items()
        }
        for name, arrays in variables.optimizer_state.items()
    }
    return Variables(model_of(variables.params, place, xp=xp), moments)


def arrays_of(variables: Variables) -> list[Array]:
    """Return all arrays that a step changes, in an order of their own."""
    moments = [a for arrays in variables.optimizer_state.values() for a in arrays.values()]
    return [*variables.params.values(), *moments]


def initial_params(mlp: MLP, *, seed: int, backend: Backend, initializer: str = "xavier") -> Params:
    """Draw the initial weights of a seed and move them to the backend's device."""
    drawn = mlp.init(random_stream(seed, "weights"), initializer)
    return backend.all_to_device(drawn)


def initial_state(model: Model, backend: Backend) -> TrainingState:
    """Return the state of a model before its first step, with the initial weights of its seed.

    They are on the device of `backend`. The state is what `Training` goes on from.
    """
    return _started(_drawn(model, backend), model.optimizer, [model], backend)


def initial_stack(models: Sequence[Model], backend: Backend) -> TrainingState:
    """Return the state of several models of one shape before their first step."""
    xp = backend.xp
    with backend.computing():
        params = stacked([_drawn(model, backend) for model in models], xp=xp)
        like = params["layer1.weight"]
        rule = stacked_optimizer([model.optimizer for model in models], like=like, xp=xp)
    return _started(params, rule, models, backend)


def _drawn(model: Model, backend: Backend) -> Params:
    return initial_params(
        model.mlp, seed=model.seed, backend=backend, initializer=model.initializer
    )


def _started(
    params: Params, optimizer: Optimizer, models: Sequence[Model], backend: Backend
) -> TrainingState:
    with backend.computing():
        variables = Variables(params, optimizer.init(params, xp=backend.xp))
    state = TrainingState(variables, [ModelState(model) for model in models])
    settle_average(state, backend)
    return state


def restacked(states: Sequence[TrainingState], backend: Backend) -> TrainingState:
    """Return a stack of models that have been trained to one step, each as if alone."""
    xp, first = backend.xp, states[0]
    with backend.computing():
        params = stacked([state.params for state in states], xp=xp)
        moments = {
            name: {
                key: xp.stack([s.variables.optimizer_state[name][key] for s in states])
                if array.ndim
                else xp.asarray(array, copy=True)
                for key, array in arrays.items()
            }
            for name, arrays in first.variables.optimizer_state.items()
        }
    models = [state.only for state in states]
    return TrainingState(Variables(params, moments), models, first.step, first.seconds)
