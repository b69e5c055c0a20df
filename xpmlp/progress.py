"""Progress on stderr: a bar on a terminal or in a notebook, one line per log point elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Self

from xpmlp.training.history import LogRow

# Short enough for 80 columns with epoch and validation figures.
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {remaining} left, {rate_noinv_fmt}{postfix}"


class Count:
    """How many are done, shown by a bar where there is one; called with how many more."""

    def __init__(self, bar: Any) -> None:
        self.done, self._bar = 0, bar

    def __call__(self, more: int) -> None:
        """Count some more."""
        self.done += more
        if self._bar is not None:
            self._bar.update(more)


@contextmanager
def counter(total: int | None, unit: str, *, shown: bool = True) -> Iterator[Count]:
    """Count things of a unit, of so many in all, with a bar on a terminal."""
    bar = _bar(total=total, unit=unit, unit_scale=True, dynamic_ncols=True) if shown else None
    try:
        yield Count(bar)
    finally:
        if bar is not None:
            bar.close()


def _bar(**settings: Any) -> Any:
    """Return a bar on a terminal or in a notebook, None elsewhere or without tqdm."""
    notebook = type(sys.stderr).__module__.partition(".")[0] == "ipykernel"
    if not (notebook or sys.stderr.isatty()) or find_spec("tqdm") is None:
        return None
    if notebook and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm  # a widget
    else:
        from tqdm import tqdm

    return tqdm(**settings)


class Progress:
    """Shows how far a training is, how fast, and how long it will take.

    `steps` in all, of which `start` are done already, of so many examples each. `bar` allows a
    bar, on a terminal and where tqdm is installed; `lines` a line per log point in its place.
    """

    def __init__(
        self, steps: int, start: int, batch_size: int, *, bar: bool = True, lines: bool = False
    ) -> None:
        self._steps, self._batch = steps, batch_size
        self._bar: Any = None
        if bar:
            sizes = {"total": steps * batch_size, "initial": start * batch_size}
            self._bar = _bar(
                **sizes,
                desc="epoch 0",
                unit=" rows",
                unit_scale=True,
                dynamic_ncols=True,
                bar_format=_FORMAT,
            )
        self._lines = lines and self._bar is None
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, step: int) -> None:
        """Move the bar to a step; costs next to nothing."""
        if self._bar is not None:
            self._bar.update(step * self._batch - self._bar.n)

    def say_once(self, text: str) -> None:
        """Print a sentence beside the bar, at the first time that it is said."""
        if text in self._said or not (self._bar is not None or self._lines):
            return
        self._said.add(text)
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def row(self, row: LogRow) -> None:
        """Show a log point's figures."""
        figures = {"loss": row.train_loss, "accuracy": row.train_accuracy}
        figures |= {"val_loss": row.val_loss, "val_accuracy": row.val_accuracy}
        known = {name: f"{value:.4f}" for name, value in figures.items() if value is not None}
        if self._bar is not None:
            kind = "train" if row.val_loss is None else "val"
            loss, right = (row.train_loss, row.train_accuracy)
            if row.val_loss is not None:
                loss, right = row.val_loss, row.val_accuracy
            said = f"{kind} loss {loss:.4f}" + ("" if right is None else f", accuracy {right:.4f}")
            self._bar.set_description_str(f"epoch {row.epoch:.3g}", refresh=False)
            self._bar.set_postfix_str(said)
        elif self._lines:
            shown = "  ".join(f"{name} {value}" for name, value in known.items())
            speed = row.step * self._batch / row.seconds if row.seconds else 0.0
            left = (self._steps - row.step) * row.seconds / row.step
            text = (
                f"step {row.step}  epoch {row.epoch:g}  {shown}  {row.seconds:.1f} s  "
                f"{speed:,.0f} examples/s  {left:.0f} s left"
            )
            print(text, file=sys.stderr, flush=True)
