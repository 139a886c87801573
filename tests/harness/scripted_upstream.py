"""An upstream that does exactly what a test says and records what reached it, byte for byte.

It speaks HTTP/1.1 on a plain socket with a thread per connection and parses requests itself: a library
would tidy up what the tests want to see. It is strict; a request with both framings never gets an answer.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from typing import Callable, Iterable, Union

from harness import provider_answers
from harness.waiting import until


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    head: bytes

    @property
    def path(self) -> str:
        return self.target.split("?", 1)[0]

    def header(self, name: str) -> str | None:
        """The value of a header that may stand there once."""
        values = self.header_all(name)
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else None

    def header_all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Answer:
    """What to send back.

    `pieces` are written one by one. With `chunked` each becomes a chunk of its own; otherwise a
    Content-Length is sent. `gate` holds the answer after its head until the test opens it; `hold_head` holds
    the head as well. `cut` closes the connection after the last piece without ending the body.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("content-type", "application/json")])
    pieces: Iterable[bytes] = (b"{}",)
    chunked: bool = False
    trailers: list[tuple[str, str]] = field(default_factory=list)
    gate: threading.Event | None = None
    hold_head: bool = False
    cut: bool = False
    raw: bytes | None = None
    pause: float = 0.0


Handler = Union[Answer, Callable[[Request], Answer]]


class ScriptedUpstream:
    """Listens on a free loopback port until `close`."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._connections: dict[socket.socket, tuple[str, int]] = {}
        self._on_request: Callable[[int], None] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    # What tests use.

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    @property
    def count(self) -> int:
        with self._lock:
            return len(self._requests)

    def last(self) -> Request:
        return self.requests[-1]

    def on(self, path: str, handler: Handler) -> None:
        """Answers `path` (without its query) with `handler` from now on."""
        self._handlers[path] = handler

    def on_request(self, callback: Callable[[int], None] | None) -> None:
        """Calls `callback` with the running number of each request, before it is answered."""
        self._on_request = callback

    def reset(self) -> None:
        with self._lock:
            self._requests.clear()
        self._handlers.clear()
        self._on_request = None

    def connections(self) -> int:
        with self._lock:
            return len(self._connections)

    def _peers(self) -> list[tuple[str, int]]:
        with self._lock:
            return list(self._connections.values())

    def quiet(self) -> None:
        """Waits until nobody is connected, so that `count` can't grow any more.

        Connections are accepted in the order in which they were made: once one of our own is in, all earlier ones are.
        """
        with socket.create_connection(self._listener.getsockname()) as own:
            until(lambda: own.getsockname() in self._peers(), "the upstream to accept everything")
        until(lambda: self.connections() == 0, "the upstream's last connection to end")

    def close(self) -> None:
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _shut(connection)

    # The server.

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections[connection] = peer
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        try:
            while True:
                request = _read_request(reader, connection)
                if request is None:
                    return
                with self._lock:
                    self._requests.append(request)
                    number = len(self._requests)
                if self._on_request:
                    self._on_request(number)
                handler = self._handlers.get(request.path) or provider_answers.default
                answer = handler(request) if callable(handler) else handler
                if not _write_answer(connection, answer, request.method == "HEAD"):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            _shut(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


def _read_request(reader, connection: socket.socket) -> Request | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline(1 << 20)
        if not line:
            return None
        head += line
    lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = []
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.append((name, value.strip(" \t")))
    lengths = [v for k, v in headers if k.lower() == "content-length"]
    codings = [v for k, v in headers if k.lower() == "transfer-encoding"]
    if lengths and codings:
        return None
    if any(k.lower() == "expect" for k, _ in headers):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = int(lengths[0]) if lengths else 0
    body = _read_chunked(reader) if codings else reader.read(length)
    # One that breaks off is none.
    if body is None or len(body) < (0 if codings else length):
        return None
    return Request(method, target, headers, body, head)


def _read_chunked(reader) -> bytes | None:
    body = b""
    while True:
        line = reader.readline()
        if not line.endswith(b"\r\n"):
            return None
        size = int(line.split(b";")[0], 16)
        if size == 0:
            while (line := reader.readline()) != b"\r\n":
                if not line:
                    return None
            return body
        body += reader.read(size)
        reader.readline()


def _write_answer(connection: socket.socket, answer: Answer, head_only: bool) -> bool:
    """Writes the answer; says whether the connection can carry another request."""
    if answer.raw is not None:
        connection.sendall(answer.raw)
        return False
    if answer.hold_head and answer.gate:
        answer.gate.wait(60)
    pieces = list(answer.pieces) if not answer.chunked else answer.pieces
    headers = list(answer.headers)
    if answer.chunked:
        headers.append(("transfer-encoding", "chunked"))
    else:
        headers.append(("content-length", str(sum(map(len, pieces)) + (1 if answer.cut else 0))))
    if answer.trailers:
        headers.append(("trailer", ", ".join(name for name, _ in answer.trailers)))
    head = f"HTTP/1.1 {answer.status} Scripted\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n"
    connection.sendall(head.encode("latin-1"))
    if head_only:
        return True
    for number, piece in enumerate(pieces):
        if number == 1 and answer.gate:
            answer.gate.wait(60)
        if number and answer.pause:
            threading.Event().wait(answer.pause)
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
    if answer.cut:
        return False
    if answer.chunked:
        tail = "".join(f"{k}: {v}\r\n" for k, v in answer.trailers)
        connection.sendall(f"0\r\n{tail}\r\n".encode("latin-1"))
    return True


class RefusingUpstream:
    """An address where nobody listens, kept reserved so that nobody else takes the port."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()
