"""Tables in files: CSV and TSV, Parquet, and Arrow; read by pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from xpmlp.data.tables.table import Table, arrow, checked_table, errors_of
from xpmlp.errors import DataError
from xpmlp.files import open_regular

TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
# What stands for a missing value in a CSV file.
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "#N/A"]
# A CSV file is looked at this far to tell what its columns are.
_LOOKED_AT = 512 * 2**20
_HEAD = 2**16
# Rows, and bytes of CSV, that are read at a time where a file is not read whole.
_BATCH, _BLOCK = 65_536, 2**24


def read_table(path: Path, texts: Iterable[str] = ()) -> Table:
    """Read a whole file, some columns of CSV as `texts` whatever is in them.

    Raises `DataError` for what is missing, damaged, or no table.
    """
    arrow()
    with errors_of(str(path)), open_regular(path) as file:
        ending = path.suffix.lower()
        if ending == ".parquet":
            from pyarrow import parquet

            found = _without_index(parquet.read_table(file))
        elif ending in (".arrow", ".feather"):
            from pyarrow import feather

            found = _without_index(feather.read_table(file, memory_map=False))
        else:
            from pyarrow import csv as arrow_csv

            size = min(max(path.stat().st_size, 2**20), _LOOKED_AT)
            found = arrow_csv.read_csv(file, **_options(path, texts, block_size=size))
        found.validate(full=True)  # offsets and texts are what the file says, not more
    return checked_table(found, str(path))


def read_batches(
    path: Path, texts: Iterable[str] = (), wanted: Collection[str] | None = None
) -> Iterator[Table]:
    """Yield the rows of a file some at a time; raises `DataError` as `read_table` does.

    What a column of a CSV file is its first rows tell. Whole numbers of `wanted` columns may turn
    to fractions later; if some are wanted, what is in the others does not matter.
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

            options = _options(path, texts)
            if wanted is not None:
                options["convert_options"].column_types = _widened(path, options, wanted)
            batches = arrow_csv.open_csv(file, **options)
        for batch in batches:
            batch.validate(full=True)
            if batch.num_rows:
                table = checked_table(_without_index(pa.Table.from_batches([batch])), str(path))
                yield Table(table.columns, table.place, first)
            first += batch.num_rows
    if not first:
        raise DataError(f"{path}: no rows in it")


def _without_index(table: Any) -> Any:
    """Return a table without the numbers of rows that pandas writes as a column of its own."""
    told = (table.schema.pandas_metadata or {}).get("index_columns", [])
    numbers = [n for n in table.column_names if n in told and n.startswith("__index_level_")]
    return table.drop_columns(numbers)


def _options(path: Path, texts: Iterable[str], *, block_size: int = _BLOCK) -> dict[str, Any]:
    """Return how a CSV file is read, by what its first line looks like."""
    from pyarrow import csv as arrow_csv

    with open_regular(path) as file:
        head = file.read(_HEAD)
    try:
        line = head.splitlines()[0].decode("utf-8-sig")
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
            null_values=_MISSING,
            strings_can_be_null=True,
            column_types=dict.fromkeys(texts, arrow().string()),
        ),
    }


def _widened(path: Path, options: dict[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Return the types of a CSV file's columns, such that later rows fit, too."""
    from pyarrow import csv as arrow_csv

    pa = arrow()
    with open_regular(path) as file, arrow_csv.open_csv(file, **options) as reader:
        found = {field.name: field.type for field in reader.schema}
    for name, kind in found.items():
        if name not in wanted:
            found[name] = pa.string()
        elif pa.types.is_integer(kind) or pa.types.is_null(kind):
            found[name] = pa.float64()
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
