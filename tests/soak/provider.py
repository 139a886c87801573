"""The provider of the soak: it bills like `MeteredUpstream`, call by call, and does to each what its client asks for.

A client numbers its calls and names what goes wrong in headers, which till passes on as they are. So the bill of every call
is known by its number, whatever till says of it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextvars import ContextVar

from harness.metered_upstream import PRICES, MeteredUpstream

NUMBER, FAULT = "x-soak-call", "x-soak-fault"
# What can be asked for. `hang` and `stall` wait for till to give up, before the answer and in it.
FAULTS = ("429", "500", "cut", "silent", "reset", "hang", "stall")


class Arrived:
    """A call that reached the provider, and its bill."""

    __slots__ = ("fault", "nanos", "tokens")

    def __init__(self, fault: str | None) -> None:
        self.fault = fault
        self.tokens = 0
        self.nanos = 0


class BookedUpstream(MeteredUpstream):
    """Keeps one entry per call until somebody takes it."""

    def __init__(self, seed: int) -> None:
        self.arrived: dict[int, Arrived] = {}
        self.twice: list[int] = []
        self.count = 0
        self._call: ContextVar[Arrived] = ContextVar("call")
        self._reader: ContextVar[asyncio.StreamReader] = ContextVar("reader")
        self._idle: set[asyncio.StreamWriter] = set()
        super().__init__(seed=seed, latency=0.02)

    # Of the call that the connection is about; `MeteredUpstream` has one for all.
    @property
    def fault(self) -> str | None:
        return self._call.get().fault

    @fault.setter
    def fault(self, _: str | None) -> None:
        pass

    def hang_up(self) -> None:
        """Ends connections on which nothing is under way."""
        self._loop.call_soon_threadsafe(lambda: [writer.close() for writer in self._idle])

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self._idle.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        finally:
            self._idle.discard(writer)
        lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        raw = await self._body(reader, headers)
        number, fault = int(headers[NUMBER]), headers.get(FAULT)
        call = Arrived(fault)
        if number in self.arrived:
            self.twice.append(number)
        self.arrived[number] = call
        self.count += 1
        self._call.set(call)
        self._reader.set(reader)
        await asyncio.sleep(self.random.uniform(0, 2 * self.latency))
        path = lines[0].split(" ")[1]
        if fault and fault.isdigit():
            return await self._send(writer, int(fault), b'{"error":{"message":"no","type":"x"}}')
        if path.startswith("/plain"):
            return await self._plain(writer, raw)
        if not raw:
            return await self._send(writer, 200, b'{"data":[]}')
        return await self._answer(writer, path, json.loads(raw))

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        body = b""
        while "chunked" in headers.get("transfer-encoding", "") and (size := int((await reader.readuntil(b"\r\n")).strip(), 16)):
            body += (await reader.readexactly(size + 2))[:-2]
        if body:
            await reader.readuntil(b"\r\n")
        return body

    async def _plain(self, writer: asyncio.StreamWriter, raw: bytes) -> bool:
        """No model, no usage: bytes, as many as were sent."""
        return await self._send(writer, 200, raw, "application/octet-stream")

    def _bill(self, model: str, asked: int, made: int) -> None:
        call, (each_in, each_out) = self._call.get(), PRICES[model]
        call.tokens = asked + made
        # Rounded up to whole nano-dollars, as a key is charged.
        call.nanos = -(-(asked * each_in + made * each_out) // 1_000)

    async def _send(self, writer: asyncio.StreamWriter, status: int, body: bytes, kind: str = "application/json") -> bool:
        if self.fault == "reset":
            end = writer.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if self.fault == "hang":
            return await self._wait_for_end()
        if self.fault == "stall":
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])
            return await self._wait_for_end()
        if kind != "text/event-stream":
            return await super()._send(writer, status, body, kind)
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        events = body.split(b"\n\n")[:-1]
        step = max(1, len(events) // 4)
        for first in range(0, len(events), step):
            piece = b"\n\n".join(events[first:first + step]) + b"\n\n"
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(self.random.uniform(0, self.latency))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _wait_for_end(self) -> bool:
        await self._reader.get().read()
        return False

