"""`xpmlp show`: one page of a run, which a browser draws without anything beside it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts_at_work import run_script

from xpmlp import MLP, Examples, select_backend
from xpmlp.commands.show import sections_of
from xpmlp.errors import DataError
from xpmlp.plots.page import Section, page_of
from xpmlp.runs.boundary import Boundary, read_frames

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


def moons(path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    angle = rng.uniform(0, np.pi, 300)
    x = np.stack([np.cos(angle) + y, np.sin(angle) * (1 - 2 * y) + y / 2], axis=1)
    np.savez(path, xdata=x + rng.normal(0, 0.1, x.shape), ydata=y)


@pytest.fixture(scope="module")
def two_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    moons(folder / "moons.npz")
    flags = ["--data", "moons.npz", "--hidden", "8", "--epochs", "6", "--diagnostics", "--quiet"]
    flags += ["--val-size", "0"]
    result = run_script("train.py", *flags, "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_curves_say_what_their_values_are(
    two_features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means over steps, or of the whole training set."""
    legends: list[str] = []

    def keep(figure: Any, path: Path) -> None:
        path.write_bytes(b"")
        legends.extend(text.get_text() for text in figure.axes[0].get_legend().get_texts())

    monkeypatch.setattr("xpmlp.plots.curves.save", keep)
    monkeypatch.chdir(two_features)
    run = tmp_path / "run"
    shutil.copytree(two_features / "run", run)
    sections_of(run, tmp_path, {}, worst=1)
    assert legends[0] == "training, mean since the point before"
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"log_train": "exact"}))
    legends.clear()
    sections_of(run, tmp_path, {}, worst=1)
    assert legends[0] == "training"


def test_a_page_of_two_features(two_features: Path) -> None:
    result = run_script("show.py", "run", cwd=two_features)
    assert result.returncode == 0, result.stderr
    assert "files: run/page.html" in result.stdout
    page = (two_features / "run" / "page.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "In short",
        "Loss and accuracy",
        "The boundary as it moves",
        "How the layers moved",
        "Which classes are taken for which",
        "Which features matter",
    ]
    # Nothing is asked for from elsewhere.
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page
    frames = read_frames(two_features / "run")
    assert len(frames.steps) == 6
    shown = json.loads(re.search(r'id="frames">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert base64.b64decode(shown["classes"]) == frames.classes.tobytes()
    assert shown["steps"] == frames.steps.tolist()


def test_the_last_frame_is_what_the_network_says(two_features: Path) -> None:
    import xpmlp

    frames = read_frames(two_features / "run")
    trained = xpmlp.load(two_features / "run" / "checkpoint.h5")
    (low_x, high_x), (low_y, high_y) = frames.ranges
    grid = np.meshgrid(np.linspace(low_x, high_x, 64), np.linspace(low_y, high_y, 64))
    points = np.stack([axis.reshape(-1) for axis in grid], axis=1)
    expected = trained.predict(points).reshape(64, 64)
    assert (frames.classes[-1] == expected).mean() > 0.999
    assert 0.2 < frames.classes[-1].mean() < 0.8


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_draws_the_boundary(two_features: Path) -> None:
    run_script("show.py", "run", "--out", "seen.html", cwd=two_features)
    result = subprocess.run(
        [
            str(BROWSER),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            f"--user-data-dir={two_features / 'browser'}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            (two_features / "seen.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = read_frames(two_features / "run").steps[-1]
    assert f'data-step="{last}"' in result.stdout
    assert f"after step {last}" in result.stdout


def test_a_page_of_images_has_mistakes_and_weights(tmp_path: Path) -> None:
    flags = ["--data", "digits", "--hidden", "8", "--epochs", "2", "--quiet", "--out", "run"]
    assert run_script("train.py", *flags, cwd=tmp_path).returncode == 0
    assert not (tmp_path / "run" / "boundary.npz").exists()
    result = run_script("show.py", "run", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["sections"][2:] == [
        "Which classes are taken for which",
        "The worst mistakes",
        "What the first layer looks for",
    ]
    assert "train with --diagnostics" in result.stderr
    nobody = run_script("show.py", "nobody", cwd=tmp_path)
    assert nobody.returncode == 6
    assert "there is no run in it" in nobody.stderr


def test_a_resumed_run_has_the_frames_of_one_that_ran_through(two_features: Path) -> None:
    flags = ["--data", "moons.npz", "--hidden", "8", "--quiet", "--out", "parts"]
    flags += ["--val-size", "0"]
    run_script("train.py", *flags, "--epochs", "3", cwd=two_features)
    run_script("train.py", *flags, "--epochs", "6", "--resume", cwd=two_features)
    parts, whole = (read_frames(two_features / name) for name in ("parts", "run"))
    for found, expected in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_many_frames_are_thinned_out(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    backend = select_backend("cpu")
    boundary = Boundary(tmp_path, Examples(x, y).to_device(backend), backend)
    mlp = MLP((2, 2))
    params = backend.all_to_device(mlp.init(np.random.default_rng(0)))
    for step in range(1, 201):
        boundary.add(step, mlp, params)
    boundary.write()
    frames = read_frames(tmp_path)
    assert 30 <= len(frames.steps) <= 60
    assert frames.steps[-1] == 200
    assert (np.diff(frames.steps) > 0).all()
    np.savez(tmp_path / "boundary.npz", **{**frames._asdict(), "steps": frames.steps[:3]})
    with pytest.raises(DataError, match="its arrays are no frames"):
        read_frames(tmp_path)


def test_texts_of_strangers_are_no_code() -> None:
    page = page_of("<b>run</b>", [Section("<i>", "a & b", "")])
    assert "<b>" not in page
    assert "&lt;i&gt;" in page


def test_a_damaged_summary(two_features: Path, tmp_path: Path) -> None:
    shutil.copytree(two_features / "run", tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("{")
    result = run_script("show.py", tmp_path / "run", cwd=two_features)
    assert result.returncode == 3
    assert "summary.json" in result.stderr
    assert "Traceback" not in result.stderr
