"""Verifies an exported audit log by what docs/audit.md says, sharing no code with till.

Usage: audit_verifier.py FILE PUBLIC_KEY_HEX. Needs the package `cryptography`, for Ed25519. Prints the head; any fault is an exception.
"""

import csv
import hashlib
import json
import sys
from datetime import datetime, timezone

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def optional(text: str | None) -> bytes:
    return b"\x01" + framed(text.encode()) if text is not None else b"\x00"


def millis(text: str) -> bytes:
    at = datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (at.days * 86_400_000 + at.seconds * 1000 + at.microseconds // 1000).to_bytes(8, "big")


def records(path: str) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        if path.endswith(".csv"):
            return [{name: value for name, value in row.items() if value != ""} for row in csv.DictReader(file)]
        return [json.loads(line) for line in file]


def verify(path: str, public_key: str) -> tuple[int, str]:
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
    seq, head, anchor, trimmed, sealed, first, *rest = 0, bytes(32), None, [], -1, *records(path)
    assert first["type"] == "log" and int(first["version"]) == 1
    for record in rest:
        if record["type"] == "entry":
            number = int(record["seq"]).to_bytes(8, "big")
            texts = [record.get(name, "").encode() for name in ("actorKind", "actorId", "action", "target", "detail")]
            hashed = (b"till/v1/audit" + head + framed(number) + framed(millis(record["at"])) + framed(texts[0]) + framed(texts[1])
                      + optional(record.get("actorAddress")) + optional(record.get("actorRequestId")) + b"".join(map(framed, texts[2:])))
            seq, before, head = seq + 1, head.hex(), hashlib.sha256(hashed).digest()
            assert (int(record["seq"]), record["prevHash"], record["hash"]) == (seq, before, head.hex()), f"entry {seq}"
            if record["action"] == "audit.trim":
                trimmed.append(json.loads(record["detail"])["through"])
            assert record["action"] != "audit.break", f"break: entry {seq} says that the log before it is another one"
        elif record["type"] == "checkpoint":
            if sealed < 0 and seq == 0:
                seq, head, anchor = int(record["seq"]), bytes.fromhex(record["hash"]), int(record["seq"])
            assert (int(record["seq"]), record["hash"], record["instanceId"]) == (seq, head.hex(), first["instanceId"]), f"checkpoint {seq}"
            parts = [bytes.fromhex(first["instanceId"]), seq.to_bytes(8, "big"), head, millis(record["at"]), bytes.fromhex(record["keyId"])]
            key.verify(bytes.fromhex(record["signature"]), b"till/v1/audit-checkpoint" + b"".join(map(framed, parts)))
            sealed = seq
    assert sealed == seq, "cut off at the end"
    assert anchor is None or anchor in trimmed, "cut off at the front"
    return seq, head.hex()


if __name__ == "__main__":
    print("%d:%s" % verify(sys.argv[1], sys.argv[2]))
