"""Which rows are held out: by chance with equal shares, whole groups, or the latest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scripts_at_work import run_script
from tables import customers

from xpmlp import DataError, UsageError, load_data, read_data
from xpmlp.data.held_out import Apart, held_out_rows


def test_groups_stay_whole_and_come_near_to_the_size() -> None:
    groups = np.repeat(np.arange(20), 5)[np.random.default_rng(0).permutation(100)]
    for seed in range(5):
        kept, held = held_out_rows(100, 22, seed, apart=Apart(groups=groups))
        assert sorted([*kept, *held]) == list(range(100))
        assert not set(groups[kept]) & set(groups[held])
        assert len(held) == 20  # four groups of 5 are nearer to 22 than five
    assert (
        len({tuple(held_out_rows(100, 22, s, apart=Apart(groups=groups))[1]) for s in (1, 2)}) > 1
    )
    _, none = held_out_rows(100, 0, 0, apart=Apart(groups=groups))
    assert not len(none)
    kept, held = held_out_rows(6, 1, 0, apart=Apart(groups=np.array([7, 7, 7, 8, 8, 8])))
    assert len(kept) == len(held) == 3
    with pytest.raises(DataError, match="every row is of one group"):
        held_out_rows(3, 1, 0, apart=Apart(groups=np.zeros(3)))


def test_the_latest_are_held_out() -> None:
    times = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    kept, held = held_out_rows(5, 2, 0, apart=Apart(times=times))
    assert (kept.tolist(), held.tolist()) == ([1, 3, 4], [0, 2])


@pytest.mark.parametrize("stream", [False, True])
def test_columns_keep_the_parts_of_a_table_apart(stream: bool, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    frame = customers().assign(shop=lambda rows: np.arange(len(rows)) % 30)
    frame.to_parquet(path)
    found = {}
    for column in ("group", "time"):
        keys: dict[str, Any] = {column: "shop" if column == "group" else "since"}
        data = load_data(path, target="state", stream=stream, test_size=200, val_size=100, **keys)
        names = [code.name for code in data.encoding.codes] if data.encoding else []
        assert ("shop" in names) == (column == "time")
        assert [len(data.train), len(data.validation), len(data.test)] == [
            [600, 90, 210],
            [600, 100, 200],
        ][column == "time"]
        found[column] = data
    # Days of the test rows are after those of validation, and these after those of training.
    place = found["time"].encoding.features.index("since")  # type: ignore[union-attr]
    parts = (found["time"].train, found["time"].validation, found["time"].test)
    days = [(p.read(0, len(p)) if hasattr(p, "read") else p).x[:, place] for p in parts]
    assert days[0].max() <= days[1].min() <= days[1].max() <= days[2].min()


def test_wrong_columns_are_refused() -> None:
    frame = customers()
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"group": "x"}, DataError, "no column 'x' in it"),
        ({"group": "town", "time": "since"}, UsageError, "town, since: name one column"),
        ({"time": "town"}, DataError, "town: its texts are no dates"),
        ({"time": "income"}, DataError, r"income: row \d+ has no time"),
    ]
    for keys, error, said in cases:
        with pytest.raises(error, match=said):
            read_data(frame, target="state", **keys)


def test_a_run_by_groups_is_evaluated_on_the_same_rows(tmp_path: Path) -> None:
    frame = customers().assign(shop=lambda rows: np.arange(len(rows)) % 30)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    flags = ("--data", "rows.csv", "--target", "state", "--group", "shop", "--epochs", "3")
    done = run_script("train.py", *flags, "--members", "1", "--out", "run", "--json", cwd=tmp_path)
    summary = json.loads(done.stdout)
    done = run_script("evaluate.py", "--run", "run", "--json", cwd=tmp_path)
    again = json.loads(done.stdout)
    assert again["loss"] == pytest.approx(summary["test_loss"], rel=1e-6)
    assert again["examples"] == 180
    # New rows need no column of groups.
    frame.drop(columns="shop").to_csv(tmp_path / "new.csv", index=False)
    done = run_script("evaluate.py", "--run", "run", "--data", "new.csv", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["examples"] == 900, done.stderr
    out = ("--out", "found.csv", "--quiet")
    assert (
        run_script("predict.py", "--run", "run", "--data", "new.csv", *out, cwd=tmp_path).returncode
        == 0
    )
    assert len(pd.read_csv(tmp_path / "found.csv")) == 900
    done = run_script("sweep.py", *flags, "--folds", "3", cwd=tmp_path)
    assert done.returncode == 2
    assert "--folds are drawn by chance" in done.stderr
