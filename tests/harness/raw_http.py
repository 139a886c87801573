"""HTTP without a library in between: bytes as given, and many requests at once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class RawAnswer:
    """What came back, with the body's framing undone."""

    status: int
    headers: dict[str, str]
    body: bytes
    wire: bytes = b""

    def error(self) -> dict:
        return json.loads(self.body)["error"]


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def exchange(url: str, request: bytes, *, seconds: float = 10, linger: float = 0.5) -> list[RawAnswer]:
    """Sends bytes and returns every answer that comes.

    Ends when the other side closes, when nothing comes for `seconds`, or `linger` after a complete answer: the time
    in which an answer to a smuggled second request would come.
    """
    with socket.create_connection(address(url), timeout=seconds) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it refused before it had read everything; its answer may still be there
        wire = b""
        answers: list[RawAnswer] = []
        while True:
            try:
                data = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not data:
                break
            wire += data
            answers = _all(wire)
            if answers and not linger:
                break
            if answers:
                connection.settimeout(linger)
        return answers


def one(url: str, request: bytes) -> RawAnswer:
    """The answer to `request`, which is one request."""
    answers = exchange(url, request, linger=0)
    assert len(answers) == 1, f"{len(answers)} answers: {answers}"
    return answers[0]


def _all(wire: bytes) -> list[RawAnswer]:
    answers = []
    while wire:
        parsed = _first(wire)
        if parsed is None:
            break
        answer, used = parsed
        if answer.status >= 200:
            answers.append(answer)
        wire = wire[used:]
    return answers


def _first(wire: bytes) -> tuple[RawAnswer, int] | None:
    end = wire.find(b"\r\n\r\n")
    if end < 0:
        return None
    status, headers = _head(wire[:end])
    start = end + 4
    if status < 200 or status in (204, 304):
        return RawAnswer(status, headers, b"", wire[:start]), start
    if "chunked" in headers.get("transfer-encoding", ""):
        body, position = b"", start
        while True:
            line = wire.find(b"\r\n", position)
            if line < 0:
                return None
            size = int(wire[position:line].split(b";")[0], 16)
            if size == 0:
                tail = wire.find(b"\r\n\r\n", line)
                return None if tail < 0 else (RawAnswer(status, headers, body, wire[: tail + 4]), tail + 4)
            if len(wire) < line + 2 + size + 2:
                return None
            body += wire[line + 2 : line + 2 + size]
            position = line + 2 + size + 2
    stop = start + int(headers.get("content-length", len(wire) - start))
    return None if len(wire) < stop else (RawAnswer(status, headers, wire[start:stop], wire[:stop]), stop)


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(lines[0].split(" ")[1]), headers


def post(token: str, body: bytes = b"{}", path: str = "/v1/chat/completions", extra: bytes = b"") -> bytes:
    """An ordinary request as bytes."""
    return (f"POST {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n").encode() + extra + b"\r\n" + body


@dataclass
class Burst:
    """How many requests of a burst ended how."""

    statuses: Counter[str] = field(default_factory=Counter)
    broken: int = 0


def burst(url: str, token: str, requests: int, connections: int) -> Burst:
    """Sends `requests` over `connections` keep-alive connections, each as fast as it is answered.

    Outcomes are counted as the status and, for refusals, the code: `403 activations_exhausted`. A connection that
    breaks is counted and its worker stops, because then the server is gone.
    """
    return asyncio.run(_burst(url, post(token), requests, connections))


async def _burst(url: str, request: bytes, requests: int, connections: int) -> Burst:
    result = Burst()
    left = iter(range(requests))
    start = asyncio.Event()

    async def worker() -> None:
        reader = writer = None
        try:
            reader, writer = await asyncio.open_connection(*address(url))
            await start.wait()
            for _ in left:
                writer.write(request)
                status, body = await _read_answer(reader)
                result.statuses[_outcome(status, body)] += 1
        except (OSError, asyncio.IncompleteReadError):
            result.broken += 1
        finally:
            if writer:
                writer.close()

    tasks = [asyncio.create_task(worker()) for _ in range(connections)]
    await asyncio.sleep(0)
    start.set()
    await asyncio.gather(*tasks)
    return result


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, headers = await read_head(reader)
    return status, await read_body(reader, headers)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    return _head((await reader.readuntil(b"\r\n\r\n"))[:-4])


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The whole body; `IncompleteReadError` if it is cut."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        pass
    return body


def _outcome(status: int, body: bytes) -> str:
    if status < 400:
        return str(status)
    error = json.loads(body)["error"]
    return f"{status} {error.get('code')}"
