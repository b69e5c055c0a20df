"""Processes of peers: started with the scripts on their path, asked, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpmlp.errors import CheckFailedError


def command(module: str, *arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    """Return the command line of one of these modules, and its environment."""
    scripts = Path(__file__).resolve().parent.parent.parent
    paths = [str(scripts), *filter(None, [os.environ.get("PYTHONPATH")])]
    line = [sys.executable, "-m", f"benchmarks.peers.{module}", *map(str, arguments)]
    # Of itself JAX takes three quarters of a GPU's memory, which others need meanwhile.
    alone = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return line, os.environ | alone | {"PYTHONPATH": os.pathsep.join(paths)}


class Server:
    """A library at work in a process of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        line, environment = command("server", name, folder)
        self.name, self._errors = name, (folder / f"{name}.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            line,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, **order: Any) -> Any:
        """Give an order and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            self._errors.seek(0)
            said = self._errors.read()[-2000:]
            raise CheckFailedError(f"the process of {self.name} failed:\n{said}") from error

    def close(self) -> None:
        """End the process."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()
        self._errors.close()


@contextmanager
def servers(names: list[str], folder: Path) -> Iterator[dict[str, Server]]:
    """Start one process per library; all are ended, whatever happens."""
    started = {name: Server(name, folder) for name in names}
    try:
        yield started
    finally:
        for server in started.values():
            server.process.kill()
            server.close()
