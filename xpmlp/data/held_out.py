"""Which examples are held out: drawn by a seed, of every class the same share, or as asked."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from xpmlp.errors import DataError
from xpmlp.randomness import random_stream


class Apart(NamedTuple):
    """What keeps parts apart: `groups`, numbers (N,) of which none is in two parts, or `times`."""

    groups: np.ndarray | None = None
    times: np.ndarray | None = None

    def some(self, rows: np.ndarray | slice) -> Self:
        """Return those of some rows."""
        return self._replace(**{k: v[rows] for k, v in self._asdict().items() if v is not None})


BY_CHANCE = Apart()


def held_out_rows(
    count: int,
    size: int,
    seed: int,
    classes: np.ndarray | None = None,
    apart: Apart = BY_CHANCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw which of so many examples are kept and which held out, each in rising order.

    With `classes`, the class id of each, their shares are the same in both parts. `apart`: whole
    groups are held out, about so many examples of them, or the latest examples. Raises `DataError`
    for a size that leaves nothing, or groups that do not make two parts.
    """
    check_held_out(size, count)
    if apart.groups is not None:
        held = _whole_groups(apart.groups, size, seed)
        return np.flatnonzero(~held), np.flatnonzero(held)
    if apart.times is not None:
        order = np.argsort(apart.times, kind="stable")
        return np.sort(order[: count - size]), np.sort(order[count - size :])
    order = random_stream(seed, "validation").permutation(count)
    if classes is not None:
        order = order[np.argsort(_place_in_class(classes[order]), kind="stable")]
    # Both parts keep the order of their file; batches are shuffled anyway.
    return np.sort(order[: count - size]), np.sort(order[count - size :])


def fold_rows(
    count: int, folds: int, seed: int, classes: np.ndarray | None = None
) -> list[np.ndarray]:
    """Deal so many examples into folds by chance, and return the rows of each in rising order.

    With `classes`, the class id of each, their shares are about the same in all folds. Raises
    `DataError` for fewer than two folds, or than one example in each.
    """
    if not 2 <= folds <= count:
        raise DataError(f"{folds} folds of {count} examples: choose 2 to {count}")
    order = random_stream(seed, "folds").permutation(count)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    return [np.sort(order[fold::folds]) for fold in range(folds)]


def left_by_folds(count: int, folds: int) -> int:
    """Return how many of so many examples are left to train on without the largest of folds."""
    return count - -(-count // folds)


def _whole_groups(groups: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Tell of each example whether it is held out: groups in random order, until it is enough."""
    names, numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError("every row is of one group, and groups stay whole: leave out the group")
    order = random_stream(seed, "validation").permutation(len(names))
    # Up to the group that comes nearest to the size, one at least and not all.
    nearest = int(np.argmin(np.abs(np.cumsum(counts[order])[:-1] - size)))
    chosen = np.zeros(len(names), dtype=bool)
    chosen[order[: nearest + 1]] = size > 0
    found: np.ndarray = chosen[numbers]
    return found


def _place_in_class(classes: np.ndarray) -> np.ndarray:
    """Return how far along its own class each example is: (k + ½) / n for the k-th of n."""
    together = np.argsort(classes, kind="stable")
    _, first, counts = np.unique(classes[together], return_index=True, return_counts=True)
    number = np.arange(len(classes)) - np.repeat(first, counts)
    places = np.empty(len(classes))
    places[together] = (number + 0.5) / np.repeat(counts, counts)
    return places


def check_held_out(size: int, examples: int) -> None:
    """Raise `DataError` unless to hold out so many leaves something to train on."""
    if not 0 <= size < examples:
        raise DataError(
            f"{size} examples held out leaves no training example of {examples}: choose less than "
            f"{examples} for the test and the validation set"
        )
