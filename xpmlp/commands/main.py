"""`xpmlp COMMAND ...`: from a command's name to the module that carries it out."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

COMMANDS = {
    "train": "train a network, and leave a run folder with its history",
    "evaluate": "evaluate a network: loss, accuracy, confusion, worst mistakes",
    "predict": "predict the classes or values of new rows",
    "plot": "draw the curves of a run, or of several in one picture",
    "show": "show how a run has learned, on one page for a browser",
    "sweep": "train every combination of some settings, and rank them",
    "find-learning-rate": "try learning rates side by side, and show which suits",
    "ensemble": "train networks of several seeds, and average them",
    "convert": "turn a data set into HDF5 files",
    "export": "write a trained network as ONNX, or its weights as safetensors",
    "check-gradients": "hold backpropagation against central differences",
    "teach": "look at backpropagation that you have written, and name the first slip",
}


def carry_out(name: str) -> NoReturn:
    """Run one command with the flags of this process, and exit with its code."""
    from xpmlp.commands.command_line import INTERRUPTED, run

    try:
        module = import_module(f"xpmlp.commands.{name.replace('-', '_')}")
    except KeyboardInterrupt:  # before there is anything to lose
        sys.exit(INTERRUPTED)
    run(module.main, module.build_parser())


def main() -> NoReturn:
    """Run the command that is named first."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        sys.argv[:2] = [f"xpmlp {name}"]
        carry_out(name)
    from xpmlp.commands.streams import tolerate

    tolerate()
    if name == "--version":
        from xpmlp import __version__

        print(f"xpmlp {__version__}")
        sys.exit(0)
    if name not in ("--help", "-h"):
        known = ", ".join(COMMANDS)
        print(f"xpmlp: {name!r} is no command: choose from {known}", file=sys.stderr)
        sys.exit(2)
    width = max(map(len, COMMANDS))
    print("usage: xpmlp COMMAND [FLAGS]\n")
    for command, meaning in COMMANDS.items():
        print(f"  {command:<{width}}  {meaning}")
    print("\nxpmlp COMMAND --help: what its flags mean; xpmlp --version: the version.")
    sys.exit(0)
