"""Progress on stderr: a bar on a terminal, one line per log point anywhere else."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any, Self

from xpmlp.training.history import LogRow


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
        if bar and sys.stderr.isatty() and find_spec("tqdm") is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=steps * batch_size,
                initial=start * batch_size,
                unit=" examples",
                unit_scale=True,
                dynamic_ncols=True,
            )
        self._lines = lines and self._bar is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, step: int) -> None:
        """Move the bar to a step; costs next to nothing."""
        if self._bar is not None:
            self._bar.update(step * self._batch - self._bar.n)

    def row(self, row: LogRow) -> None:
        """Show a log point's figures."""
        figures = {"loss": row.train_loss, "accuracy": row.train_accuracy}
        figures |= {"val_loss": row.val_loss, "val_accuracy": row.val_accuracy}
        known = {name: f"{value:.4f}" for name, value in figures.items() if value is not None}
        if self._bar is not None:
            self._bar.set_postfix(known)
        elif self._lines:
            shown = "  ".join(f"{name} {value}" for name, value in known.items())
            speed = row.step * self._batch / row.seconds if row.seconds else 0.0
            left = (self._steps - row.step) * row.seconds / row.step
            text = (
                f"step {row.step}  epoch {row.epoch:g}  {shown}  {row.seconds:.1f} s  "
                f"{speed:,.0f} examples/s  {left:.0f} s left"
            )
            print(text, file=sys.stderr, flush=True)
