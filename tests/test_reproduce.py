"""The courses' experiments in miniature: their files, their figures, and what they may not do."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from courses.laboratory import Laboratory, Trained
from courses.recipes import RECIPES, ablation, ee541_05
from courses.report import Report
from scripts_at_work import run_script

from xpmlp import prepare, read_data, select_backend
from xpmlp.data import Examples
from xpmlp.runs.checkpoint import load_stack


@pytest.fixture(scope="module", params=RECIPES)
def quick(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a recipe with --quick once; return its name, folder and results."""
    folder = tmp_path_factory.mktemp(request.param)
    flags = ["--which", "deformed", "--members", "2"] if request.param == "records" else []
    result = run_script(
        "reproduce.py", request.param, "--quick", *flags, "--out", folder, "--json", cwd=folder
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((folder / "results.json").read_text())
    assert json.loads(result.stdout) == results
    return request.param, folder, results


def test_report_shows_every_picture_and_nothing_else(quick: Any) -> None:
    _, folder, results = quick
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"^!\[.+\]\((.+)\)$", text, re.MULTILINE)
    assert sorted(pictures) == sorted(path.name for path in folder.glob("*.png"))
    assert all((folder / name).stat().st_size > 10_000 for name in pictures)
    assert not re.search(r"\bnan\b|\binf\b|None|\{|\}", text)
    assert results["data"] == "digits"
    assert results["quick"] is True


def test_figures_of_the_recipe(quick: Any) -> None:
    name, folder, results = quick
    {
        "augsburg-04": check_augsburg,
        "tuebingen-08": check_tuebingen,
        "mse-05": check_mse,
        "tdt4265-02": check_tdt4265,
        "ee541-05": check_ee541,
        "records": check_records,
        "ablation": check_ablation,
    }[name](folder, results)


def check_records(folder: Path, results: dict[str, Any]) -> None:
    """Errors of each network by its own weights, and of the mean of their probabilities."""
    found, shares = results["deformed"], []
    data = prepare(read_data("digits"), val_size=0)
    scaling = data.normalization
    assert scaling is not None
    x = (data.test.x - scaling.shift) / scaling.scale
    for kept in load_stack(folder / "deformed" / "checkpoint.h5"):
        w1, b1, w2, b2 = (kept.result[f"layer{k}.{n}"] for k in (1, 2) for n in ("weight", "bias"))
        outputs = np.maximum(x @ w1 + b1, 0) @ w2 + b2
        shares.append(np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True))
    wrong = [100 * (p.argmax(axis=1) != data.test.y).mean() for p in shares]
    assert found["test_errors"] == pytest.approx(wrong)
    assert found["mean_test_error"] == pytest.approx(sum(wrong) / 2)
    together = (shares[0] + shares[1]).argmax(axis=1)
    assert found["test_error_of_their_average"] == pytest.approx(
        100 * (together != data.test.y).mean()
    )
    mistakes = {row["example"] for row in found["mistakes"]}
    assert mistakes == set(np.flatnonzero(together != data.test.y))
    assert "--recipe mnist-deformed" in found["command"]
    # Said even where they are usual: so a run of others is not taken for this one.
    assert "--members 2 --val-size 0" in found["command"]


def check_ablation(_: Path, results: dict[str, Any]) -> None:
    """A stack whose models differ in their regularisation, and those with deformed images."""
    errors = results["errors"]
    assert len(errors) == len(ablation.PIECES) + len(ablation.DEFORMED)
    assert all(0 < error < 90 for (error,) in errors.values())
    assert len({error for (error,) in errors.values()}) > 3


def check_augsburg(folder: Path, results: dict[str, Any]) -> None:
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    full = results["full_batch"]
    assert [int(row["step"]) for row in rows] == list(range(30, 301, 30))
    assert float(rows[-1]["test_accuracy"]) == full["test_accuracy"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert len((folder / "log.txt").read_text().splitlines()) == len(rows) + 1
    assert results["minibatches_of_64"]["test_accuracy"] > full["test_accuracy"]
    for gap in results["largest_difference_to_central_differences"].values():
        assert gap < 1e-8


def check_tuebingen(_: Path, results: dict[str, Any]) -> None:
    assert results["largest_relative_difference_to_central_differences"] < 3e-7
    assert results["batch_gradient_minus_mean_of_64_single_ones"] < 1e-12
    assert results["training"]["test_accuracy"] > 0.9


def check_mse(_: Path, results: dict[str, Any]) -> None:
    assert results["gradient_check_passed"] is True
    full, *sampled = results["gradient_check"]
    assert full["checked"] == full["parameters"]
    assert all(row["checked"] < row["parameters"] for row in sampled)
    assert results["parameters_of_three_hidden_layers_100_200_50"] == sum(
        (a + 1) * b for a, b in [(64, 100), (100, 200), (200, 50), (50, 10)]
    )
    assert [row["batch_size"] for row in results["forward_throughput"]][-1] == 1437
    assert results["test_error_of_the_best"]["shallow"] < 0.1


def check_tdt4265(_: Path, results: dict[str, Any]) -> None:
    assert results["parameters_of_the_base"] == 64 * 64 + 64 + 64 * 10 + 10
    few, everything = results["tricks"].values()
    for group in (few, everything):
        losses = [row["best validation loss"] for row in group.values()]
        assert min(losses[1:]) < losses[0]
    norms = results["gradient_norm_of_each_layer_at_the_start"]
    vanishing = norms["sigmoid, N(0, 1/fan_in)"]
    assert len(vanishing) == 11
    assert vanishing[0] < 1e-3 * vanishing[-1]


def check_ee541(_: Path, results: dict[str, Any]) -> None:
    rows = results["configurations"]
    assert len({(row["activation"], row["initial learning rate"]) for row in rows}) == 6
    best = max(rows, key=lambda row: row["validation accuracy"])
    chosen = results["chosen"]
    assert chosen["activation"] == best["activation"]
    assert chosen["initial_learning_rate"] == best["initial learning rate"]
    assert chosen["trained_on"] == 1437
    assert results["final_test_accuracy"] > 0.85


def test_test_set_is_opened_once_when_all_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laboratory that the experiment works in has no other way to the test images."""
    events: list[str] = []
    digits, train, train_all = read_data("digits"), Laboratory.train, Laboratory.train_all

    def noted(self: Laboratory, name: str, *args: Any, **keywords: Any) -> Trained:
        assert keywords.get("test") is None
        events.append(name)
        return train(self, name, *args, **keywords)

    def all_noted(self: Laboratory, settings: Any, split: Any) -> dict[str, Trained]:
        events.extend(settings)
        return train_all(self, settings, split)

    def open_test() -> Examples:
        events.append("the test set")
        found: Examples = digits.test
        return found

    monkeypatch.setattr(Laboratory, "train", noted)
    monkeypatch.setattr(Laboratory, "train_all", all_noted)
    monkeypatch.setattr(Laboratory, "test", property(lambda _: pytest.fail("opened too early")))
    report = Report(tmp_path, "")
    lab = Laboratory(select_backend("cpu", threads=1), digits, report, quick=True)
    assert isinstance(digits.train, Examples)
    ee541_05.experiment(lab, digits.train, open_test)
    assert len(events) == 8
    assert events[-2].endswith("on everything")
    assert events[-1] == "the test set"


def test_options_of_other_recipes_are_refused(tmp_path: Path) -> None:
    result = run_script("reproduce.py", "mse-05", "--steps", "10", cwd=tmp_path)
    assert result.returncode == 2
    assert "--steps means nothing to mse-05" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_course_split_says_what_it_is(tmp_path: Path) -> None:
    flags = ("tdt4265-02", "--quick", "--course-split", "--out", "out")
    result = run_script("reproduce.py", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "out" / "report.md").read_text()
    assert "the test images. What is chosen by it has been chosen with the test set's help" in text
