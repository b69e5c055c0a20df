"""Steps recorded once as a CUDA graph and replayed: one launch instead of dozens a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class RecordedGraph:
    """What `steps` does to the memory that it works on, to be done again by `replay`.

    Kept together for as long as the graph lives: the graph, its stream, and the pool of memory
    that its temporary arrays came from. An address that was freed and handed out again would
    be overwritten by a replay; nobody else is given memory of this pool.
    """

    def __init__(self, cupy: Any, steps: Callable[[], None], restore: Callable[[], None]) -> None:
        cuda = cupy.cuda
        # The null stream cannot be captured, nor one that waits for it.
        self._stream = cuda.Stream(non_blocking=True)
        self._current = cuda.get_current_stream
        self._pool = cuda.MemoryPool()
        self._before, self._after = (cuda.Event(disable_timing=True) for _ in range(2))
        self._wait_for_others()
        try:
            with cuda.using_allocator(self._pool.malloc), self._stream:
                self._graph = self._recorded(steps, restore)
        finally:
            self._others_wait()

    def _recorded(self, steps: Callable[[], None], restore: Callable[[], None]) -> Any:
        # Kernels are compiled and libraries started at first use, which cannot be captured.
        steps()
        restore()
        self._stream.synchronize()
        self._stream.begin_capture()
        try:
            steps()
        finally:
            # A capture that is left open spoils the stream, and all work of this thread.
            graph = self._stream.end_capture()
        return graph

    def replay(self) -> None:
        """Do it again, after the work handed over before and ahead of what comes later."""
        self._wait_for_others()
        self._graph.launch(self._stream)
        self._others_wait()

    def _wait_for_others(self) -> None:
        self._stream.wait_event(self._current().record(self._before))

    def _others_wait(self) -> None:
        self._current().wait_event(self._stream.record(self._after))
