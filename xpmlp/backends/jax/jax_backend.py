"""JAX on a CPU, a GPU or a TPU: whole steps compiled, and many of them in one call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from xpmlp.arrays import Array, SomeRows
from xpmlp.backends.base import Backend, Result, Sums
from xpmlp.backends.library import imported
from xpmlp.errors import DeviceError, UsageError
from xpmlp.trees import Layout, put_together, taken_apart

_INSTALL = 'pip install jax (or "jax[cuda13]" for an NVIDIA GPU, "jax[tpu]" for a TPU)'
# Programs that are kept: a network, its optimiser and the shapes of its data make one.
_KEPT_PROGRAMS = 256


class JaxBackend(Backend):
    """JAX arrays on one device; what is handed to `compiled` is one program of XLA's.

    64-bit types are JAX's while this backend computes, whatever the process has chosen: numbers
    of rows and hyperparameters keep their precision, and arrays their dtype.
    """

    name = "jax"
    compiles = True
    # A device's processors share one piece; the activations of a CPU's stay in its caches.
    piece_size = 65536
    piece_bytes = 2**30
    flop_at_once = 4e10

    def __init__(
        self,
        device: str,
        dtype: str,
        *,
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        if threads is not None:
            raise UsageError("JAX takes the threads that the system gives it: leave threads out")
        self._jax = imported("jax", "JAX", _INSTALL)
        self.xp = _namespace(self._jax.numpy)
        self.device = _device(self._jax, device)
        number = "" if self.device.platform == "cpu" else f":{self.device.id}"
        self.device_name = f"{self.device.platform}{number}"
        if self.device.platform == "cpu":
            self.piece_size, self.piece_bytes = 1000, Backend.piece_bytes
        self.precision = precision
        super().__init__(dtype)
        self.dtype = np.dtype(dtype)
        self._settings = (
            partial(self._jax.enable_x64, True),
            partial(self._jax.default_device, self.device),
            # Of itself a GPU or TPU multiplies float32 in fewer bits.
            partial(self._jax.default_matmul_precision, _PRECISIONS[precision]),
        )
        self._last: Any = None
        self._in_program = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JaxBackend) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        """What a program depends on, of all that a backend is."""
        return self.device, self.dtype_name, self.precision, self.piece_size, self.piece_bytes

    def to_device(self, array: np.ndarray) -> Array:
        """Copy a host array to the device, 64-bit integers as such."""
        with self.computing():
            return super().to_device(array)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy to the host, which waits for the work on this array."""
        return np.array(array)

    @contextmanager
    def computing(self, flop: float | None = None) -> Iterator[None]:  # noqa: ARG002
        """Compute on this device, with all types, in the precision that was chosen."""
        with ExitStack() as stack:
            for setting in self._settings:
                stack.enter_context(setting())
            yield

    def synchronize(self) -> None:
        """Wait for the program that was started last: a device runs one after another."""
        self._jax.block_until_ready(self._last)

    def compiled(
        self, function: Callable[..., Result], donated: tuple[int, ...] = ()
    ) -> Callable[..., Result]:
        """Return what runs `function` as a program, which is made anew for other shapes."""

        def run(*values: Any) -> Result:
            try:
                layouts, arrays = zip(*map(taken_apart, values), strict=True)
            except TypeError:  # what reads a file, say, is no function of arrays
                return function(*values, backend=self)
            given = [arrays[number] for number in donated]
            kept = [() if n in donated else some for n, some in enumerate(arrays)]
            found = _program(function, self, layouts, donated)(given, kept)
            self._last = self._jax.tree_util.tree_leaves(found)[-1]
            return found  # type: ignore[no-any-return]

        return run

    def repeat(
        self, take: Callable[[Array, Any], tuple[Any, Any]], carried: Any, most: int, count: Array
    ) -> tuple[Any, Any]:
        """Return what `count` calls make of what they carry, and what each has found.

        Inside a compiled function: one loop of the program, for any `count` up to `most`.
        """
        jax, xp = self._jax, self.xp
        map_arrays = jax.tree_util.tree_map
        shapes = jax.eval_shape(lambda first: take(first, carried)[1], count)
        found = map_arrays(lambda like: xp.zeros((most, *like.shape), like.dtype), shapes)

        def one(number: Array, state: tuple[Any, Any]) -> tuple[Any, Any]:
            carried, found = state
            carried, new = take(number, carried)
            return carried, map_arrays(lambda all_, one: all_.at[number].set(one), found, new)

        return jax.lax.fori_loop(0, count, one, (carried, found))  # type: ignore[no-any-return]

    def span(self, start: Any, size: int) -> SomeRows:
        """Return the numbers of neighbouring rows: where they start is no part of a program."""
        return start + self.xp.arange(size)

    def sum_over_examples(
        self,
        sums_of: Callable[[SomeRows], Sums],
        examples: int,
        flop: float = 0.0,
        features: int = 1,
    ) -> Sums:
        """Return Σ sums_of(rows) over pieces; inside a program their loop is a part of it."""
        size = self.piece_rows(features)
        pieces = examples // size
        if pieces < 2 or not self._in_program:
            return super().sum_over_examples(sums_of, examples, flop, features)

        def sums(start: Any, count: int) -> Sums:
            found = sums_of(self.span(start, count))
            found.multiply_out()
            return found

        def add(number: Any, total: dict[str, Array]) -> dict[str, Array]:
            more = sums(number * size, size)
            return {name: total[name] + array for name, array in more.items()}

        # What is left over, perhaps no rows at all, whose sums are zeros.
        total = sums(pieces * size, examples - pieces * size)
        total.update(self._jax.lax.fori_loop(0, pieces, add, dict(total.items())))
        return total

    def settings(self) -> dict[str, Any]:
        """Return in what precision products are made."""
        return {"precision": self.precision if self.dtype_name == "float32" else self.dtype_name}

    def versions(self) -> dict[str, str]:
        """Add JAX, and what it calls the device."""
        return super().versions() | {
            "jax": self._jax.__version__,
            "jax_device": f"{self.device.platform} {self.device.device_kind}",
        }


def _namespace(jnp: Any) -> SimpleNamespace:
    """Return JAX's functions of the standard, with rows taken as they are numbered."""
    # Its own puts NaN where a number is out of bounds, which costs a pass.
    return SimpleNamespace(**vars(jnp) | {"take": partial(jnp.take, mode="clip")})


_PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}


@lru_cache(_KEPT_PROGRAMS)
def _program(
    function: Callable[..., Any],
    backend: JaxBackend,
    layouts: tuple[Layout, ...],
    donated: tuple[int, ...],
) -> Callable[..., Any]:
    """Return the program of a function of values with these layouts; JAX keeps one per shape.

    The memory of donated values is used again for what comes out.
    """
    inside = copy(backend)
    inside._in_program = True

    def called(given: list[list[Array]], kept: list[list[Array]]) -> Any:
        arrays = list(kept)
        for number, some in zip(donated, given, strict=True):
            arrays[number] = some
        values = [put_together(*of) for of in zip(layouts, map(iter, arrays), strict=True)]
        return function(*values, backend=inside)

    called.__name__ = function.__name__  # what JAX calls the program
    return backend._jax.jit(called, donate_argnums=0)  # type: ignore[no-any-return]


def _device(jax: Any, name: str) -> Any:
    """Return JAX's device of a name: "cpu", "gpu" or "tpu" by itself, or "gpu:N"."""
    match = re.fullmatch(r"(cpu|gpu|tpu)(?::(\d+))?", name)
    if match is None:
        raise UsageError(f"device {name!r} is not one of JAX's: choose cpu, gpu, gpu:N or tpu")
    platform, number = match[1], int(match[2] or 0)
    try:
        # A GPU is whatever accelerator JAX takes by default.
        devices = jax.devices() if platform == "gpu" else jax.devices(platform)
    except RuntimeError as error:
        raise DeviceError(
            f"JAX has no device {name} ({str(error).splitlines()[0]}): {_INSTALL}"
        ) from error
    if platform == "gpu" and devices[0].platform == "cpu":
        raise DeviceError(f"JAX sees no GPU here: {_INSTALL}")
    if number >= len(devices):
        raise DeviceError(f"there is no device {name}: JAX sees {', '.join(map(str, devices))}")
    return devices[number]
