"""What every scenario has at hand."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.servers import Floor, HaProxy, LiteLlm, Nginx, Till, Upstream


@dataclass
class Bench:
    """The settings of a run, and the servers as a scenario asks for them. They are started with `servers.running`."""

    till_binary: Path
    tools: Path
    directory: Path
    rounds: int
    seconds: float
    extra: set[str] = field(default_factory=set)
    litellm_python: Path | None = None
    # Results of earlier runs, by scenario.
    earlier: dict[str, Any] = field(default_factory=dict)
    _made: int = 0

    def say(self, text: str) -> None:
        """Progress, which is no result."""
        print(text, file=sys.stderr, flush=True)

    def before(self, scenario: str, quantity: str) -> float | None:
        """What till had in an earlier run."""
        for figure in self.earlier.get(scenario, {}).get("figures", []):
            if figure["quantity"] == quantity:
                return figure["values"]["till"]["median"]
        return None

    def new_directory(self, name: str) -> Path:
        self._made += 1
        return self.directory / f"{self._made:02}-{name}"

    def upstream(self, *flags: str) -> Upstream:
        return Upstream(self.new_directory("upstream"), self.tools, *flags)

    def floor(self, upstream: Upstream, *, is_durable: bool = False) -> Floor:
        return Floor(self.new_directory("floor"), self.tools, upstream, is_durable=is_durable)

    def nginx(self, upstream: Upstream, **options: bool) -> Nginx:
        return Nginx(self.new_directory("nginx"), upstream, **options)

    def haproxy(self, upstream: Upstream) -> HaProxy:
        return HaProxy(self.new_directory("haproxy"), upstream)

    def litellm(self, upstream: Upstream) -> LiteLlm:
        if self.litellm_python is None:
            environment = self.new_directory("venv")
            self.say("  installing litellm[proxy] into an environment for this run")
            pip = [str(environment / "bin" / "pip"), "install", "--quiet", "litellm[proxy]"]
            for command in ([sys.executable, "-m", "venv", str(environment)], pip):
                subprocess.run(command, check=True, stdout=sys.stderr)
            self.litellm_python = environment / "bin" / "python"
        return LiteLlm(self.new_directory("litellm"), upstream, self.litellm_python)

    def till(self, upstream: Upstream, *flags: str, logs: bool = False) -> Till:
        return Till(self.new_directory("till"), self.till_binary, upstream, *flags, logs=logs)

    def rounds_of(self, contenders: list) -> list:
        """Every round asks each contender once; every second round the other way round, so that a machine that gets
        slower or faster is unfair to nobody."""
        return [(number, contenders if number % 2 == 0 else contenders[::-1]) for number in range(self.rounds)]
