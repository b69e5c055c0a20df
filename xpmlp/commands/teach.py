"""xpmlp teach: look at backpropagation that somebody has written, and name the first slip."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from xpmlp.commands.command_line import message, new_parser
from xpmlp.commands.flags import Flags, positive
from xpmlp.errors import UsageError
from xpmlp.files import write_whole

COURSES = ("augsburg-04", "tuebingen-08", "mse-05", "tdt4265-02", "ee541-05")


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    parser.add_argument("file", nargs="?", type=Path, help="a file of Python with your functions")
    group = Flags(parser.add_argument_group("teaching"))
    group.value("--new", Path, "write a template to fill in", metavar="FILE")
    group.choice("--course", COURSES, "whose shapes and names the template has", "tuebingen-08")
    group.value("--timeout", positive, "seconds after which the file is ended", 30.0, "SECONDS")
    group.value(
        "--html", Path, "write the report as a page, with the network's picture", metavar="FILE"
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    if arguments.new is not None:
        return _write_template(arguments)
    if arguments.file is None:
        raise UsageError("there is no file to look at: give one, or write one with --new FILE")
    from xpmlp.teach.apart import looked_at

    found = looked_at(arguments.file, arguments.timeout)
    html, text = found.pop("html"), found.pop("text")
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print(text)
    if arguments.html is not None:
        page = f'<!doctype html><meta charset="utf-8"><title>{arguments.file.name}</title>{html}'
        write_whole(arguments.html, page.encode())
        message(f"files: {arguments.html}")
    return 0 if found["passed"] else 1


def _write_template(arguments: argparse.Namespace) -> int:
    from xpmlp.teach.courses import template

    path: Path = arguments.new
    if path.exists():
        raise UsageError(f"{path} is there already: give --new another name")
    write_whole(path, template(arguments.course, str(path)).encode())
    print(f"files: {path}")
    print(f"next: fill in its functions, and type xpmlp teach {path}")
    return 0
