"""Values that hold arrays, taken apart into these and the rest, and put together again.

A library that compiles needs to know which is which: arrays may be others at each call, and for
another rest it compiles anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any
Layout: TypeAlias = Any
_WITHOUT_FIELDS = (dict, list, tuple)


class _Constant(NamedTuple):
    """A value that is the same at each call; `kind` keeps 1, 1.0 and True apart."""

    kind: type
    value: Any


class _Parts(NamedTuple):
    """What may hold arrays: its type, and the layouts of its parts by name or place."""

    kind: type
    names: tuple[Any, ...]
    layouts: tuple[Layout, ...]


def taken_apart(value: Any) -> tuple[Layout, list[Array]]:
    """Return what is left of a value without its arrays, which can be hashed, and its arrays.

    Looked into are dictionaries, lists, tuples and frozen dataclasses. A number other than 0 counts
    as an array where its field may hold one. Raises `TypeError` for a rest that cannot be hashed.
    """
    arrays: list[Array] = []
    layout = _layout(value, arrays, False)
    hash(layout)
    return layout, arrays


def put_together(layout: Layout, arrays: Iterator[Array]) -> Any:
    """Return the value of a layout with other arrays in the old ones' places."""
    if layout is None:
        return next(arrays)
    if isinstance(layout, _Constant):
        return layout.value
    parts = (put_together(part, arrays) for part in layout.layouts)
    values = dict(zip(layout.names, parts, strict=True))
    if layout.kind in _WITHOUT_FIELDS:
        return values if layout.kind is dict else layout.kind(values.values())
    if issubclass(layout.kind, tuple):
        return layout.kind(**values)
    made = object.__new__(layout.kind)  # its values have been checked when it was made first
    for name, part in values.items():
        object.__setattr__(made, name, part)
    return made


def _layout(value: Any, arrays: list[Array], may_be_array: bool) -> Layout:
    """Return a layout, None for an array; arrays are put into the list."""
    kind: Any = type(value)
    if may_be_array and isinstance(value, Real) and value != 0:
        arrays.append(float(value))
        return None
    if kind is not type and hasattr(value, "shape") and hasattr(value, "dtype"):
        arrays.append(value)
        return None
    if kind in _WITHOUT_FIELDS:
        # By name: what comes back from JAX is in that order, and is to be the same value.
        pairs = sorted(value.items()) if kind is dict else enumerate(value)
        parts = {name: (part, False) for name, part in pairs}
    elif names := _fields(kind):
        parts = {name: (getattr(value, name), flag) for name, flag in names}
    else:
        return _Constant(kind, value)
    before = len(arrays)
    layouts = tuple(_layout(part, arrays, flag) for part, flag in parts.values())
    if len(arrays) == before and kind not in (dict, list):
        return _Constant(kind, value)
    return _Parts(kind, tuple(parts), layouts)


@cache
def _fields(kind: Any) -> tuple[tuple[str, bool], ...]:
    """Return the fields of a type that is looked into, each with whether it may hold an array."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple((name, "Array" in str(kind.__annotations__[name])) for name in kind._fields)
    # What may change, or may not be hashed, is no constant and no sum of its fields.
    if is_dataclass(kind) and kind.__hash__ is not None:
        return tuple((field.name, "Array" in str(field.type)) for field in fields(kind))
    return ()
