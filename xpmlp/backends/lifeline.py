"""Notices within moments that a rank has died, says which, and ends the others.

MPI waits for ever for a rank that is gone, or its launcher ends all of them without a name. A small
process beside rank 0, which no launcher knows of, holds a connection to every rank; when a
process ends, its system closes it. That process is this file, run by itself.
"""

from __future__ import annotations

import atexit
import json
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

_GOODBYE, _DEATH = b".", b"!"
_EXIT = 70  # an internal software error, as sysexits.h has it
_CONNECT_SECONDS = 10.0


class Lifeline:
    """A rank's connection to the keeper, watched by a thread of its own.

    `names` are those of all ranks; `shared(text)` returns rank 0's text on all of them, and
    `abort(code)` ends this one.
    """

    def __init__(
        self,
        rank: int,
        names: Sequence[str],
        shared: Callable[[str], str],
        abort: Callable[[int], object],
        *,
        one_machine: bool,
    ) -> None:
        self._abort = abort
        address = _start_keeper(names, one_machine) if rank == 0 else ""
        host, port = json.loads(shared(address))
        try:
            self._line = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
        except OSError:
            return  # a firewall between them: what is left is MPI's own way
        self._line.sendall(rank.to_bytes(4, "little"))
        self._line.settimeout(None)
        threading.Thread(target=self._watch, name="xpmlp-lifeline", daemon=True).start()
        atexit.register(self.close)

    def close(self) -> None:
        """Say that this rank ends as it should."""
        try:
            self._line.sendall(_GOODBYE)
        except OSError:
            return

    def _watch(self) -> None:
        try:
            said = self._line.recv(1)
        except OSError:
            return
        if said == _DEATH:
            self._abort(_EXIT)


def _start_keeper(names: Sequence[str], one_machine: bool) -> str:
    """Start the keeper and return its host and port, as JSON."""
    host = "127.0.0.1" if one_machine else socket.getfqdn()
    command = [sys.executable, "-I", __file__, host, *names]
    # In a session of its own: what ends the ranks all together does not reach it.
    keeper = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert keeper.stdout is not None
    with keeper.stdout as answer:
        port = int(answer.readline() or 0)
    keeper.returncode = 0  # nobody waits for it: it ends when the last rank has
    return json.dumps([host, port])


def keep(host: str, names: Sequence[str]) -> None:
    """Hold a connection to each rank, until all have said goodbye or one has died."""
    with socket.create_server((host if host == "127.0.0.1" else "", 0), backlog=len(names)) as door:
        print(door.getsockname()[1], flush=True)
        sys.stdout.close()
        door.settimeout(_CONNECT_SECONDS)
        lines: dict[socket.socket, int] = {}
        try:
            for _ in names:
                line, _address = door.accept()
                line.settimeout(_CONNECT_SECONDS)
                lines[line] = int.from_bytes(line.recv(4, socket.MSG_WAITALL), "little")
                line.settimeout(None)
        except OSError:
            return  # not all can reach it: it watches none
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line, selectors.EVENT_READ)
        while lines:
            for key, _ in selector.select():
                line = key.fileobj  # type: ignore[assignment]
                try:
                    said = line.recv(1)
                except OSError:
                    said = b""
                selector.unregister(line)
                rank = lines.pop(line)
                if said != _GOODBYE:
                    _tell(names[rank], lines)
                    return


def _tell(name: str, others: dict[socket.socket, int]) -> None:
    """Say who has died, and let the others know."""
    print(
        f"{name} has died and all ranks end: what was saved last is whole, go on from it with "
        "--resume",
        file=sys.stderr,
        flush=True,
    )
    for line in others:
        try:
            line.sendall(_DEATH)
        except OSError:
            continue


if __name__ == "__main__":
    keep(sys.argv[1], sys.argv[2:])
