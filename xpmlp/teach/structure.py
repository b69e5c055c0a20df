"""Parameters as their author keeps them: arrays in lists, dictionaries and objects, by place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np


def leaves(structure: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Return the arrays of a structure and what their author would type to reach each.

    Looked into are lists, tuples, dictionaries, and the attributes of objects.

    >>> [path for path, _ in leaves({"W": [np.ones(2), np.ones(3)], "b": np.ones(1)})]
    ["['W'][0]", "['W'][1]", "['b']"]
    """
    if isinstance(structure, np.ndarray | np.generic):
        yield path, np.asarray(structure)
    elif isinstance(structure, dict):
        for key, value in structure.items():
            yield from leaves(value, f"{path}[{key!r}]")
    elif isinstance(structure, list | tuple):
        for number, value in enumerate(structure):
            yield from leaves(value, f"{path}[{number}]")
    elif hasattr(structure, "__dict__"):
        for name, value in vars(structure).items():
            yield from leaves(value, f"{path}.{name}")


def rebuilt(structure: Any, arrays: Iterator[np.ndarray]) -> Any:
    """Return a copy of a structure with other arrays, in the order of `leaves`."""
    if isinstance(structure, np.ndarray | np.generic):
        return next(arrays)
    if isinstance(structure, dict):
        return {key: rebuilt(value, arrays) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        parts = [rebuilt(value, arrays) for value in structure]
        named = hasattr(structure, "_fields")
        return type(structure)(*parts) if named else type(structure)(parts)
    if hasattr(structure, "__dict__"):
        other = copy(structure)
        for name, value in vars(structure).items():
            setattr(other, name, rebuilt(value, arrays))
        return other
    return structure


def with_arrays(structure: Any, arrays: Sequence[np.ndarray]) -> Any:
    """Return a copy of a structure that holds these arrays."""
    return rebuilt(structure, iter(arrays))


def copied(structure: Any) -> Any:
    """Return a copy that shares no array with it."""
    return with_arrays(structure, [array.copy() for _, array in leaves(structure)])
