"""Examples in memory: on the host as they were read, on a device as they are trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from xpmlp.arrays import Array, Namespace
from xpmlp.backends import Backend
from xpmlp.data.normalization import Normalization, Rows
from xpmlp.errors import DataError
from xpmlp.randomness import random_stream


class Batch(NamedTuple):
    """The examples of one step. `read(piece)` returns x and y of some of its rows, ready to use.

    What a gradient is summed over; how the sum is split is the backend's affair. `weights`
    (size,) says how many times each example counts, once without. Where ranks share a batch,
    this one has `size` examples `of_all`, at the `places(piece)` of the whole batch.
    """

    size: int
    read: Callable[[slice], tuple[Array, Array]]
    weights: Array | None = None
    of_all: int | None = None
    places: Callable[[slice], Array] | None = None

    @property
    def examples(self) -> int:
        """How many there are, on all ranks."""
        return self.size if self.of_all is None else self.of_all

    def scale(self, *, xp: Namespace) -> float | Array:
        """Return 1/N, or 1/Σ w: what makes of a sum over the examples their mean."""
        if self.weights is None:
            return 1 / self.examples
        total = xp.sum(self.weights)
        # A batch of examples that do not count has the mean 0.
        return 1.0 / xp.where(total > 0, total, 1.0)

    def rows(self, piece: slice, *, like: Array, xp: Namespace) -> Array:
        """Return the numbers of some of its rows in the whole batch."""
        if self.places is not None:
            return self.places(piece)
        return xp.arange(piece.start, piece.stop, dtype=xp.uint32, device=like.device)

    def weights_of(self, piece: slice) -> Array | None:
        """Return the weights of some of its rows."""
        return None if self.weights is None else self.weights[piece]


@dataclass(frozen=True)
class Examples:
    """Features x (N, F) and targets y, on the host or on a device.

    Integer targets are class ids (N,); floating ones are rows (N, outputs): probabilities of
    classes, or the values of a regression. x may be stored as bytes: `normalization` makes of
    them, whenever they are read, what the network is given. `weights` (N,) ≥ 0 says how many
    times each example counts, once without.
    """

    x: Array
    y: Array
    normalization: Normalization | None = None
    weights: Array | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def features(self) -> int:
        """Number of values that the network is given of an example."""
        width = int(self.x.shape[1])
        return self.normalization.width(width) if self.normalization else width

    @property
    def rows(self) -> Rows:
        """The stored features, to be read a slice of rows at a time."""
        return self.x  # type: ignore[no-any-return]

    def outputs(self, backend: Backend) -> int:
        """Return how many outputs the targets need: one a class, or one a value."""
        integral = backend.xp.isdtype(self.y.dtype, "integral")
        if self.y.ndim != (1 if integral else 2):
            raise DataError(
                f"targets of shape {self.y.shape}: class ids are integers (N,), and probabilities "
                "or values of a regression are floating-point rows (N, outputs)"
            )
        if not integral:
            return int(self.y.shape[1])
        with backend.computing():
            return int(backend.to_host(backend.xp.max(self.y))) + 1

    def normalized(self, normalization: Normalization) -> Self:
        """Return them with another normalization."""
        return replace(self, normalization=normalization)

    def first(self, count: int | None) -> Self:
        """Return the first so many of them, or all for None."""
        if count is None or count >= len(self):
            return self
        return self._map(lambda array: array[:count, ...])

    def take(self, rows: Array, backend: Backend) -> Self:
        """Return those of some row numbers, all of it on the backend's device."""
        return self._map(lambda array: backend.xp.take(array, rows, axis=0))

    def to_device(self, backend: Backend) -> Self:
        """Copy host arrays to the backend's device, once.

        Bytes stay bytes, a quarter of the memory and quicker to gather; what is wider takes
        the backend's dtype, after it was scaled if it does not fit as it is.
        """
        x, scaling = np.asarray(self.x), self.normalization
        if x.dtype.kind not in "biu" or x.dtype.itemsize > 1:
            x, scaling = narrowed(x, scaling, backend.dtype_name)
        integral = np.issubdtype(self.y.dtype, np.integer)
        y = np.asarray(self.y, dtype="int64" if integral else backend.dtype_name)
        moved = scaling and scaling.to_device(backend)
        host = replace(self, x=x, y=y, normalization=moved)
        if self.weights is not None:
            host = replace(host, weights=np.asarray(self.weights, dtype=backend.dtype_name))
        return host._map(backend.to_device)

    def hold_out(self, size: int, seed: int) -> tuple[Self, Self]:
        """Split (training, validation): `size` examples from the end of a seeded shuffle."""
        kept, held = held_out_rows(len(self), size, seed)
        return self._map(lambda array: array[kept]), self._map(lambda array: array[held])

    def _map(self, of: Callable[[Array], Array]) -> Self:
        """Return them with a function of each array: some rows, or a copy on a device."""
        weights = None if self.weights is None else of(self.weights)
        return replace(self, x=of(self.x), y=of(self.y), weights=weights)

    def whole(self, backend: Backend) -> Batch:
        """Return all of them as one batch, in order."""
        return self.batch(None, backend)

    def batch(self, rows: Array | None, backend: Backend) -> Batch:
        """Return the batch of some row numbers, an array on the device, or of all for None."""
        xp = backend.xp

        def read(piece: slice) -> tuple[Array, Array]:
            if rows is None:
                x, y = self.x[piece, ...], self.y[piece, ...]
            else:
                x, y = (xp.take(array, rows[piece], axis=0) for array in (self.x, self.y))
            return prepared(x, self.normalization, backend), y

        if rows is None:
            return Batch(len(self), read, self.weights)
        weights = None if self.weights is None else xp.take(self.weights, rows, axis=0)
        return Batch(int(rows.shape[0]), read, weights)


def narrowed(
    x: np.ndarray, scaling: Normalization | None, dtype: str
) -> tuple[np.ndarray, Normalization | None]:
    """Return features in a dtype, and the scaling that is left to do.

    A large mean with a small deviation is lost in float32 if it is not subtracted before:
    values that the dtype does not hold exactly are scaled in float64 first. Raises `DataError`
    for values beyond its range.
    """
    with np.errstate(over="ignore"):
        narrow = x.astype(dtype)
        if scaling is not None and not np.array_equal(narrow, x):
            narrow, scaling = scaling.applied_on_host(x, dtype)
    if np.isinf(narrow).any() and not np.isinf(x).any():
        raise DataError(f"features are beyond the range of {dtype}: use float64, or scale them")
    return narrow, scaling


def held_out_rows(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw which of so many examples are kept and which held out, each in rising order."""
    check_held_out(size, count)
    order = random_stream(seed, "validation").permutation(count)
    # Both parts keep the order of their file; batches are shuffled anyway.
    return np.sort(order[: count - size]), np.sort(order[count - size :])


def check_held_out(size: int, examples: int) -> None:
    """Raise `DataError` unless a validation set of this size leaves something to train on."""
    if not 0 <= size < examples:
        raise DataError(
            f"a validation set of {size} leaves no training example of {examples}: choose less "
            f"than {examples}"
        )


def prepared(x: Array, normalization: Normalization | None, backend: Backend) -> Array:
    """Return stored features in the backend's dtype, normalised."""
    if normalization is not None:
        return normalization.apply(x, backend)
    return x if x.dtype == backend.dtype else backend.xp.astype(x, backend.dtype)
