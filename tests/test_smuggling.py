"""Requests that two servers could read differently, sent to till alone, through nginx in front of it, and through till to
nginx behind it. Every hop has to have seen the same requests; what one hop takes for a body is nowhere a request.

The corpus is `smuggling.json`. `test_the_corpus_can_find_something` shows with a server that forgives that it bites."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.listener import Listener
from harness.nginx import Nginx
from harness.raw_http import exchange, one
from harness.scripted_upstream import Answer, Request, ScriptedUpstream
from harness.till_process import Till

CORPUS = json.loads((Path(__file__).parent / "smuggling.json").read_text())
FIRST = "POST /v1/first?c=CASE HTTP/1.1\r\nhost: x\r\nauthorization: Bearer TOKEN\r\n"
CHUNKED = FIRST + "transfer-encoding: chunked\r\n\r\n"
SECOND = "GET /v1/smuggled?c=CASE HTTP/1.1\r\nhost: x\r\nauthorization: Bearer TOKEN\r\n\r\n"
# Without one of these there is no body, and what follows is another request to everybody.
BODY_LINE = re.compile(r"^(content-length|transfer-encoding)\s*:", re.IGNORECASE | re.MULTILINE)
TARGET = re.compile(rb"/v1/(?:first|smuggled|victim)\?c=\d+")


def corpus() -> list[str]:
    """Every request with what is to be smuggled behind it."""
    cases = []
    for coding in CORPUS["codings"]:
        # CL.TE, TE.CL, the same the other way round, TE.TE, and the coding alone.
        cases += [
            FIRST + f"content-length: LENGTH\r\n{coding}\r\n\r\n0\r\n\r\nSECOND",
            FIRST + f"{coding}\r\ncontent-length: LENGTH\r\n\r\n0\r\n\r\nSECOND",
            FIRST + f"{coding}\r\ncontent-length: 4\r\n\r\nSIZE\r\nSECOND\r\n0\r\n\r\n",
            FIRST + f"content-length: 4\r\n{coding}\r\n\r\nSIZE\r\nSECOND\r\n0\r\n\r\n",
            FIRST + f"transfer-encoding: chunked\r\n{coding}\r\n\r\nSIZE\r\nSECOND\r\n0\r\n\r\n",
            FIRST + f"{coding}\r\n\r\nSIZE\r\nSECOND\r\n0\r\n\r\n",
        ]
    cases += [FIRST + f"{length}\r\n\r\nSECOND" for length in CORPUS["lengths"]]
    # The second request is in a chunk, or behind an end that is none.
    cases += [CHUNKED + chunks for chunks in CORPUS["chunks"] + CORPUS["ends"]]
    # CL.0: a body where some expect none.
    cases += [(FIRST + "content-length: LENGTH\r\n\r\nSECOND").replace("POST", method, 1) for method in CORPUS["methods"]]
    cases += CORPUS["heads"]
    return cases


def filled(case: str, number: int, token: str) -> bytes:
    second = SECOND.replace("CASE", str(number)).replace("TOKEN", token)
    case = case.replace("SIZE", f"{len(second):x}").replace("SECOND", second).replace("CASE", str(number)).replace("TOKEN", token)
    body = case.partition("\r\n\r\n")[2]
    return case.replace("LENGTH", str(len(body))).encode("latin-1")


class Hops:
    """What was sent, and what each hop says that it got."""

    def __init__(self, till: Till, upstream: ScriptedUpstream, url: str, nginx: Nginx | None = None) -> None:
        self.till, self.upstream, self.url, self.nginx = till, upstream, url, nginx
        self.token = till.mint(max_activations=1_000_000).token

    def send_all(self) -> list[str]:
        """Sends the corpus, with an ordinary request behind each; returns what was wrong with those."""
        cases = corpus()

        def send(number: int) -> str | None:
            # Another answer would come within this time.
            exchange(self.url, filled(cases[number], number, self.token), seconds=0.4, linger=0.05)
            victim = f"/v1/victim?c={number}"
            answer = one(self.url, f"GET {victim} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.token}\r\n\r\n".encode())
            return None if (answer.status, answer.body) == (200, victim.encode()) else f"{cases[number]!r}: {answer}"

        with ThreadPoolExecutor(8) as pool:
            wrong = [found for found in pool.map(send, range(len(cases))) if found]
        self.till.settled()
        return wrong

    def at_upstream(self) -> Counter[str]:
        return Counter(request.target for request in self.upstream.requests)


def mirror(request: Request) -> Answer:
    return Answer(pieces=[request.target.encode()])


@pytest.fixture
def mirrored(upstream: ScriptedUpstream) -> ScriptedUpstream:
    for path in ("/v1/first", "/v1/smuggled", "/v1/victim"):
        upstream.on(path, mirror)
    return upstream


def smuggled(targets: Counter[str]) -> list[str]:
    """Cases whose second request arrived although the first one says something of a body."""
    cases = corpus()
    found = [cases[int(target.rsplit("=", 1)[1])] for target in targets if "/v1/smuggled" in target]
    found = [case for case in found if case.removeprefix(CHUNKED) not in CORPUS["ends"]]
    return [case for case in found if BODY_LINE.search(case.partition("\r\n\r\n")[0])]


def test_till_alone(new_till, mirrored: ScriptedUpstream) -> None:
    till = new_till({"openai": mirrored.url}).start()
    hops = Hops(till, mirrored, till.url)
    wrong = hops.send_all()
    arrived = hops.at_upstream()
    print(f"{len(corpus())} cases, {sum('first' in target for target in arrived)} passed as one request")
    assert wrong == []
    assert smuggled(arrived) == [], "\n".join(smuggled(arrived))
    assert set(arrived.values()) == {1}, "nothing arrived twice"
    assert b"panicked" not in till.all_output()


@pytest.mark.parametrize("buffering", [True, False], ids=["buffered", "streamed"])
def test_behind_nginx(buffering: bool, new_till, mirrored: ScriptedUpstream, tmp_path: Path) -> None:
    """What nginx passes on as one request is one to till, and no more than that."""
    till = new_till({"openai": mirrored.url}).start()
    nginx = Nginx(tmp_path, till.url, buffering=buffering)
    try:
        hops = Hops(till, mirrored, nginx.url, nginx)
        wrong = hops.send_all()
    finally:
        nginx.close()
    passed_on = nginx.passed_on(unanswered=True)
    arrived = hops.at_upstream()
    print(f"{len(corpus())} cases, nginx passed {sum('first' in target for target in passed_on)} on, {sum('first' in target for target in arrived)} arrived, "
          f"{sum('smuggled' in target for target in passed_on)} were two requests to nginx")
    assert wrong == []
    assert not arrived - passed_on, "a request that nginx did not see"
    assert b"panicked" not in till.all_output()


def test_before_nginx(new_till, mirrored: ScriptedUpstream, tmp_path: Path) -> None:
    """What till passes on is what nginx reads, to the byte of the target, and nginx finds nothing odd in it."""
    nginx = Nginx(tmp_path, mirrored.url)
    try:
        till = new_till({"openai": nginx.url}).start()
        hops = Hops(till, mirrored, till.url, nginx)
        wrong = hops.send_all()
    finally:
        nginx.close()
    seen = nginx.seen()
    arrived = hops.at_upstream()
    print(f"{len(corpus())} cases, {sum('first' in target for target in arrived)} passed")
    assert wrong == []
    assert smuggled(arrived) == [], "\n".join(smuggled(arrived))
    assert not nginx.passed_on() - arrived and not arrived - nginx.passed_on(unanswered=True)
    # TRACE is nginx's own business, and what breaks off is not passed on.
    rest = [(target, status) for target, status, behind in seen if behind == "-"]
    assert all(status in ("400", "405", "499") and target.startswith("/v1/first?") for target, status in rest), rest


class Forgiving:
    """A server as they were: it takes the last length, a coding that has `chunked` anywhere, and bare line feeds."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self._listener = Listener(self._serve)
        self.url = self._listener.url

    def close(self) -> None:
        self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                while self._one(reader, connection):
                    pass
            except (OSError, ValueError, IndexError, OverflowError):
                pass

    def _one(self, reader, connection: socket.socket) -> bool:
        line = reader.readline()
        if not line:
            return False
        length, is_chunked = 0, False
        while (header := reader.readline()).strip():
            if b"content-length" in header.lower():
                length = int(re.findall(rb"\d+", header)[-1])
            is_chunked |= b"transfer-encoding" in header.lower() and b"chunked" in header.lower()
        while is_chunked and (size := int(reader.readline().split(b";")[0], 16)):
            reader.read(size + 2)
        if is_chunked:
            reader.readline()
        else:
            reader.read(length)
        self.targets += [found.decode() for found in TARGET.findall(line)]
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        return True


def test_the_corpus_can_find_something() -> None:
    """Dozens of its cases are two requests to a server that forgives, and a plain pipeline is two to everybody."""
    server = Forgiving()
    try:
        cases = corpus()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: exchange(server.url, filled(cases[number], number, "x"), seconds=0.2, linger=0.05), range(len(cases))))
        found = sum("smuggled" in target for target in server.targets)
    finally:
        server.close()
    print(f"{found} of {len(cases)} cases smuggle a request past a forgiving server")
    assert found > 50


def test_a_plain_pipeline_is_two_requests_everywhere(new_till, mirrored: ScriptedUpstream, tmp_path: Path) -> None:
    till = new_till({"openai": mirrored.url}).start()
    nginx = Nginx(tmp_path, till.url)
    try:
        for number, url in enumerate((till.url, nginx.url)):
            hops = Hops(till, mirrored, url)
            assert len(exchange(url, filled(FIRST + "content-length: 0\r\n\r\nSECOND", number, hops.token), linger=1)) == 2
        assert hops.at_upstream() == {f"/v1/{which}?c={number}": 1 for which in ("first", "smuggled") for number in (0, 1)}
    finally:
        nginx.close()
