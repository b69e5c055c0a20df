"""The commands that lead from a kind of data to predictions are typed as they are documented."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from scripts_at_work import run_script
from tables import customers, houses

pytest.importorskip("pyarrow")
Image = pytest.importorskip("PIL.Image")

PAGE = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## From a file to predictions")[1].split("\n## ")[0]
PROGRAMS = re.findall(r"```sh\n(.*?)```", SECTION, flags=re.DOTALL)
(FRAMES,) = re.findall(r"```py\n(.*?)```", SECTION, flags=re.DOTALL)


def make_customers(folder: Path) -> None:
    customers().to_csv(folder / "customers.csv", index=False)
    customers(30, 1).drop(columns="state").to_csv(folder / "new_customers.csv", index=False)


def make_visits(folder: Path) -> None:
    frame = houses(3000).rename(columns={"price": "bought"})
    frame["bought"] = np.where(frame["bought"] > frame["bought"].median(), "yes", "no")
    frame.to_parquet(folder / "visits.parquet", row_group_size=500)


def make_photographs(folder: Path) -> None:
    """300 of them in three colours, some larger than others."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("grass", "sand", "sky")):
        for place, count in (("photographs", 100), ("new_photographs", 5)):
            for number in range(count):
                pixels = rng.integers(0, 120, (30 + number % 3, 40, 3), dtype=np.uint8)
                pixels[:, :, k] += 100
                path = folder / place / (name if place == "photographs" else "")
                path.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path / f"{name}{number}.png")


def make_scans(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("scans.h5", 400), ("new_scans.h5", 20)):
        findings = rng.integers(0, 2, count)
        scans = rng.integers(0, 200, (count, 20, 30), dtype=np.uint8)
        scans[findings == 1, 5:10, 5:10] += 55
        with h5py.File(folder / name, "w") as file:
            file["scans"] = scans
            if name == "scans.h5":
                file["findings"] = np.array([b"nothing", b"something"])[findings]


def make_letters(folder: Path) -> None:
    frame = customers().drop(columns="state")
    frame.head(40).to_csv(folder / "new_letters.csv", index=False)
    labels = {"urgent": (frame.age > 50) * 1, "complaint": (frame.plan == 2) * 1}
    frame.assign(**labels).to_csv(folder / "letters.csv", index=False)


MAKERS: list[tuple[Callable[[Path], None], str, int, float]] = [
    # What makes the files, the figure of `evaluate` that is asked for, rows, its smallest value.
    (make_customers, "balanced accuracy", 30, 0.5),
    (make_visits, "balanced accuracy", 3000, 0.9),
    (make_photographs, "accuracy", 15, 0.9),
    (make_scans, "accuracy", 20, 0.8),
    (make_letters, "all labels right", 40, 0.7),
]


def test_every_kind_is_documented() -> None:
    assert len(PROGRAMS) == len(MAKERS)


@pytest.mark.parametrize(
    ("number", "make", "figure", "rows", "least"),
    [(number, *case) for number, case in enumerate(MAKERS)],
    ids=[case[0].__name__ for case in MAKERS],
)
def test_the_documented_commands_work(
    number: int,
    make: Callable[[Path], None],
    figure: str,
    rows: int,
    least: float,
    tmp_path: Path,
) -> None:
    make(tmp_path)
    shown = {}
    for line in PROGRAMS[number].splitlines():
        program, command, *flags = shlex.split(line)
        assert program == "xpmlp"
        done = run_script(f"{command}.py", *flags, cwd=tmp_path)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        shown[command] = done.stdout
    assert list(shown) == ["train", "evaluate", "predict"]
    found = re.search(rf"^{figure} +([01]\.\d+)$", shown["evaluate"], flags=re.MULTILINE)
    assert found is not None, shown["evaluate"]
    assert float(found[1]) >= least
    out = tmp_path / flags[-1]
    written = pd.read_csv(out) if out.suffix == ".csv" else pd.read_parquet(out)
    assert len(written) == rows


def test_the_documented_lines_on_a_data_frame_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    houses().to_csv(tmp_path / "houses.csv", index=False)
    houses(20, 1).drop(columns="price").to_csv(tmp_path / "new_houses.csv", index=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(FRAMES, names)
    assert float(capsys.readouterr().out) > 0.9
    assert names["prices"].shape == (20,)
