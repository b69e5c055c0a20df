"""Notices within moments that a rank has died or left, says which, and ends the others.

MPI waits for ever for a rank that is gone, or its launcher ends all of them without a name. A small
process beside rank 0, which no launcher knows of, holds a connection to every rank; when a
process ends, its system closes it. That process is this file, run by itself.
"""

from __future__ import annotations

import atexit
import json
import secrets
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

# What a rank says last, and what the keeper says of others: with a rank's number.
_GOODBYE, _DIED, _LEFT = b".", b"!", b","
_NUMBER = 4  # bytes of a rank's number
_EXIT = 70  # an internal software error, as sysexits.h has it
_CONNECT_SECONDS = 10.0
# Who waits so long for a rank that has left waits in vain.
_PATIENCE = 2.0
# A rank that does not answer for a minute is gone: seconds, seconds, times.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class Lifeline:
    """A rank's connection to the keeper, watched by a thread of its own.

    `names` are those of all ranks; `shared(text)` returns rank 0's text on all of them,
    `abort(code)` ends them all, and `waiting_since()` tells since when this one waits for them.
    """

    def __init__(
        self,
        rank: int,
        names: Sequence[str],
        *,
        shared: Callable[[str], str],
        abort: Callable[[int], object],
        waiting_since: Callable[[], float | None],
        one_machine: bool,
    ) -> None:
        self._names, self._abort, self._waiting_since = names, abort, waiting_since
        address = _start_keeper(names, one_machine) if rank == 0 else ""
        host, port, token = json.loads(shared(address))
        try:
            self._line = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
            self._line.sendall(bytes.fromhex(token) + rank.to_bytes(_NUMBER, "little"))
        except OSError:
            return  # a firewall between them: what is left is MPI's own way
        self._line.settimeout(None)
        threading.Thread(target=self._watch, name="xpmlp-lifeline", daemon=True).start()
        atexit.register(self.close)

    def close(self) -> None:
        """Say that this rank ends by itself."""
        try:
            self._line.sendall(_GOODBYE)
        except OSError:
            return

    def _watch(self) -> None:
        left = ""
        while True:
            try:
                said = self._line.recv(1 + _NUMBER, socket.MSG_WAITALL)
            except TimeoutError:
                since = self._waiting_since()
                if since is not None and time.monotonic() - since > _PATIENCE:
                    _say(f"{left} has ended, and another rank waits for it: all ranks end")
                    self._abort(_EXIT)
                continue
            except OSError:
                return
            if said[:1] == _DIED:
                self._abort(_EXIT)
            if said[:1] != _LEFT:
                return
            left = self._names[int.from_bytes(said[1:], "little")]
            self._line.settimeout(0.5)


def _start_keeper(names: Sequence[str], one_machine: bool) -> str:
    """Start the keeper and return its host, port and token, as JSON."""
    host, token = "127.0.0.1" if one_machine else socket.getfqdn(), secrets.token_hex(16)
    # In a session of its own: what ends the ranks all together does not reach it.
    keeper = subprocess.Popen(
        [sys.executable, "-I", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with keeper.stdin as order, keeper.stdout as answer:
        order.write(json.dumps([host, token, list(names)]).encode() + b"\n")
        order.flush()
        port = int(answer.readline() or 0)
    keeper.returncode = 0  # nobody waits for it: it ends when the last rank has
    return json.dumps([host, port, token])


def keep(host: str, token: str, names: Sequence[str]) -> None:
    """Hold a connection to each rank, until all have said goodbye or one has died."""
    with socket.create_server(
        (host if host == "127.0.0.1" else "", 0), backlog=len(names) + 16
    ) as door:
        print(door.getsockname()[1], flush=True)
        sys.stdout.close()
        lines = _connected(door, bytes.fromhex(token), len(names))
    if len(lines) < len(names):
        absent = [name for rank, name in enumerate(names) if rank not in lines.values()]
        _say(
            f"{', '.join(absent)} did not reach the watch of ranks in {_CONNECT_SECONDS:g} s: "
            "should a rank die, the others may wait for it for ever"
        )
        return
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line, selectors.EVENT_READ)
        while lines:
            for key, _ in selector.select():
                ended: socket.socket = key.fileobj  # type: ignore[assignment]
                try:
                    said = ended.recv(1)
                except OSError:
                    said = b""
                selector.unregister(ended)
                rank = lines.pop(ended)
                if said != _GOODBYE:
                    _say(
                        f"{names[rank]} has died and all ranks end: what was saved last is whole, "
                        "resume from it"
                    )
                    _tell(_DIED, rank, lines)
                    return
                _tell(_LEFT, rank, lines)


def _connected(door: socket.socket, token: bytes, count: int) -> dict[socket.socket, int]:
    """Return the connections of ranks, by the token that they know; others are turned away.

    All that have come are heard together: who says nothing keeps nobody waiting.
    """
    lines: dict[socket.socket, int] = {}
    whole, deadline = len(token) + _NUMBER, time.monotonic() + _CONNECT_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        while len(lines) < count and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if key.fileobj is door:
                    line, _ = door.accept()
                    line.setblocking(False)
                    selector.register(line, selectors.EVENT_READ, b"")
                    continue
                line = key.fileobj  # type: ignore[assignment]
                said = key.data + _heard(line, whole - len(key.data))
                if len(key.data) < len(said) < whole:
                    selector.modify(line, selectors.EVENT_READ, said)
                    continue
                selector.unregister(line)
                if said[:-_NUMBER] == token:
                    line.setblocking(True)
                    # A machine that loses its power says nothing: the system asks for it.
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for name, value in _KEEPALIVE.items():
                        if hasattr(socket, name):
                            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
                    lines[line] = int.from_bytes(said[-_NUMBER:], "little")
                else:
                    line.close()
    return lines


def _heard(line: socket.socket, most: int) -> bytes:
    try:
        return line.recv(most)
    except OSError:
        return b""


def _tell(what: bytes, rank: int, others: dict[socket.socket, int]) -> None:
    for line in others:
        try:
            line.sendall(what + rank.to_bytes(_NUMBER, "little"))
        except OSError:
            continue


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    keep(*json.loads(sys.stdin.readline()))
