"""Certificates of a private authority, a TLS front before a plain server, and an HTTP proxy that makes tunnels."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from harness.listener import Listener


class Authority:
    """Signs certificates for 127.0.0.1; `ca_file` is what a client must trust."""

    def __init__(self, directory: Path, name: str) -> None:
        self._ca = trustme.CA()
        self.ca_file = directory / f"{name}-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, certificate: Path, key: Path) -> None:
        """Writes a new certificate and its key."""
        issued = self._ca.issue_cert("127.0.0.1", "localhost")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        certificate.write_bytes(chain)
        key.write_bytes(issued.private_key_pem.bytes())

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    def server(self, directory: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = directory / "front.pem", directory / "front.key"
        self.issue(certificate, key)
        context.load_cert_chain(certificate, key)
        return context


class Front:
    """Accepts connections on a free port and hands each to `open_upstream`, which gives the socket to copy to."""

    def __init__(self, open_upstream: Callable[[socket.socket], tuple[socket.socket, socket.socket]]) -> None:
        self._open = open_upstream
        self._listener = Listener(self._serve)
        self.port = self._listener.port

    def close(self) -> None:
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            client, upstream = self._open(client)
        except OSError:
            client.close()
            return
        threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
        _copy(client, upstream)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def tls_front(url: str, context: ssl.SSLContext) -> Front:
    """Serves the plain server at `url` over TLS."""
    parts = urlsplit(url)

    def open_upstream(client: socket.socket) -> tuple[socket.socket, socket.socket]:
        wrapped = context.wrap_socket(client, server_side=True)
        return wrapped, socket.create_connection((parts.hostname, parts.port))

    return Front(open_upstream)


def tunnel_proxy(asked: list[str]) -> Front:
    """An HTTP proxy that opens any tunnel and appends the head of each request for one to `asked`."""

    def open_upstream(client: socket.socket) -> tuple[socket.socket, socket.socket]:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = client.recv(1)
            if not byte:
                raise ConnectionError("closed")
            head += byte
        asked.append(head.decode())
        host, port = head.split()[1].decode().rsplit(":", 1)
        upstream = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client, upstream

    return Front(open_upstream)
