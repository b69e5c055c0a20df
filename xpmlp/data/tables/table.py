"""A table: columns of one length by name, from a file or a data frame, held by pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from xpmlp.data.spans import Spans
from xpmlp.errors import DataError, UsageError

# How dates are written in texts, where all of a column are written in one of these ways: as Arrow
# reads them (2020-12-31, 2020-12-31 23:59:59.9), or by the codes of strptime.
ISO = "ISO 8601"
DATE_FORMATS = (
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%Y%m%d",
)


def arrow() -> Any:
    """Return the package; raises `UsageError` where it is not installed."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise UsageError('tables need pyarrow: pip install "xpmlp[tables]"') from error
    return pa


@contextmanager
def errors_of(place: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged table into a `DataError` that names the place."""
    try:
        yield
    except (DataError, UsageError):
        raise
    except MemoryError as error:
        if not isinstance(error, arrow().ArrowMemoryError):
            raise
        raise DataError(
            f"{place}: takes more memory than there is ({error}): it is damaged, or too large"
        ) from error
    except Exception as error:  # ArrowInvalid, ArrowNotImplementedError, KeyError, OSError, ...
        cause = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{place}: cannot be read as a table ({cause})") from error


@dataclass(frozen=True)
class Table:
    """`columns` is a pyarrow table; `place` is what errors call it; `first_row` its first row's.

    `categories` are the columns that are read as such, whatever they hold.
    """

    columns: Any
    place: str
    first_row: int = 0
    categories: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.columns.column_names)

    def __getitem__(self, rows: slice) -> Self:
        """Return neighbouring rows."""
        start, stop, _ = rows.indices(len(self))
        found = self.columns.slice(start, max(0, stop - start))
        return replace(self, columns=found, first_row=self.first_row + start)

    def take(self, rows: np.ndarray) -> Self:
        """Return some rows by their numbers."""
        with errors_of(self.place):
            return replace(self, columns=self.columns.take(arrow().array(rows)), first_row=0)

    def of_spans(self, spans: Spans) -> Self:
        """Return the rows of some spans, put together in memory."""
        slices = [self.columns.slice(start, stop - start) for start, stop in spans]
        with errors_of(self.place):
            found = arrow().concat_tables(slices or [self.columns.slice(0, 0)]).combine_chunks()
        return replace(self, columns=found, first_row=0)

    def without(self, names: Iterable[str]) -> Self:
        """Return it without some columns."""
        return replace(self, columns=self.columns.drop_columns(list(names)))

    def kind(self, name: str) -> str:
        """Return how a column is read: "number", "category", "date", "text" or "empty"."""
        types, column = arrow().types, self.column(name)
        if types.is_null(column.type) or column.null_count == len(column):
            return "empty"
        if types.is_dictionary(column.type) or name in self.categories:
            return "category"
        if types.is_date(column.type) or types.is_timestamp(column.type):
            return "date"
        return "text" if is_text(column.type) else "number"

    def column(self, name: str) -> Any:
        """Return a column; raises `DataError` where there is none of that name."""
        if name not in self.columns.column_names:
            known = ", ".join(self.names[:20])
            raise DataError(f"{self.place}: no column {name!r} in it, only {known}")
        return self.columns.column(name)

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as float64 (N,), NaN where it is empty; dates are seconds since 1970.

        Raises `DataError` for what is no number, or infinite.
        """
        pa, column = arrow(), self.column(name)
        import pyarrow.compute as pc

        with errors_of(f"{self.place}, {name}"):
            kind = column.type
            if pa.types.is_dictionary(kind):
                column = column.cast(kind.value_type)
            if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
                micros = column.cast(pa.timestamp("us"), safe=False)
                column = pc.divide(micros.cast(pa.int64()), 1e6)
            elif pa.types.is_time(column.type) or pa.types.is_duration(column.type):
                wide = pa.types.is_duration(column.type) or column.type.bit_width == 64
                column = column.cast(pa.int64() if wide else pa.int32())
            elif pa.types.is_boolean(column.type):
                column = column.cast(pa.uint8())
            elif is_text(column.type):
                column = _empty_as_missing(pc.utf8_trim_whitespace(column))
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        found: np.ndarray = np.asarray(values, dtype=np.float64)
        if np.isinf(found).any():
            row = self.first_row + int(np.argmax(np.isinf(found)))
            raise DataError(f"{self.place}, {name}: row {row} is infinite: repair it")
        return found

    def texts(self, name: str) -> Any:
        """Return a column as an Arrow array of texts, null where it is empty."""
        pa, column = arrow(), self.column(name)
        with errors_of(f"{self.place}, {name}"):
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            found = _empty_as_missing(column.cast(pa.string()))
            return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def dates(self, name: str, written: str) -> np.ndarray:
        """Return a column of dates as seconds since 1970 (N,), NaN where it is empty."""
        kind = self.column(name).type
        if not is_text(kind) and (written == ISO or not arrow().types.is_integer(kind)):
            return self.numbers(name)
        with errors_of(f"{self.place}, {name}"):
            stamps = _stamps(self.texts(name), written)
            micros = stamps.cast(arrow().int64()).to_numpy(zero_copy_only=False)
        return np.asarray(micros, dtype=np.float64) / 1e6


def _empty_as_missing(texts: Any) -> Any:
    """Return texts with null in place of empty ones."""
    import pyarrow.compute as pc

    pa = arrow()
    # By their numbers: until version 22 if_else of a slice of texts is not the slice's.
    numbers = pa.array(np.arange(len(texts)))
    return texts.take(pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.int64()), numbers))


def _stamps(texts: Any, written: str) -> Any:
    """Return the times that texts say, in millionths of a second."""
    import pyarrow.compute as pc

    if written == ISO:
        pa = arrow()
        try:
            return texts.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:  # times of a zone, as CSV files have them
            return texts.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    return pc.strptime(texts, format=written, unit="us")


def table_of(frame: Any, place: str = "the data frame") -> Table:
    """Return a data frame of pandas, polars or pyarrow, or columns by name, as a table.

    Raises `DataError` for columns that hold anything but numbers, texts and dates.
    """
    if isinstance(frame, Table):
        return frame
    pa = arrow()
    with errors_of(place):
        if isinstance(frame, pa.Table):
            found = frame
        elif hasattr(frame, "iloc") and hasattr(frame, "columns"):  # pandas
            frame = frame.rename(columns=str)
            found = pa.Table.from_pandas(frame, preserve_index=False)
        elif isinstance(frame, dict):
            found = pa.table({str(name): values for name, values in frame.items()})
        else:
            found = pa.table(frame)
    return checked_table(found, place)


def checked_table(columns: Any, place: str) -> Table:
    """Return a table; raises `DataError` for no rows, names that come twice, lists in cells."""
    pa, names = arrow(), columns.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{place}: several columns are called {twice[0]!r}: rename them")
    if not names or not columns.num_rows:
        raise DataError(f"{place}: no rows in it")
    for number, (name, kind) in enumerate(zip(names, columns.schema.types, strict=True)):
        own = kind.value_type if pa.types.is_dictionary(kind) else kind
        nested = pa.types.is_nested(own) or pa.types.is_binary(own) or pa.types.is_large_binary(own)
        if nested and not is_text(own):
            raise DataError(f"{place}: the column {name!r} holds {own}: leave it out (drop=)")
        if is_text(kind) and not pa.types.is_string(kind):  # other layouts of the same texts
            with errors_of(f"{place}, {name}"):
                columns = columns.set_column(number, name, columns.column(name).cast(pa.string()))
    return Table(columns, place)


def is_frame(data: Any) -> bool:
    """Tell whether this is a data frame, as pandas, polars and pyarrow have them, or a table."""
    return isinstance(data, Table) or (hasattr(data, "columns") and hasattr(data, "__len__"))


def is_text(kind: Any) -> bool:
    """Tell whether a type of Arrow's is one of texts."""
    types = arrow().types
    found = types.is_string(kind) or types.is_large_string(kind)
    return bool(found or (hasattr(types, "is_string_view") and types.is_string_view(kind)))


def date_format(table: Table, name: str) -> str | None:
    """Return how the dates of a column of texts are written, None where they are no dates."""
    texts = table.texts(name).drop_null()
    for written in (ISO, *DATE_FORMATS):
        try:
            _stamps(texts[:1], written)
            _stamps(texts, written)
        except arrow().ArrowInvalid:
            continue
        return written
    return None
