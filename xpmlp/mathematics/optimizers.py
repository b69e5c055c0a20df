"""Optimisers: `init` makes the state, `update` takes a step and returns what it has become.

A new optimiser is its formula, `step`, on one parameter array, number by number. It may change
the arrays that it is given (`w -= b` saves a pass over memory) or make new ones: whoever calls goes
on with what is returned. Hyperparameters are numbers, 0-d arrays, or arrays (models,).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from operator import neg
from typing import ClassVar, NamedTuple

from xpmlp.arrays import Array, Namespace, Params, each, elementwise, is_weight, per_model
from xpmlp.mathematics.products import Gradient, accumulate, multiplied

# Moments by name ("velocity", ...), each with an array under every parameter's name; what
# belongs to no parameter has a name of its own.
OptimizerState = dict[str, Params]


class StepContext(NamedTuple):
    """Where a step is taken: the parameter's name, α shaped for it, the state of all.

    `descent()` is −α, made once for all parameters, as `accumulate` takes it.
    """

    name: str
    rate: float | Array
    descent: Callable[[], float | Array]
    shared: OptimizerState
    xp: Namespace


class Optimizer(ABC):
    """An update rule, written for one parameter array at a time.

    `moments` names the arrays kept for each parameter, zero before the first step. A rule that
    only adds a gradient to something may ask for it as a product (`takes_products`). A rule whose
    steps are as large as the gradients (`scales_with_gradient`) wants a larger learning rate for
    sigmoid layers; `usual_rate` is a good one to begin with for others.
    """

    moments: ClassVar[tuple[str, ...]] = ()
    takes_products: ClassVar[bool] = False
    scales_with_gradient: ClassVar[bool] = True
    usual_rate: ClassVar[float] = 0.01

    def init(self, params: Params, *, xp: Namespace) -> OptimizerState:
        """Return the state before the first step."""
        return {
            moment: {name: xp.zeros_like(w) for name, w in params.items()}
            for moment in self.moments
        }

    def update(
        self,
        params: Params,
        gradients: Mapping[str, Gradient],
        state: OptimizerState,
        *,
        learning_rate: float | Array,
        xp: Namespace,
    ) -> tuple[Params, OptimizerState]:
        """Return parameters and state after one step along gradients, arrays or products."""
        names, state = self.moments, self.begun(state)
        minus: Callable[[], float | Array] = partial(neg, learning_rate)
        if not isinstance(learning_rate, float):
            minus = cache(minus)  # an array is negated once for all parameters
        shared = {key: some for key, some in state.items() if some.keys().isdisjoint(params)}
        works = []
        for name, w in params.items():
            g = gradients[name] if self.takes_products else multiplied(gradients[name], xp=xp)
            moments = {moment: state[moment][name] for moment in names}
            rate = per_model(learning_rate, like=w, xp=xp)
            works.append((self, w, g, moments, StepContext(name, rate, minus, shared, xp)))
        after = dict(zip(params, each(type(self).step, works, xp=xp), strict=True))
        moved = {moment: {name: after[name][1][moment] for name in params} for moment in names}
        return {name: w for name, (w, _) in after.items()}, state | moved if names else state

    def begun(self, state: OptimizerState) -> OptimizerState:
        """Return the state as a step begins; a rule may count it."""
        return state

    @abstractmethod
    def step(self, w: Array, g: Array, moments: Params, at: StepContext) -> tuple[Array, Params]:
        """Return w and its moments after a step along the gradient g."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent on a batch: w ← w − α g with g = ∂C/∂w."""

    takes_products = True
    usual_rate = 0.1

    def step(self, w: Array, g: Gradient, moments: Params, at: StepContext) -> tuple[Array, Params]:
        return accumulate(w, g, alpha=at.descent(), xp=at.xp), {}


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Heavy ball: Δw(t) = g + γ Δw(t−1), w ← w − α Δw(t) (Polyak 1964).

    The form of today's frameworks. LeCun et al. 1998 put the rate inside, Δw(t) = α g + γ Δw(t−1)
    and w ← w − Δw(t): the same path while α is constant, another one after α changes, because
    there the steps remembered keep the rate that they were taken with.
    """

    momentum: float | Array = 0.9
    moments = ("velocity",)
    takes_products = True

    def step(self, w: Array, g: Gradient, moments: Params, at: StepContext) -> tuple[Array, Params]:
        v = accumulate(moments["velocity"], g, beta=self.momentum, xp=at.xp)
        return elementwise(_descended, w, v, at.rate, xp=at.xp), {"velocity": v}


def _descended(w: Array, v: Array, alpha: float | Array, **_: Namespace) -> Array:
    """w − α v."""
    w -= alpha * v
    return w


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """Momentum that looks ahead: v ← γ v + g, w ← w − α (g + γ v).

    Nesterov 1983 in the form of Sutskever et al. 2013, with w standing for the point looked
    ahead to, where the gradient is taken.
    """

    momentum: float | Array = 0.9
    moments = ("velocity",)

    def step(self, w: Array, g: Array, moments: Params, at: StepContext) -> tuple[Array, Params]:
        v, gamma = moments["velocity"], per_model(self.momentum, like=w, xp=at.xp)
        v *= gamma
        v += g
        g += gamma * v
        g *= at.rate
        w -= g
        return w, {"velocity": v}


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s ← ρ s + (1 − ρ) g², w ← w − α g / (√s + ε) (Hinton 2012, lecture 6e)."""

    decay: float | Array = 0.9
    epsilon: float = 1e-8
    moments = ("square",)
    scales_with_gradient = False
    usual_rate = 0.001

    def step(self, w: Array, g: Array, moments: Params, at: StepContext) -> tuple[Array, Params]:
        rho = per_model(self.decay, like=w, xp=at.xp)
        s = accumulate(moments["square"], g * g, alpha=1.0 - rho, beta=rho, xp=at.xp)
        g *= at.rate
        g /= at.xp.sqrt(s) + self.epsilon
        w -= g
        return w, {"square": s}


@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − α m̂ / (√v̂ + ε).

    m̂ = m / (1 − β₁^t) and v̂ = v / (1 − β₂^t) undo the start at zero
    (Kingma and Ba 2015, algorithm 1). Remembered are the sums M = m / (1 − β₁) = Σ β₁^k g and
    V = v / (1 − β₂), whose constants go into the step: two passes over memory less.
    """

    beta1: float | Array = 0.9
    beta2: float | Array = 0.999
    epsilon: float = 1e-8
    moments = ("gradient_sum", "square_sum")
    scales_with_gradient = False
    usual_rate = 0.001

    def init(self, params: Params, *, xp: Namespace) -> OptimizerState:
        """Return the moments at zero, and the number of steps t as an array of its own."""
        w = next(iter(params.values()))
        steps = xp.zeros((), dtype=w.dtype)
        return super().init(params, xp=xp) | {"time": {"steps": steps}}

    def begun(self, state: OptimizerState) -> OptimizerState:
        steps = state["time"]["steps"]
        steps += 1
        return state | {"time": {"steps": steps}}

    def step(self, w: Array, g: Array, moments: Params, at: StepContext) -> tuple[Array, Params]:
        (sums, squares), t = (moments[name] for name in Adam.moments), at.shared["time"]["steps"]
        beta1, beta2 = (per_model(beta, like=w, xp=at.xp) for beta in (self.beta1, self.beta2))
        sums *= beta1
        sums += g
        g *= g
        squares *= beta2
        squares += g
        root, unit = at.xp.sqrt(1.0 - beta2**t), (1.0 - beta2) ** 0.5
        denominator = at.xp.sqrt(squares)
        denominator += self.epsilon_beside(root) / unit
        step = sums / denominator
        step *= at.rate * root * (1.0 - beta1) / (unit * (1.0 - beta1**t))
        w -= step
        return w, {"gradient_sum": sums, "square_sum": squares}

    def epsilon_beside(self, root: Array) -> float | Array:
        """Return ε √(1 − β₂^t): what is added to √v where the paper adds ε to √v̂."""
        return self.epsilon * root


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam after w ← w − α λ w for weights, not biases (Loshchilov and Hutter 2019).

    Unlike an L2 penalty the decay does not pass through the moments, so that it is the same
    for weights with large and with small gradients.
    """

    weight_decay: float | Array = 0.01

    def step(self, w: Array, g: Array, moments: Params, at: StepContext) -> tuple[Array, Params]:
        if is_weight(at.name):
            w *= 1.0 - at.rate * per_model(self.weight_decay, like=w, xp=at.xp)
        return super().step(w, g, moments, at)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}
