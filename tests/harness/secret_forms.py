"""Every form in which a leaked key counts as leaked."""

from __future__ import annotations

import base64
import urllib.parse


def forms(secret: str) -> dict[str, bytes]:
    """The byte strings to search for, by the name of their encoding.

    Base64 of a text that stands inside something longer depends on its position modulo three, so there are
    three alignments. Their first and last characters also depend on the neighbours and are left out.
    """
    raw = secret.encode()
    found = {
        "plain": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "json-escaped": "".join(f"\\u{b:04x}" for b in raw).encode(),
        "percent-encoded": "".join(f"%{b:02X}" for b in raw).encode(),
        "percent-encoded lower": "".join(f"%{b:02x}" for b in raw).encode(),
    }
    quoted = urllib.parse.quote(secret, safe="").encode()
    if quoted != raw:
        found["url-quoted"] = quoted
    for shift in range(3):
        found[f"base64+{shift}"] = _base64_core(raw, shift, base64.b64encode)
        found[f"base64url+{shift}"] = _base64_core(raw, shift, base64.urlsafe_b64encode)
    return found


def _base64_core(raw: bytes, shift: int, encode) -> bytes:
    """The characters that are the same whatever stands around `raw` at this alignment."""
    padded = b"\0" * shift + raw
    whole = len(padded) // 3 * 3
    text = encode(padded[:whole])
    return text[4 if shift else 0 :]


def leaks(secret: str, haystack: bytes) -> list[str]:
    """The names of the forms of `secret` that stand in `haystack`."""
    return [name for name, form in forms(secret).items() if form in haystack]
