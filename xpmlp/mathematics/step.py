"""One training step: a function from arrays to arrays.

`step(variables, data, inputs) -> (variables, outputs)`. It may reuse the memory of the variables
that it is given; whoever calls it goes on with what it returns. It knows nothing of step numbers,
clocks, histories or files, so that a backend may call it, record it or compile it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpmlp.arrays import Array, Namespace, Params, SomeRows
from xpmlp.mathematics.dropout import dropout_mask
from xpmlp.mathematics.losses import assess
from xpmlp.mathematics.mlp import MLP, Masks, Multiply
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
    the batch, None for all. `dropout_keys`: a uint32 number per hidden layer, where there are any.
    """

    learning_rate: float | Array
    rows: Any = None
    dropout_keys: Array = None


class Outputs(NamedTuple):
    """The mean loss of the batch, and how many were right (None in a regression); per model."""

    loss: Array
    correct: Array | None


@dataclass(frozen=True)
class Step:
    """A training step, with what is the same at all of them."""

    mlp: MLP
    optimizer: Optimizer
    penalty: Penalty | None = None
    dropout: float = 0.0

    def __call__(
        self, variables: Variables, data: Any, inputs: Inputs, *, xp: Namespace, add_up: AddUp
    ) -> tuple[Variables, Outputs]:
        """Return the variables after the step, and what the step has found.

        `data.batch(rows, xp=xp)` is the batch; `add_up(sums_of, examples, flop, features)` returns
        Σ sums_of(rows) over rows that are its examples, once each; flop is the operations of each.
        """
        mlp, optimizer, penalty, share = self.mlp, self.optimizer, self.penalty, self.dropout
        params, state = variables
        batch, keys = data.batch(inputs.rows, xp=xp), inputs.dropout_keys

        def masks_of(rows: SomeRows) -> Masks:
            numbers = batch.numbers(rows, xp=xp)
            return lambda layer, a: dropout_mask(keys[layer - 1, ...], a, share, numbers, xp=xp)

        masks = None if keys is None else masks_of
        sums = gradient(mlp, params, batch, xp=xp, add_up=add_up, penalty=penalty, masks_of=masks)
        rate = inputs.learning_rate
        params, state = optimizer.update(params, sums, state, learning_rate=rate, xp=xp)
        return Variables(params, state), Outputs(sums["loss"], sums.get("correct"))


def gradient(
    mlp: MLP,
    params: Params,
    batch: Any,
    *,
    xp: Namespace,
    add_up: AddUp,
    penalty: Penalty | None = None,
    masks_of: Callable[[SomeRows], Masks] | None = None,
) -> Sums:
    """Return mean loss and gradient of a batch, the penalty's with it, and how many were right.

    The mean is a sum over examples, each times 1/N (of weighted ones 1/Σ w). Gradients may be
    products that are not multiplied out.
    """
    scale = batch.scale(xp=xp)

    def sums_of(rows: SomeRows) -> Sums:
        masks = None if masks_of is None else masks_of(rows)
        return piece_gradient(
            mlp, params, batch.read(rows), scale=scale, xp=xp, masks=masks, multiply=Product
        )

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
    masks: Masks | None = None,
    multiply: Multiply | None = None,
) -> Sums:
    """Return `scale` times the sum of the losses of a piece, its gradient, how many were right.

    A pure function of parameters and a slice: with 1/N the results of slices that cover a batch
    of N add up to its mean loss and gradient, however it was cut. Names are "loss", those of the
    parameters, and "correct" of class ids. `multiply` may leave gradients as products.
    """
    x, y, sample_weight = piece
    outputs, backprop = mlp.forward(params, x, xp=xp, masks=masks)
    loss, doutputs, correct = assess(mlp.loss_function, outputs, y, sample_weight, scale, xp=xp)
    sums = Sums(backprop(doutputs, multiply), xp=xp)
    sums["loss"] = loss
    if correct is not None:
        sums["correct"] = correct
    return sums
