"""Tables that stay in a file: the same rows, features and predictions, whatever their size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scripts_at_work import run_script
from tables import customers, houses

from xpmlp import DataError, Dataset, read_data, select_backend
from xpmlp.data import prepare
from xpmlp.data.tables.encoding import fit_encoding
from xpmlp.data.tables.rows import TableExamples
from xpmlp.data.tables.streamed import EncodedExamples, StreamedTable

pytest.importorskip("pyarrow")

MILLIONS = 2


def written(folder: Path, ending: str, frame: pd.DataFrame) -> Path:
    path = folder / f"table.{ending}"
    if ending == "parquet":
        frame.to_parquet(path, row_group_size=100)
    elif ending == "arrow":
        frame.to_feather(path)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv"])
@pytest.mark.parametrize("target", ["state", "income"])
def test_rows_and_features_equal_those_in_memory(ending: str, target: str, tmp_path: Path) -> None:
    frame = customers().assign(income=lambda rows: rows.income.fillna(1.5))
    path = written(tmp_path, ending, frame)
    found, expected = (
        read_data(path, target=target, categorical="plan", stream=stream)
        for stream in (True, False)
    )
    assert isinstance(found.train, StreamedTable)
    assert found.streamed
    assert not expected.streamed
    assert found.targets == expected.targets
    parts = [prepare(data, seed=3, test_size=90, val_size=50) for data in (found, expected)]
    assert isinstance(parts[0].train, EncodedExamples)
    assert parts[0].encoding is not None
    assert parts[0].encoding == parts[1].encoding
    kinds = {code.name: code.kind for code in parts[0].encoding.codes}
    assert (kinds["plan"], kinds["since"], kinds["age"]) == ("category", "date", "number")
    for name in ("train", "validation", "test"):
        one, other = (getattr(data, name) for data in parts)
        if name == "train":
            one = one.read(0, len(one))
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)
        assert one.target_scaling == other.target_scaling


def test_batches_hold_each_row_once(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet", houses())
    data = prepare(read_data(path, target="price", stream=True), test_size=0, val_size=0)
    backend = select_backend("cpu", dtype="float64")
    batches = data.train.to_device(backend).batches(64, seed=1, backend=backend)
    seen = []
    for step in range(batches.steps_per_epoch):
        examples, rows, size = batches.draw(step)
        piece = examples.batch(rows, xp=backend.xp).read(slice(0, size))
        seen.append(np.concatenate([piece.x, piece.y], axis=1))
    whole = data.train.read(0, len(data.train)).to_device(backend).batch(xp=backend.xp)
    piece = whole.read(slice(0, len(data.train)))
    expected = np.concatenate([piece.x, piece.y], axis=1)
    found = np.concatenate(seen)
    assert not np.array_equal(found, expected)  # they are shuffled
    order = [np.lexsort(rows.T) for rows in (found, expected)]
    np.testing.assert_array_equal(found[order[0]], expected[order[1]])


def test_only_some_rows_teach_the_codes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = written(tmp_path, "parquet", houses())
    streamed, whole = (read_data(path, target="price", stream=flag).train for flag in (True, False))
    for module in ("rows", "streamed"):
        monkeypatch.setattr(f"xpmlp.data.tables.{module}.LEARNT_FROM", 300)
    monkeypatch.setattr("xpmlp.data.tables.streamed._SAMPLED_ROWS", 10)
    years = np.array(houses().year)
    np.testing.assert_array_equal(whole.sample.numbers("year"), years[::3])
    # Every third run of ten rows.
    expected = years.reshape(-1, 10)[::3].reshape(-1)
    np.testing.assert_array_equal(streamed.sample.numbers("year"), expected)
    assert fit_encoding(streamed.sample) != fit_encoding(whole.table)


def test_size_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read() -> Dataset:
        return read_data(path, target="price")

    for ending in ("parquet", "arrow", "csv"):
        path = written(tmp_path, ending, houses())
        assert isinstance(read().train, TableExamples)
        # Four columns of 900 rows, whose three features are 17 numbers of 4 bytes at most.
        with monkeypatch.context() as patch:
            patch.setattr("xpmlp.parts._free_memory", lambda: 2 * 900 * 3 * 17 * 4)
            assert isinstance(read().train, StreamedTable)


def test_categories_of_a_frame_stay_categories(tmp_path: Path) -> None:
    frame = houses().assign(quarter=lambda rows: rows.quarter.astype("category"))
    frame["district"] = pd.Categorical(np.arange(len(frame)) % 3)
    found, expected = (
        prepare(read_data(written(tmp_path, "arrow", frame), target="price", stream=stream))
        for stream in (True, False)
    )
    assert found.encoding is not None
    assert found.encoding == expected.encoding
    assert {code.name: code.kind for code in found.encoding.codes}["district"] == "category"


def test_numbers_that_stand_for_categories_keep_their_zeros(tmp_path: Path) -> None:
    frame = houses().assign(code=[f"{row % 4:05d}" for row in range(900)])
    path = written(tmp_path, "csv", frame)
    flags = ("--target", "price", "--categorical", "code", "--epochs", "2", "--members", "1")
    done = run_script("train.py", "--data", path, *flags, "--out", "run", cwd=tmp_path)
    assert "code     category  4 features" in done.stderr, done.stderr
    codes = json.loads((tmp_path / "run" / "config.json").read_text())["encoding"]["codes"]
    assert codes[-1]["categories"] == ["00000", "00001", "00002", "00003"]


def test_a_disk_without_room_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = written(tmp_path, "parquet", houses())
    monkeypatch.setattr("pyarrow.ipc.new_file", full)
    with pytest.raises(DataError, match=r"no room for a copy of it in .*TMPDIR"):
        read_data(path, target="price", stream=True)


def test_a_damaged_end_is_seen_before_training(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", houses())
    with path.open("a") as file:
        file.write("1,2,3\n")
    with pytest.raises(DataError, match=r"table\.csv: cannot be read as a table \(.*4 columns"):
        read_data(path, target="price", stream=True)


@pytest.fixture(scope="module")
def millions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Millions of rows in Parquet; the target follows from a number and a category."""
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path_factory.mktemp("millions") / "big.parquet"
    rng, writer = np.random.default_rng(0), None
    for _ in range(MILLIONS):
        age, town = rng.uniform(0, 100, 10**6), rng.choice(["Bonn", "Ulm"], 10**6)
        late = age + 30 * (town == "Ulm") + rng.normal(0, 5, 10**6) > 110
        table = pa.table({"age": age, "town": town, "state": np.where(late, "left", "stays")})
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return path


def test_millions_of_rows(millions: Path, tmp_path: Path) -> None:
    data = ("--data", millions)
    small = ("--members", "1", "--hidden", "8", "--batch-size", "4096", "--epochs", "1")
    flags = (*data, "--target", "state", *small, "--stream", "yes", "--quiet", "--out", "run")
    done = run_script("train.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.94
    done = run_script("evaluate.py", "--run", "run", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["examples"] == 10_000, done.stderr
    out = ("--out", "predictions.parquet", "--quiet", "--json")
    done = run_script("predict.py", "--run", "run", *data, *out, cwd=tmp_path)
    assert json.loads(done.stdout)["rows"] == MILLIONS * 10**6, done.stderr
    found = pd.read_parquet(tmp_path / "predictions.parquet", columns=["class"])
    expected = pd.read_parquet(millions, columns=["state"])
    assert (found["class"] == expected["state"]).mean() > 0.94
