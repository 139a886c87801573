"""Fixtures of all suites. Each test has its own data directory and process unless it says otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.aimock import AiMock
from harness.browser import Browser, Visit
from harness.dashboard import PASSWORD, Visiting
from harness.driver import Driver
from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import ADMIN_KEY, BINARY, ROOT, UPSTREAM_KEY, Till

TESTS = Path(__file__).resolve().parent
PROVIDERS = ("openai", "anthropic", "google")


def pytest_configure() -> None:
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is not there; build it with `cargo build` or run ./test.sh", returncode=4)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """A fresh scripted upstream."""
    server = ScriptedUpstream()
    yield server
    server.close()


@pytest.fixture
def new_till(tmp_path: Path) -> Iterator[Callable[..., Till]]:
    """Makes servers that are stopped, with exit code 0, when the test is over. They are not started yet."""
    made: list[Till] = []

    def make(providers: dict[str, str] | None = None, **options) -> Till:
        directory = tmp_path / f"till-{len(made)}"
        directory.mkdir()
        made.append(Till(directory, providers, **options))
        return made[-1]

    yield make
    failures = []
    for till in made:
        try:
            till.stop()
        except Exception as error:  # noqa: BLE001 - the others have to end too
            till.kill9()
            failures.append(error)
    if failures:
        raise failures[0]


@pytest.fixture
def till(new_till, upstream: ScriptedUpstream) -> Till:
    """A running server whose providers all lead to `upstream`."""
    return new_till({name: upstream.url for name in PROVIDERS}).start()


@pytest.fixture(scope="session")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiMock]:
    """The mock of all providers that only lets `UPSTREAM_KEY` in."""
    server = AiMock(UPSTREAM_KEY, tmp_path_factory.mktemp("aimock"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def sdk_till(aimock: AiMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Till]:
    """A server in front of aimock, shared by the suites of clients: their keys are their own."""
    server = Till(tmp_path_factory.mktemp("sdk-till"), {name: aimock.url for name in PROVIDERS}).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The Node clients."""
    driver = Driver(["node", "clients.mjs"], TESTS / "node", tmp_path_factory.mktemp("node"))
    yield driver
    driver.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, at the dashboard."""
    made = Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


@pytest.fixture
def visiting(browser: Browser) -> Iterator[Visiting]:
    """Opens visits; when the test is over, nothing may have gone wrong in any of them."""
    visits: list[Visit] = []

    def visit(till: Till, *, path: str = "/", token: str | None = ADMIN_KEY, login: str | None = None, **options) -> Visit:
        made = Visit(browser, till.url, **options)
        visits.append(made)
        if login:
            made.sign_in(login=login, password=PASSWORD, path=path)
        elif token:
            made.sign_in(token=token, path=path)
        return made

    yield visit
    for one in visits:
        one.close_clean()


@pytest.fixture(scope="session")
def langchain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """LangChain, which needs an environment of its own."""
    python = ROOT / "target" / "test-env" / "venv-langchain" / "bin" / "python"
    if not python.exists():
        python = Path(sys.executable)
    driver = Driver([str(python), "langchain_clients.py"], TESTS, tmp_path_factory.mktemp("langchain"))
    yield driver
    driver.close()
