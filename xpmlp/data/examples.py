"""Examples in memory: on the host as they were read, on a device as they are trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple, Self

import numpy as np

from xpmlp.arrays import Array, Namespace, SomeRows, by_hand, some_rows
from xpmlp.backends import Backend
from xpmlp.data.batches import Batches, FixedWholeBatch, Order, ShuffledBatches
from xpmlp.data.held_out import held_out_rows
from xpmlp.data.normalization import Normalization, Rows
from xpmlp.errors import DataError
from xpmlp.mathematics.step import Piece


class Batch(NamedTuple):
    """The examples of one step. `read(rows)` returns some of them, ready to use.

    What a gradient is summed over; how the sum is split is the backend's affair. `sample_weight`
    (size,) says how many times each example counts, once without. Where ranks share a batch,
    this one has `size` examples `of_all`, at the `places(rows)` of the whole batch.
    """

    size: int
    read: Callable[[SomeRows], Piece]
    sample_weight: Array | None = None
    of_all: int | None = None
    places: Callable[[SomeRows], Array] | None = None

    @property
    def examples(self) -> int:
        """How many there are, on all ranks."""
        return self.size if self.of_all is None else self.of_all

    def scale(self, *, xp: Namespace) -> float | Array:
        """Return 1/N, or 1/Σ w: what makes of a sum over the examples their mean."""
        if self.sample_weight is None:
            return 1 / self.examples
        total = xp.sum(self.sample_weight)
        # A batch of examples that do not count has the mean 0.
        return 1.0 / xp.where(total > 0, total, 1.0)

    def numbers(self, rows: SomeRows, *, xp: Namespace) -> Array:
        """Return the numbers of some of its rows in the whole batch."""
        if self.places is not None:
            return self.places(rows)
        if isinstance(rows, slice):
            return xp.arange(rows.start, rows.stop, dtype=xp.uint32)
        return xp.astype(rows, xp.uint32)


@dataclass(frozen=True, repr=False)
class Examples:
    """Features x (N, F) and targets y, on the host or on a device.

    Integer targets are class ids (N,); floating ones are rows (N, outputs): probabilities of
    classes, or the values of a regression. x may be stored as bytes: `normalization` makes of
    them, whenever they are read, what the network is given. `sample_weight` (N,) ≥ 0 says how
    many times each example counts, once without. `target_scaling` is applied to the values of a
    regression when they are moved to a device. `dtype` is what features on a device are given
    in; on the host it is None. On a device some of the scaling may have been done already:
    `of_raw` is then the normalization of the features as they were read.

    >>> digits = Examples(np.zeros((3, 64), "uint8"), np.array([0, 1, 2]))
    >>> len(digits), digits.features
    (3, 64)
    """

    x: Array
    y: Array
    normalization: Normalization | None = None
    sample_weight: Array | None = None
    dtype: Any = None
    of_raw: Normalization | None = None
    target_scaling: Normalization | None = None

    def __repr__(self) -> str:
        kind = "weighted " if self.sample_weight is not None else ""
        return f"<Examples: {len(self):,} {kind}rows, {self.features} features>"

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

    @property
    def target_rows(self) -> Rows:
        """The targets as they were read."""
        return self.y  # type: ignore[no-any-return]

    def outputs(self, backend: Backend) -> int:
        """Return how many outputs the targets need: one per class, or one per value.

        Raises `DataError` for targets or weights that are none, or not one for each example.
        """
        integral, count = backend.xp.isdtype(self.y.dtype, "integral"), len(self)
        rows = [int(a.shape[0]) for a in (self.y, self.sample_weight) if a is not None and a.ndim]
        if not count or any(n != count for n in rows):
            raise DataError(
                f"{count} rows of features, and of targets and weights {rows}: give some examples, "
                "and one target for each"
            )
        if self.y.ndim != (1 if integral else 2):
            raise DataError(
                f"targets of shape {self.y.shape}: class ids are integers (N,), and probabilities "
                "or values of a regression are floating-point rows (N, outputs)"
            )
        if self.sample_weight is not None:
            check_weights(self.sample_weight, count, backend)
        if not integral:
            return int(self.y.shape[1])
        with backend.computing():
            low, high = (
                int(backend.to_host(of(self.y))) for of in (backend.xp.min, backend.xp.max)
            )
        if low < 0:
            raise DataError(f"there is the class id {low}: class ids are 0, 1, 2, ...")
        return high + 1

    def normalized(
        self, normalization: Normalization, target_scaling: Normalization | None = None
    ) -> Self:
        """Return them with another normalization; raises `DataError` on a device."""
        if self.dtype is None:
            return replace(self, normalization=normalization, target_scaling=target_scaling)
        if normalization is not self.of_raw:
            raise DataError("examples on a device are scaled already: give them as they were read")
        return self

    def first(self, count: int | None) -> Self:
        """Return the first so many of them, or all for None."""
        if count is None or count >= len(self):
            return self
        return self._map(lambda array: array[:count, ...])

    def take(self, rows: Array, backend: Backend) -> Self:
        """Return those of some row numbers, all of it on the backend's device."""
        return self._map(lambda array: backend.xp.take(array, rows, axis=0))

    def to_device(self, backend: Backend, exact: bool | None = None) -> Self:
        """Copy host arrays to the backend's device, once; those that are on one stay there.

        Bytes stay bytes, a quarter of the memory and quicker to gather; what is wider takes
        the backend's dtype, after it was scaled if it does not fit as it is. `exact` says whether
        it does, and by default these examples are looked at.
        """
        if self.dtype is not None:
            return self
        x, scaling = np.asarray(self.x), self.normalization
        if not _are_bytes(x):
            x, scaling = narrowed(x, scaling, backend.dtype_name, exact)
        integral, y = np.issubdtype(self.y.dtype, np.integer), self.y
        if self.target_scaling is not None:
            y = (y - self.target_scaling.shift) / self.target_scaling.scale
        y = np.asarray(y, dtype="int64" if integral else backend.dtype_name)
        moved = scaling and scaling.to_device(backend)
        host = replace(
            self, x=x, y=y, normalization=moved, dtype=backend.dtype, of_raw=self.normalization
        )
        if self.sample_weight is not None:
            weight = np.asarray(self.sample_weight, dtype=backend.dtype_name)
            host = replace(host, sample_weight=weight)
        return host._map(backend.to_device)

    def hold_out(self, size: int, seed: int) -> tuple[Self, Self]:
        """Split (training, rest): `size` examples from the end of a seeded shuffle.

        Of every class about the same share is held out.
        """
        ids = np.asarray(self.y) if np.issubdtype(self.y.dtype, np.integer) else None
        kept, held = held_out_rows(len(self), size, seed, ids)
        return self.some(kept), self.some(held)

    def some(self, rows: np.ndarray) -> Self:
        """Return those of some row numbers, of examples on the host."""
        return self._map(lambda array: array[rows])

    def _map(self, of: Callable[[Array], Array]) -> Self:
        """Return them with a function of each array: some rows, or a copy on a device."""
        weight = None if self.sample_weight is None else of(self.sample_weight)
        return replace(self, x=of(self.x), y=of(self.y), sample_weight=weight)

    def batch(self, rows: SomeRows | None = None, *, xp: Namespace) -> Batch:
        """Return the batch of some rows, or of all."""
        if isinstance(rows, slice):
            return self._map(lambda array: array[rows, ...]).batch(xp=xp)
        count, weight = len(self), self.sample_weight
        if rows is not None:
            count = int(rows.shape[0])
            weight = None if weight is None else xp.take(weight, rows, axis=0)

        def read(piece: SomeRows) -> Piece:
            wanted = piece if rows is None else some_rows(rows, piece, xp=xp)
            x, y = prepared_rows(self.x, self.y, wanted, self.normalization, self.dtype, xp=xp)
            given = None if weight is None else some_rows(weight, piece, xp=xp)
            return Piece(x, y, given)

        return Batch(count, read, weight)

    def batches(
        self, batch_size: int | None, *, seed: int, backend: Backend, order: Order | None = None
    ) -> Batches:
        """Return the batches of a run, of examples on its device; None is the full batch.

        `order(epoch)` replaces the seed's order. Raises `DataError` for a size that does not fit.
        """
        count = len(self)
        if batch_size is None:
            return FixedWholeBatch(self, count)
        return ShuffledBatches(self, count, batch_size, seed=seed, backend=backend, order=order)


def check_weights(weights: Array, examples: int, backend: Backend) -> None:
    """Raise `DataError` unless these say of each example how many times it counts."""
    if tuple(weights.shape) != (examples,):
        raise DataError(
            f"sample_weight has the shape {tuple(weights.shape)}: give one number for each of the "
            f"{examples} samples"
        )
    with backend.computing():
        low, high = (float(backend.to_host(of(weights))) for of in (backend.xp.min, backend.xp.max))
    if not 0 <= low <= high < inf:
        raise DataError("sample_weight has values that are negative, NaN or infinite")


def _are_bytes(x: np.ndarray) -> bool:
    """Tell whether values are whole numbers of one byte, which any floating dtype holds."""
    return x.dtype.kind in "biu" and x.dtype.itemsize == 1


def is_exact(x: np.ndarray, dtype: str) -> bool:
    """Tell whether a dtype holds these values as they are."""
    with np.errstate(over="ignore"):
        return x.dtype == dtype or _are_bytes(x) or np.array_equal(x.astype(dtype), x)


def narrowed(
    x: np.ndarray, scaling: Normalization | None, dtype: str, exact: bool | None = None
) -> tuple[np.ndarray, Normalization | None]:
    """Return features in a dtype, and the scaling that is left to do.

    A large mean with a small deviation is lost in float32 if it is not subtracted before:
    values that the dtype does not hold exactly are scaled in float64 first. Raises `DataError`
    for values beyond its range.
    """
    if x.dtype == dtype and not (scaling and scaling.is_extreme):
        return x, scaling
    with np.errstate(over="ignore"):
        narrow = x.astype(dtype)
        if exact is None:
            exact = np.array_equal(narrow, x)
        if scaling and (scaling.is_extreme or not exact):
            narrow, scaling = scaling.applied_on_host(x, dtype)
    if np.isinf(narrow).any() and not np.isinf(x).any():
        raise DataError(f"features are beyond the range of {dtype}: use float64, or scale them")
    return narrow, scaling


@by_hand
def prepared_rows(
    x: Array,
    y: Array,
    rows: SomeRows,
    scaling: Normalization | None,
    dtype: Any,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Return some rows of stored features, in a dtype (None is theirs) and normalised, and of y."""
    x, y = (some_rows(array, rows, xp=xp) for array in (x, y))
    if scaling is not None:
        return scaling.apply(x, dtype or x.dtype, xp=xp), y
    return x if dtype is None or x.dtype == dtype else xp.astype(x, dtype), y
