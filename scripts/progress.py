"""Progress on stderr: a bar on a terminal, one line a log point anywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from command_line import message

from xpmlp.training import LogRow


class Progress:
    """Shows how far a training is; `quiet` shows nothing."""

    def __init__(self, steps: int, quiet: bool) -> None:
        self._bar: Any = None
        self._lines = not quiet and not sys.stderr.isatty()
        if not quiet and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(total=steps, unit="step", dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, step: int) -> None:
        """Move the bar to a step; costs next to nothing."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def row(self, row: LogRow) -> None:
        """Show a log point's figures."""
        figures = {"loss": row.train_loss, "accuracy": row.train_accuracy}
        if row.val_loss is not None and row.val_accuracy is not None:
            figures |= {"val_loss": row.val_loss, "val_accuracy": row.val_accuracy}
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4f}" for name, value in figures.items()})
        elif self._lines:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            message(f"step {row.step}  epoch {row.epoch:g}  {shown}  {row.seconds:.1f} s")
