"""One training step: a function from arrays to arrays.

`step(variables, data, inputs) -> (variables, outputs)`. It may reuse the memory of the variables
that it is given; whoever calls it goes on with what it returns. It knows nothing of step numbers,
clocks, histories or files, so that a backend may call it, record it or compile it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from xpmlp.arrays import Array, Namespace, Params, SomeRows
from xpmlp.mathematics.losses import assess
from xpmlp.mathematics.mlp import MLP, Multiply, Noise
from xpmlp.mathematics.optimizers import Optimizer, OptimizerState
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.products import Product, Sums

AddUp = Callable[[Callable[[SomeRows], Sums], int, float, int], Sums]


class Piece(NamedTuple):
    """Examples: features x (N, F), targets y, and how many times each counts (N,), or None."""

    x: Array
    y: Array
    sample_weight: Array | None = None


class Variables(NamedTuple):
    """What a step changes: the parameters, and what the optimiser remembers."""

    params: Params
    optimizer_state: OptimizerState


class Inputs(NamedTuple):
    """What changes from step to step.

    `learning_rate`: a number, or one per model (models,). `rows`: which examples of the data make
    the batch, None for all. `keys`: uint32 numbers that noise is drawn from, None without noise.
    `momentum`: the optimiser's at this step, None for that which it has.
    """

    learning_rate: float | Array
    rows: Any = None
    keys: Array = None
    momentum: float | Array | None = None


class Outputs(NamedTuple):
    """The mean loss of the batch, and how many were right (None in a regression); per model."""

    loss: Array
    correct: Array | None


@dataclass(frozen=True)
class Step:
    """A training step, with what is the same at all of them.

    `regularization` has `noise_of(keys, numbers, xp=xp)`, for examples with these numbers in the
    batch, and `after(params, state, xp=xp)`: what becomes of both once the update is done.
    """

    mlp: MLP
    optimizer: Optimizer
    penalty: Penalty | None = None
    regularization: Any = None

    def __call__(
        self, variables: Variables, data: Any, inputs: Inputs, *, xp: Namespace, add_up: AddUp
    ) -> tuple[Variables, Outputs]:
        """Return the variables after the step, and what the step has found.

        `data.batch(rows, xp=xp)` is the batch; `add_up(sums_of, examples, flop, features)` returns
        Σ sums_of(rows) over rows that are its examples, once each; flop is the operations of each.
        """
        mlp, optimizer, penalty, extra = self.mlp, self.optimizer, self.penalty, self.regularization
        params, state = variables
        batch, keys = data.batch(inputs.rows, xp=xp), inputs.keys

        def noise_of(rows: SomeRows) -> Noise | None:
            return None if keys is None else extra.noise_of(keys, batch.numbers(rows, xp=xp), xp=xp)

        sums = gradient(mlp, params, batch, xp=xp, add_up=add_up, penalty=penalty, noise=noise_of)
        if inputs.momentum is not None:
            optimizer = replace(optimizer, momentum=inputs.momentum)  # type: ignore[type-var]
        rate = inputs.learning_rate
        params, state = optimizer.update(params, sums, state, learning_rate=rate, xp=xp)
        if extra is not None:
            params, state = extra.after(params, state, xp=xp)
        return Variables(params, state), Outputs(sums["loss"], sums.get("correct"))


def gradient(
    mlp: MLP,
    params: Params,
    batch: Any,
    *,
    xp: Namespace,
    add_up: AddUp,
    penalty: Penalty | None = None,
    noise: Callable[[SomeRows], Noise | None] | None = None,
) -> Sums:
    """Return mean loss and gradient of a batch, the penalty's with it, and how many were right.

    The mean is a sum over examples, each times 1/N (of weighted ones 1/Σ w). Gradients may be
    products that are not multiplied out.
    """
    scale = batch.scale(xp=xp)

    def sums_of(rows: SomeRows) -> Sums:
        own, piece = None if noise is None else noise(rows), batch.read(rows)
        return piece_gradient(mlp, params, piece, scale=scale, xp=xp, noise=own, multiply=Product)

    sums = add_up(sums_of, batch.size, mlp.step_flop, mlp.sizes[0])
    if penalty is not None:
        penalty.penalize(sums, params, scale=scale, xp=xp)
    return sums


def piece_gradient(
    mlp: MLP,
    params: Params,
    piece: Piece,
    *,
    scale: float | Array,
    xp: Namespace,
    noise: Noise | None = None,
    multiply: Multiply | None = None,
) -> Sums:
    """Return `scale` times the sum of the losses of a piece, its gradient, how many were right.

    A pure function of parameters and a slice: with 1/N the results of slices that cover a batch
    of N add up to its mean loss and gradient, however it was cut. Names are "loss", those of the
    parameters, and "correct" of class ids. `multiply` may leave gradients as products.
    """
    x, y, sample_weight = piece
    outputs, backprop = mlp.forward(params, x, xp=xp, noise=noise)
    loss, doutputs, correct = assess(mlp.loss_function, outputs, y, sample_weight, scale, xp=xp)
    sums = Sums(backprop(doutputs, multiply), xp=xp)
    sums["loss"] = loss
    if correct is not None:
        sums["correct"] = correct
    return sums
