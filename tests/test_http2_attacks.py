"""HTTP/2 as attackers write it, frame by frame: resets, floods, lies, and heads that would be two requests in HTTP/1.1."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from hpack import Encoder
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame,
                              SettingsFrame, WindowUpdateFrame)

from harness.process_facts import memory
from harness.raw_http import address, one, post
from harness.scripted_upstream import Answer, ScriptedUpstream
from harness.till_process import Till
from harness.unharmed import BODY, MIB, unharmed
from harness.waiting import until

CHAT = "/v1/chat/completions"
SHORT = ("--client-header-timeout", "1s", "--first-byte-timeout", "3s", "--idle-timeout", "2s")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class H2:
    """A connection of HTTP/2 in clear text, with prior knowledge."""

    def __init__(self, till: Till, window: int = 1 << 20) -> None:
        self.socket = socket.create_connection(address(till.url), timeout=10)
        self._unread = b""
        self._next = 1
        self.encoder = Encoder()
        self.write(PREFACE, SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: window}),
                   WindowUpdateFrame(0, window_increment=1 << 30))

    def __enter__(self) -> H2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def write(self, *parts: Frame | bytes) -> bool:
        """Whether the other side still takes it."""
        try:
            self.socket.sendall(b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts))
        except OSError:
            return False
        return True

    def new_stream(self) -> int:
        self._next += 2
        return self._next - 2

    def head(self, stream: int, fields: list[tuple[str | bytes, str | bytes]], *, is_end: bool = True, is_whole: bool = True) -> HeadersFrame:
        frame = HeadersFrame(stream, data=self.encoder.encode(fields))
        for flag, is_set in (("END_STREAM", is_end), ("END_HEADERS", is_whole)):
            if is_set:
                frame.flags.add(flag)
        return frame

    def frames(self, seconds: float = 5) -> Iterator[Frame]:
        """What comes, until the end of the connection or so long a silence."""
        self.socket.settimeout(seconds)
        while True:
            while len(self._unread) < 9 or len(self._unread) < 9 + int.from_bytes(self._unread[:3], "big"):
                try:
                    data = self.socket.recv(1 << 20)
                except OSError:
                    return
                if not data:
                    return
                self._unread += data
            frame, length = Frame.parse_frame_header(memoryview(self._unread[:9]))
            frame.parse_body(memoryview(self._unread[9 : 9 + length]))
            self._unread = self._unread[9 + length :]
            yield frame

    def wait_for(self, stream: int, seconds: float = 10) -> tuple[bool, bytes]:
        """Whether the stream came to its proper end, and the body so far."""
        body = b""
        for frame in self.frames(seconds):
            if frame.stream_id == stream:
                if isinstance(frame, DataFrame):
                    body += frame.data
                if isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags:
                    return not isinstance(frame, RstStreamFrame), body
            if isinstance(frame, GoAwayFrame):
                return False, body
        return False, body


def fields(token: str, path: str = CHAT, method: str = "POST", extra: tuple = ()) -> list[tuple]:
    return [(":method", method), (":scheme", "http"), (":authority", "till"), (":path", path), ("authorization", f"Bearer {token}"), *extra]


@pytest.fixture
def till(new_till, upstream: ScriptedUpstream) -> Till:
    running = new_till({"openai": f"{upstream.url},bills-alike"}, flags=SHORT).start()
    assert one(running.url, post(running.mint().token, BODY)).status == 200
    with H2(running) as h2:
        stream = h2.new_stream()
        h2.write(h2.head(stream, fields(running.mint().token, "/v1/models", "GET")))
        assert h2.wait_for(stream)[0]
    upstream.reset()
    return running


@pytest.mark.parametrize("limits", [{"max_activations": 100}, {"max_activations": 100, "max_spend_usd": "1"}], ids=["counted", "metered"])
def test_rapid_reset(limits: dict, till: Till, upstream: ScriptedUpstream) -> None:
    """Thousands of requests, each reset at once: the connection is ended, and never more are sent than the key has."""
    key = till.mint(**limits)
    with unharmed(till, upstream):
        opened = 0
        for _ in range(10):
            with H2(till) as h2:
                for _ in range(500):
                    stream = h2.new_stream()
                    body = DataFrame(stream, BODY, flags=["END_STREAM"])
                    if not h2.write(h2.head(stream, fields(key.token), is_end=False), body, RstStreamFrame(stream, error_code=8)):
                        break
                    opened += 1
                ended = [frame for frame in h2.frames(2) if isinstance(frame, GoAwayFrame)]
                assert ended and ended[0].error_code == 11, "ENHANCE_YOUR_CALM"
        spent = till.used(key)
        print(f"{opened} opened and reset, {upstream.count} arrived, {spent} spent")
        assert upstream.count <= spent <= 100


def test_more_streams_than_are_allowed(till: Till, upstream: ScriptedUpstream) -> None:
    """Those above are refused, which provably costs nothing; exactly N of the others pass."""
    key = till.mint(max_activations=200)
    with unharmed(till, upstream, pooled=200), H2(till) as h2:
        frames = [h2.head(h2.new_stream(), fields(key.token, "/v1/models", "GET")) for _ in range(1000)]
        h2.write(*frames)
        statuses = {frame.stream_id: frame for frame in h2.frames(2) if isinstance(frame, (HeadersFrame, RstStreamFrame))}
        refused = [frame for frame in statuses.values() if isinstance(frame, RstStreamFrame)]
        print(f"{len(statuses)} answered, {len(refused)} refused, {upstream.count} arrived")
        assert upstream.count == till.used(key) == min(200, len(statuses) - len(refused))


FLOODS = {
    "continuation": lambda h2, stream: ContinuationFrame(stream, data=b"\x00\x01a\x01b" * 3000).serialize(),
    "empty continuation": lambda h2, stream: ContinuationFrame(stream, data=b"").serialize() * 1000,
    "settings": lambda h2, stream: SettingsFrame(0, settings={4: 65535}).serialize() * 500,
    "empty settings": lambda h2, stream: SettingsFrame(0).serialize() * 500,
    "ping": lambda h2, stream: PingFrame(0, opaque_data=b"12345678").serialize() * 500,
    "priority": lambda h2, stream: PriorityFrame(stream, depends_on=0, stream_weight=1).serialize() * 500,
    "empty data": lambda h2, stream: DataFrame(stream, b"").serialize() * 1000,
    "window updates": lambda h2, stream: WindowUpdateFrame(0, window_increment=1).serialize() * 500,
    "resets of what is closed": lambda h2, stream: RstStreamFrame(1, error_code=8).serialize() * 500,
    "unknown frames": lambda h2, stream: (struct.pack(">I", 1000)[1:] + b"\xee\0\0\0\0\0" + b"x" * 1000) * 20,
}


@pytest.mark.parametrize("reads", [False, True], ids=["not read", "read"])
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames(name: str, reads: bool, till: Till, upstream: ScriptedUpstream) -> None:
    """It ends, or is only as fast as it is answered: nothing of it is kept in memory."""
    key = till.mint(max_activations=5)
    with unharmed(till, upstream, megabytes=40), H2(till) as h2:
        stream = h2.new_stream()
        h2.write(h2.head(stream, fields(key.token), is_end=False, is_whole="continuation" not in name))
        piece = FLOODS[name](h2, stream)
        h2.socket.settimeout(1)
        sent, started = 0, time.monotonic()
        while sent < 64 * MIB and time.monotonic() - started < 4:
            try:
                sent += h2.socket.send(piece)
                if reads:
                    h2.socket.setblocking(False)
                    try:
                        while h2.socket.recv(65536):
                            pass
                    except BlockingIOError:
                        pass
                    h2.socket.settimeout(1)
            except OSError:
                break
        print(f"{name}: {sent / MIB:.1f} MiB taken in {time.monotonic() - started:.1f} s")
        assert one(till.url, post(till.mint(max_activations=1).token, BODY)).status == 200, "others are served meanwhile"
        assert memory(till.pid) < 400 * MIB
        assert upstream.count == 1
        if "continuation" in name:
            assert sent < 8 * MIB, "a head without an end is given up"


def test_a_head_that_grows_when_it_is_unpacked(till: Till, upstream: ScriptedUpstream) -> None:
    """A small index that stands for a long field, thousands of times."""
    key = till.mint(max_activations=5)
    with unharmed(till, upstream, megabytes=40):
        for _ in range(20):
            with H2(till) as h2:
                stream = h2.new_stream()
                bomb = h2.encoder.encode([*fields(key.token), ("x-a", "a" * 4000)]) + b"\xbe" * 12_000
                frame = HeadersFrame(stream, data=bomb, flags=["END_STREAM", "END_HEADERS"])
                h2.write(frame)
                assert [one for one in h2.frames(1) if isinstance(one, (HeadersFrame, RstStreamFrame, GoAwayFrame))], "an answer of some kind"
        assert upstream.count == 0
        assert till.used(key) == 0


def test_a_client_that_takes_nothing(till: Till, upstream: ScriptedUpstream) -> None:
    """No window at all: the answers wait in the upstream, not in memory, and are let go when nothing moves."""
    upstream.on(CHAT, Answer(pieces=[b"a" * MIB] * 20))
    key = till.mint(max_activations=100)
    with unharmed(till, upstream, megabytes=80), H2(till, window=0) as h2:
        for _ in range(50):
            stream = h2.new_stream()
            h2.write(h2.head(stream, fields(key.token), is_end=False), DataFrame(stream, BODY, flags=["END_STREAM"]))
        until(lambda: upstream.count == 50, "all to arrive")
        until(lambda: upstream.connections() == 0, "till to let go of the upstream", seconds=30)
        assert till.used(key) == 50


@pytest.mark.parametrize("limits", [{"max_activations": 50}, {"max_activations": None, "max_spend_usd": "1"}], ids=["counted", "metered"])
def test_bodies_that_never_end(limits: dict, till: Till, upstream: ScriptedUpstream) -> None:
    key = till.mint(**limits)
    with unharmed(till, upstream), H2(till) as h2:
        streams = [h2.new_stream() for _ in range(20)]
        for stream in streams:
            h2.write(h2.head(stream, fields(key.token), is_end=False), DataFrame(stream, BODY[:10]))
        ended = set()
        for frame in h2.frames(10):
            if isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags:
                ended.add(frame.stream_id)
            if ended >= set(streams):
                break
        assert ended >= set(streams), "each is given up"
        spent = till.used(key)
        assert upstream.count == 0
        assert spent == 0 if "max_spend_usd" in limits else spent <= 20


# What would be two requests, or another one, in HTTP/1.1.

SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
DOWNGRADES = {
    "length too short": [("content-length", "0")], "length too long": [("content-length", "500")], "two lengths": [("content-length", "5"), ("content-length", "6")],
    "length is none": [("content-length", "abc")], "signed length": [("content-length", "+5")],
    "coding": [("transfer-encoding", "chunked")], "coding, odd": [("transfer-encoding", "xchunked")], "coding and length": [("content-length", "0"), ("transfer-encoding", "chunked")],
    "coding in upper case": [("Transfer-Encoding", "chunked")], "coding with a space": [("transfer-encoding ", "chunked")],
    "lines in a value": [("x-a", b"b\r\ntransfer-encoding: chunked")], "a head in a value": [("x-a", b"b\r\n\r\n" + SMUGGLED)],
    "a line feed in a value": [("x-a", b"b\nx-smuggled: 1")], "a return in a value": [("x-a", b"b\rx-smuggled: 1")], "zero in a value": [("x-a", b"b\0c")],
    "lines in a name": [(b"x-a: b\r\nx-smuggled", "1")], "a colon in a name": [("x-a: b", "1")], "a space in a name": [("x a", "1")], "no name": [("", "1")],
    "connection": [("connection", "keep-alive")], "connection names a header": [("connection", "authorization")], "upgrade": [("upgrade", "websocket")],
    "te": [("te", "gzip")], "host beside the authority": [("host", "elsewhere.example")], "pseudo field behind others": [(":path", "/v1/smuggled")],
    "unknown pseudo field": [(":smuggled", "1")], "method twice": [(":method", "GET")], "proxy connection": [("proxy-connection", "keep-alive")],
    "keep-alive": [("keep-alive", "timeout=5")],
}
TARGETS = {
    "space in the path": "/v1/a b", "head in the path": "/v1/a HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/smuggled", "line feed in the path": "/v1/a\nx: y", "no path": "",
    "star": "*", "absolute": "http://elsewhere.example/v1/smuggled", "no slash": "v1/models", "fragment": "/v1/models#/../smuggled", "zero": "/v1/\0", "tab": "/v1/\ta",
    "backslash": "/v1\\..\\admin", "dots": "/v1/../admin/keys", "encoded dots": "/v1/%2e%2e/admin/keys", "two slashes": "//admin/keys",
}
METHODS = {"head in the method": "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET", "space in the method": "GET /v1/smuggled", "no method": "", "connect": "CONNECT", "lower case": "post"}


@pytest.mark.parametrize("name", [*DOWNGRADES, *TARGETS, *METHODS])
def test_downgrades(name: str, till: Till, upstream: ScriptedUpstream) -> None:
    """It is refused, or goes to the upstream as one request that says the same."""
    key = till.mint(max_activations=5)
    extra = tuple(DOWNGRADES.get(name, ()))
    head = fields(key.token, TARGETS.get(name, CHAT), METHODS.get(name, "POST"), extra)
    with unharmed(till, upstream), H2(till) as h2:
        stream = h2.new_stream()
        h2.write(h2.head(stream, head, is_end=False), DataFrame(stream, SMUGGLED, flags=["END_STREAM"]))
        h2.wait_for(stream, 3)
        spent = till.used(key)
        passed = upstream.requests
        print(f"{name}: {len(passed)} passed")
        assert len(passed) <= 1
        assert len(passed) == spent, "one that is refused costs nothing"
        for request in passed:
            text = request.head.lower()
            assert request.body == SMUGGLED and b"smuggled" not in text and b"elsewhere" not in text
            assert not request.header_all("transfer-encoding") or not request.header_all("content-length")
            assert request.header("authorization") and not request.header_all("keep-alive")
            # A fragment is not sent on, and nothing is decided on it.
            assert request.target == TARGETS.get(name, CHAT).partition("#")[0]
