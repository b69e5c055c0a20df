"""Steps recorded once as a CUDA graph and replayed: one launch instead of dozens a step."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import RLock
from typing import Any


class Recorder:
    """Records graphs and replays them: on one stream, with one pool of memory for all of them.

    An address that was freed and handed out again would be overwritten by a replay: arrays that
    live only during a step come from the pool, which nobody else is given memory of. As replays
    follow one another, graphs may share it. CuPy loses what is in a pool that is dropped, so
    this one is emptied when its last graph has gone.
    """

    def __init__(self, cupy: Any) -> None:
        cuda = cupy.cuda
        self._cupy = cupy
        # The null stream cannot be captured, nor one that waits for it.
        self._stream = cuda.Stream(non_blocking=True)
        self._pool = cuda.MemoryPool(partial(_allocated, cuda))
        self._pool.set_limit(size=0)  # one that the user has set is for the usual pool
        self._before, self._after = (cuda.Event(disable_timing=True) for _ in range(2))
        # A launch by another thread would become part of what is captured.
        self._one_at_a_time = RLock()
        self._graphs = 0

    def record(self, steps: Callable[[], None], keep: object = None) -> Callable[[], None]:
        """Return what does again what `steps` would do now; nothing of it is done yet.

        `steps` have been called before: kernels are compiled and libraries started at first use,
        which cannot be captured. What is returned holds `keep`, which the recorded work goes on
        using.
        """
        cuda = self._cupy.cuda
        # What is cached there is of no use to the pool of the graphs.
        self._cupy.get_default_memory_pool().free_all_blocks()
        self._graphs += 1  # from now on: the last one that goes empties the pool
        try:
            with (
                _nothing_collected(),
                self._in_turn(),
                cuda.using_allocator(self._pool.malloc),
                self._stream,
            ):
                graph = self._captured(steps)
        except BaseException:
            self._graphs -= 1
            raise
        recorded = RecordedGraph(self, graph, keep)
        weakref.finalize(recorded, self._dropped).atexit = False
        return recorded

    def give_back(self) -> None:
        """Give the memory of a recording that has failed back to others."""
        with self._one_at_a_time:
            if not self._graphs:
                self._stream.synchronize()
                self._pool.free_all_blocks()

    def _captured(self, steps: Callable[[], None]) -> Any:
        self._stream.begin_capture()
        try:
            steps()
        except BaseException:
            # A capture that is left open spoils the stream, and all work of this thread. That it
            # cannot be ended well is a consequence of the error, which is told.
            with suppress(Exception):
                self._stream.end_capture()
            raise
        return self._stream.end_capture()

    def replay(self, graph: Any) -> None:
        """Do it, after the work handed over before and ahead of what comes later."""
        with self._in_turn():
            graph.launch(self._stream)

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let the stream wait for what others have begun, and others for what it is given here."""
        with self._one_at_a_time:
            others = self._cupy.cuda.get_current_stream()
            self._stream.wait_event(others.record(self._before))
            try:
                yield
            finally:
                others.wait_event(self._stream.record(self._after))

    def _dropped(self) -> None:
        with self._one_at_a_time:
            self._graphs -= 1
            self.give_back()


def _allocated(cuda: Any, size: int) -> Any:
    """Return new memory of the card.

    Of CUDA's own error the pool would give back what recorded graphs go on using.
    """
    try:
        return cuda.MemoryPointer(cuda.Memory(size), 0)
    except cuda.runtime.CUDARuntimeError as error:
        raise MemoryError(f"the card has no {size:,} bytes left: {error}") from error


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Collect no garbage meanwhile: what goes may wait for the device, which ends a capture."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class RecordedGraph:
    """A graph to be replayed by a call; what it holds is given back with it."""

    def __init__(self, recorder: Recorder, graph: Any, keep: object) -> None:
        self._recorder, self._graph, self._keep = recorder, graph, keep

    def __call__(self) -> None:
        """Do again what it has recorded."""
        self._recorder.replay(self._graph)
