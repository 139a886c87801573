"""A name server that is silent until it is told an address; and till as a process that has no other one.

The system's resolver reads `/etc/resolv.conf` and asks port 53, so till gets a view of the file system in which that file names
an address of 127.0.0.0/8 that nobody else has. Both need root.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from pathlib import Path

from harness.till_process import Till


class NameServer:
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.host = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(2, 255)}"
        self._socket.bind((self.host, 53))
        self.answer: str | None = None
        self.asked = 0
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            if self._closed:
                return
            self.asked += 1
            if self.answer is not None:
                self._socket.sendto(self._reply(query, self.answer), client)

    @staticmethod
    def _reply(query: bytes, address: str) -> bytes:
        """An A record where one is asked for, nothing for every other type."""
        end = query.index(b"\0", 12) + 5
        question = query[12:end]
        is_a = question[-4:-2] == b"\0\1"
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address) if is_a else b""
        return query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, int(is_a), 0, 0) + question + record

    def close(self) -> None:
        self._closed = True
        # The thread waits for a question.
        self._socket.sendto(b"", (self.host, 53))
        self._thread.join()
        self._socket.close()


class TillWithNameServer(Till):
    """Asks this server for names. Its process id is that of till: every program in front of it is replaced by the next one."""

    def __init__(self, directory: Path, names: NameServer, providers: dict[str, str], **options) -> None:
        super().__init__(directory, providers, **options)
        self._resolv = directory / "resolv.conf"
        self._resolv.write_text(f"nameserver {names.host}\n")

    def command(self) -> list[str]:
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self._resolv), *super().command()]
