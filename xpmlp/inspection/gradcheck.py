"""Backpropagation held against central differences, entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.arrays import Array, Params, is_weight
from xpmlp.backends import Backend
from xpmlp.errors import UsageError
from xpmlp.mathematics.initializers import HostParams
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.penalties import Penalty, is_on
from xpmlp.mathematics.products import Sums
from xpmlp.mathematics.step import gradient
from xpmlp.randomness import random_stream
from xpmlp.training.evaluation import check_fit
from xpmlp.training.hidden import hidden_layers

# Distances of the fourth-order difference, in units of the step, and their factors:
# f′(θ) = (8 [f(θ+h) − f(θ−h)] − [f(θ+2h) − f(θ−2h)]) / 12h + O(h⁴).
_DISTANCES = np.array([1.0, -1.0, 2.0, -2.0])
_FACTORS = np.array([8.0, -8.0, -1.0, 1.0]) / 12.0
# In float64 the error ε C / h of rounding and that of the formula are smallest near here; a
# kink is crossed less often with shorter steps.
_SMOOTH_STEP, _KINKED_STEP = 1e-3, 1e-5
# Perturbed copies of a parameter that are evaluated together, and what they are multiplied
# to, hold at most about so many values.
_STACK_VALUES = 2_000_000


@dataclass(frozen=True)
class GradientRow:
    """What the check found in one parameter array.

    The relative difference of an entry is |g − ĝ| / max(|g|, |ĝ|, rms), with g from
    backpropagation, ĝ from differences, and rms that of all checked entries of the array:
    central differences have an absolute error, which says nothing about much smaller entries.
    `worst` is the entry where it is largest. `skipped` entries had a kink within the step.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    skipped: int
    relative: float
    absolute: float
    worst: tuple[int, ...]
    backpropagated: float
    numeric: float


def check_gradients(
    mlp: MLP,
    params: HostParams,
    examples: Any,
    *,
    backend: Backend,
    penalty: Penalty | None = None,
    samples: int | None = None,
    seed: int = 0,
    on_entries: Callable[[int], None] | None = None,
) -> list[GradientRow]:
    """Hold the gradient of backpropagation against central differences; return one row per array.

    `mlp`, `params` (on the host), `penalty`: what is differentiated, on `examples` as they were
    read. `samples`: so many entries of each array, drawn by `seed`; None for all of them. Rows are
    in the order of the parameters, of a stack for each model in turn ("layer1.weight of model 0").
    `on_entries` is told how many entries have been done. Raises `UsageError` for a backend that
    does not compute in float64, `DataError` for examples that do not fit the network.

    >>> import xpmlp
    >>> mlp, few = xpmlp.MLP((64, 5, 10)), xpmlp.load_data("digits").train.first(3)
    >>> params = mlp.init(np.random.default_rng(0))
    >>> backend = xpmlp.select_backend("cpu", "float64")
    >>> max(row.relative for row in check_gradients(mlp, params, few, backend=backend)) < 3e-7
    True
    """
    if backend.dtype_name != "float64":
        raise UsageError(f"a gradient check needs float64, not {backend.dtype_name}")
    if samples is not None and samples < 1:
        raise UsageError(f"{samples} samples check nothing: choose 1 or more, or all entries")
    penalty = penalty or Penalty()
    params = {name: np.asarray(array, dtype=np.float64) for name, array in params.items()}
    examples = examples.to_device(backend)
    check_fit(mlp, examples, backend)
    gradients = _backpropagated(mlp, params, examples, backend, penalty)
    models: list[tuple[str, HostParams, HostParams]] = [("", params, gradients)]
    if params["layer1.weight"].ndim == 3:
        models = [
            (
                f" of model {k}",
                {name: array[k] for name, array in params.items()},
                {name: array[k] for name, array in gradients.items()},
            )
            for k in range(len(params["layer1.weight"]))
        ]
    rows = []
    for suffix, single, expected in models:
        check = _Check(mlp, single, expected, examples, backend, penalty)
        for name, array in single.items():
            entries = np.arange(array.size)
            if samples is not None and samples < array.size:
                rng = random_stream(seed, f"gradient check of {name}")
                entries = np.sort(rng.choice(array.size, size=samples, replace=False))
            rows.append(replace(check.row(name, entries, on_entries), name=name + suffix))
    return rows


def _backpropagated(
    mlp: MLP, params: HostParams, examples: Any, backend: Backend, penalty: Penalty
) -> HostParams:
    """Return the gradients of loss and penalty by backpropagation, on the host."""
    xp = backend.xp
    device = backend.all_to_device(params)

    def at_once(sums_of: Callable[[slice], Sums], size: int, *_: float) -> Sums:
        return sums_of(slice(0, size))

    with backend.computing():
        batch = examples.batch(xp=xp)
        total = gradient(mlp, device, batch, xp=xp, add_up=at_once, penalty=penalty)
        total.multiply_out()
        return {name: backend.to_host(total[name]) for name in params}


class _Check:
    """One model, its examples on the device, and its gradients by backpropagation."""

    def __init__(
        self,
        mlp: MLP,
        params: HostParams,
        gradients: HostParams,
        examples: Any,
        backend: Backend,
        penalty: Penalty,
    ) -> None:
        self._mlp, self._backend = mlp, backend
        self._n = len(examples)
        batch = examples.batch(xp=backend.xp)
        with backend.computing():
            self._x, self._y, self._sample_weight = batch.read(slice(0, self._n))
            self._scale, self._penalty = batch.scale(xp=backend.xp), penalty
        self._host, self._gradients = params, gradients
        self._device: Params = backend.all_to_device(params)
        self._kinked = any(f.kinked for f in mlp.activations)
        self._step = _KINKED_STEP if self._kinked else _SMOOTH_STEP

    def row(
        self, name: str, entries: np.ndarray, on_entries: Callable[[int], None] | None
    ) -> GradientRow:
        activations = self._n * max(self._mlp.sizes)
        values = len(_DISTANCES) * max(self._host[name].size, activations)
        size = max(1, _STACK_VALUES // values)
        pieces, skips = [], []
        for start in range(0, len(entries), size):
            some = entries[start : start + size]
            numeric, skipped = self._differences(name, some)
            pieces.append(numeric)
            skips.append(skipped | self._beside_kink_of_l1(name, some))
            if on_entries is not None:
                on_entries(len(some))
        numeric, smooth = np.concatenate(pieces), ~np.concatenate(skips)
        if not smooth.any():
            raise UsageError(f"{name}: every checked entry has a kink within the step; take more")
        entries, numeric = entries[smooth], numeric[smooth]
        exact = self._gradients[name].reshape(-1)[entries]
        rms = float(np.sqrt(np.mean(np.square([exact, numeric]))))
        absolute = np.abs(exact - numeric)
        # An array whose gradients are all zero, on both sides, differs by nothing.
        size_of = np.maximum(np.maximum(np.abs(exact), np.abs(numeric)), rms)
        relative = absolute / np.where(size_of > 0, size_of, 1.0)
        # NaN is no agreement.
        absolute, relative = (np.where(np.isfinite(d), d, np.inf) for d in (absolute, relative))
        worst = int(relative.argmax())
        shape = self._host[name].shape
        return GradientRow(
            name=name,
            shape=shape,
            checked=len(entries),
            skipped=int((~smooth).sum()),
            relative=float(relative[worst]),
            absolute=float(absolute.max()),
            worst=tuple(int(i) for i in np.unravel_index(entries[worst], shape)),
            backpropagated=float(exact[worst]),
            numeric=float(numeric[worst]),
        )

    def _beside_kink_of_l1(self, name: str, entries: np.ndarray) -> np.ndarray:
        """Tell the weights whose steps reach the kink of |w| at 0."""
        near: np.ndarray = np.abs(self._host[name].reshape(-1)[entries]) <= 2 * self._step
        return near if is_weight(name) and is_on(self._penalty.l1) else np.zeros_like(near)

    def _differences(self, name: str, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ĝ of some entries, and where a kink of an activation is within the steps.

        The perturbed networks are one stack: four models an entry in the leading axis.
        """
        array, count = self._host[name], len(_DISTANCES)
        stack = np.repeat(array[np.newaxis], count * len(entries), axis=0)
        flat = stack.reshape(len(stack), -1)
        models = np.arange(len(stack))
        flat[models, np.repeat(entries, count)] += np.tile(_DISTANCES * self._step, len(entries))
        params = self._device | {name: self._backend.to_device(stack)}
        if not is_weight(name):  # a bias is added in place to what its layer's weight makes
            weight = name.replace(".bias", ".weight")
            shape = (len(stack), *self._host[weight].shape)
            params[weight] = self._backend.xp.broadcast_to(params[weight], shape)
        losses = self._losses(params).reshape(len(entries), count)
        numeric: np.ndarray = (losses @ _FACTORS) / self._step
        if not self._kinked:
            return numeric, np.zeros(len(entries), dtype=bool)
        return numeric, self._crosses_kink(params, len(entries))

    def _losses(self, params: Params) -> np.ndarray:
        xp = self._backend.xp
        with self._backend.computing():
            outputs, _ = self._mlp.forward(params, self._x, xp=xp)
            loss, _ = self._mlp.loss_function(
                outputs, self._y, scale=self._scale, sample_weight=self._sample_weight, xp=xp
            )
            return self._backend.to_host(loss + self._penalty.loss(params, xp=xp))

    def _crosses_kink(self, params: Params, entries: int) -> np.ndarray:
        """Tell which entries' perturbed models have hidden units on either side of z = 0."""
        xp = self._backend.xp

        def sides(some: Params) -> list[Array]:
            hidden = hidden_layers(self._mlp, some, self._x, xp=xp)
            kinked = [f.kinked for f in self._mlp.activations]
            return [a > 0 for (_, a), kink in zip(hidden, kinked, strict=True) if kink]

        crossed = np.zeros(entries, dtype=bool)
        with self._backend.computing():
            for here, there in zip(sides(self._device), sides(params), strict=True):
                differs = self._backend.to_host(xp.any(here != there, axis=(-2, -1)))
                # Layers below the perturbed one are not stacked: the same, on either side.
                models = np.broadcast_to(differs, (entries * len(_DISTANCES),))
                crossed |= models.reshape(entries, -1).any(axis=1)
        return crossed
