"""Notices within moments that another rank has died, and says which.

MPI waits for ever for a rank that is gone, or is ended by its launcher without a name. Rank 0
holds a connection to every other; when a process ends, its system closes it.
"""

from __future__ import annotations

import atexit
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

_GOODBYE = b"."
_EXIT = 70  # an internal software error, as sysexits.h has it
_CONNECT_SECONDS = 10.0


class Lifeline:
    """Connections between rank 0 and all others, watched by a thread of their own.

    `shared(text)` returns rank 0's text on all ranks; `abort(code)` ends them all.
    """

    def __init__(
        self,
        rank: int,
        names: Sequence[str],
        shared: Callable[[str], str],
        abort: Callable[[int], object],
        one_machine: bool,
    ) -> None:
        self._rank, self._names, self._abort = rank, names, abort
        self._peers: dict[socket.socket, int] = {}
        listener = socket.create_server(("127.0.0.1" if one_machine else "", 0), backlog=len(names))
        host = "127.0.0.1" if one_machine else socket.getfqdn()
        address, port = shared(f"{host} {listener.getsockname()[1]}").split()
        try:
            self._connect(listener, address, int(port))
        except OSError:
            return  # a firewall between them: what is left is MPI's own way
        finally:
            listener.close()
        threading.Thread(target=self._watch, name="xpmlp-lifeline", daemon=True).start()
        atexit.register(self.close)

    def close(self) -> None:
        """Tell the others that this rank ends as it should."""
        for peer in list(self._peers):
            try:
                peer.sendall(_GOODBYE)
            except OSError:
                continue

    def _connect(self, listener: socket.socket, address: str, port: int) -> None:
        if self._rank:
            peer = socket.create_connection((address, port), timeout=_CONNECT_SECONDS)
            peer.sendall(self._rank.to_bytes(4, "little"))
            peer.settimeout(None)
            self._peers[peer] = 0
            return
        listener.settimeout(_CONNECT_SECONDS)
        for _ in self._names[1:]:
            peer, _address = listener.accept()
            peer.settimeout(_CONNECT_SECONDS)
            self._peers[peer] = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "little")
            peer.settimeout(None)

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer, rank in self._peers.items():
                selector.register(peer, selectors.EVENT_READ, rank)
            left = len(self._peers)
            while left:
                for key, _ in selector.select():
                    try:
                        said = key.fileobj.recv(1)  # type: ignore[union-attr]
                    except OSError:
                        said = b""
                    selector.unregister(key.fileobj)
                    left -= 1
                    if said != _GOODBYE:
                        self._died(key.data)

    def _died(self, rank: int) -> None:
        if self._rank:
            time.sleep(0.2 * (self._rank - 1))  # one of them is enough to say it
        print(
            f"{self._names[rank]} has died and all ranks end: what was saved last is whole, go on "
            "from it with --resume",
            file=sys.stderr,
            flush=True,
        )
        self._abort(_EXIT)
