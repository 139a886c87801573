"""Upstreams that do everything wrong. Whatever they do: each request reaches them at most once and is charged once, what
is cut looks cut, the key stays inside, and till serves the next request with the memory and descriptors of before."""

from __future__ import annotations

import datetime
import gzip
import json
import random
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from harness.metered_upstream import PRICES, plain, stream
from harness.process_facts import descriptors, forget_peak, memory, memory_peak
from harness.raw_http import address, one, post
from harness.raw_upstream import RawUpstream, Script, flood, reset
from harness.scripted_upstream import ScriptedUpstream
from harness.secret_forms import leaks
from harness.till_process import UPSTREAM_KEY, Key, Till
from harness.tls import tls_front
from harness.waiting import until

MIB = 1 << 20
MODEL = "gpt-4o-mini"
PLAIN = json.dumps({"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAMED = json.dumps({**json.loads(PLAIN), "stream": True}).encode()
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
USAGE = (20, 50)
BILL_NANOS = -(-(USAGE[0] * PRICES[MODEL][0] + USAGE[1] * PRICES[MODEL][1]) // 1_000)
SHORT = ("--first-byte-timeout", "2s", "--idle-timeout", "2s", "--connect-timeout", "2s")


class Rig:
    """till before an upstream that does what `script` says."""

    def __init__(self, till: Till, upstream: RawUpstream) -> None:
        self.till, self.upstream = till, upstream

    def does(self, script: Script) -> None:
        self.upstream.script = script

    @contextmanager
    def unharmed(self, megabytes: int = 150) -> Iterator[None]:
        """What happens inside takes no more memory than this, leaves no connection behind, and till goes on."""
        pid = self.till.pid
        before, open_before = memory(pid), descriptors(pid)
        forget_peak(pid)
        yield
        assert memory_peak(pid) - before < megabytes * MIB
        self.till.settled()
        self.does(lambda connection, _: connection.sendall(OK) is None)
        assert one(self.till.url, post(self.till.mint(max_activations=1).token, PLAIN)).status == 200
        until(lambda: descriptors(pid) <= open_before + 20, "connections to be closed")
        output = self.till.all_output()
        assert b"panicked" not in output
        assert leaks(UPSTREAM_KEY, output) == []


@pytest.fixture
def rig(new_till) -> Iterator[Rig]:
    upstream = RawUpstream(lambda connection, _: connection.sendall(OK) is None)
    till = new_till({"openai": f"{upstream.url},bills-alike"}, flags=SHORT).start()
    # What is made once is there before memory and descriptors are looked at.
    upstream.script = lambda connection, _: connection.sendall(OK)
    for limits in ({"max_activations": 1}, {"max_activations": None, "max_spend_usd": "1"}):
        assert one(till.url, post(till.mint(**limits).token, PLAIN)).status == 200
    upstream.forget()
    yield Rig(till, upstream)
    upstream.close()


# Cut at every byte.

def _framed(body: bytes, *lines: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"x-echo: {UPSTREAM_KEY}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nx-sum: 1\r\n\r\n"


def _whole_answers() -> dict[str, tuple[bytes, bytes]]:
    """The answer, and the request that it is for. Each has the key in its head and its body."""
    body = json.dumps({**plain("openai", MODEL, USAGE), "echo": UPSTREAM_KEY}).encode()
    events = stream("openai", MODEL, USAGE, 2)
    events.insert(1, f": {UPSTREAM_KEY}\n\n".encode())
    packed = gzip.compress(body)
    return {
        "length": (_framed(body, "content-type: application/json", f"content-length: {len(body)}"), PLAIN),
        "chunks": (_framed(_chunked([body[:200], body[200:]]), "content-type: application/json", "transfer-encoding: chunked"), PLAIN),
        "events": (_framed(_chunked(events), "content-type: text/event-stream", "transfer-encoding: chunked"), STREAMED),
        "gzip": (_framed(packed, "content-type: application/json", "content-encoding: gzip", f"content-length: {len(packed)}"), PLAIN),
        "interim": (b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"
                    + _framed(body, "content-type: application/json", f"content-length: {len(body)}"), PLAIN),
    }


ANSWERS = _whole_answers()


@pytest.mark.parametrize("end", ["end", "reset"])
@pytest.mark.parametrize("shape", ANSWERS)
def test_an_answer_that_is_cut_at_every_byte(shape: str, end: str, rig: Rig) -> None:
    """Nothing that is cut looks whole; an activation and what the upstream bills are spent each time; exactly N pass."""
    answer, request = ANSWERS[shape]
    cuts = len(answer)
    lengths = iter(())

    def cut(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(answer[: next(lengths)])
        if end == "reset":
            reset(connection)
        return False

    counted = rig.till.mint(max_activations=cuts)
    metered = rig.till.mint(max_activations=None, max_spend_usd="10")
    rig.does(cut)
    with rig.unharmed():
        for key in (counted, metered):
            lengths = iter(range(cuts))
            for length in range(cuts):
                wire = _all_that_comes(rig.till.url, post(key.token, request))
                assert _is_refused(wire, b"upstream_protocol") or not _is_whole(wire), f"cut at {length}: {wire!r}"
                assert leaks(UPSTREAM_KEY, wire) == [] and UPSTREAM_KEY[:12].encode() not in wire, f"cut at {length}"
        assert rig.upstream.count == 2 * cuts, "each was sent once"
        assert rig.till.used(counted) == cuts
        assert b"activations_exhausted" in one(rig.till.url, post(counted.token, request)).body
        assert rig.upstream.count == 2 * cuts
        state = rig.till.key(metered.id)
        charged = round(float(state["usedSpendUsd"]) * 1e9)
        print(f"{shape}, {end}: 2 × {cuts} cuts, billed {cuts * BILL_NANOS}, charged {charged}")
        assert (state["usedActivations"], state["status"]) == (cuts, "active")
        assert cuts * BILL_NANOS <= charged
    # And whole it is whole: the check above can tell.
    rig.does(lambda connection, _: connection.sendall(answer) is None)
    whole = _all_that_comes(rig.till.url, post(metered.token, request))
    assert _is_whole(whole) and whole.startswith(b"HTTP/1.1 200 ")
    assert leaks(UPSTREAM_KEY, whole) == []


def _all_that_comes(url: str, request: bytes) -> bytes:
    """The bytes until the end of the connection, or of a whole answer."""
    wire = b""
    with socket.create_connection(address(url), timeout=20) as connection:
        connection.sendall(request)
        try:
            while not _is_whole(wire) and (data := connection.recv(65536)):
                wire += data
        except ConnectionResetError:
            pass
    return wire


def _is_whole(wire: bytes) -> bool:
    head, found, body = wire.partition(b"\r\n\r\n")
    if not found:
        return False
    if b"\r\ntransfer-encoding: chunked" in head:
        last = body.rfind(b"\r\n0\r\n")
        return last >= 0 and body.endswith(b"\r\n\r\n")
    return len(body) >= int(head.lower().split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])


def _is_refused(wire: bytes, code: bytes) -> bool:
    return wire.startswith(b"HTTP/1.1 502 ") and code in wire and _is_whole(wire)


# Slow, endless, lying.

def _drip(*pieces: bytes, pause: float = 0.2) -> Script:
    """Sends the first piece at once and then the others in turn, slowly, for ever."""
    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(pieces[0])
        while True:
            for piece in pieces[1:]:
                time.sleep(pause)
                connection.sendall(piece)
    return script


def _silence(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)


TOO_LATE = {
    "nothing": _silence,
    "half a head": lambda connection, _: (connection.sendall(b"HTTP/1.1 200 OK\r\nx: "), connection.recv(1)) is None,
    "a head byte by byte": _drip(b"HTTP/1.1 200 OK\r\nx: ", b"a"),
    "a header at a time": _drip(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "interim answers": _drip(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "interim answers as fast as it can": lambda connection, _: flood(connection, b"HTTP/1.1 102 Processing\r\n\r\n", 1 << 60) < 0,
    "large interim answers as fast as it can":
        lambda connection, _: flood(connection, b"HTTP/1.1 103 Early Hints\r\nlink: <" + b"a" * 30_000 + b">\r\n\r\n", 1 << 60) < 0,
}


@pytest.mark.parametrize("kind", TOO_LATE)
def test_an_answer_that_never_begins(kind: str, rig: Rig) -> None:
    key = rig.till.mint(max_activations=3)
    metered = rig.till.mint(max_activations=None, max_spend_usd="1")
    rig.does(TOO_LATE[kind])
    with rig.unharmed():
        for one_key in (key, metered):
            started = time.monotonic()
            answer = one(rig.till.url, post(one_key.token, PLAIN))
            assert answer.status in (502, 504), answer
            # Their number is the end of these, before the clock is.
            assert answer.status == 502 or kind != "interim answers as fast as it can", answer
            assert time.monotonic() - started < 10
            until(lambda: rig.upstream.open == 0, "till to let go of the upstream")
        assert rig.upstream.count == 2
        assert rig.till.used(key) == 1
        assert rig.till.key(metered.id)["usedSpendUsd"] != "0.00"


ENDLESS_HEADS = {
    "one line": (b"HTTP/1.1 200 OK\r\nx: ", b"a"),
    "a status line": (b"HTTP/1.1 200 ", b"a"),
    "many lines": (b"HTTP/1.1 200 OK\r\n", b"x-header: " + b"a" * 88 + b"\r\n"),
    "many short lines": (b"HTTP/1.1 200 OK\r\n", b"a:b\r\n"),
    "no HTTP": (b"", b"SSH-2.0-OpenSSH_9.2\r\n"),
    "zeros": (b"", b"\0"),
}


@pytest.mark.parametrize(("start", "piece"), ENDLESS_HEADS.values(), ids=ENDLESS_HEADS.keys())
def test_a_hundred_megabytes_of_head(start: bytes, piece: bytes, rig: Rig) -> None:
    key = rig.till.mint(max_activations=5)
    taken: list[int] = []

    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        taken.append(flood(connection, piece, 100 * MIB))

    rig.does(script)
    with rig.unharmed():
        answers = [one(rig.till.url, post(key.token, PLAIN)) for _ in range(3)]
        assert [answer.status for answer in answers] == [502] * 3
        until(lambda: len(taken) == 3, "till to close")
        # What the buffers of both sockets hold comes on top of what is read.
        assert max(taken) < 20 * MIB, taken
        assert (rig.upstream.count, rig.till.used(key)) == (3, 3)


LENGTHS = {
    "more than it sends": (b"content-length: 20", b"0123456789", False),
    "less than it sends": (b"content-length: 10", b"0123456789smuggled" + OK, True),
    "none": (b"content-length: 0", OK, True),
    "half of all there is": (b"content-length: 18446744073709551615", b"0123456789", False),
    "chunks and less": (b"content-length: 3\r\ntransfer-encoding: chunked", b"a\r\n0123456789\r\n0\r\n\r\n", True),
    "a huge chunk": (b"transfer-encoding: chunked", b"fffffffffffffff\r\n0123456789", False),
}
NO_LENGTHS = [b"content-length: 18446744073709551616", b"content-length: -1", b"content-length: 1e3", b"content-length: 10\r\ncontent-length: 11",
              b"content-length: 0xa", b"content-length: 10,11", b"transfer-encoding: gzip", b"transfer-encoding: chunked, chunked",
              b"transfer-encoding: identity", b"transfer-encoding: \x0bchunked"]


@pytest.mark.parametrize(("line", "body", "is_whole"), LENGTHS.values(), ids=LENGTHS.keys())
def test_a_length_that_is_a_lie(line: bytes, body: bytes, is_whole: bool, rig: Rig) -> None:
    key = rig.till.mint(max_activations=9)
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n" + line + b"\r\n\r\n" + body

    def script(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(answer)
        # Those that say less than they send would go on with the connection.
        return is_whole

    rig.does(script)
    with rig.unharmed():
        for _ in range(3):
            wire = _all_that_comes(rig.till.url, post(key.token, PLAIN))
            assert wire.startswith(b"HTTP/1.1 200 ") and _is_whole(wire) == is_whole, wire
            assert b"smuggled" not in wire and b"{}" not in wire.split(b"\r\n\r\n", 1)[1], wire
        assert (rig.upstream.count, rig.upstream.connections, rig.till.used(key)) == (3, 3, 3), "a connection each"


def test_a_length_that_is_none(rig: Rig) -> None:
    key = rig.till.mint(max_activations=100)
    with rig.unharmed():
        for line in NO_LENGTHS:
            rig.does(lambda connection, _, line=line: connection.sendall(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n0123456789"))
            answer = one(rig.till.url, post(key.token, PLAIN))
            assert (answer.status, b"upstream_protocol" in answer.body) == (502, True), line
        assert rig.till.used(key) == rig.upstream.count == len(NO_LENGTHS)


CHUNKS = [b"zz\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
          b"0x5\r\nhello\r\n0\r\n\r\n", b"3\r\nhello\r\n0\r\n\r\n", b"7\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b" 5\r\nhello\r\n0\r\n\r\n",
          b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
          b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * 5000 + b"\r\n", b"5\r\nhello\r\n0\r\nx: \0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"5;\0\r\nhello\r\n0\r\n\r\n",
          b"+5\r\nhello\r\n0\r\n\r\n", b"5_\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n00x\r\n\r\n"]


def test_chunks_that_are_none(rig: Rig) -> None:
    counted = rig.till.mint(max_activations=len(CHUNKS))
    metered = rig.till.mint(max_activations=None, max_spend_usd="10")
    with rig.unharmed():
        for body in CHUNKS:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
            rig.does(lambda connection, _, answer=head + body: connection.sendall(answer) is None)
            for key in (counted, metered):
                wire = _all_that_comes(rig.till.url, post(key.token, PLAIN))
                assert not _is_whole(wire) or _is_refused(wire, b"upstream_protocol"), (body, wire)
        assert rig.upstream.count == rig.upstream.connections == 2 * len(CHUNKS)
        assert rig.till.used(counted) == len(CHUNKS)


def _endless(start: bytes, piece: bytes) -> Script:
    """More than may be kept, and then nothing: unoptimised code takes minutes for what is really without an end."""
    def script(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        flood(connection, piece, 4 * MIB if start == SSE else 16 * MIB)
        connection.recv(1)
    return script


SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
ENDLESS = {
    "bytes": (JSON, b"a"), "zeros": (JSON, b"\0"), "one text": (JSON + b'{"a":"', b"a"), "nesting": (JSON, b"["), "objects": (JSON, b'{"a":'),
    "numbers": (JSON + b"[", b"1,"), "one number": (JSON + b'{"usage":{"prompt_tokens":', b"1"), "a key's beginning": (JSON, UPSTREAM_KEY[:-1].encode()),
    "one event": (SSE + b"data: ", b"a"), "empty lines": (SSE, b"\n"), "comments": (SSE, b": x\n\n"), "an event of many lines": (SSE, b"data: a\n"),
    "one field name": (SSE, b"d"), "choices that might be usage": (SSE + b'data: {"choices":[],"usage":{', b'"a":1,'),
}


@pytest.mark.parametrize("reads", [True, False], ids=["read on", "not read"])
@pytest.mark.parametrize(("start", "piece"), ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_without_an_end(start: bytes, piece: bytes, reads: bool, rig: Rig) -> None:
    """Memory stays small whether the client reads or stops reading, and what is not known to be used is spent."""
    request = STREAMED if start.startswith(SSE) else PLAIN
    counted, metered = rig.till.mint(max_activations=5), rig.till.mint(max_activations=None, max_spend_usd="1")
    rig.does(_endless(start, piece))
    with rig.unharmed(megabytes=12):
        for key in (counted, metered):
            with socket.create_connection(address(rig.till.url), timeout=20) as connection:
                connection.sendall(post(key.token, request))
                read = 0
                try:
                    while (read < 3 * MIB if reads else read < 1000) and (data := connection.recv(MIB if reads else 1000)):
                        read += len(data)
                except ConnectionResetError:
                    pass
                if not reads:
                    # Whoever reads nothing is left after the idle time-out, and so is the upstream.
                    until(lambda: is_closed(connection), "till to leave", seconds=60)
            until(lambda: rig.upstream.open == 0, "till to let go of the upstream", seconds=60)
        assert rig.upstream.count == 2
        assert rig.till.used(counted) == 1
        assert rig.till.key(metered.id)["usedSpendUsd"] != "0.00"


def is_closed(connection: socket.socket) -> bool:
    """Whether till has ended the connection: that is seen without reading what is left."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def test_a_compressed_bomb(rig: Rig) -> None:
    """A gibibyte of zeros in a megabyte is decoded piece by piece, and no further than it is read."""
    packed = gzip.compress(bytes(64 * MIB), 9) * 16
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n".encode()
    counted, metered = rig.till.mint(max_activations=5), rig.till.mint(max_activations=None, max_spend_usd="1")
    rig.does(lambda connection, _: connection.sendall(head + packed) is None)
    with rig.unharmed(megabytes=80):
        for key in (counted, metered):
            with socket.create_connection(address(rig.till.url), timeout=20) as connection:
                connection.sendall(post(key.token, PLAIN))
                assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
            rig.till.settled()
        assert rig.till.used(counted) == 1
        assert rig.till.key(metered.id)["usedSpendUsd"] != "0.00"


# Redirects.

@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirects_are_never_followed(status: int, rig: Rig) -> None:
    """Neither to elsewhere nor to another path: the client gets the answer, and the key goes nowhere."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        port = elsewhere.getsockname()[1]
        key = rig.till.mint(max_activations=9)
        targets = [f"http://127.0.0.1:{port}/v1/steal", f"//127.0.0.1:{port}/", "/v1/other", "http://169.254.169.254/latest/meta-data/"]
        with rig.unharmed():
            for target in targets:
                raw = f"HTTP/1.1 {status} X\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n".encode()
                rig.does(lambda connection, _, raw=raw: connection.sendall(raw) is None)
                answer = one(rig.till.url, post(key.token, PLAIN))
                assert (answer.status, answer.headers["location"]) == (status, target)
            with pytest.raises(TimeoutError):
                elsewhere.accept()
            assert rig.upstream.count == rig.till.used(key) == len(targets)


# Connections that are reset.

def _nonce(number: int) -> str:
    return f"/v1/chat/completions?nonce={number}."


def _check_nonces(rig: Rig, key: Key, used: int) -> None:
    targets = [request.split(b" ")[1] for request in rig.upstream.arrived]
    assert len(targets) == len(set(targets)), "a request arrived twice"
    assert rig.till.used(key) == used


@pytest.mark.parametrize("end", ["reset", "end"])
def test_a_connection_that_ends_while_it_is_idle_costs_nothing(end: str, rig: Rig) -> None:
    """Provably nothing was processed: the request goes out on another connection, once."""
    key = rig.till.mint(max_activations=20)
    answered = threading.Semaphore(0)

    def end_when_idle(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(OK)
        answered.acquire()
        if end == "reset":
            reset(connection)
        return False

    with rig.unharmed():
        rig.does(end_when_idle)
        for number in range(10):
            assert one(rig.till.url, post(key.token, PLAIN, path=_nonce(number))).status == 200
            answered.release()
            until(lambda: rig.upstream.open == 0, "the connection to end")
        assert rig.upstream.connections == 10
        _check_nonces(rig, key, 10)
        answered.release()


@pytest.mark.parametrize("size", [2, 300_000])
@pytest.mark.parametrize("end", ["reset", "end"])
def test_a_request_that_arrived_on_a_reused_connection_is_never_sent_again(end: str, size: int, rig: Rig) -> None:
    key = rig.till.mint(max_activations=40)
    turns = iter(range(1000))

    def answer_once(connection: socket.socket, _: bytes) -> bool:
        if next(turns) % 2 == 0:
            return connection.sendall(OK) is None
        if end == "reset":
            reset(connection)
        return False

    with rig.unharmed():
        rig.does(answer_once)
        statuses = []
        for number in range(20):
            statuses.append(one(rig.till.url, post(key.token, b"x" * size, path=_nonce(number))).status)
            rig.till.settled()
        assert statuses == [200, 502] * 10
        assert (rig.upstream.count, rig.upstream.connections) == (20, 10), "the second of each connection was on the first one's"
        _check_nonces(rig, key, 20)


def test_a_connection_that_ends_just_when_it_is_used(rig: Rig) -> None:
    """At any moment, in any way: what arrived is counted, what is given back did not arrive, nothing arrives twice."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, trials = random.Random(seed), 600
    key = rig.till.mint(max_activations=trials)

    def end_soon(connection: socket.socket, _: bytes) -> bool:
        kind = chance.randrange(4)
        if kind == 0:
            reset(connection)
            return False
        connection.sendall(OK)
        if kind == 1:
            return True
        time.sleep(chance.random() * 0.002)
        if kind == 2:
            reset(connection)
        return False

    with rig.unharmed():
        rig.does(end_soon)
        answers = [one(rig.till.url, post(key.token, PLAIN, path=_nonce(number))) for number in range(trials)]
        arrived = {int(request.split(b"nonce=")[1].split(b".")[0]) for request in rig.upstream.arrived}
        given_back = {number for number, answer in enumerate(answers) if b"upstream_unreachable" in answer.body}
        print(Counter(answer.status for answer in answers), f"{len(arrived)} arrived, {len(given_back)} given back")
        assert {answer.status for answer in answers} == {200, 502}
        assert not arrived & given_back
        assert {number for number, answer in enumerate(answers) if answer.status == 200} <= arrived
        _check_nonces(rig, key, trials - len(given_back))


# No connection at all.

def _refuses(till: Till, calls: int = 2) -> None:
    """Nothing was sent, so nothing is counted."""
    key, metered = till.mint(max_activations=1), till.mint(max_activations=None, max_spend_usd="1")
    for one_key in (key, metered):
        for _ in range(calls):
            answer = one(till.url, post(one_key.token, PLAIN))
            assert (answer.status, b"upstream_unreachable" in answer.body) == (502, True), answer
            assert leaks(UPSTREAM_KEY, answer.wire) == [], answer
        assert till.key(one_key.id)["usedActivations"] == 0
        assert till.key(one_key.id)["usedSpendUsd"] == "0.00"
    output = till.all_output()
    assert b"panicked" not in output and leaks(UPSTREAM_KEY, output) == []


def _tls_script(kind: str) -> bytes:
    """What a broken server says to a ClientHello."""
    return {
        "plain HTTP": OK, "nonsense": b"\x16\x03\x03\xff\xff" + b"\0" * 70_000, "an alert": b"\x15\x03\x03\0\2\2\x28", "nothing": b"",
        "zeros": b"\0" * 100_000, "half a record": b"\x16\x03\x03\0\x7a\2\0\0\x76\3\3",
    }[kind]


@pytest.mark.parametrize("kind", ["plain HTTP", "nonsense", "an alert", "nothing", "zeros", "half a record", "silence"])
def test_tls_that_is_none(kind: str, new_till) -> None:
    seen: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(65536))
                try:
                    if kind != "silence":
                        connection.sendall(_tls_script(kind))
                    else:
                        connection.recv(1)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        till = new_till({"openai": f"https://localhost:{listener.getsockname()[1]}"}, flags=SHORT).start()
        _refuses(till)
        listener.shutdown(socket.SHUT_RDWR)
    assert len(seen) == 4 and leaks(UPSTREAM_KEY, b"".join(seen)) == []


@pytest.mark.parametrize("kind", ["another authority", "another name", "expired", "not yet valid"])
def test_certificates_that_do_not_fit(kind: str, new_till, tmp_path: Path) -> None:
    trusted, stranger = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    issued = {
        "another authority": lambda: stranger.issue_cert("localhost"),
        "another name": lambda: trusted.issue_cert("elsewhere.example"),
        "expired": lambda: trusted.issue_cert("localhost", not_before=now - 2 * day, not_after=now - day),
        "not yet valid": lambda: trusted.issue_cert("localhost", not_before=now + day, not_after=now + 2 * day),
        "good": lambda: trusted.issue_cert("localhost"),
    }
    upstream = ScriptedUpstream()
    for which in (kind, "good"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued[which]().configure_cert(context)
        front = tls_front(upstream.url, context)
        till = new_till({"openai": f"https://localhost:{front.port}"}, flags=(*SHORT, "--upstream-ca", str(tmp_path / "ca.pem"))).start()
        if which == "good":
            assert one(till.url, post(till.mint().token, PLAIN)).status == 200
        else:
            _refuses(till)
            assert upstream.count == 0
        front.close()
    upstream.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 63 + ".invalid", "127.0.0.1"])
def test_names_and_addresses_that_lead_nowhere(host: str, new_till) -> None:
    with socket.socket() as reserved:
        # Bound, so that nobody else takes the port, and not listening.
        reserved.bind(("127.0.0.1", 0))
        _refuses(new_till({"openai": f"http://{host}:{reserved.getsockname()[1]}"}, flags=SHORT).start())
