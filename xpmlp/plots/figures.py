"""New figures, and how they are saved; without matplotlib the reason why there are none."""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from xpmlp.errors import OutputError, UsageError
from xpmlp.files import make_folder, write_whole, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120


def require_matplotlib() -> None:
    """Raise `UsageError` where there is none: before the work, not after it."""
    if find_spec("matplotlib") is None:
        raise UsageError('pictures need matplotlib: pip install "xpmlp[scripts]"')


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; raises `UsageError` where matplotlib is not installed."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a picture, its format by the path's ending, into a folder that is made if need be.

    Raises `UsageError` for an ending that names no format, `OutputError` where it cannot be
    written; the picture that was there is untouched then.
    """
    from matplotlib.text import Text

    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix.lower()[1:]
    if kind not in kinds:
        raise UsageError(f"{path} names no picture: choose one of {', '.join(kinds)}")
    # Names of files and data sets are no formulas; the axes get their numbers when it is drawn.
    for text in figure.findobj(Text):
        said = text.get_text()
        if "$" in said:
            text.set_parse_math(False)
        if not said.isascii():  # a file's name may be no text
            text.set_text(said.encode("utf-8", "backslashreplace").decode())
    content = BytesIO()
    try:
        with writing(path):  # fonts are read, too
            figure.savefig(content, format=kind, dpi=_DPI)
    except ValueError as error:  # what matplotlib says where it has found no memory
        raise OutputError(f"{path} cannot be drawn ({error})") from error
    make_folder(path.parent)
    write_whole(path, content.getvalue())
