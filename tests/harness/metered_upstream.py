"""A provider that bills: it answers like OpenAI, Anthropic or Gemini, keeps to the output cap of each request as a
real one does, and keeps its own tally of what it would charge, in whole pico-dollars.

What it bills does not depend on whether anybody reads the answer: a cut or abandoned stream costs what was made."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from dataclasses import dataclass, field

# Pico-dollars per token of input and output, as public price lists have them.
PRICES = {
    "gpt-4o": (2_500_000, 10_000_000),
    "gpt-4o-mini": (150_000, 600_000),
    "claude-haiku-4-5": (1_000_000, 5_000_000),
    "gemini-2.5-flash": (300_000, 2_500_000),
}
# So many tokens cost about a tenth of a cent; of the dearest model a whole one.
OUTPUT_TOKENS = {"gpt-4o": 1_000, "gpt-4o-mini": 1_600, "claude-haiku-4-5": 200, "gemini-2.5-flash": 400}


@dataclass
class Tally:
    """What was asked and what it costs."""

    requests: int = 0
    tokens: int = 0
    picos: int = 0
    # Each call rounded up to whole nano-dollars, as a key is charged.
    nanos: int = 0
    bodies: list[dict] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)


class MeteredUpstream:
    """Runs in a thread of its own on a free port.

    `fault` is one of: None; "cut" (the answer breaks off in the middle); "silent" (no usage); "lie" (reports ten times
    the cap); "endless" (a stream that ignores the cap); a status such as "429"."""

    def __init__(self, seed: int = 7, latency: float = 0.1, fault: str | None = None) -> None:
        self.random = random.Random(seed)
        self.latency = latency
        self.fault = fault
        self.tally = Tally()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        raw = await reader.readexactly(length)
        path = head.split(" ")[1]
        if not raw:
            return await self._send(writer, 200, b'{"data":[]}')
        body = json.loads(raw)
        self.tally.bodies.append(body)
        self.tally.raw.append(raw)
        await asyncio.sleep(self.latency)
        if self.fault and self.fault.isdigit():
            self.tally.requests += 1
            return await self._send(writer, int(self.fault), b'{"error":{"message":"no","type":"x"}}')
        return await self._answer(writer, path, body)

    async def _answer(self, writer: asyncio.StreamWriter, path: str, body: dict) -> bool:
        api = "gemini" if ":" in path else "anthropic" if path.startswith("/v1/messages") else "openai"
        model = path.split("/models/")[1].split(":")[0] if api == "gemini" else body["model"]
        cap = body.get("generationConfig", {}).get("maxOutputTokens") if api == "gemini" else body.get("max_tokens", body.get("max_completion_tokens"))
        streamed = "stream" in path if api == "gemini" else body.get("stream", False)
        typical = OUTPUT_TOKENS[model]
        made = self.random.randint(typical // 2, typical * 3 // 2)
        made = min(made, cap) if cap is not None and self.fault != "endless" else made
        asked = max(1, len(json.dumps(body)) // 6)
        if self.fault == "endless":
            return await self._endless(writer, model)
        self._bill(model, asked, made)
        told = (asked, made * 10 + (cap or 0) * 10) if self.fault == "lie" else (asked, made)
        usage = None if self.fault == "silent" else told
        if not streamed:
            answer = json.dumps(plain(api, model, usage)).encode()
            if self.fault == "cut":
                return await self._cut(writer, "application/json", answer, len(answer))
            return await self._send(writer, 200, answer)
        with_usage = api != "openai" or body.get("stream_options", {}).get("include_usage", False)
        events = b"".join(stream(api, model, usage if with_usage else None, made))
        if self.fault == "cut":
            return await self._cut(writer, "text/event-stream", events, len(events))
        return await self._send(writer, 200, events, "text/event-stream")

    def _bill(self, model: str, asked: int, made: int) -> None:
        each_in, each_out = PRICES[model]
        picos = asked * each_in + made * each_out
        self.tally.requests += 1
        self.tally.tokens += asked + made
        self.tally.picos += picos
        self.tally.nanos += -(-picos // 1_000)

    async def _send(self, writer: asyncio.StreamWriter, status: int, body: bytes, kind: str = "application/json") -> bool:
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        return True

    async def _cut(self, writer: asyncio.StreamWriter, kind: str, body: bytes, length: int) -> bool:
        part = body[: self.random.randrange(length)]
        writer.write(f"HTTP/1.1 200 X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n".encode() + part)
        await writer.drain()
        return False

    async def _endless(self, writer: asyncio.StreamWriter, model: str) -> bool:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        self._bill(model, 1, 0)
        event = sse(chat_chunk(model, {"content": "and so on and on, for ever and ever "}))
        while True:
            self._bill_more(model, 8)
            writer.write(event)
            await writer.drain()

    def _bill_more(self, model: str, made: int) -> None:
        self.tally.picos += made * PRICES[model][1]


def sse(data: dict, name: str | None = None) -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"


def chat_chunk(model: str, delta: dict, finish: str | None = None) -> dict:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def chat_usage(usage: tuple[int, int]) -> dict:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}


def plain(api: str, model: str, usage: tuple[int, int] | None) -> dict:
    if api == "openai":
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": model,
                  "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
        return answer | ({"usage": chat_usage(usage)} if usage else {})
    if api == "anthropic":
        answer = {"id": "m", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
                  "stop_sequence": None, "content": [{"type": "text", "text": "Hi"}]}
        return answer | ({"usage": {"input_tokens": usage[0], "output_tokens": usage[1]}} if usage else {})
    answer = {"candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}], "modelVersion": model}
    return answer | ({"usageMetadata": {"promptTokenCount": usage[0], "candidatesTokenCount": usage[1]}} if usage else {})


def stream(api: str, model: str, usage: tuple[int, int] | None, made: int) -> list[bytes]:
    words = min(made, 20)
    if api == "openai":
        events = [sse(chat_chunk(model, {"content": "word "})) for _ in range(words)] + [sse(chat_chunk(model, {}, "stop"))]
        if usage:
            events.append(sse({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": chat_usage(usage)}))
        return [*events, b"data: [DONE]\n\n"]
    if api == "anthropic":
        start = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None, "stop_sequence": None}
        started = {"usage": {"input_tokens": usage[0], "output_tokens": 1}} if usage else {}
        ended = {"usage": {"output_tokens": usage[1]}} if usage else {}
        return [
            sse({"type": "message_start", "message": start | started}, "message_start"),
            sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, "content_block_start"),
            *[sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}, "content_block_delta") for _ in range(words)],
            sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
            sse({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}} | ended, "message_delta"),
            sse({"type": "message_stop"}, "message_stop"),
        ]
    chunks = [{"candidates": [{"content": {"parts": [{"text": "word "}], "role": "model"}}], "modelVersion": model} for _ in range(words)]
    return [*[sse(chunk) for chunk in chunks], sse(plain(api, model, usage))]
