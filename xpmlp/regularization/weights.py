"""What becomes of weights after a step: a bound of each unit's, and an average over the run."""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace, Params, copied, is_weight, per_model
from xpmlp.mathematics.optimizers import OptimizerState
from xpmlp.mathematics.products import accumulate

# Where the state of an optimiser keeps the average of the weights, and how many steps are in it.
AVERAGE, COUNT = "average", "averaged"


def bounded(params: Params, most: float | Array, *, xp: Namespace) -> Params:
    """Return w_j ← w_j min(1, c/‖w_j‖) with w_j the incoming weights of unit j (max-norm).

    `most` is c, a number or one per model (models,); biases stay. Srivastava et al. 2014,
    section 5.1.
    """
    return {
        name: _bounded(w, per_model(most, like=w, xp=xp), xp=xp) if is_weight(name) else w
        for name, w in params.items()
    }


def _bounded(w: Array, most: float | Array, *, xp: Namespace) -> Array:
    square = xp.sum(w * w, axis=-2, keepdims=True)
    w *= xp.minimum(most / xp.sqrt(xp.where(square > 0, square, 1.0)), 1.0)
    return w


def with_average_or_without(
    params: Params, state: OptimizerState, keeps: bool, *, xp: Namespace
) -> OptimizerState:
    """Return a state that keeps an average of the weights, from these on unless it has one.

    One that does not keep it has none: an average that nobody adds to is of other weights.
    """
    if not keeps:
        return {name: arrays for name, arrays in state.items() if name not in (AVERAGE, COUNT)}
    if AVERAGE in state:
        return state
    steps = xp.zeros((), dtype=next(iter(params.values())).dtype)
    return state | {AVERAGE: copied(params, xp=xp), COUNT: {"steps": steps}}


def steps_averaged(state: OptimizerState) -> Array | None:
    """Return how many steps are in a state's average, None where it keeps none."""
    return state[COUNT]["steps"] if COUNT in state else None


def averaged(params: Params, state: OptimizerState) -> Params:
    """Return the average of the weights where a state keeps one, else the weights."""
    return state.get(AVERAGE, params)


def with_average(
    params: Params, state: OptimizerState, decay: float | Array, *, xp: Namespace
) -> OptimizerState:
    """Return the state with w̄ ← w̄ + s (w − w̄), s = max(1 − d, 1/t) after t steps.

    d is the `decay`, a number or one per model (models,). w̄ is the mean of all weights so far
    until 1/(1 − d) steps are done, and then forgets those before: the exponential average without
    a trace of the initial weights (Polyak and Juditsky 1992; Tarvainen and Valpola 2017).
    """
    steps = state[COUNT]["steps"] + 1
    rest = 1.0 - xp.maximum(1.0 - decay, 1.0 / steps)
    share = 1.0 - rest  # exact: where the two do not add up to 1 the average shrinks or grows
    average = {
        name: accumulate(mean, params[name], alpha=share, beta=rest, xp=xp)
        for name, mean in state[AVERAGE].items()
    }
    return state | {AVERAGE: average, COUNT: {"steps": steps}}
