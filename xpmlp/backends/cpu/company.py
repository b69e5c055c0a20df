"""Other programs on the same cores, noticed by the time that steps take.

BLAS's threads wait for each other: where another program takes one of their cores for a while, all
wait for the one that lost it, and a step takes three to twenty times as long. On one thread it
takes as long as ever while a core is left. So products are made on one thread while it is so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np

from xpmlp.backends.cpu.cores import single_threaded_blas

# Steps are looked at together until they have taken so many seconds.
_WINDOW = 0.1
# They are slow where they take so many times what they took at best.
_SLOW = 1.3
# A product on all threads over the same on one: from here on one is the better choice, and below
# the other one all are, again. Alone it is 0.6 on two cores.
_BUSY, _FREE = 0.9, 0.75
# So many looks in a row have to say so: threads of others spin for a while after their work.
_LOOKS = 2
# Seconds of steps between looks, at first and at most: a look costs 0.1, beside others up to 0.3.
_PAUSE, _LONGEST_PAUSE = 0.5, 16.0
# A look: slices of so many seconds on one thread and on all, in turns, so many at most.
_SLICE, _SLICES = 0.004, 12
_CLEARLY = 2.0


class Company:
    """Says for each step whether its products are made on one thread or on all.

    `on_one` is what holds now, and `switches` how often it has changed. `look()` returns how many
    times as long a product takes on all threads as on one, and `clock()` the seconds.
    """

    def __init__(
        self, look: Callable[[], float] | None = None, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.on_one, self.switches = False, 0
        self._look, self._clock = look or look_at_products, clock
        self._best: dict[float, float] = {}
        self._flop, self._steps, self._seconds = 0.0, 0, 0.0
        self._agreed, self._pause = 0, _PAUSE
        # In seconds of steps: how many there were, and when the next look is due.
        self._spent, self._due = 0.0, 0.0

    @contextmanager
    def step(self, flop: float) -> Iterator[None]:
        """Return the context of a step of so many operations."""
        start = self._clock()
        if self.on_one:
            with single_threaded_blas():
                yield
        else:
            yield
        seconds = self._clock() - start
        self._spent += seconds
        if self.on_one or self._is_slow(flop, seconds):
            self._consider()

    def _is_slow(self, flop: float, seconds: float) -> bool:
        """Tell whether such steps have become slow, or what is usual of them is not known yet."""
        if flop != self._flop:
            self._flop, self._steps, self._seconds = flop, 0, 0.0
        self._steps += 1
        self._seconds += seconds
        if self._seconds < _WINDOW:
            return False
        mean, before = self._seconds / self._steps, self._best.get(flop)
        self._steps, self._seconds = 0, 0.0
        self._best[flop] = min(mean, before or mean)
        return before is None or self._agreed > 0 or mean > _SLOW * before

    def _consider(self) -> None:
        """Look, if it is time, and change what holds where looks agree."""
        if self._spent < self._due:
            return
        found = self._look()
        if not (found < _FREE if self.on_one else found > _BUSY):
            self._agreed, self._due = 0, self._spent + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return
        self._agreed += 1
        self._due = self._spent + _WINDOW
        if self._agreed == _LOOKS:
            self.on_one, self.switches = not self.on_one, self.switches + 1
            self._agreed, self._pause = 0, _PAUSE
            self._due = self._spent + self._pause


def look_at_products() -> float:
    """Return how many times as long a product takes on all threads as on one, here and now."""
    a, b = np.ones((64, 784), dtype=np.float32), np.ones((784, 400), dtype=np.float32)

    def seconds_each() -> float:
        start, count = perf_counter(), 0
        while perf_counter() < start + _SLICE:
            np.matmul(a, b)
            count += 1
        return (perf_counter() - start) / count

    on_one, on_all = 0.0, 0.0
    for number in range(_SLICES):
        with single_threaded_blas():
            on_one += seconds_each()
        on_all += seconds_each()
        if number and on_all > _CLEARLY * on_one:
            break
    return on_all / on_one
