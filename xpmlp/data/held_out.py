"""Which examples are held out: drawn by a seed, of every class the same share."""

from __future__ import annotations

import numpy as np

from xpmlp.errors import DataError
from xpmlp.randomness import random_stream


def held_out_rows(
    count: int, size: int, seed: int, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw which of so many examples are kept and which held out, each in rising order.

    With `classes`, the class id of each, their shares are the same in both parts.
    """
    check_held_out(size, count)
    order = random_stream(seed, "validation").permutation(count)
    if classes is not None:
        order = order[np.argsort(_place_in_class(classes[order]), kind="stable")]
    # Both parts keep the order of their file; batches are shuffled anyway.
    return np.sort(order[: count - size]), np.sort(order[count - size :])


def _place_in_class(classes: np.ndarray) -> np.ndarray:
    """Return how far along its own class each example is: (k + ½) / n for the k-th of n."""
    together = np.argsort(classes, kind="stable")
    _, first, counts = np.unique(classes[together], return_index=True, return_counts=True)
    number = np.arange(len(classes)) - np.repeat(first, counts)
    places = np.empty(len(classes))
    places[together] = (number + 0.5) / np.repeat(counts, counts)
    return places


def check_held_out(size: int, examples: int) -> None:
    """Raise `DataError` unless a validation set of this size leaves something to train on."""
    if not 0 <= size < examples:
        raise DataError(
            f"a validation set of {size} leaves no training example of {examples}: choose less "
            f"than {examples}"
        )
