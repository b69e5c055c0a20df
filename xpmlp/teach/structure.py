"""Parameters as their author keeps them: arrays in lists, dictionaries and objects, by place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from types import ModuleType
from typing import Any

import numpy as np


def leaves(
    structure: Any, path: str = "", known: set[int] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Return the arrays of a structure and what their author would type to reach each.

    Looked into are lists, tuples, dictionaries, and the attributes of objects; each object once, as
    layers may know each other, and those of a list by their places in it.

    >>> [path for path, _ in leaves({"W": [np.ones(2), np.ones(3)], "b": np.ones(1)})]
    ["['W'][0]", "['W'][1]", "['b']"]
    """
    if isinstance(structure, np.ndarray | np.generic):
        yield path, np.asarray(structure)
        return
    known = {id(structure)} if known is None else known
    dot = _is_object(structure)
    for key, value in _new(_parts(structure), known):
        yield from leaves(value, path + (f".{key}" if dot else f"[{key!r}]"), known)


def rebuilt(
    structure: Any, arrays: Iterator[np.ndarray], copies: dict[int, Any] | None = None
) -> Any:
    """Return a copy of a structure with other arrays, in the order of `leaves`."""
    if isinstance(structure, np.ndarray | np.generic):
        return next(arrays)
    copies = {id(structure): copy(structure)} if copies is None else copies
    parts, known = _parts(structure), set(copies)
    new = _new(parts, known)
    copies |= {id(value): copy(value) for _, value in new if _is_object(value)}
    made = {key: rebuilt(value, arrays, copies) for key, value in new}
    made = {key: made[key] if key in made else copies[id(value)] for key, value in parts}
    if isinstance(structure, dict):
        return made
    if isinstance(structure, list | tuple):
        named = hasattr(structure, "_fields")
        return type(structure)(*made.values()) if named else type(structure)(made.values())
    if not _is_object(structure):
        return structure
    other = copies[id(structure)]
    for name, value in made.items():
        setattr(other, name, value)
    return other


def _is_object(value: Any) -> bool:
    """Tell what has attributes that may be arrays."""
    return hasattr(value, "__dict__") and not isinstance(
        value, np.ndarray | dict | list | tuple | type | ModuleType
    )


def _parts(structure: Any) -> list[tuple[Any, Any]]:
    """Return what a structure consists of, by key, place or name."""
    if isinstance(structure, dict):
        return list(structure.items())
    if isinstance(structure, list | tuple):
        return list(enumerate(structure))
    return list(vars(structure).items()) if _is_object(structure) else []


def _new(parts: list[tuple[Any, Any]], known: set[int]) -> list[tuple[Any, Any]]:
    """Return the parts that are no objects known from elsewhere; from now on they are."""
    new = []
    for key, value in parts:
        if _is_object(value):
            if id(value) in known:
                continue
            known.add(id(value))
        new.append((key, value))
    return new


def with_arrays(structure: Any, arrays: Sequence[np.ndarray]) -> Any:
    """Return a copy of a structure that holds these arrays."""
    return rebuilt(structure, iter(arrays))


def like(before: Any, after: Any) -> list[np.ndarray] | None:
    """Return the arrays of a structure that are those of another, by place or in their order.

    None where their shapes are others. Objects may remember more arrays than they began with.
    """
    shapes, found = [a.shape for _, a in leaves(before)], dict(leaves(after))
    by_place = [found[path] for path, _ in leaves(before) if path in found]
    for arrays in (by_place, list(found.values())):
        if [a.shape for a in arrays] == shapes:
            return arrays
    return None


def copied(structure: Any) -> Any:
    """Return a copy that shares no array with it."""
    return with_arrays(structure, [array.copy() for _, array in leaves(structure)])
