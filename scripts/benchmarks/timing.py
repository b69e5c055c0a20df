"""Times of steps: works that take turns within one run, and their matrix products alone."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from xpmlp import MLP, Constant, Model, Step, Variables
from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.data import Batches
from xpmlp.training.looping import stepper_for
from xpmlp.training.stepper import Rates, Stepper

# A block begins with untimed steps: the threads of whoever worked before it go on spinning
# for some hundredths of a second, and its own have to wake up.
_SETTLE_SECONDS = 0.08


@dataclass(frozen=True)
class Work:
    """Something to time: `step` takes a step, and `finish` waits until all are done.

    It may take several, and then returns how many.
    """

    step: Callable[[], int | None]
    finish: Callable[[], object] = lambda: None

    def seconds_a_step(self, block_seconds: float = 0.25) -> float:
        """Settle, then time a block of about so many seconds."""
        calls = max(1, round(block_seconds / self._settle()))
        start, steps = time.perf_counter(), 0
        for _ in range(calls):
            steps += self.step() or 1
        self.finish()
        return (time.perf_counter() - start) / steps

    def _settle(self) -> float:
        """Take steps for a while; return the seconds of a call that is waited for."""
        began = time.perf_counter()
        seconds: list[float] = []
        while not seconds or time.perf_counter() < began + _SETTLE_SECONDS:
            start = time.perf_counter()
            self.step()
            self.finish()
            seconds.append(time.perf_counter() - start)
        return median(seconds)


class Steps:
    """Trains a model as `Training` does, without its loop; a call says how many steps it took.

    One, or as many as are recorded.
    """

    def __init__(self, model: Model, variables: Variables, batches: Batches, backend: Backend):
        step = Step(model.mlp, model.optimizer, model.penalty)
        rates = Rates(model.rate, model.rate, Constant(), batches.steps_per_epoch)
        self._stepper = stepper_for(Stepper(step, batches, rates, None, backend))
        self.variables, self._number = variables, 0

    def __call__(self) -> int:
        self.variables, taken = self._stepper.advance(self.variables, self._number, 10**9)
        self._number += len(taken.sizes)
        return len(taken.sizes)


def time_in_turns(blocks: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each measured, one value per round; the order of turns changes every round."""
    times: dict[str, list[float]] = {name: [] for name in blocks}
    names = list(blocks)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(blocks[name]())
    return times


def spread(seconds: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum in milliseconds."""
    return {
        "median_ms": 1e3 * median(seconds),
        "min_ms": 1e3 * min(seconds),
        "max_ms": 1e3 * max(seconds),
    }


def products_of_a_step(sizes: tuple[int, ...], batch_size: int, backend: Backend) -> Work:
    """Return the matrix products of one training step, and nothing else of it."""
    rng, xp = np.random.default_rng(3), backend.xp
    dtype = backend.dtype_name
    h = [backend.to_device(rng.random((batch_size, n), dtype="float32")) for n in sizes]
    w = [
        backend.to_device(rng.normal(0, 0.1, (fan_in, fan_out)).astype(dtype))
        for fan_in, fan_out in pairwise(sizes)
    ]

    def step() -> None:
        for layer, weight in enumerate(w):
            xp.matmul(h[layer], weight)
        for layer in range(len(w) - 1, -1, -1):
            xp.matmul(h[layer].mT, h[layer + 1])
            if layer:
                xp.matmul(h[layer + 1], w[layer].mT)

    if not backend.records:
        return Work(step, backend.synchronize)
    step()  # what is recorded has been done before
    return Work(backend.record(step) or step, backend.synchronize)


def peak_bytes(step: Callable[[], Any]) -> int:
    """Return the most memory that arrays made by a step occupy at any time, on the host."""
    step()  # what it makes once and keeps is not part of it
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def forward_seconds(
    mlp: MLP, params: Params, examples: Any, batch_size: int, backend: Backend
) -> float:
    """Return the seconds of one forward pass over all examples, in mini-batches of some size."""
    whole, count = examples.batch(xp=backend.xp), len(examples)
    start = time.perf_counter()
    with backend.computing():
        for first in range(0, count, batch_size):
            x = whole.read(slice(first, min(first + batch_size, count))).x
            mlp.forward(params, x, xp=backend.xp)
    backend.synchronize()
    return time.perf_counter() - start
