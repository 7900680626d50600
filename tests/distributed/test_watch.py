"""The connections by which ranks hear that another one has died."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest
from rnncore.training.ranks.watch import accepted

pytestmark = pytest.mark.once

TOKEN = bytes(range(16))
AT_ONCE = struct.pack("ii", 1, 0)  # closes with a reset


@pytest.mark.parametrize("stranger", ["resets", "leaves", "lies", "waits"])
def test_a_stranger_that_connects_is_no_rank(stranger: str) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    knocking = socket.create_connection(address)
    if stranger == "resets":
        knocking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    if stranger == "lies":
        knocking.sendall(TOKEN[::-1] + (1).to_bytes(4, "big"))
    if stranger != "waits":
        knocking.close()
    found: dict[int, socket.socket] = {}
    thread = threading.Thread(target=lambda: found.update(accepted(server, TOKEN, 2)), daemon=True)
    thread.start()
    own = {rank: socket.create_connection(address) for rank in (2, 1)}
    for rank, peer in own.items():
        greeting = TOKEN + rank.to_bytes(4, "big")
        peer.sendall(greeting[:7])
        time.sleep(0.05)  # in two packets
        peer.sendall(greeting[7:])
    thread.join(60)
    assert sorted(found) == [1, 2]
    for rank, peer in found.items():
        peer.sendall(bytes([rank]))
        assert own[rank].recv(1) == bytes([rank])
    for peer in (knocking, *own.values(), *found.values()):
        peer.close()
