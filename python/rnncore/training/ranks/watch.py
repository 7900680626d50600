"""Watch: a rank that dies ends the others, whatever started them; none waits for ever."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rnncore.training.ranks.host import Host
from rnncore.training.ranks.ranks import Ranks

_JOIN = 10.0  # seconds for all to come
_GREETED = 2.0  # seconds, in which whoever connects says who he is
HANDED_ON = 0.5  # seconds, in which a launcher hands on what was printed
_LATE = 3.0  # seconds, after which the end of another process should be known
_ALIVE = {  # the system asks a silent host after 5 s, and gives it up 12 s later
    socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 3, socket.TCP_KEEPCNT: 4,
    socket.TCP_USER_TIMEOUT: 17_000,
}  # fmt: skip
_DONE, _GONE = b"d", b"g"  # behind the second: which rank has gone


@contextmanager
def watching(ranks: Ranks, hosts: Sequence[Host]) -> Iterator[str]:
    """End this process with a message if another rank's ends inside.

    The first rank listens to all the others, and they to it. The system closes the connections when
    a process ends, however it does, and when a host does not answer any more. A process that is
    busy or stopped has not ended.

    Parameters
    ----------
    ranks : Ranks
    hosts : sequence of Host
        That of each rank.

    Yields
    ------
    str
        Why nobody watches; empty where all is well.
    """
    peers, why = _connect(ranks, hosts)
    if why:
        yield why
        return
    watch = _Watch(ranks, hosts, peers)
    _watches.add(watch)
    try:
        yield ""
    finally:
        watch.close(quietly=not ranks.broken)


class _Watch:
    """A thread that listens to other ranks."""

    def __init__(
        self, ranks: Ranks, hosts: Sequence[Host], peers: dict[int, socket.socket]
    ) -> None:
        self._ranks, self._hosts, self._peers = ranks, hosts, peers
        self._leaving = False
        self._woken, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="rnncore-watch", daemon=True)
        self._thread.start()

    def close(self, *, quietly: bool) -> None:
        """Close the connections; quietly, or else as if this process ended.

        Then a message of MPI has failed, perhaps because of a rank that has just died: that rank
        is still waited for, and ends this process.
        """
        if not quietly:
            self._thread.join(_LATE)
        self._leaving = True
        self._wake.close()
        self._thread.join()
        self._tell(self._peers if quietly else (), _DONE)
        self.forget()

    def forget(self) -> None:
        """Close what this process holds of the connections: a fork would keep them open."""
        for each in (*self._peers.values(), self._woken, self._wake):
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for rank, peer in self._peers.items():
                selector.register(peer, selectors.EVENT_READ, rank)
            while not self._leaving:
                for key, _ in selector.select():
                    if key.data is not None and self._hear(key.data):
                        selector.unregister(key.fileobj)

    def _hear(self, rank: int) -> bool:
        """Whether a rank has left as it should."""
        message = _received(self._peers[rank])
        if message.startswith(_GONE):
            self._end(int.from_bytes(message[1:5], "big"))
        elif not message:
            self._end(rank)
        return True

    def _tell(self, ranks: Iterable[int], message: bytes) -> None:
        for rank in ranks:
            with contextlib.suppress(OSError):
                self._peers[rank].sendall(message)

    def _end(self, rank: int) -> None:
        """End this process, unless it is about to leave: the others hear of it first."""
        if self._leaving:
            return
        self._tell([each for each in self._peers if each != rank], _GONE + rank.to_bytes(4, "big"))
        own, size = self._ranks.rank, self._ranks.size
        text = (
            f"rnncore: rank {rank} of {size} (on {self._hosts[rank].name}) has ended in the middle "
            f"of a training; rank {own} ends too. With checkpoints the training goes on from the "
            "last one: resume=True\n"
        )
        os.write(2, text.encode())
        time.sleep(HANDED_ON)
        os._exit(1)


_watches: weakref.WeakSet[_Watch] = weakref.WeakSet()


def _forget_all() -> None:
    for watch in list(_watches):
        watch.forget()


os.register_at_fork(after_in_child=_forget_all)


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(4096)
    except OSError:
        return b""


def _connect(ranks: Ranks, hosts: Sequence[Host]) -> tuple[dict[int, socket.socket], str]:
    """Return a connection to each rank that this one listens to; or why some found no way."""
    token, server, address, why = secrets.token_bytes(16), None, None, ""
    peers: dict[int, socket.socket] = {}
    if ranks.first:
        local = len({each.machine for each in hosts}) == 1
        try:
            server = socket.create_server(("127.0.0.1" if local else "", 0), backlog=ranks.size)
            address = "127.0.0.1" if local else hosts[0].name, server.getsockname()[1], token
        except OSError as error:
            why = str(error)
    address = ranks.from_first(address)
    try:
        if server is not None:
            peers = accepted(server, token, ranks.size - 1)
        elif address is not None:
            host, port, token = address
            peers[0] = socket.create_connection((host, port), timeout=_JOIN)
            peers[0].sendall(token + ranks.rank.to_bytes(4, "big"))
    except OSError as error:
        why = str(error)
    whys = [each for each in ranks.gather(why) if each]
    for peer in peers.values():
        if whys:
            peer.close()
            continue
        peer.settimeout(None)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _ALIVE.items():
            peer.setsockopt(socket.IPPROTO_TCP, option, value)
    return peers, whys[0] if whys else ""


def accepted(server: socket.socket, token: bytes, count: int) -> dict[int, socket.socket]:
    """Return connections of `count` ranks that know the token, by rank."""
    peers: dict[int, socket.socket] = {}
    end = time.monotonic() + _JOIN
    with server:
        while len(peers) < count:
            server.settimeout(max(0.01, end - time.monotonic()))
            peer, _ = server.accept()
            given = _greeting(peer, len(token) + 4)
            if secrets.compare_digest(given[: len(token)], token):
                peers[int.from_bytes(given[len(token) :], "big")] = peer
            else:
                peer.close()
    return peers


def _greeting(peer: socket.socket, size: int) -> bytes:
    """Return the first bytes of a connection, fewer if it says no more: others may knock too."""
    given: Any = b""
    peer.settimeout(_GREETED)
    with contextlib.suppress(OSError):
        while len(given) < size and (more := peer.recv(size - len(given))):
            given += more
    return bytes(given)
