"""An upstream that writes any bytes at all: a test says what happens on a connection once a request has arrived.

`ScriptedUpstream` speaks HTTP for the test; here the test has the socket, so that answers can be wrong in every way."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from harness.listener import Listener
from harness.waiting import until

Script = Callable[[socket.socket, bytes], object]


class RawUpstream:
    """Listens on a free loopback port. Reads requests with a Content-Length or none; `script` gets the connection and the
    whole request, and returns whether the connection is to be read on."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._lock = threading.Lock()
        self._arrived: list[bytes] = []
        self._open: set[socket.socket] = set()
        self.connections = 0
        self._listener = Listener(self._serve)
        self.port = self._listener.port
        self.url = self._listener.url

    @property
    def arrived(self) -> list[bytes]:
        """Every request of which at least the whole head came."""
        with self._lock:
            return list(self._arrived)

    @property
    def count(self) -> int:
        with self._lock:
            return len(self._arrived)

    @property
    def open(self) -> int:
        with self._lock:
            return len(self._open)

    def forget(self) -> None:
        """Counts anew, once nobody is connected."""
        until(lambda: self.open == 0, "the upstream's last connection to end")
        with self._lock:
            self._arrived.clear()
            self.connections = 0

    def close(self) -> None:
        self._listener.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self.connections += 1
            self._open.add(connection)
        try:
            unread = b""
            while True:
                while b"\r\n\r\n" not in unread:
                    data = connection.recv(65536)
                    if not data:
                        return
                    unread += data
                end = unread.index(b"\r\n\r\n") + 4
                with self._lock:
                    self._arrived.append(unread[:end])
                    number = len(self._arrived) - 1
                length = end + content_length(unread[:end])
                while len(unread) < length:
                    data = connection.recv(65536)
                    if not data:
                        return
                    unread += data
                request, unread = unread[:length], unread[length:]
                with self._lock:
                    self._arrived[number] = request
                if not self.script(connection, request):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def reset(connection: socket.socket) -> None:
    """Lets it end with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def flood(connection: socket.socket, piece: bytes, bytes_max: int) -> int:
    """Sends `piece` again and again until the other side closes, or so much is sent; returns what the network took."""
    block = piece * max(1, 65536 // len(piece))
    sent = 0
    try:
        while sent < bytes_max:
            sent += connection.send(block[sent % len(piece):])
    except OSError:
        pass
    return sent
