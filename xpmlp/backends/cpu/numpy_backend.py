"""numpy on the CPU: small sums in one piece, large ones in pieces that fit in cache, on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import cache, lru_cache, partial
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as compat
import numpy as np
from threadpoolctl import ThreadpoolController

from xpmlp.arrays import Array, SomeRows
from xpmlp.backends.base import Backend, Result, Sums
from xpmlp.backends.cpu.blas import AccumulateProduct, accumulating_product
from xpmlp.backends.cpu.company import Company
from xpmlp.backends.cpu.cores import single_threaded_blas, usable_cores
from xpmlp.backends.cpu.fusion import Fusion, numba_is_installed
from xpmlp.errors import UsageError
from xpmlp.parts import even_parts
from xpmlp.pools import shared_pool

# Between so many floating-point operations a step waits longer for BLAS's other threads than
# they save it. Measured on two cores: 784-64-10 at 32 examples (6.5e6) takes a quarter less on
# one, at 256 (5.2e7) and 784-150-10 at 128 (6.1e7) the same, 784-150-10 at 256 (1.2e8) a fifth
# more. For less BLAS asks no other thread anyway.
_WAITING_FOR_BLAS = (5e6, 5e7)
# Below so many floating-point operations a step is no slower in one piece, its products on
# all threads of BLAS. Measured for 784-400-400-10 on two cores: 384 examples (0.9e9) take the
# same either way, 512 (1.1e9) a twentieth less on threads, 60,000 a quarter less.
_FLOP_FOR_THREADS = 1e9
# A thread that is given fewer examples spends its time on handing over and on fetching weights.
_LEAST_SHARE = 250
# Examples of a piece: the activations of a few hundred units stay in cache between passes.
_THREAD_PIECE = 500
_LARGEST_KEPT_BLOCK = 32 * 2**20 - 2**16
# Bytes that a vector unit reads at a time. numpy begins an array at any multiple of 16: weights of
# 784-400-400-10 that begin where a read does make a step of 64 examples a twentieth shorter.
_VECTOR_BYTES = 64


class NumpyBackend(Backend):
    """numpy arrays in main memory, worked on by up to `threads` threads.

    A sum over many examples is cut into pieces, and the pieces are dealt to threads in
    contiguous shares, each multiplying with a BLAS held to one thread. The shares depend on
    the number of threads alone: for a given number results are the same bit for bit, and for
    another the same to rounding. Where none is given, the products of small batches go over to
    one thread while other programs keep the cores busy (`on_one_thread`).
    """

    name = "numpy"
    device_name = "cpu"
    device = "cpu"
    on_host = True
    piece_size = 1000

    def __init__(self, dtype: str, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads cannot work: choose 1 or more")
        self._controller = ThreadpoolController().select(user_api="blas")
        if threads is not None:
            self._controller.limit(limits=threads)
        self.threads = threads or usable_cores()
        # A number that was asked for is kept.
        self._company = Company() if threads is None and self.threads > 1 else None
        _keep_freed_memory()
        self.xp = _namespace()
        super().__init__(dtype)

    def to_device(self, array: np.ndarray) -> Array:
        """Return a copy that begins where a vector unit reads."""
        floating = np.issubdtype(array.dtype, np.floating)
        dtype = np.dtype(self.dtype_name if floating else array.dtype)
        memory = np.empty(array.size * dtype.itemsize + _VECTOR_BYTES, dtype=np.uint8)
        start = -memory.ctypes.data % _VECTOR_BYTES
        placed: np.ndarray = np.ndarray(array.shape, dtype, memory.data[start:])
        placed[...] = array
        return placed

    def to_host(self, array: Array) -> np.ndarray:
        """Return a copy: later updates in place do not reach it."""
        return np.array(array)

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:
        """Silence the warnings of a training that diverges: the loop raises an error of its own.

        A small step has its products on one thread.
        """
        quiet = np.errstate(all="ignore")
        low, high = _WAITING_FOR_BLAS
        if flop is None or flop < low:
            return quiet
        if flop < high:
            return _both(quiet, single_threaded_blas())
        if self._company is None or flop >= _FLOP_FOR_THREADS:
            return quiet
        return _both(quiet, self._company.step(flop))

    @property
    def on_one_thread(self) -> bool:
        """Whether products of small batches are made on one thread at present."""
        return self._company is not None and self._company.on_one

    @on_one_thread.setter
    def on_one_thread(self, value: bool) -> None:
        """Begin as a training that goes on has ended; nothing where `threads` was given."""
        if self._company is not None:
            self._company.on_one = value

    def settings(self) -> dict[str, Any]:
        """Return the number of threads, and whether BLAS adds products in place."""
        company = self._company
        return {
            "threads": self.threads,
            "switches_of_threads": 0 if company is None else company.switches,
            "accumulating_product": hasattr(self.xp, "accumulate_product"),
            "blas": [
                f"{info['internal_api']} {info['version']} {info.get('architecture', '')}".strip()
                for info in self._controller.info()
            ],
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of numpy, and of Numba where it makes loops of optimisers' steps."""
        from importlib.metadata import version  # costs start-up more than the rest of this file

        found = {"numba": version("numba")} if self.xp.each else {}
        return super().versions() | found

    def synchronize(self) -> None:
        """Nothing to wait for: numpy returns when it is done."""

    def sum_over_examples(
        self,
        sums_of: Callable[[SomeRows], Sums],
        examples: int,
        flop: float = 0.0,
        features: int = 1,
    ) -> Sums:
        """Return Σ sums_of(piece), on several threads where that is quicker."""
        shares = min(self.threads, examples // _LEAST_SHARE)
        if shares < 2 or flop * examples < _FLOP_FOR_THREADS:
            return super().sum_over_examples(sums_of, examples, flop, features)

        size = self.piece_rows(features, _THREAD_PIECE)

        def work(share: slice) -> Sums:
            with self.computing():  # each thread has settings of its own
                sums = self._sum_between(sums_of, share.start, share.stop, size)
                sums.multiply_out()
                return sums

        works = [partial(work, share) for share in even_parts(examples, shares)]
        total, *others = self._on_threads(works)
        for other in others:
            total.add(other)
        return total

    def shares(self, models: int) -> int:
        """Return one stack per thread: independent models need nothing of each other."""
        return min(self.threads, models)

    def run_apart(self, works: Sequence[Callable[[Backend], Result]]) -> list[Result]:
        """Return what works return, dealt out to the threads."""
        if len(works) < 2:
            return super().run_apart(works)
        alone = copy(self)
        alone.threads, alone._company = 1, None
        bundles = [works[part] for part in even_parts(len(works), min(self.threads, len(works)))]
        found = self._on_threads([partial(_one_by_one, some, alone) for some in bundles])
        return [result for results in found for result in results]

    def _on_threads(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        """Return what works return, each on a thread with a BLAS of one thread."""
        with single_threaded_blas():
            # This thread does one too: that saves the time to wake another, and itself.
            others = [shared_pool(self.threads).submit(work) for work in works[1:]]
            try:
                first = works[0]()
            finally:
                _finished(others)
            return [first, *(other.result() for other in others)]


def _one_by_one(works: Sequence[Callable[[Backend], Result]], backend: Backend) -> list[Result]:
    return [work(backend) for work in works]


def _finished(futures: Sequence[Future[Any]]) -> None:
    """Wait for threads; where Ctrl-C comes meanwhile they finish, too, before it goes on."""
    try:
        wait(futures)
    except BaseException:
        wait(futures)
        raise


@contextmanager
def _both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield


def _keep_freed_memory() -> None:
    """Have malloc keep what a step frees for the next one, instead of giving it back.

    The malloc of Linux returns freed memory from twice the largest block freed so far on; that
    may be at each step, and to get it back costs a page fault for every 4 kB: a quarter of the
    time of a step of 1,000 examples. It raises that limit when a block of up to 32 MB is freed,
    as this one is at once.
    """
    np.empty(_LARGEST_KEPT_BLOCK, dtype=np.uint8)


@lru_cache(64)
def _kept_ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    ones = compat.ones(shape, dtype=dtype, device=device)
    ones.flags.writeable = False  # the next one who asks is given the same
    return ones


def _with_sums_of_rows(product: AccumulateProduct) -> AccumulateProduct:
    """Return a product that without a left factor adds up the rows of the right one."""

    def accumulate_product(c: Array, left: Any, right: Array, alpha: Any, beta: Any) -> bool:
        if left is not None:
            return product(c, left, right, alpha, beta)
        # An array of the size of C is made sooner than BLAS is called.
        total = np.matmul(_kept_ones((1, right.shape[-2]), dtype=right.dtype), right)[..., 0, :]
        total *= alpha
        if not (type(beta) is float and beta == 1):
            c *= beta
        c += total
        return True

    return accumulate_product


@cache
def _namespace() -> SimpleNamespace:
    """Return the standard's functions, the accumulating product, and shorter ways to some.

    A step on a small batch is some fifty calls: what numpy and array-api-compat wrap around
    these costs more than their work. It is one for all backends: loops are compiled once.
    """

    def total(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
        return np.add.reduce(x, axis=axis, keepdims=keepdims)

    def largest(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
        return np.maximum.reduce(x, axis=axis, keepdims=keepdims)

    names = vars(compat) | {"matmul": np.matmul, "sum": total, "max": largest}
    names["isdtype"] = cache(np.isdtype)
    names["ones"] = _kept_ones
    # To be found absent takes twice as long.
    names |= dict.fromkeys(("fused", "each", "by_hand"))
    product = accumulating_product()
    if product is not None:
        names["accumulate_product"] = _with_sums_of_rows(product)
    if numba_is_installed():
        fusion = Fusion(SimpleNamespace(**names))
        names["each"] = fusion.each
    return SimpleNamespace(**names)
