"""Tables that memory does not hold: copied once into a file that any rows can be read from.

The rows of Parquet and CSV can only be had by reading all those around them; of an Arrow file
without compression the system brings into memory what is looked at, and forgets it again.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from errno import ENOSPC
from pathlib import Path
from typing import Any

from xpmlp.data.formats.tables import read_batches
from xpmlp.data.tables.table import Table, arrow, errors_of
from xpmlp.errors import DataError
from xpmlp.files import open_regular

# What a number takes when it is encoded, in float32: its value, and its place between quantiles.
_ENCODED = 4 * 17
# Bytes of a number, and a separator, in CSV at least; in Arrow as it is stored.
_IN_CSV, _IN_ARROW = 4, 8


def bytes_in_memory(path: Path) -> int:
    """Return about what a table takes in memory once it is encoded, at most."""
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        with errors_of(str(path)), open_regular(path) as file:
            found = parquet.read_metadata(file)
            return int(found.num_rows * found.num_columns * (_ENCODED + _IN_ARROW))
    each = _IN_ARROW if path.suffix.lower() in (".arrow", ".feather") else _IN_CSV
    with open_regular(path):
        return path.stat().st_size // each * (_ENCODED + each)


def stored_table(path: Path, texts: Iterable[str] = ()) -> Table:
    """Return a table whose rows are read when they are used, from a copy without a name.

    The copy is in the folder for temporary files, and goes with the process. Raises `DataError` as
    `read_table` does, and where there is no room for it.
    """
    pa, categories = arrow(), frozenset[str]()
    writer: Any = None
    try:
        with tempfile.TemporaryFile() as file:
            for batch in read_batches(path, texts):
                plain, categories = _without_dictionaries(batch)
                writer = writer or pa.ipc.new_file(file, plain.schema)
                writer.write_table(plain)
            writer.close()
            file.flush()
            rows = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if error.errno != ENOSPC:
            raise
        raise DataError(
            f"{path}: there is no room for a copy of it in {tempfile.gettempdir()}: name a folder "
            "on a larger disk in the environment variable TMPDIR"
        ) from error
    found = pa.ipc.open_file(pa.py_buffer(rows)).read_all()
    return Table(found, str(path), categories=categories)


def _without_dictionaries(table: Table) -> tuple[Any, frozenset[str]]:
    """Return the columns with values in place of numbers of values, and which those were."""
    pa, columns, found = arrow(), table.columns, set()
    for at, (name, kind) in enumerate(zip(table.names, columns.schema.types, strict=True)):
        if pa.types.is_dictionary(kind):
            found.add(name)
            columns = columns.set_column(at, name, columns.column(name).cast(kind.value_type))
    return columns, frozenset(found)
