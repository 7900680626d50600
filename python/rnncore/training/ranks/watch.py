"""Watch: a rank that dies ends the others, whatever started them; none waits for ever."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rnncore.training.ranks.host import Host
from rnncore.training.ranks.ranks import Ranks

_BEAT = 2.0  # seconds from one sign of life to the next
_SILENT = 20.0  # seconds without one, after which a host counts as dead
_JOIN = 10.0  # seconds for all to come
_HANDED_ON = 0.5  # seconds, in which a launcher hands on what was printed
_LATE = 3.0  # seconds, after which the end of another process should be known
_ALIVE, _DONE, _GONE = b".", b"d", b"g"  # behind the last one: which rank has gone


@contextmanager
def watching(ranks: Ranks, hosts: Sequence[Host]) -> Iterator[None]:
    """End this process with a message if another rank's ends inside.

    The first rank listens to all the others, and they to it. The connections close when a process
    ends, however it does; a host that loses power or its network falls silent.

    Parameters
    ----------
    ranks : Ranks
    hosts : sequence of Host
        That of each rank.
    """
    peers = _connect(ranks, hosts)
    if peers is None:
        yield
        return
    watch = _Watch(ranks, hosts, peers)
    try:
        yield
    finally:
        watch.close(quietly=not ranks.broken)


class _Watch:
    """A thread that listens to other ranks."""

    def __init__(
        self, ranks: Ranks, hosts: Sequence[Host], peers: dict[int, socket.socket]
    ) -> None:
        self._ranks, self._hosts, self._peers = ranks, hosts, peers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rnncore-watch", daemon=True)
        self._thread.start()

    def close(self, *, quietly: bool) -> None:
        """Close the connections; quietly, or else as if this process ended.

        Then a message of MPI has failed, perhaps because of a rank that has just died: that rank
        is still waited for, and ends this process.
        """
        if not quietly:
            self._thread.join(_LATE)
        self._stop.set()
        self._thread.join()
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                if quietly:
                    peer.sendall(_DONE)
                peer.close()

    def _run(self) -> None:
        beat = time.monotonic()
        heard = dict.fromkeys(self._peers, beat)
        while not self._stop.is_set() and heard:
            now = time.monotonic()
            if now - beat > _BEAT:
                beat = now
                self._tell(heard, _ALIVE)
            ready, _, _ = select.select([self._peers[rank] for rank in heard], [], [], 0.05)
            for rank in [rank for rank in heard if self._peers[rank] in ready]:
                message = _received(self._peers[rank])
                heard[rank] = now
                if _GONE in message:
                    gone = message[message.index(_GONE) + 1 :][:4]
                    self._end(int.from_bytes(gone, "big"), "has ended")
                elif message.endswith(_DONE):
                    del heard[rank]
                elif not message:
                    self._end(rank, "has ended")
            for rank, last in heard.items():
                if now - last > _SILENT:
                    self._end(rank, f"has been silent for {_SILENT:g} s")

    def _tell(self, ranks: Iterable[int], message: bytes) -> None:
        for rank in ranks:
            with contextlib.suppress(OSError):
                self._peers[rank].send(message)

    def _end(self, rank: int, what: str) -> None:
        """End this process, unless it is about to leave: the others hear of it first."""
        if self._stop.is_set():
            return
        self._tell([each for each in self._peers if each != rank], _GONE + rank.to_bytes(4, "big"))
        own, size = self._ranks.rank, self._ranks.size
        text = (
            f"rnncore: rank {rank} of {size} (on {self._hosts[rank].name}) {what} in the middle of "
            f"a training; rank {own} ends too. With checkpoints the training goes on from the last "
            "one: resume=True\n"
        )
        os.write(2, text.encode())
        time.sleep(_HANDED_ON)
        os._exit(1)


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(4096)
    except OSError:
        return b""


def _connect(ranks: Ranks, hosts: Sequence[Host]) -> dict[int, socket.socket] | None:
    """Return a connection to each rank that this one listens to; None where some found no way."""
    token, server = secrets.token_bytes(16), None
    if ranks.first:
        local = len({each.machine for each in hosts}) == 1
        server = socket.create_server(("127.0.0.1" if local else "", 0), backlog=ranks.size)
        address = "127.0.0.1" if local else hosts[0].name, server.getsockname()[1], token
    host, port, token = ranks.from_first(address if ranks.first else None)
    peers: dict[int, socket.socket] = {}
    try:
        if server is not None:
            peers = _accept(server, token, ranks.size - 1)
        else:
            peers[0] = socket.create_connection((host, port), timeout=_JOIN)
            peers[0].sendall(token + ranks.rank.to_bytes(4, "big"))
    except OSError as error:
        why = str(error)
    else:
        why = ""
    found = ranks.gather(why)
    if not any(found):
        for peer in peers.values():
            peer.settimeout(None)
        return peers
    for peer in peers.values():
        peer.close()
    if ranks.first:
        warnings.warn(
            f"comm: expected connections between all ranks, got {next(filter(None, found))!r}; "
            "should a rank die, the others may wait for it",
            stacklevel=2,
        )
    return None


def _accept(server: socket.socket, token: bytes, count: int) -> dict[int, socket.socket]:
    """Return connections of `count` ranks that know the token, by rank."""
    peers: dict[int, socket.socket] = {}
    end = time.monotonic() + _JOIN
    with server:
        while len(peers) < count:
            server.settimeout(max(0.01, end - time.monotonic()))
            peer, _ = server.accept()
            peer.settimeout(_JOIN)
            given: Any = b""
            while len(given) < len(token) + 4 and (more := peer.recv(len(token) + 4 - len(given))):
                given += more
            if secrets.compare_digest(given[: len(token)], token):
                peers[int.from_bytes(given[len(token) :], "big")] = peer
            else:
                peer.close()
    return peers
