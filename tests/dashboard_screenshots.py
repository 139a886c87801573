"""The pictures of the dashboard in docs/dashboard, from a real instance that was used for a month: `./test.sh screenshots`.

Time is that of libfaketime, so what is shown was called, metered and written by till itself, day by day.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

from harness.browser import Browser, Visit
from harness.provider_answers import as_json
from harness.scripted_upstream import Answer, Request, ScriptedUpstream
from harness.till_process import ADMIN_KEY, ROOT, Key, Till

OUT = ROOT / "docs" / "dashboard"
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
DAYS = 30
DAY_SECONDS = 86_400
SEED = 7
BYTES_MAX = 1_000_000

# Key, provider, model, project, calls a day, money, days that it is good for.
KEYS = (
    ("nightly crawler", "openai", "gpt-4o-mini", "search", 9, "0.27", 90),
    ("search ranking", "openai", "gpt-4o", "search", 5, "4", None),
    ("support assistant", "anthropic", "claude-sonnet-4-6", "support", 6, "5", None),
    ("ticket triage", "anthropic", "claude-haiku-4-5", "support", 8, "2", 34),
    ("release notes in CI", "openai", "gpt-4.1-mini", "platform", 4, "3", 33),
    ("docs translation", "google", "gemini-2.5-flash", "platform", 5, "4", None),
    ("Ada, notebook", "openai", "gpt-4o", "platform", 2, "5", 60),
    ("hackathon team 4", "anthropic", "claude-haiku-4-5", "default", 1, "1", 31),
)
PROJECTS = (("search", "Search"), ("support", "Support"), ("platform", "Platform"))

# Pictures, and the address of the page.
PAGES = (("overview", "/?by=model"), ("keys", "/keys?sort=last_used"), ("key", "/keys/KEY"), ("usage", "/usage?by=project&range=30d"), ("audit", "/audit"))
LOOKS = (("light", {"scheme": "light", "width": 1280, "height": 860}), ("dark", {"scheme": "dark", "width": 1280, "height": 860}),
         ("phone", {"scheme": "light", "width": 390, "height": 844}))


class Month:
    """An instance whose clock is set."""

    def __init__(self, directory: Path) -> None:
        self.random = random.Random(SEED)
        self.upstream = ScriptedUpstream()
        for path in ("/v1/chat/completions", "/v1/messages"):
            self.upstream.on(path, self.answer)
        self.upstream.on("/v1beta/models/gemini-2.5-flash:generateContent", self.answer)
        self.clock = directory / "clock"
        self.at(DAYS)
        environment = {"LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        providers = {name: self.upstream.url for name in ("openai", "anthropic", "google")}
        self.till = Till(directory, providers, environment=environment)
        self.till.start()
        self.keys: dict[str, Key] = {}

    def at(self, days_ago: float) -> None:
        seconds = int(days_ago * DAY_SECONDS)
        temporary = self.clock.with_suffix(".new")
        temporary.write_text(f"-{seconds}\n" if seconds else "+0\n")
        os.replace(temporary, self.clock)

    def answer(self, request: Request) -> Answer:
        if self.random.random() < 0.015:
            return as_json({"error": {"message": "overloaded", "type": "server_error"}}, 503)
        # No more than the request can come to. Till lowers the cap of a request where little is left of its key.
        asked = json.loads(request.body)
        cap = asked.get("max_tokens") or asked["generationConfig"]["maxOutputTokens"]
        tokens_in, tokens_out = len(request.body) // 4, min(cap, self.random.randint(80, 1_600))
        if request.path.endswith("/messages"):
            return as_json({"id": "msg_1", "type": "message", "role": "assistant", "model": json.loads(request.body)["model"], "stop_reason": "end_turn",
                            "content": [{"type": "text", "text": "Done."}], "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out}})
        if "generateContent" in request.path:
            return as_json({"candidates": [{"content": {"role": "model", "parts": [{"text": "Done."}]}, "finishReason": "STOP"}], "modelVersion": "gemini-2.5-flash",
                            "usageMetadata": {"promptTokenCount": tokens_in, "candidatesTokenCount": tokens_out, "totalTokenCount": tokens_in + tokens_out}})
        return as_json({"id": "chatcmpl-1", "object": "chat.completion", "model": json.loads(request.body)["model"], "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}})

    def call(self, name: str, model: str) -> None:
        key = self.keys[name]
        said = "x" * self.random.randint(2_000, 36_000)
        if key.provider == "google":
            path, body = f"/v1beta/models/{model}:generateContent", {"contents": [{"role": "user", "parts": [{"text": said}]}], "generationConfig": {"maxOutputTokens": 1_600}}
        elif key.provider == "anthropic":
            path, body = "/v1/messages", {"model": model, "max_tokens": 1_600, "messages": [{"role": "user", "content": said}]}
        else:
            path, body = "/v1/chat/completions", {"model": model, "max_tokens": 1_600, "messages": [{"role": "user", "content": said}]}
        self.till.call(key, path, body)

    def furnish(self) -> None:
        post = lambda path, body: self.till.admin("POST", path, body).raise_for_status()
        for project, name in PROJECTS:
            post("/admin/projects", {"id": project, "name": name, "policy": {"ceilings": {"month": {"max_spend_usd": "40"}}}})
        post("/admin/members", {"login": "ada@example.com", "name": "Ada", "password": "correct horse battery staple", "role": "admin"})
        post("/admin/tokens", {"name": "ci", "role": "minter", "project": "platform"})
        for name, provider, model, project, _, money, days in KEYS:
            self.keys[name] = self.till.mint(provider, None, name=name, project=project, max_spend_usd=money, scope={"models": [model]},
                                             **({"ttl_seconds": days * DAY_SECONDS} if days else {}))
        for number in range(1, 9):
            self.till.mint("openai", 200, name=f"workshop seat {number}", project="platform", max_spend_usd="1", ttl_seconds=31 * DAY_SECONDS + 3_600 * number)

    def pass_by(self) -> None:
        self.furnish()
        for ago in range(DAYS, -1, -1):
            weekend = (time.localtime(time.time() - ago * DAY_SECONDS).tm_wday) >= 5
            for part in (0.3, 0.15, 0.02):
                self.at(ago + part)
                for name, _, model, *_, calls, _, _ in KEYS:
                    mean = calls / 3 * (0.35 if weekend else 1.0) * (0.7 + 0.6 * (DAYS - ago) / DAYS)
                    for _ in range(int(mean + self.random.random())):
                        self.call(name, model)
        # And a few things that happened to keys.
        self.call("Ada, notebook", "o3")
        self.call("search ranking", "gpt-4.1")
        listed = {key["metadata"].get("name"): key["id"] for key in self.till.admin("GET", "/admin/keys?limit=100").json()["keys"]}
        self.till.admin("PATCH", f"/admin/keys/{listed['docs translation']}", {"paused": True, "paused_reason": "waits for the new glossary"}).raise_for_status()
        self.till.admin("PATCH", f"/admin/keys/{listed['search ranking']}", {"max_spend_usd": "4.50"}).raise_for_status()
        self.till.revoke(listed["workshop seat 8"])
        self.at(0)


def main() -> None:
    assert LIBRARY, "libfaketime is needed: apt-get install faketime"
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        month = Month(Path(directory))
        try:
            month.pass_by()
            browser = Browser(Path(directory))
            for look, options in LOOKS:
                visit = Visit(browser, month.till.url, **options)
                visit.sign_in(token=ADMIN_KEY)
                for page, path in PAGES:
                    visit.go(path=path.replace("KEY", month.keys["search ranking"].id))
                    if page in ("overview", "key", "usage"):
                        visit.see(text="In all", within="figure.chart")
                    visit.connection(is_="Live") if look != "phone" else None
                    visit.step("picture", path=str(OUT / f"{page}-{look}.png"))
                visit.close_clean()
            browser.close()
        finally:
            month.till.stop()
            month.upstream.close()
    files = sorted(OUT.glob("*.png"))
    subprocess.run(["pngquant", "--force", "--ext", ".png", "--strip", "--speed", "1", "64", *map(str, files)], check=True)
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} pictures in {OUT.relative_to(ROOT)}, {size / 1000:.0f} kB")
    assert size < BYTES_MAX, "too large for a repository"


if __name__ == "__main__":
    main()
