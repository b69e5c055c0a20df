"""Steps recorded once as a CUDA graph and replayed: one launch instead of dozens a step."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
        self._pool = cuda.MemoryPool()
        self._before, self._after = (cuda.Event(disable_timing=True) for _ in range(2))
        # A launch by another thread would become part of what is captured.
        self._one_at_a_time = RLock()
        self._graphs = 0

    def record(self, steps: Callable[[], None]) -> Callable[[], None]:
        """Return what does again what `steps` would do now; nothing of it is done yet.

        They have been called before: kernels are compiled and libraries started at first use,
        which cannot be captured.
        """
        cuda = self._cupy.cuda
        # What is cached there is of no use to the pool of the graphs.
        self._cupy.get_default_memory_pool().free_all_blocks()
        with self._in_turn(), cuda.using_allocator(self._pool.malloc), self._stream:
            graph = self._captured(steps)
        self._graphs += 1
        recorded = RecordedGraph(self, graph)
        weakref.finalize(recorded, self._dropped).atexit = False
        return recorded

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
            if not self._graphs:
                self._stream.synchronize()
                self._pool.free_all_blocks()


class RecordedGraph:
    """A graph to be replayed by a call; what it holds is given back with it."""

    def __init__(self, recorder: Recorder, graph: Any) -> None:
        self._recorder, self._graph = recorder, graph

    def __call__(self) -> None:
        """Do again what it has recorded."""
        self._recorder.replay(self._graph)
