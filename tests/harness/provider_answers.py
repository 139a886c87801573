"""Plain and streamed answers in the providers' own shapes, for the scripted upstream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.scripted_upstream import Answer, Request

TEXT = "Hello from upstream"
WORDS = ["Hello ", "from ", "upstream"]


def default(request: Request) -> Answer:
    """Answers like the provider whose endpoint this is."""
    streamed = b'"stream":true' in request.body.replace(b" ", b"") or ":streamGenerateContent" in request.path
    if ":generateContent" in request.path or ":streamGenerateContent" in request.path:
        return sse(_google_events()) if streamed else as_json(_google(TEXT))
    if request.path.endswith("/messages"):
        return sse(_anthropic_events()) if streamed else as_json(_ANTHROPIC)
    return sse(_openai_events()) if streamed else as_json(_OPENAI)


def as_json(value: object, status: int = 200) -> Answer:
    from harness.scripted_upstream import Answer

    return Answer(status=status, pieces=[json.dumps(value).encode()])


def sse(events: list[bytes]) -> Answer:
    from harness.scripted_upstream import Answer

    return Answer(headers=[("content-type", "text/event-stream")], pieces=events, chunked=True)


def event(value: object, name: str | None = None) -> bytes:
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {json.dumps(value)}\n\n".encode()


_OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16},
}


def _openai_events() -> list[bytes]:
    def chunk(delta: dict, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
                      "choices": [choice]})

    return [*(chunk({"role": "assistant", "content": word}) for word in WORDS), chunk({}, "stop"), b"data: [DONE]\n\n"]


_ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 4},
}


def _anthropic_events() -> list[bytes]:
    start = {**_ANTHROPIC, "content": [], "stop_reason": None}
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS]
    values = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    return [event(value, str(value["type"])) for value in values]


def _google(text: str) -> dict:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 4, "totalTokenCount": 16},
        "modelVersion": "gemini-2.5-flash",
    }


def _google_events() -> list[bytes]:
    return [event(_google(word)) for word in WORDS]
