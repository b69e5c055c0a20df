"""Which columns of a table are features, and which are targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.formats.large_tables import bytes_in_memory, stored_table
from xpmlp.data.formats.tables import read_table
from xpmlp.data.held_out import BY_CHANCE, Apart
from xpmlp.data.part import Keys, Part
from xpmlp.data.tables.table import ISO, Table, arrow, date_format, is_text, table_of
from xpmlp.errors import DataError, UsageError
from xpmlp.parts import fits_in_memory


def read_table_parts(path: Path, keys: Keys) -> list[Part]:
    """Read the features and targets of a table, which stays in a file where memory is too small.

    Raises `DataError` for a file that is no table.
    """
    stream = keys.stream
    if stream is None:
        stream = not fits_in_memory(bytes_in_memory(path))
    texts = keys.categorical + keys.texts
    table = stored_table(path, texts) if stream else read_table(path, texts)
    return [replace(part_of_table(table, keys), in_file=stream)]


def texts_of(part: Part) -> tuple[str, ...]:
    """Return the columns of a table that hold texts, its targets among them; none of other data."""
    if not isinstance(part.x, Table):
        return ()
    columns = part.x.columns
    found = [n for n, kind in zip(part.x.names, columns.schema.types, strict=True) if is_text(kind)]
    return (*found, *(part.names if part.y.dtype.kind in "SU" else ()))


def part_of_table(frame: Any, keys: Keys) -> Part:
    """Return the features and targets of a data frame, or of a table that was read.

    Raises `UsageError` without a target, `DataError` for columns that are not there.
    """
    table = table_of(frame)
    named = keys.target + keys.drop + keys.categorical + keys.group + keys.time
    for name in named:
        table.column(name)
    if not keys.target:
        known = ", ".join(table.names[:20])
        raise UsageError(
            f"{table.place} is a table: say which column is to be predicted (target=), one of "
            f"{known}"
        )
    unused = keys.target + keys.drop + keys.group
    left = [name for name in table.names if name not in unused]
    if not left:
        raise DataError(f"{table.place}: there are no columns beside the target")
    place = f"{table.place}, {', '.join(keys.target)}"
    columns = [_targets(table, name) for name in keys.target]
    if len({column.dtype.kind in "biuf" for column in columns}) > 1:
        raise DataError(f"{place}: text and numbers are no targets of one network: choose one")
    y = np.stack(columns, axis=1)
    features = table.without(set(table.names) - set(left))
    features = replace(features, categories=table.categories | set(keys.categorical))
    apart = _apart(table, keys)
    return Part(features, y, table.place, place, names=keys.target, apart=apart)


def _apart(table: Table, keys: Keys) -> Apart:
    """Return which rows of a table stay together when it is split."""
    columns = keys.group + keys.time
    if len(columns) > 1:
        raise UsageError(f"{', '.join(columns)}: name one column, of groups or of times")
    if keys.group:
        groups = table.texts(columns[0]).dictionary_encode().indices.fill_null(-1)
        return Apart(groups=groups.to_numpy(zero_copy_only=False))
    if not keys.time:
        return BY_CHANCE
    written = date_format(table, columns[0]) if is_text(table.column(columns[0]).type) else ISO
    if written is None:
        raise DataError(f"{table.place}, {columns[0]}: its texts are no dates: name another column")
    times = table.dates(columns[0], written)
    if np.isnan(times).any():
        row = int(np.argmax(np.isnan(times)))
        raise DataError(f"{table.place}, {columns[0]}: row {row} has no time: leave it out")
    return Apart(times=times)


def _targets(table: Table, name: str) -> np.ndarray:
    """Return a target column: whole numbers, numbers, or texts."""
    pa, column = arrow(), table.column(name)
    types, kind = pa.types, column.type
    own = kind.value_type if types.is_dictionary(kind) else kind
    if is_text(own):
        column = table.texts(name)  # in which an empty one is missing
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"{table.place}, {name}: row {row} has no target, as {column.null_count} in all: leave "
            "these rows out"
        )
    if types.is_integer(kind):
        return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False))
    if types.is_floating(kind) or types.is_decimal(kind):
        values = table.numbers(name)
        if np.isnan(values).any():
            row = int(np.argmax(np.isnan(values)))
            raise DataError(f"{table.place}, {name}: row {row} has no target: leave such rows out")
        return values
    if not (is_text(own) or types.is_boolean(own) or types.is_integer(own)):
        raise DataError(f"{table.place}, {name}: {kind} is neither classes nor a number to predict")
    texts = (column if is_text(own) else table.texts(name)).dictionary_encode()
    found: np.ndarray = np.array(texts.dictionary.to_pylist(), dtype=str)[texts.indices.to_numpy()]
    return found
