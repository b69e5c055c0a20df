"""Tables: how columns are read and coded, and what is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import customers

import xpmlp
from xpmlp.data.tables.codes import CategoryCode, DateCode, NumberCode
from xpmlp.data.tables.encoding import Encoding, fit_encoding
from xpmlp.data.tables.table import DATE_FORMATS, ISO, arrow, errors_of, table_of
from xpmlp.errors import DataError, UsageError

pa = pytest.importorskip("pyarrow")


def code_of(values: Any) -> Any:
    (code,) = fit_encoding(table_of({"a": values, "b": range(len(values))})).codes[:1]
    return code


def test_a_number_by_hand() -> None:
    # Median 3; quartiles 2 and 4, so that the spread is 2; five different values, four intervals.
    code = NumberCode.of("a", np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert code is not None
    assert (code.median, code.spread, code.quantiles) == (3.0, 2.0, (1.0, 2.0, 3.0, 4.0, 5.0))
    found = code.of_numbers(np.array([3.0, 4.5, 99.0]))
    for row, z in zip(found, (0.0, 0.75, 48.0), strict=True):
        assert row[0] == pytest.approx(z / (1 + (z / 3) ** 2) ** 0.5)
    expected = np.array([[1, 1, 0, 0], [1, 1, 1, 0.5], [1, 1, 1, 1]])
    np.testing.assert_allclose(found[:, 1:], expected)


def test_numbers_beyond_all_others_stay_within_the_bend() -> None:
    code = NumberCode.of("a", np.array([1.0, 2.0, 3.0]))
    assert code is not None
    found = code.of_numbers(np.array([1e200, -1e308]))
    np.testing.assert_allclose(found[:, 0], [3.0, -3.0])
    wide = NumberCode.of("a", np.array([-1.7e308, 0.0, 1.7e308]))
    assert wide is not None
    assert np.isfinite(wide.of_numbers(np.array([-1.7e308, 1.7e308]))).all()


def test_a_missing_number_is_the_median_and_says_so() -> None:
    code = NumberCode.of("a", np.array([1.0, np.nan, 3.0, 5.0]))
    assert code is not None
    assert code.features[-1] == "a is missing"
    found = code.of_numbers(np.array([np.nan, 3.0]))
    np.testing.assert_array_equal(found[0, :-1], found[1, :-1])
    np.testing.assert_array_equal(found[:, -1], [1, 0])


def test_slices_of_texts_are_those_of_the_whole() -> None:
    """More rows than are encoded at a time, some of them empty."""
    rng = np.random.default_rng(0)
    texts = np.array(["", "a", "bb", "ccc"])[rng.integers(4, size=9000)]
    numbers = np.array(["", " ", "1.5", "-22"])[rng.integers(4, size=9000)]
    table = table_of({"texts": texts.tolist(), "numbers": numbers.tolist()})
    expected = np.array([float(x) if x.strip() else np.nan for x in numbers])
    for start in (0, 7, 2048, 8990):
        part = table[start : start + 3000]
        assert part.texts("texts").to_pylist() == [t or None for t in texts[start : start + 3000]]
        np.testing.assert_array_equal(part.numbers("numbers"), expected[start : start + 3000])
    code = fit_encoding(table).codes[0]
    np.testing.assert_array_equal(code.encoded(table[4000:4100]), code.encoded(table)[4000:4100])


def test_a_category_by_hand() -> None:
    code = CategoryCode.of("a", pa.array(["x"] * 6 + ["y"] * 5 + [None] * 5 + ["rare"]))
    assert code == CategoryCode("a", ("x", "y", None), others=True)
    table = table_of({"a": ["y", None, "rare", "never seen"]})
    expected = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    np.testing.assert_array_equal(code.encoded(table), expected)
    known = CategoryCode("a", ("x", "y"), others=False)
    np.testing.assert_array_equal(known.encoded(table)[-1], [0, 0])


def test_a_date_by_hand() -> None:
    table = table_of({"a": ["2021-01-01", "2021-07-02", "2021-12-31", None]})
    code = DateCode.of("a", table.dates("a", ISO), ISO)
    assert code is not None
    assert code.periods == ("year",)  # all three are Fridays
    found = dict(zip(code.features, code.encoded(table).T, strict=True))
    year = 365.2425
    turns = (np.array([18628.0, 18810.0]) / year) % 1.0
    np.testing.assert_allclose(found["sin of a's year"][:2], np.sin(2 * np.pi * turns))
    assert found["a is missing"].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("written", DATE_FORMATS)
def test_dates_as_they_are_written(written: str) -> None:
    days = pd.to_datetime(["2021-01-31", "2021-11-25", "2020-02-29"])
    code = code_of(list(days.strftime(written)))
    assert isinstance(code, DateCode)
    assert code.written == written
    iso = table_of({"a": days})
    read = table_of({"a": list(days.strftime(written))})
    np.testing.assert_array_equal(read.dates("a", written), iso.dates("a", ISO))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "dict", "csv", "parquet"])
def test_every_source_has_the_same_features(library: str, tmp_path: Path) -> None:
    frame = customers(60)
    expected = fit_encoding(table_of(frame))
    if library == "polars":
        source: Any = pytest.importorskip("polars").from_pandas(frame)
    elif library == "pyarrow":
        source = pa.Table.from_pandas(frame)
    elif library == "dict":
        source = {
            name: frame[name].astype(object).where(frame[name].notna(), None).tolist()
            for name in frame
        }
    elif library == "csv":
        from xpmlp.data.formats.tables import read_table

        frame.to_csv(tmp_path / "t.csv", index=False)
        source = read_table(tmp_path / "t.csv")
    elif library == "parquet":
        from xpmlp.data.formats.tables import read_table

        frame.to_parquet(tmp_path / "t.parquet")
        source = read_table(tmp_path / "t.parquet")
    else:
        source = frame
    found = table_of(source)
    assert fit_encoding(found) == expected
    np.testing.assert_array_equal(expected.encoded(found), expected.encoded(table_of(frame)))


def test_an_encoding_is_handed_on_as_json() -> None:
    table = table_of(customers(80))
    encoding = fit_encoding(table)
    record = json.loads(json.dumps(encoding.as_record()))
    again = Encoding.from_record(record, len(encoding.features))
    assert again == encoding
    assert dict(again.left_out)["customer"] == "80 different texts in 80 rows"


BROKEN: dict[str, Any] = {
    "no codes": {"left_out": []},
    "an unknown kind": {"codes": [{"kind": "poem", "name": "a"}], "left_out": []},
    "a spread of 0": {
        "codes": [
            {
                "kind": "number",
                "name": "a",
                "median": 0,
                "spread": 0,
                "quantiles": [],
                "missing": False,
            }
        ],
        "left_out": [],
    },
    "quantiles that fall": {
        "codes": [
            {
                "kind": "number",
                "name": "a",
                "median": 0,
                "spread": 1,
                "quantiles": [2, 1],
                "missing": False,
            }
        ],
        "left_out": [],
    },
    "a format of its own": {
        "codes": [
            {
                "kind": "date",
                "name": "a",
                "median": 0,
                "spread": 1,
                "quantiles": [],
                "missing": False,
                "written": "%",
                "periods": [],
            }
        ],
        "left_out": [],
    },
    "other features": {"codes": [], "left_out": []},
}


@pytest.mark.parametrize("record", BROKEN.values(), ids=BROKEN)
def test_an_encoding_of_a_stranger_is_checked(record: Any) -> None:
    with pytest.raises(DataError, match="encoding: "):
        Encoding.from_record(record, 1)


def test_the_encoding_is_learnt_from_the_training_part_alone() -> None:
    frame = customers()
    raw = xpmlp.read_data(frame, target="state")
    whole = xpmlp.prepare(raw, test_size=200, val_size=100, seed=3)
    parts = xpmlp.data.split(raw, test_size=200, val_size=100, seed=3)
    assert whole.encoding == fit_encoding(parts.train.table)
    assert whole.encoding != fit_encoding(raw.train.table)


CSV = {
    "a file of nothing": ("", "no text in UTF-8 with a line of column names"),
    "numbers alone": ("1,2\n3,4\n", "its first line is '1,2': put a line with the names"),
    "a name twice": ("a,a,t\n1,2,x\n", "several columns are called 'a'"),
    "no rows": ("a,t\n", "no rows in it"),
    "a short line": ("a,b,t\n1,2,x\n1,2\n", "cannot be read as a table"),
    "no target in a row": ("a,t\n1,x\n2,\n3,y\n", "t: row 1 has no target, as 1 in all"),
    "one class": ("a,t\n1,x\n2,x\n", "every label is x, and there is nothing to tell apart"),
    "the target alone": ("t\nx\ny\n", "there are no columns beside the target"),
    "columns that say nothing": ("a,t\n" + "1,x\n" * 9 + "1,y\n" * 9, "no column tells the rows"),
    "infinity": ("a,t\n1,x\ninf,y\n" + "2,x\n3,y\n" * 20, "row 1 is infinite"),
}


@pytest.mark.parametrize(("content", "said"), CSV.values(), ids=CSV)
def test_a_broken_table_is_one_sentence(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        xpmlp.load_data(tmp_path / "t.csv", target="t", val_size=0, test_size=0)
    assert "t.csv" in str(caught.value)


def test_wrong_columns_are_named(tmp_path: Path) -> None:
    customers().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UsageError, match=r"say which column is to be predicted .*town"):
        xpmlp.load_data(tmp_path / "t.csv")
    with pytest.raises(DataError, match="no column 'stat' in it, only customer, age"):
        xpmlp.load_data(tmp_path / "t.csv", target="stat")
    with pytest.raises(UsageError, match="targets is no way to read: choose from x_key"):
        xpmlp.load_data(tmp_path / "t.csv", targets="state")


def test_separators_and_missing_values(tmp_path: Path) -> None:
    lines = ["a;b;t", *(f"{k};{'?' if k % 3 else k};{'xy'[k % 2]}" for k in range(60))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = xpmlp.load_data(tmp_path / "t.csv", target="t")
    assert data.encoding is not None
    assert [(code.name, code.kind) for code in data.encoding.codes] == [
        ("a", "number"),
        ("b", "number"),
    ]
    assert "b is missing" in data.encoding.features


def test_categorical_and_dropped_columns() -> None:
    frame = customers()
    data = xpmlp.load_data(frame, target="state", categorical="plan", drop=["age", "since"])
    assert data.encoding is not None
    kinds = {code.name: code.kind for code in data.encoding.codes}
    assert kinds == {"income": "number", "town": "category", "plan": "category"}


@pytest.mark.parametrize("kind", ["object", "category"])
def test_an_empty_text_is_no_target(kind: str) -> None:
    frame = pd.DataFrame({"a": range(4), "t": pd.Series(["x", "", "y", ""], dtype=kind)})
    with pytest.raises(DataError, match="t: row 1 has no target, as 2 in all"):
        xpmlp.load_data(frame, target="t", val_size=0, test_size=0)


def test_a_damaged_file_may_ask_for_any_amount_of_memory() -> None:
    """Which is told of the file; that this process has no memory left is told as such."""
    said = r"^t.arrow: takes more memory than there is \(malloc of"
    with pytest.raises(DataError, match=said), errors_of("t.arrow"):
        raise arrow().ArrowMemoryError("malloc of size 8862285160754708672 failed")
    with pytest.raises(MemoryError), errors_of("t.arrow"):
        raise MemoryError


def test_a_column_is_of_one_kind_in_both_files(tmp_path: Path) -> None:
    """Codes that look like numbers in one file alone are texts where training has texts."""
    rows = {"code": ["007", "008", "A1"] * 20, "size": range(60), "y": ["1", "2", "b"] * 20}
    pd.DataFrame(rows).to_csv(tmp_path / "train.csv", index=False)
    few = pd.DataFrame(rows).query("y != 'b'")
    few.to_csv(tmp_path / "test.csv", index=False)
    raw = xpmlp.read_data(tmp_path / "train.csv", test_source=tmp_path / "test.csv", target="y")
    data = xpmlp.prepare(raw, val_size=0)
    assert data.encoding is not None
    names = data.encoding.features
    codes = [k for k, name in enumerate(names) if name.startswith("code is")]
    np.testing.assert_array_equal(data.test.x[:, codes].sum(axis=1), np.ones(len(few)))
    assert data.test.y.tolist() == [0, 1] * 20


def test_an_index_that_pandas_wrote_is_no_feature(tmp_path: Path) -> None:
    from pyarrow import feather

    frame = customers(40).sort_values("age")
    for name in ("some.parquet", "some.feather"):
        if name.endswith("parquet"):
            frame.to_parquet(tmp_path / name)
        else:
            feather.write_feather(pa.Table.from_pandas(frame), str(tmp_path / name))
        raw = xpmlp.read_data(tmp_path / name, target="plan")
        encoding = xpmlp.prepare(raw, val_size=0).encoding
        assert encoding is not None
        assert {code.name for code in encoding.codes} <= set(frame.columns)


def test_a_character_at_the_end_of_what_is_looked_at(tmp_path: Path) -> None:
    """The first line alone says what a CSV file is: it is cut at 64 KiB, within a character."""
    text = "a,b,y\n" + "".join(f"{k},{'é' * 400},{k % 2}\n" for k in range(300))
    for shift in ("", " "):  # each of these characters is two bytes
        (tmp_path / "some.csv").write_text(shift + text, encoding="utf-8")
        assert len(xpmlp.read_data(tmp_path / "some.csv", target="y").train) > 0


def test_dates_however_they_are_written() -> None:
    """With a zone, in nanoseconds, and as the whole numbers that training had as texts."""
    noon = 1577880000.0  # 2020-01-01 12:00 UTC
    texts = table_of({"a": ["2020-01-01T12:00:00Z", "2020-01-01T14:00:00+02:00"]})
    np.testing.assert_array_equal(texts.dates("a", ISO), [noon, noon])
    stamps = table_of({"a": pa.array([int(noon) * 10**9 + 1], pa.timestamp("ns"))})
    np.testing.assert_array_equal(stamps.dates("a", ISO), [noon])
    numbers = table_of({"a": [20200101, 20200102]})
    np.testing.assert_array_equal(numbers.dates("a", "%Y%m%d"), [noon - 43200, noon + 43200])


def test_keys_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", xdata=np.eye(4), ydata=np.arange(4) % 2)
    with pytest.raises(UsageError, match=r"some\.npz is no table, which group is for"):
        xpmlp.read_data(tmp_path / "some.npz", group="g")
    with pytest.raises(UsageError, match="digits is no table, which target is for"):
        xpmlp.read_data("digits", target="y")
    with pytest.raises(UsageError, match="leave out their number, and the task"):
        xpmlp.read_data("digits", task="regression")
    for size in (0.1, -5):
        with pytest.raises(UsageError, match="val_size is"):
            xpmlp.load_data("digits", val_size=size)  # type: ignore[arg-type]
