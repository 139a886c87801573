"""The callers: mixed requests at a bounded pace, each with a number, and a word for why it ended as it did."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from harness.raw_http import read_body, read_head
from harness.shims import SetClock
from soak.faults import Trouble
from soak.keys import MODELS, SoakKey
from soak.provider import FAULT, FAULTS, NUMBER, BookedUpstream

# Longer than anything that till waits for here.
PATIENCE_SECONDS = 45
CALLERS = 48
# Of the calls that begin, so many are a burst.
BUSY_SHARE, BURST_CALLERS, BURST_CALLS = 0.008, 24, 4
# A server closes what is idle for longer.
IDLE_SECONDS = 10
WORDS = "Tell me a story of a fox, a crow and a piece of cheese. "
DAY_SECONDS = 86_400
STATE_CODES = {"key_revoked", "key_expired", "key_paused"}
EXHAUSTED = {"activations_exhausted": "activations", "tokens_exhausted": "tokens", "spend_exhausted": "nanos"}


def fault_status(fault: str | None) -> int | None:
    return int(fault) if fault and fault.isdigit() else None


def code_of(body: bytes) -> str:
    """The code of a refusal, in whichever shape it is."""
    try:
        error = json.loads(body)["error"]
        details = error.get("details") or {}
        found = details["error_code"] if "error_code" in details else details[0]["reason"] if details else error.get("reason") or error.get("code")
        return found if isinstance(found, str) else repr(body[:200])
    except (ValueError, LookupError, TypeError, AttributeError):
        return repr(body[:200])


class Call:
    """One request, from its sending until its record is in the books."""

    __slots__ = ("began", "broken", "code", "ended", "fault", "form", "hangs_up", "intent", "key", "number", "status")

    def __init__(self, number: int, key: SoakKey, intent: str, fault: str | None, hangs_up: bool) -> None:
        self.number, self.key, self.intent, self.fault, self.hangs_up = number, key, intent, fault, hangs_up
        self.began = time.monotonic()
        self.ended: float | None = None
        self.status: int | None = None
        self.code: str | None = None
        self.broken: str | None = None
        self.form = "plain"

    def __repr__(self) -> str:
        return (f"call {self.number} of {self.key.kind} {self.key.id} ({self.intent}, fault {self.fault}, hangs up {self.hangs_up}): "
                f"{self.status} {self.code} {self.broken}")


class Line:
    """A connection to till."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.opened = self.used = time.monotonic()


class Callers:
    """A thread with an event loop, in which calls are made until `stop`."""

    def __init__(self, url: str, provider: BookedUpstream, clock: SetClock, trouble: Trouble, chance: random.Random, pace: float) -> None:
        self.url, self.provider, self.clock, self.trouble, self.chance, self.pace = url, provider, clock, trouble, chance, pace
        # Those that are called, and all that there ever were. Lists are replaced, not changed.
        self.keys: list[SoakKey] = []
        self.everybody: list[SoakKey] = []
        self.calls: dict[int, Call] = {}
        self.seen: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self.exhausted_projects: set[tuple[str, int]] = set()
        self.with_faults = False
        self._numbers = itertools.count(1)
        self._running = False
        self._lines: list[Line] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._running = True
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when every call has ended, and closes the connections."""
        assert self._thread is not None
        self._running = False
        self._thread.join(PATIENCE_SECONDS + 15)
        assert not self._thread.is_alive(), "calls do not end"

    def once(self, key: SoakKey) -> None:
        """One ordinary call, from whichever thread."""
        asyncio.run(self._call(key, quick=True, alone=True))

    async def _run(self) -> None:
        await asyncio.gather(*[self._caller() for _ in range(CALLERS)])
        for line in self._lines:
            line.writer.close()
        self._lines.clear()

    async def _caller(self) -> None:
        while self._running:
            await asyncio.sleep(self.chance.expovariate(self.pace / CALLERS))
            try:
                await self._some_calls()
            except Exception as error:  # noqa: BLE001 - a mistake of the soak itself must not pass as silence
                self.unexplained.append(f"the caller failed: {error!r}")
                raise

    async def _some_calls(self) -> None:
        if self.chance.random() < BUSY_SHARE:
            await self._burst(self.chance.choice([key for key in self.keys if key.kind == "busy"]))
            return
        # The newest are called most, so that they are used up while they live.
        key = self.chance.choice(self.keys[-12:] if self.chance.random() < 0.25 else self.keys)
        await self._call(key)

    async def _burst(self, key: SoakKey) -> None:
        """So often for a moment that till counts units out ahead for it."""
        async def one_of_them() -> None:
            for _ in range(BURST_CALLS):
                await self._call(key, quick=True)
        await asyncio.gather(*[one_of_them() for _ in range(BURST_CALLERS)])

    async def _call(self, key: SoakKey, quick: bool = False, alone: bool = False) -> None:
        chance = self.chance
        intent = "ordinary" if quick or chance.random() < 0.94 else chance.choice(["wrong token", "no token", *["out of scope"] * 4 * key.is_scoped])
        fault = chance.choice(FAULTS) if self.with_faults and not quick and intent == "ordinary" and chance.random() < 0.06 else None
        if fault in ("hang", "stall") and chance.random() < 0.7:
            fault = None  # they keep a caller for seconds
        if key.provider == "plain" and fault == "silent":
            fault = None
        number = next(self._numbers)
        # Who cares for no figure hangs up on nothing: then till ends the call at once, and nobody knows what it came to.
        hangs_up = key.is_metered and not quick and fault is None and intent == "ordinary" and chance.random() < 0.04
        call = self.calls[number] = Call(number, key, intent, fault, hangs_up)
        key.recent.append(call)
        line = None
        day = int(self.clock.now() // DAY_SECONDS)
        try:
            line = await asyncio.wait_for(self._new_line() if alone else self._line(), PATIENCE_SECONDS)
            keeps = await asyncio.wait_for(self._exchange(line, call), PATIENCE_SECONDS)
            if keeps and not alone:
                line.used = time.monotonic()
                self._lines.append(line)
            else:
                line.writer.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            call.broken = type(error).__name__
            if line:
                line.writer.close()
        call.ended = time.monotonic()
        word = self._explain(call, line.opened if line else call.began, day)
        self.kinds[f"{key.kind}{' stream' if call.form == 'stream' else ''}"] += 1
        if word is None:
            self.seen["UNEXPLAINED"] += 1
            self.unexplained.append(f"{call}; {self.trouble.around(call.began, call.ended)}")
        else:
            self.seen[word] += 1
        if call.status in (401, 403, 429, 503) and call.status != fault_status(fault) and call.code not in STATE_CODES:
            # Till has refused it: nothing arrived, and most have no record. A key can also end when the request is sent already.
            self.calls.pop(call.number, None)
            key.recent.remove(call)

    async def _line(self) -> Line:
        while self._lines:
            line = self._lines.pop()
            if time.monotonic() - line.used < IDLE_SECONDS and not line.reader.at_eof() and not line.writer.is_closing():
                return line
            line.writer.close()
        return await self._new_line()

    async def _new_line(self) -> Line:
        address = urlsplit(self.url)
        return Line(*await asyncio.open_connection(address.hostname, address.port))

    async def _exchange(self, line: Line, call: Call) -> bool:
        """Sends the request and reads the answer; whether the connection is good for more."""
        line.writer.write(self._request(call))
        if call.hangs_up:
            await line.writer.drain()
            if self.chance.random() < 0.7:
                await line.reader.read(self.chance.randrange(1, 3_000))
            call.broken = "hung up"
            return False
        call.status, headers = await read_head(line.reader)
        try:
            body = await read_body(line.reader, headers)
        except KeyError:
            body = await line.reader.read()
        if call.status >= 400:
            call.code = code_of(body)
        return headers.get("connection") != "close"

    def _request(self, call: Call) -> bytes:
        key, chance = call.key, self.chance
        token = key.token
        network, model = "fd00", MODELS.get(key.provider, "")
        if call.intent == "wrong token":
            token = token[:-7] + ("0" if token[-7] != "0" else "1") + token[-6:]
        if call.intent == "out of scope":
            call.intent = chance.choice(["model", "endpoint", "network"])
            network, model = ("fd01" if call.intent == "network" else network), ("gpt-4o" if call.intent == "model" else model)
        streamed = chance.random() < 0.4
        cap = {"small": chance.choice([50, 300]), "tight": 50}.get(key.kind, chance.choice([None, 50, 300, 2_000]))
        is_long = key.kind == "tight" or key.kind != "small" and chance.random() < 0.03
        text = WORDS * (150 if is_long else 1)
        method, path, body = "POST", "/v1/chat/completions", b""
        if key.provider == "plain":
            path, body, streamed = "/proxy/plain/things", bytes(chance.choice([10, 10, 1_000, 70_000])), False
        elif call.intent == "endpoint" or (not key.is_scoped and key.kind != "tight" and key.provider == "openai" and chance.random() < 0.05):
            method, path, streamed = "GET", "/v1/models", False
        elif key.provider == "google":
            path = f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if streamed else 'generateContent'}"
            asked: dict = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
            body = json.dumps(asked | ({"generationConfig": {"maxOutputTokens": cap}} if cap else {})).encode()
        else:
            path = "/v1/messages" if key.provider == "anthropic" else path
            asked = {"model": model, "messages": [{"role": "user", "content": text}], "stream": streamed}
            body = json.dumps(asked | ({"max_tokens": cap or 1_000} if cap or key.provider == "anthropic" else {})).encode()
        call.form = "stream" if streamed else "plain"
        # The address is the number once more: it stands in the record of the call.
        head = [f"{method} {path} HTTP/1.1", "host: till", f"x-forwarded-for: {network}::{call.number >> 16:x}:{call.number & 0xffff:x}",
                f"{NUMBER}: {call.number}", "content-type: application/json"]
        head += [] if call.intent == "no token" else [f"x-api-key: {token}" if key.provider == "anthropic" else f"authorization: Bearer {token}"]
        head += [f"{FAULT}: {call.fault}"] if call.fault else []
        head += [f"content-length: {len(body)}"] if body else []
        return "\r\n".join([*head, "", ""]).encode() + body

    def _explain(self, call: Call, opened: float, day: int) -> str | None:
        """Why a call ended as it did; `None` is that nothing explains it."""
        key, now = call.key, self.clock.now()
        status, code, fault = call.status, call.code, call.fault
        assert call.ended is not None
        cut = key.has_ended(call.began, call.ended, now)
        if call.broken:
            reasons: list[tuple[str, object]] = [
                ("client hung up", call.hangs_up), (f"upstream: {fault}", fault in ("cut", "stall", "hang", "reset")),
                ("kill or stop", self.trouble.meets(("kill", "stop"), opened, call.ended)), ("key ended in flight", cut and status),
                ("disk failed", status and self.trouble.meets(("disk",), call.began, call.ended))]
            return next((f"broken: {word}" for word, holds in reasons if holds), None)
        assert status is not None
        if status < 300:
            may_pass = call.intent == "ordinary" and fault not in ("429", "500", "reset", "hang") and not key.had_ended(call.began)
            return f"{status}" if may_pass else None
        named = f"{status} {code}"
        rules: dict[str, Callable[[], object]] = {
            "403 invalid_key": lambda: call.intent == "wrong token", "401 missing_key": lambda: call.intent == "no token",
            "403 model_denied": lambda: call.intent == "model", "403 endpoint_denied": lambda: call.intent == "endpoint",
            "403 network_denied": lambda: call.intent == "network",
            "403 key_revoked": lambda: key.was_revoked(call.ended), "403 key_expired": lambda: key.is_expired(now),
            "403 key_paused": lambda: key.was_paused(call.began, call.ended),
            "403 project_exhausted": lambda: key.project in ("by-day", "for-life"),
            "429 rate_limited": lambda: key.passed_within(61, call) >= key.rate.get("requests_per_minute", 1 << 30) - 1,
            "429 concurrency_limited": lambda: key.passed_within(61, call, lingers=3) >= key.rate.get("concurrent", 1 << 30),
            "429 budget_busy": lambda: key.is_metered and (key.kind == "small" or key.project),
            "503 ledger_unavailable": lambda: self.trouble.meets(("disk", "kill", "stop"), call.began, call.ended),
            "503 shutting_down": lambda: self.trouble.meets(("stop",), call.began, call.ended),
            "504 upstream_timeout": lambda: fault in ("hang", "stall"),
            "502 upstream_unreachable": lambda: fault in ("reset", "cut"),
            "502 upstream_protocol": lambda: fault in ("reset", "cut", "stall"),
        }
        if status == fault_status(fault):
            return f"{status} of the upstream"
        if call.intent == "ordinary" and code in EXHAUSTED:
            # Whether nothing is left is seen at rest; so is what a project has used on a day, if it is known which day that was.
            key.exhausted.add(EXHAUSTED[code])
            return named if EXHAUSTED[code] in key.limits else None
        if code == "project_exhausted" and key.project and day == int(now // DAY_SECONDS):
            self.exhausted_projects.add((key.project, day))
        return named if named in rules and rules[named]() else None
