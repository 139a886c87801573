"""Clients that do everything wrong: slow, silent, in crowds, cut off, with bad tokens. Nobody else waits for them, they
take a bounded amount of memory and descriptors, and only what reached the upstream whole is worth anything to them."""

from __future__ import annotations

import random
import resource
import socket
import string
import time
from collections import Counter

import pytest

import token_vectors
from harness.process_facts import cpu_nanoseconds, cpu_seconds, descriptors, file_bytes, memory
from harness.raw_http import address, exchange, one, post
from harness.scripted_upstream import Answer, ScriptedUpstream
from harness.till_process import Till
from harness.unharmed import BODY, MIB, unharmed
from harness.waiting import until

CHAT = "/v1/chat/completions"
SHORT = ("--client-header-timeout", "1s", "--first-byte-timeout", "2s", "--idle-timeout", "2s")


@pytest.fixture
def till(new_till, upstream: ScriptedUpstream) -> Till:
    running = new_till({"openai": f"{upstream.url},bills-alike"}, flags=SHORT).start()
    assert one(running.url, post(running.mint().token, BODY)).status == 200
    upstream.reset()
    return running


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection, whatever it said before."""
    connection.settimeout(0.01)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def connect_all(till: Till, number: int) -> list[socket.socket]:
    return [socket.create_connection(address(till.url), timeout=20) for _ in range(number)]


# Slow clients.

def test_a_crowd_of_slow_heads(till: Till, upstream: ScriptedUpstream) -> None:
    """Each is sent away a second after its first byte, however it drips; others are served meanwhile."""
    key = till.mint(max_activations=100)
    head = post(key.token, BODY)[:-len(BODY) - 2]
    with unharmed(till, upstream):
        slow = connect_all(till, 300)
        started, position, served = time.monotonic(), 0, 0
        while any(connection.fileno() >= 0 for connection in slow):
            assert time.monotonic() - started < 30, "a slow head is still being read"
            for connection in slow:
                if connection.fileno() < 0:
                    continue
                try:
                    connection.send(head[position : position + 1] or b"a")
                except OSError:
                    connection.close()
                    continue
                if position > 5 and is_closed(connection):
                    connection.close()
            position += 1
            served += one(till.url, post(key.token, BODY)).status == 200
            time.sleep(0.1)
        assert served == upstream.count == till.used(key), "only those that were whole"
        assert served >= 5


@pytest.mark.parametrize("limits", [{"max_activations": 50}, {"max_activations": None, "max_spend_usd": "1"}], ids=["streamed", "read whole"])
def test_a_crowd_of_slow_bodies(limits: dict, till: Till, upstream: ScriptedUpstream) -> None:
    """A body that drips or stops ends with a time-out; it is never complete to the upstream."""
    key, other = till.mint(**limits), till.mint(max_activations=100)
    with unharmed(till, upstream):
        slow = connect_all(till, 40)
        for connection in slow:
            connection.sendall(post(key.token, BODY)[:-20])
        left = set(slow)
        started = time.monotonic()
        while left:
            assert time.monotonic() - started < 30, "a slow body is still being read"
            assert one(till.url, post(other.token, BODY)).status == 200
            for connection in list(left)[: len(left) // 2]:
                try:
                    connection.send(b" ")
                except OSError:
                    pass
            left = {connection for connection in left if not is_closed(connection)}
            time.sleep(0.2)
        assert all(request.header("authorization") and len(request.body) == len(BODY) for request in upstream.requests)
        assert upstream.count == till.used(other), "none of the slow ones"
        spent = till.used(key)
        assert spent == 0 if "max_spend_usd" in limits else spent <= 40


def test_thousands_of_idle_connections(till: Till, upstream: ScriptedUpstream) -> None:
    """They take a few kilobytes each and nothing from others, and go when they go."""
    key = till.mint(max_activations=400)
    with unharmed(till, upstream):
        before = memory(till.pid)
        idle = connect_all(till, 4000)
        for number, connection in enumerate(idle):
            # A third says nothing, a third is between two requests, a third is at the start of a head.
            connection.sendall((b"", b"GET /healthz HTTP/1.1\r\nhost: till\r\n\r\n", b"GET")[number % 3])
        until(lambda: descriptors(till.pid) >= 4000, "all to be accepted")
        each = (memory(till.pid) - before) / len(idle)
        print(f"{each:.0f} bytes of memory for an idle connection")
        assert each < 16 * 1024
        started = time.monotonic()
        assert all(one(till.url, post(key.token, BODY)).status == 200 for _ in range(200))
        print(f"{(time.monotonic() - started) / 200 * 1e3:.1f} ms for a request beside them")
        for connection in idle:
            connection.close()
        until(lambda: descriptors(till.pid) < 200, "till to close them")


def test_no_descriptors_are_left(till: Till, upstream: ScriptedUpstream) -> None:
    """Nothing breaks: what can't be sent is not counted, accepting doesn't spin, and it goes on when there is room."""
    key = till.mint(max_activations=10)
    with unharmed(till, upstream), socket.create_connection(address(till.url), timeout=20) as known:
        known.sendall(b"GET /healthz HTTP/1.1\r\nhost: till\r\n\r\n")
        assert known.recv(65536).startswith(b"HTTP/1.1 200 ")
        hard = resource.prlimit(till.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(till.pid, resource.RLIMIT_NOFILE, (descriptors(till.pid) + 20, hard))
        idle = connect_all(till, 100)
        until(lambda: "accept failed" in till.output(), "descriptors to run out")
        before = cpu_seconds(till.pid)
        time.sleep(2)
        assert cpu_seconds(till.pid) - before < 1, "it spins"
        # The pooled connection to the upstream is used up by one; a second at the same time needs another.
        known.sendall(post(key.token, BODY))
        first = known.recv(65536)
        assert first.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 502 ")), first
        for connection in idle:
            connection.close()
        resource.prlimit(till.pid, resource.RLIMIT_NOFILE, (hard, hard))
        until(lambda: till.admin("GET", "/healthz").status_code == 200, "connections to be accepted again")
        assert till.used(key) == upstream.count == first.startswith(b"HTTP/1.1 200 ")


# Pipelines, halves, cuts.

def test_a_pipeline_is_answered_in_order_and_counted(till: Till, upstream: ScriptedUpstream) -> None:
    upstream.on(CHAT, lambda request: Answer(pieces=[request.target.encode()]))
    key = till.mint(max_activations=100)
    with unharmed(till, upstream):
        requests = b"".join(post(key.token, BODY, path=f"{CHAT}?n={number}.") for number in range(300))
        answers = exchange(till.url, requests, linger=2)
        assert [answer.status for answer in answers] == [200] * 100 + [403] * 200
        assert [answer.body for answer in answers[:100]] == [f"{CHAT}?n={number}.".encode() for number in range(100)]
        assert upstream.count == till.used(key) == 100


@pytest.mark.parametrize("limits", [{"max_activations": 60}, {"max_activations": None, "max_spend_usd": "1"}], ids=["counted", "metered"])
def test_clients_that_close_half_or_all_of_it(limits: dict, till: Till, upstream: ScriptedUpstream) -> None:
    """In the middle of everything: what reached the upstream is spent, and nothing goes on for nobody."""
    key = till.mint(**limits)
    with unharmed(till, upstream):
        for number in range(60):
            with socket.create_connection(address(till.url), timeout=20) as connection:
                connection.sendall(post(key.token, BODY) * (number % 3 + 1))
                if number % 2:
                    connection.shutdown(socket.SHUT_WR)
                if number % 4 < 2:
                    connection.recv(1)
        spent = till.used(key)
        print(f"{upstream.count} arrived, {spent} spent")
        assert upstream.count <= spent <= (60 if "max_activations" not in limits or limits["max_activations"] else 120)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("limits", [{"max_activations": 1000}, {"max_activations": None, "max_spend_usd": "1"}], ids=["counted", "metered"])
def test_a_request_that_is_cut_at_every_byte(limits: dict, chunked: bool, till: Till, upstream: ScriptedUpstream) -> None:
    """No part of a request is ever a whole one to the upstream."""
    key = till.mint(**limits)
    request = post(key.token, BODY)
    if chunked:
        head = post(key.token, b"", extra=b"transfer-encoding: chunked\r\n").replace(b"content-length: 0\r\n", b"")
        request = head + b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (50, BODY[:50], len(BODY) - 50, BODY[50:])
    with unharmed(till, upstream):
        for length in range(len(request)):
            with socket.create_connection(address(till.url), timeout=20) as connection:
                connection.sendall(request[:length])
        spent = till.used(key)
        print(f"{len(request)} cuts, {spent} spent")
        assert upstream.count == 0
        assert spent == 0 if "max_spend_usd" in limits else spent <= len(request) - request.index(b"\r\n\r\n")
        assert one(till.url, request).status == 200
        assert (upstream.count, till.used(key)) == (1, spent + 1)
        assert upstream.last().body == BODY


OVERSIZED = {
    "method": lambda token: b"A" * MIB + post(token, BODY)[4:],
    "path": lambda token: post(token, BODY, path="/v1/" + "a" * MIB),
    "query": lambda token: post(token, BODY, path=f"{CHAT}?{'a' * MIB}"),
    "header name": lambda token: post(token, BODY, extra=b"a" * MIB + b": b\r\n"),
    "token": lambda token: post(token + "0" * MIB, BODY),
    "header lines": lambda token: post(token, BODY, extra=b"a: b\r\n" * 200_000),
    "empty lines": lambda token: b"\r\n" * MIB + post(token, BODY),
    "length": lambda token: post(token, BODY).replace(b"content-length: %d" % len(BODY), b"content-length: " + b"0" * MIB + b"2"),
    "chunk extension": lambda token: _chunked(token, b"2;" + b"a" * MIB + b"\r\n{}\r\n0\r\n\r\n"),
    "chunk size": lambda token: _chunked(token, b"0" * MIB + b"2\r\n{}\r\n0\r\n\r\n"),
    "trailers": lambda token: _chunked(token, b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 200_000 + b"\r\n"),
}


def _chunked(token: str, body: bytes) -> bytes:
    return post(token, b"", extra=b"transfer-encoding: chunked\r\n").replace(b"content-length: 0\r\n", b"") + body


@pytest.mark.parametrize("name", OVERSIZED)
def test_everything_that_can_be_too_large(name: str, till: Till, upstream: ScriptedUpstream) -> None:
    key, metered = till.mint(max_activations=5), till.mint(max_activations=None, max_spend_usd="1")
    with unharmed(till, upstream):
        for one_key in (key, metered):
            answers = exchange(till.url, OVERSIZED[name](one_key.token))
            assert len(answers) <= 1 and all(400 <= answer.status < 500 for answer in answers), answers
        assert upstream.count == 0
        assert till.used(metered) == 0


def test_a_body_that_is_too_large_to_be_read(till: Till, upstream: ScriptedUpstream) -> None:
    """Announced or not, it is refused where it has to be read, and its memory is given back."""
    metered = till.mint(max_activations=None, max_spend_usd="1")
    with unharmed(till, upstream, megabytes=150):
        announced = post(metered.token, b"").replace(b"content-length: 0", b"content-length: 99999999999")
        assert one(till.url, announced).status == 413
        endless = _chunked(metered.token, b"100000\r\n" + b" " * MIB + b"\r\n")
        piece = endless[endless.index(b"\r\n\r\n") + 4 :]
        with socket.create_connection(address(till.url), timeout=20) as connection:
            try:
                connection.sendall(endless)
                for _ in range(200):
                    connection.sendall(piece)
            except OSError:
                pass
            try:
                assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
            except ConnectionResetError:
                pass
        assert (upstream.count, till.used(metered)) == (0, 0)


# Bad tokens.

def bad_tokens(good: str, number: int, kind: str) -> list[str]:
    """Tokens that don't open, each another one."""
    chance = random.Random(3)
    payload = token_vectors.text_decode("till_sk_", good)
    tokens = []
    for _ in range(number):
        if kind == "checksum":
            middle = "".join(chance.choice(string.ascii_letters) for _ in range(12))
            tokens.append(good[:60] + middle + good[72:])
            continue
        changed = bytearray(payload)
        # The last 32 bytes are the tag; bytes 8 to 23 the random id behind version, master key and fingerprint.
        for at in (range(len(payload) - 32, len(payload)) if kind == "tag" else range(len(payload))):
            if kind == "tag" or at > 0:
                changed[at] = chance.randrange(256)
        tokens.append(token_vectors.text_encode("till_sk_", bytes(changed)))
    return tokens


@pytest.mark.parametrize("kind", ["checksum", "unknown", "tag"])
def test_a_bad_token_asks_no_store(kind: str, new_till, upstream: ScriptedUpstream) -> None:
    """Thousands of them: not a page is read or written for them, the store is not asked, and each costs microseconds."""
    till = new_till({"openai": upstream.url}, flags=("--log-requests", "off")).start()
    key = till.mint(max_activations=1)
    number = 5000
    requests = [post(token, BODY) for token in bad_tokens(key.token, number, kind)]
    assert one(till.url, post(key.token, BODY)).status == 200
    one(till.url, requests[0])

    def asked() -> int:
        return int(till.admin("GET", "/metrics").text.split("\ntill_store_operations_total ")[1].split("\n")[0])

    with socket.create_connection(address(till.url), timeout=20) as connection:
        def flood(wanted: list[bytes]) -> tuple[int, int, Counter]:
            cpu, moved, seen = cpu_nanoseconds(till.pid), file_bytes(till.pid), Counter()
            for at in range(0, len(wanted), 50):
                connection.sendall(b"".join(wanted[at : at + 50]))
                wire = b""
                while wire.count(b"HTTP/1.1 ") < len(wanted[at : at + 50]) or not wire.endswith(b"}"):
                    wire += connection.recv(1 << 20)
                seen[wire.count(b"HTTP/1.1 403 "), wire.count(b"invalid_key")] += 1
            return cpu_nanoseconds(till.pid) - cpu, file_bytes(till.pid) - moved, seen

        before = asked()
        cpu, moved, seen = flood(requests)
        after = asked()
        assert set(seen) == {(50, 50)}
        print(f"{kind}: {number} refused, {cpu / number / 1000:.1f} µs of CPU each, {moved} bytes through files, {after - before} operations of the store")
        # The settle of the call before, and the use of the admin key.
        assert after - before <= 2, "the store was asked"
        # Wakers and the background write a few bytes; a page is 4,096.
        assert moved < number * 8
    # It could be seen: what is denied to a known key is written down.
    moved = file_bytes(till.pid)
    for _ in range(20):
        assert one(till.url, post(key.token, BODY)).status == 403
    until(lambda: file_bytes(till.pid) - moved > 4096 or None, "a page to be written", seconds=30)
