"""What every backend offers. None of it is mathematics: that lives once, on the floors above."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from xpmlp.arrays import Array, Namespace, SomeRows
from xpmlp.backends.alone import ALONE, Ranks
from xpmlp.errors import UsageError

DTYPES = ("float32", "float64")


class Summable(Protocol):
    """Sums over examples: arrays by name. Some of them may be computed later than others."""

    def add(self, other: Any, /) -> None:
        """Add the sums over other examples."""
        ...

    def multiply_out(self) -> None:
        """Compute the sums that were left until later, on the thread that calls this."""
        ...

    def items(self) -> Any:
        """Return names and arrays."""
        ...

    def update(self, arrays: Any, /) -> None:
        """Replace arrays by name."""
        ...


Sums = TypeVar("Sums", bound=Summable)
Result = TypeVar("Result")


class Backend(ABC):
    """Arrays of one library on one device, in one floating-point dtype.

    Attributes: `xp` the namespace that the mathematics is handed, `device` that namespace's
    own device object, `dtype` its floating dtype, `name` the library, `device_name` the
    device as a user names it ("cpu", "gpu:0"), `piece_size` how many examples are worked
    on at a time, of wide ones only as many as fit `piece_bytes` in the widest type (memory grows
    with these, not with the batch).
    """

    name: str
    device_name: str
    xp: Namespace
    device: Any
    dtype: Any
    dtype_name: str
    piece_size: int
    piece_bytes = 2**26

    # Whether its arrays are numpy's own, in the host's memory.
    on_host = False
    # Whether they may be summed over ranks by NCCL, where that is installed.
    sums_by_nccl = False
    # Whether `record` may be asked: steps then work on memory that stays where it is.
    records = False
    # Whether what `compiled` returns is a program, which may hold a loop (`repeat`).
    compiles = False
    # Floating-point operations of a moment, in which nobody waits for an answer.
    flop_at_once = 4e9
    # Whether it has gone over to one thread, because other programs keep the cores busy.
    on_one_thread = False
    # The processes that share a training; each of them has a backend.
    ranks: Ranks = ALONE

    def __init__(self, dtype: str) -> None:
        if dtype not in DTYPES:
            raise UsageError(f"dtype {dtype!r} is not offered: choose one of {', '.join(DTYPES)}")
        if not hasattr(self.xp, dtype):
            raise UsageError(f"{self.name} has no {dtype}: choose the other of {', '.join(DTYPES)}")
        self.dtype_name = dtype
        self.dtype = getattr(self.xp, dtype)

    def to_device(self, array: np.ndarray) -> Array:
        """Copy a host array to the device; floating values take the backend's dtype."""
        if np.issubdtype(array.dtype, np.floating):
            array = np.asarray(array, dtype=self.dtype_name)
        elif array.dtype == np.uint32 and self.xp.uint32 == self.xp.int64:
            array = np.asarray(array, dtype=np.int64)  # it stands in
        return self.xp.asarray(array, device=self.device, copy=True)

    def all_to_device(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Array]:
        """Copy host arrays to the device, by name."""
        return {name: self.to_device(array) for name, array in arrays.items()}

    @abstractmethod
    def to_host(self, array: Array) -> np.ndarray:
        """Copy a device array to a numpy array, waiting for it where work is asynchronous."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done all work handed to it."""

    @abstractmethod
    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:
        """Return the context that computation on this backend's arrays runs in.

        `flop` says about how many floating-point operations it is, where that is known.
        """

    def piece_rows(self, features: int, most: int | None = None) -> int:
        """Return how many examples are worked on at a time: fewer where their rows are wide."""
        return max(1, min(most or self.piece_size, self.piece_bytes // (8 * max(1, features))))

    def span(self, start: Any, size: int) -> SomeRows:
        """Return neighbouring rows, as a step reads them best on this backend."""
        return slice(start, start + size)

    def sum_over_examples(
        self,
        sums_of: Callable[[SomeRows], Sums],
        examples: int,
        flop: float = 0.0,  # noqa: ARG002
        features: int = 1,
    ) -> Sums:
        """Return Σ sums_of(rows) over pieces that are the rows 0 ... examples − 1, once each.

        This is the hook by which a backend schedules a step: `sums_of` is pure, so its
        pieces may run one after another, on several threads, or recorded and replayed.
        `flop` says about how many floating-point operations an example costs, `features` how
        many values it has.
        """
        return self._sum_between(sums_of, 0, examples, self.piece_rows(features))

    def record(self, steps: Callable[[], None]) -> Callable[[], None] | None:  # noqa: ARG002
        """Return a function that does what `steps` does to the memory that it works on, quicker.

        `steps` works on memory that stays where it is, and has been called before. It may be
        called here, but nothing is to come of it. None where steps are best taken one by one.
        """
        return None

    def compiled(
        self,
        function: Callable[..., Result],
        donated: tuple[int, ...] = (),  # noqa: ARG002
    ) -> Callable[..., Result]:
        """Return `function(*values, backend=self)` as a function of the values, or a program of it.

        It is a pure function of the arrays in the values; the memory of those whose places are
        `donated` may be used again for the result.
        """
        return partial(function, backend=self)

    def repeat(
        self,
        take: Callable[[Array, Any], tuple[Any, Any]],
        carried: Any,
        most: int,
        count: Array,
    ) -> tuple[Any, Any]:
        """Return what `count` ≤ `most` calls of take(number, carried) make of what they carry.

        And what they have found, each array with a leading axis of `most`. To be called inside of
        a function that a backend compiles; others raise `NotImplementedError`.
        """
        raise NotImplementedError

    def shares(self, models: int) -> int:  # noqa: ARG002
        """Return into how many stacks so many independent models are best split."""
        return 1

    def run_apart(self, works: Sequence[Callable[[Backend], Result]]) -> list[Result]:
        """Return what independent works return; each is handed the backend that it computes on."""
        return [work(self) for work in works]

    @staticmethod
    def _sum_between(sums_of: Callable[[SomeRows], Sums], start: int, stop: int, size: int) -> Sums:
        """Add up pieces of at most `size` rows, one after another."""
        total = sums_of(slice(start, min(start + size, stop)))
        for at in range(start + size, stop, size):
            total.add(sums_of(slice(at, min(at + size, stop))))
        return total

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that compute, for a run's record."""
        return {"numpy": np.__version__}

    def settings(self) -> dict[str, Any]:
        """Return what else decides the last bits of a result and the speed."""
        return {}
