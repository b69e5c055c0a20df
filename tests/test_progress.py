"""Where a bar is shown: on a terminal and in a notebook, and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from xpmlp.progress import Progress, counter

pytest.importorskip("tqdm")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Notebook(io.StringIO):
    """Stands in for the stream of a notebook's cell."""


Notebook.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize(
    ("stream", "shown"), [(Terminal, True), (Notebook, True), (io.StringIO, False)]
)
def test_where_a_bar_is_shown(
    stream: type[io.StringIO], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr("xpmlp.progress.find_spec", lambda name: name != "ipywidgets" or None)
    with counter(10, "row") as count, Progress(10, 0, 5) as progress:
        count(3)
        progress.step(4)
    assert count.done == 3
    said = written.getvalue()
    assert ("epoch 0" in said and "row" in said) if shown else not said


def test_no_bar_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Notebook()
    monkeypatch.setattr(sys, "stderr", written)
    with counter(10, "row", shown=False) as count, Progress(10, 0, 5, bar=False):
        count(10)
    assert not written.getvalue()
