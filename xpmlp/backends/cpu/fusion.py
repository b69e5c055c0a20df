"""An optimiser's step as one loop over memory, compiled by Numba.

numpy goes over memory once per operation: for a step of Adam ten times. The loop goes over it once
and does the same operations on each number in the same order, so that the results are the same bit
for bit. That is why a training may begin without a loop and go over to it at any step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from xpmlp.arrays import is_weight
from xpmlp.backends.cpu.tracing import Traced
from xpmlp.backends.results import Place, in_places

Function = Callable[..., Any]
# Seconds that a rule's steps may take in all before a loop is made of them, which takes about as
# long: short trainings never wait, and no training loses more than twice of what it could gain.
WORTH_COMPILING = 0.5
# A momentum that rises makes another rule of each step: those are forgotten.
_MOST_RULES = 1000


class _Loop(NamedTuple):
    """A step(arrays, numbers) as a compiled loop; `in_place` if its results are its arguments."""

    traced: Traced
    run: Function
    in_place: bool

    def factors(self, numbers: Sequence[Any]) -> np.ndarray:
        """Return what the loop is given beside the arrays: one row, or one row per model."""
        found = self.traced.before(*(n.reshape(-1) if np.ndim(n) else n for n in numbers))
        models = max(map(np.size, found), default=1)
        factors = np.empty((models, len(found)), self.traced.dtype)
        for column, factor in enumerate(found):
            factors[:, column] = factor
        return factors

    def __call__(self, arrays: Sequence[np.ndarray], factors: np.ndarray) -> list[np.ndarray]:
        """Change the arrays, and return those that are new."""
        new = [np.empty_like(arrays[0]) for _ in range(self.traced.new)]
        models = len(factors)
        self.run(*[a.reshape(models, -1, copy=False) for a in (*arrays, *new)], factors)
        return new


@dataclass
class _Use:
    """How long a rule's steps have taken so far, and the loops made of them, by kind of array."""

    seconds: float = 0.0
    loops: dict[Any, _Loop | None] = field(default_factory=dict)


class Fusion:
    """Makes loops of optimisers' steps once these have taken as long as that takes.

    A loop is held once against the step itself. Where a step cannot be written as a loop, or the
    two differ, the step is taken as it is.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._uses: dict[Any, _Use] = {}
        self._compiled: dict[str, Function] = {}
        self._making = Lock()

    def each(self, function: Function, works: Sequence[Any]) -> list[Any]:
        """Return function(*work) of each optimiser's work: its rule, w, g, moments, and where."""
        rule = works[0][0]
        use = None if rule.takes_products else self._use_of(function, rule)
        if use is None:
            return [function(*work) for work in works]
        if use.seconds < WORTH_COMPILING:
            began = perf_counter()
            done = [function(*work) for work in works]
            use.seconds += perf_counter() - began
            return done
        ready: dict[bool, tuple[_Loop | None, Any]] = {}  # what is the same for all parameters
        return [self._moved(use, ready, function, *work) for work in works]

    def _moved(self, use: _Use, ready: dict[bool, Any], function: Function, *work: Any) -> Any:
        rule, w, g, moments, at = work
        arrays, weight = [w, g, *moments.values()], is_weight(at.name)
        if g.shape != w.shape or g.dtype != w.dtype:
            return function(rule, w, g, moments, at)
        if weight not in ready:
            other, factors = ready.get(not weight, (None, None))
            loop, numbers = self._loop_of(use, weight, function, arrays, work)
            if loop is not None and (other is None or other.run is not loop.run):
                factors = loop.factors(numbers)
            ready[weight] = loop, factors
        loop, factors = ready[weight]
        if loop is None or loop.traced.dtype != w.dtype:
            return function(rule, w, g, moments, at)
        try:
            new = loop(arrays, factors)
        except ValueError:  # of an array whose numbers do not lie side by side
            return function(rule, w, g, moments, at)
        return (w, moments) if loop.in_place else in_places(loop.traced.places, arrays, new)

    def _use_of(self, function: Function, rule: Any) -> _Use | None:
        """Return what is known of a rule; None of one with arrays, hyperparameters per model."""
        try:
            use = self._uses.get((function, rule))
        except TypeError:
            return None
        if use is None and len(self._uses) >= _MOST_RULES:
            self._uses.clear()
        return use or self._uses.setdefault((function, rule), _Use())

    def _loop_of(
        self, use: _Use, weight: bool, function: Function, arrays: list[np.ndarray], work: Any
    ) -> tuple[_Loop | None, list[Any]]:
        """Return the loop for weights, or for biases, and the numbers of this step."""
        rule, w, _, moments, at = work
        numbers = [at.rate, *(value for group in at.shared.values() for value in group.values())]
        if not all(_is_number(number, w) for number in numbers):
            return None, numbers
        kind = weight, w.dtype, *at.shared  # an average of the weights brings a number
        with self._making:
            if kind not in use.loops:
                step = partial(_step, function, rule, at, list(moments))
                kept = {name: Place(False, k) for k, name in enumerate(moments, 2)}
                use.loops[kind] = self._made(step, w, len(arrays), numbers, (Place(False, 0), kept))
        return use.loops[kind], numbers

    def _made(
        self, step: Function, w: np.ndarray, arrays: int, numbers: Sequence[Any], in_place: Any
    ) -> _Loop | None:
        """Return the loop, None where the step is none or the loop finds something else.

        `in_place` are the places of results that are all arguments.
        """
        try:
            from numba import njit

            traced = Traced(step, arrays, len(numbers), w.dtype, spent=[1])
            if traced.source not in self._compiled:  # of weights and biases it is mostly the same
                program = njit(nogil=True, error_model="numpy")(traced.loop)
                self._compiled[traced.source] = program
            loop = _Loop(traced, self._compiled[traced.source], traced.places == in_place)
            # On numbers of usual size: with gradients of 0, say, a wrong loop would pass.
            drawn = np.random.default_rng(0).random((arrays, *w.shape)).astype(w.dtype)
            given, again = list(drawn), list(drawn.copy())
            expected = step(given, numbers, self._xp)
            found = in_places(traced.places, again, loop(again, loop.factors(numbers)))
        except Exception:  # of a library that does not import, or a compiler: several kinds
            return None
        del given[1], again[1]  # the gradient is used up
        return loop if _same((found, again), (expected, given)) else None


def numba_is_installed() -> bool:
    """Tell whether Numba can be loaded, without doing so."""
    return find_spec("numba") is not None


def _step(
    function: Function,
    rule: Any,
    at: Any,
    names: list[str],
    arrays: Sequence[Any],
    numbers: Sequence[Any],
    xp: Any,
) -> Any:
    """Take an optimiser's step of arrays and numbers; `at` says where."""
    (w, g, *moments), (rate, *rest) = arrays, numbers
    left = iter(rest)
    shared = {key: {name: next(left) for name in group} for key, group in at.shared.items()}
    context = at._replace(rate=rate, shared=shared, descent=lambda: -rate, xp=xp)
    return function(rule, w, g, dict(zip(names, moments, strict=True)), context)


def _is_number(value: Any, w: np.ndarray) -> bool:
    """Tell a number, or one for each of the models that come first, from other arrays."""
    if type(value) is float or np.ndim(value) == 0:
        return True
    return bool(value.ndim == w.ndim and value.size == len(value) == len(w))


def _same(found: Any, expected: Any) -> bool:
    """Tell whether arrays, in tuples, lists and dictionaries, are the same."""
    if isinstance(expected, dict):
        return all(_same(found[name], value) for name, value in expected.items())
    if isinstance(expected, tuple | list):
        return all(map(_same, found, expected))
    return np.array_equal(found, expected, equal_nan=True)
