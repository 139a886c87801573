"""TLS on both sides, HTTP/2, certificates that are replaced while till runs, and outbound proxies."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from harness.scripted_upstream import ScriptedUpstream
from harness.till_process import UPSTREAM_KEY, Till
from harness.tls import Authority, tls_front, tunnel_proxy
from harness.waiting import until


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "first")


def _tls_till(new_till, upstream: ScriptedUpstream, authority: Authority, directory: Path) -> Till:
    certificate, key = directory / "cert.pem", directory / "key.pem"
    authority.issue(certificate, key)
    flags = ("--tls-cert", str(certificate), "--tls-key", str(key))
    return new_till({"openai": upstream.url}, flags=flags).start()


def _certificate(till: Till) -> bytes:
    """What a new connection is shown."""
    parts = httpx.URL(till.url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((parts.host, parts.port)) as plain, context.wrap_socket(plain) as wrapped:
        return wrapped.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("http2", [False, True])
def test_tls_with_both_versions_of_http(http2: bool, new_till, upstream: ScriptedUpstream, authority: Authority,
                                        tmp_path: Path) -> None:
    till = _tls_till(new_till, upstream, authority, tmp_path)
    assert till.url.startswith("https://")
    key = till.mint(max_activations=2)
    with httpx.Client(http2=http2, verify=authority.client(), trust_env=False) as client:
        answers = [client.post(f"{till.url}/v1/chat/completions", json={}, headers={"authorization": f"Bearer {key.token}"})
                   for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert {answer.http_version for answer in answers} == {"HTTP/2" if http2 else "HTTP/1.1"}
    assert upstream.count == 2


def test_certificates_are_read_again_on_sighup(new_till, upstream: ScriptedUpstream, authority: Authority,
                                               tmp_path: Path) -> None:
    till = _tls_till(new_till, upstream, authority, tmp_path)
    first = _certificate(till)
    authority.issue(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert _certificate(till) == first, "not before it is told"
    till.signal(signal.SIGHUP)
    until(lambda: _certificate(till) != first, "the new certificate")
    second = _certificate(till)
    # A broken file must not take the listener down.
    (tmp_path / "cert.pem").write_text("nonsense")
    till.signal(signal.SIGHUP)
    until(lambda: "cert.pem" in till.output(), "the complaint about the broken file")
    assert _certificate(till) == second
    entries = till.admin("GET", "/admin/audit?action=tls.reload").json()["entries"]
    assert len(entries) == 1, "the one that was taken"


def test_clear_text_beyond_loopback_is_warned_about(new_till, upstream: ScriptedUpstream) -> None:
    till = new_till({"openai": upstream.url})
    till.listen = "0.0.0.0:0"
    till.start()
    assert "tls" in till.output().lower()
    # Pages that are open on loopback need the admin key here.
    for path in ("/metrics", "/docs"):
        assert httpx.get(f"{till.url}{path}", trust_env=False).status_code == 401


def test_an_upstream_is_trusted_only_with_its_authority(new_till, upstream: ScriptedUpstream, authority: Authority,
                                                        tmp_path: Path) -> None:
    front = tls_front(upstream.url, authority.server(tmp_path))
    url = f"https://localhost:{front.port}"
    stranger = new_till({"openai": url}).start()
    key = stranger.mint(max_activations=1)
    answer = stranger.call(key)
    assert (answer.status_code, upstream.count) == (502, 0)
    until(lambda: stranger.key(key.id)["usedActivations"] == 0, "the activation to be given back")
    trusting = new_till({"openai": url}, flags=("--upstream-ca", str(authority.ca_file))).start()
    key = trusting.mint(max_activations=1)
    assert trusting.call(key).status_code == 200
    assert upstream.last().header("authorization") == f"Bearer {UPSTREAM_KEY}"
    front.close()


@pytest.mark.parametrize(("no_proxy", "tunnels"), [("", 1), ("localhost", 0)])
def test_outbound_proxy(no_proxy: str, tunnels: int, new_till, upstream: ScriptedUpstream, authority: Authority,
                        tmp_path: Path) -> None:
    front = tls_front(upstream.url, authority.server(tmp_path))
    asked: list[str] = []
    proxy = tunnel_proxy(asked)
    environment = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": no_proxy}
    till = new_till({"openai": f"https://localhost:{front.port}"}, flags=("--upstream-ca", str(authority.ca_file)),
                    environment=environment).start()
    assert till.call(till.mint()).status_code == 200
    assert [head.split()[1] for head in asked] == [f"localhost:{front.port}"] * tunnels
    assert UPSTREAM_KEY not in "".join(asked)
    proxy.close()
    front.close()
