"""Tables in files: CSV and TSV, Parquet, and Arrow; read by pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.part import Keys, Part
from xpmlp.data.tables.table import Table, arrow, checked_table, errors_of, is_text, table_of
from xpmlp.errors import DataError, UsageError
from xpmlp.files import open_regular

TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
# What stands for a missing value in a CSV file.
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "#N/A"]
# A CSV file is looked at this far to tell what its columns are.
_LOOKED_AT = 512 * 2**20
_HEAD = 2**16
# Rows that are read at a time where a file is not read whole.
_BATCH = 65_536


def read_table_parts(path: Path, keys: Keys) -> list[Part]:
    """Read the features and targets of a table; raises `DataError` for a file that is none."""
    return [part_of_table(read_table(path), keys)]


def part_of_table(frame: Any, keys: Keys) -> Part:
    """Return the features and targets of a data frame, or of a table that was read.

    Raises `UsageError` without a target, `DataError` for columns that are not there.
    """
    table = table_of(frame)
    named = keys.target + keys.drop + keys.categorical
    for name in named:
        table.column(name)
    if not keys.target:
        known = ", ".join(table.names[:20])
        raise UsageError(
            f"{table.place} is a table: say which column is to be predicted (target=), one of "
            f"{known}"
        )
    left = [name for name in table.names if name not in keys.target + keys.drop]
    if not left:
        raise DataError(f"{table.place}: there are no columns beside the target")
    place = f"{table.place}, {', '.join(keys.target)}"
    columns = [_targets(table, name) for name in keys.target]
    if len({column.dtype.kind in "biuf" for column in columns}) > 1:
        raise DataError(f"{place}: text and numbers are no targets of one network: choose one")
    y = np.stack(columns, axis=1)
    features = table.without(set(table.names) - set(left))
    for name in keys.categorical:
        if name in left:
            features = _as_category(features, name)
    return Part(features, y, table.place, place, names=keys.target)


def _targets(table: Table, name: str) -> np.ndarray:
    """Return a target column: whole numbers, numbers, or texts."""
    pa, column = arrow(), table.column(name)
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"{table.place}, {name}: row {row} has no target, as {column.null_count} in all: leave "
            "these rows out"
        )
    types, kind = pa.types, column.type
    if types.is_integer(kind):
        return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False))
    if types.is_floating(kind) or types.is_decimal(kind):
        return table.numbers(name)
    own = kind.value_type if types.is_dictionary(kind) else kind
    if not (is_text(own) or types.is_boolean(own) or types.is_integer(own)):
        raise DataError(f"{table.place}, {name}: {kind} is neither classes nor a number to predict")
    return np.array(table.texts(name).to_pylist(), dtype=str)


def _as_category(table: Table, name: str) -> Table:
    at = table.names.index(name)
    texts = table.texts(name).dictionary_encode()
    return Table(table.columns.set_column(at, name, texts), table.place, table.first_row)


def read_table(path: Path) -> Table:
    """Read a whole file; raises `DataError` for what is missing, damaged, or no table."""
    arrow()
    with errors_of(str(path)), open_regular(path) as file:
        ending = path.suffix.lower()
        if ending == ".parquet":
            from pyarrow import parquet

            found = parquet.read_table(file)
        elif ending in (".arrow", ".feather"):
            from pyarrow import feather

            found = feather.read_table(file, memory_map=False)
        else:
            from pyarrow import csv as arrow_csv

            size = min(max(path.stat().st_size, 2**20), _LOOKED_AT)
            found = arrow_csv.read_csv(file, **_options(path, block_size=size))
        found.validate(full=True)  # offsets and texts are what the file says, not more
    return checked_table(found, str(path))


def read_batches(path: Path, kinds: dict[str, str]) -> Iterator[Table]:
    """Yield the rows of a file some at a time; `kinds` says how its columns were read before.

    Raises `DataError` as `read_table` does.
    """
    pa, first = arrow(), 0
    with errors_of(str(path)), open_regular(path) as file:
        ending = path.suffix.lower()
        if ending == ".parquet":
            from pyarrow import parquet

            batches = parquet.ParquetFile(file).iter_batches(_BATCH)
        elif ending in (".arrow", ".feather"):
            reader = pa.ipc.open_file(file)
            batches = (reader.get_batch(k) for k in range(reader.num_record_batches))
        else:
            from pyarrow import csv as arrow_csv

            types = {name: pa.string() for name, kind in kinds.items() if kind != "number"}
            batches = arrow_csv.open_csv(file, **_options(path, types=types))
        for batch in batches:
            batch.validate(full=True)
            if batch.num_rows:
                table = checked_table(pa.Table.from_batches([batch]), str(path))
                yield Table(table.columns, table.place, first)
            first += batch.num_rows
    if not first:
        raise DataError(f"{path}: no rows in it")


def _options(
    path: Path, *, types: dict[str, Any] | None = None, block_size: int = 2**24
) -> dict[str, Any]:
    """Return how a CSV file is read, by what its first line looks like."""
    from pyarrow import csv as arrow_csv

    with open_regular(path) as file:
        head = file.read(_HEAD)
    try:
        line = head.decode("utf-8-sig").splitlines()[0]
    except (UnicodeDecodeError, IndexError) as error:
        raise DataError(f"{path}: no text in UTF-8 with a line of column names") from error
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=line.count)
    names = next(csv.reader([line], delimiter=separator))
    if all(map(_is_number, names)):
        raise DataError(
            f"{path}: its first line is {line[:60]!r}: put a line with the names of the columns "
            "before it"
        )
    return {
        "read_options": arrow_csv.ReadOptions(block_size=block_size),
        "parse_options": arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        "convert_options": arrow_csv.ConvertOptions(
            null_values=_MISSING, strings_can_be_null=True, column_types=types or {}
        ),
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
