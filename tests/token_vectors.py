#!/usr/bin/env python3
"""Checks docs/token-vectors.json against docs/token-format.md, sharing no code with till.

Every valid token is made again from its inputs, byte by byte, and opened; every invalid one must be
refused for the stated reason. Needs Python 3.9 or newer and the package `cryptography`, for AES-GCM-SIV:

    python3 tests/token_vectors.py [FILE]
"""

import hashlib
import hmac
import json
import pathlib
import sys
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
WIDTH = [0, 2, 3, 5, 6, 7, 9, 10, 11]  # digits for 0 to 8 bytes
PREFIX = "till_sk_"
LENGTH_MAX = 8192
BLOCKS_MAX = 16
ZERO_NONCE = bytes(12)


class Refused(Exception):
    """Not to be accepted; the argument is the reason."""


# Text.


def number_to_digits(number, width):
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    return digits


def base62_encode(data):
    blocks = [data[at : at + 8] for at in range(0, len(data), 8)]
    return "".join(number_to_digits(int.from_bytes(block, "big"), WIDTH[len(block)]) for block in blocks)


def base62_decode(text):
    data = b""
    for at in range(0, len(text), 11):
        block = text[at : at + 11]
        if len(block) not in WIDTH or any(digit not in DIGITS for digit in block):
            raise Refused("malformed")
        number = 0
        for digit in block:
            number = number * 62 + DIGITS.index(digit)
        length = WIDTH.index(len(block))
        if number >= 256**length:
            raise Refused("malformed")
        data += number.to_bytes(length, "big")
    return data


def checksum(text):
    return number_to_digits(zlib.crc32(text.encode()), 6)


def text_encode(prefix, data):
    covered = prefix + base62_encode(data)
    return covered + "_" + checksum(covered)


def text_decode(prefix, text):
    if not text.startswith(prefix):
        raise Refused("not_a_scoped_key")
    if len(text.encode()) > LENGTH_MAX:
        raise Refused("too_long")
    digits, separator, stated = text[len(prefix) :].rpartition("_")
    if not separator or stated != checksum(prefix + digits):
        raise Refused("checksum")
    return base62_decode(digits)


# Keys.


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def hkdf(master, info, length=32):
    """RFC 5869 with SHA-256 and no salt, for up to 32 bytes of output."""
    return mac(mac(b"", master), info, b"\x01")[:length]


def master_key_id(master):
    return hkdf(master, b"till/v1/master-key-id", 4)


def instance_fingerprint(instance_id):
    return hashlib.sha256(b"till/v1/instance" + instance_id).digest()[:6]


def key_id(index_key, random_id):
    return "key_" + base62_encode(mac(index_key, b"till/v1/key-id", random_id)[:16])


def prefixed(data):
    return len(data).to_bytes(2, "big") + data


def split_prefixed(data, reason):
    if len(data) < 2:
        raise Refused(reason)
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < end:
        raise Refused(reason)
    return data[2:end], data[end:]


# Contents.


def contents_encode(upstream):
    placement = upstream["placement"]
    if placement == "basic":
        encoded = b"\x03"
    elif "query" in placement:
        encoded = b"\x02" + prefixed(placement["query"]["name"].encode())
    else:
        header = placement["header"]
        encoded = b"\x01" + prefixed(header["name"].encode()) + prefixed(header["template"].encode())
    version, last = (b"\x01", "key") if "key" in upstream else (b"\x03", "credential")
    texts = [upstream["provider"], upstream["origin"], upstream[last]]
    return version + encoded + b"".join(prefixed(text.encode()) for text in texts)


def contents_decode(contents):
    reason = "unsupported_contents"

    def text():
        nonlocal rest
        data, rest = split_prefixed(rest, reason)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Refused(reason) from None

    if contents[:1] not in (b"\x01", b"\x03"):
        raise Refused(reason)
    last = "key" if contents[:1] == b"\x01" else "credential"
    kind, rest = contents[1:2], contents[2:]
    if kind == b"\x01":
        placement = {"header": {"name": text(), "template": text()}}
    elif kind == b"\x02":
        placement = {"query": {"name": text()}}
    elif kind == b"\x03":
        placement = "basic"
    else:
        raise Refused(reason)
    upstream = {"placement": placement, "provider": text(), "origin": text(), last: text()}
    if rest:
        raise Refused(reason)
    return upstream


# Tokens.


class Instance:
    def __init__(self, master, instance_id, index_key):
        self.master = master
        self.index_key = index_key
        self.master_key_id = master_key_id(master)
        self.fingerprint = instance_fingerprint(instance_id)

    def open(self, token):
        payload = text_decode(PREFIX, token)
        if not payload:
            raise Refused("malformed")
        if payload[0] != 1:
            raise Refused("unsupported_version")
        if len(payload) < 59:
            raise Refused("malformed")
        header, commitment = payload[:27], payload[27:59]
        sealed, rest = split_prefixed(payload[59:], "malformed")
        blocks = []
        while len(rest) > 32 and len(blocks) < BLOCKS_MAX:
            block, rest = split_prefixed(rest, "malformed")
            blocks.append(block)
        if len(rest) != 32:
            raise Refused("malformed")
        if header[5:11] != self.fingerprint:
            raise Refused("other_instance")
        if header[1:5] != self.master_key_id:
            raise Refused("unknown_master_key")
        tag = mac(hkdf(self.master, b"till/v1/tag" + header), header, commitment, prefixed(sealed))
        for block in blocks:
            tag = mac(tag, b"block", prefixed(block))
        genuine = hmac.compare_digest(tag, rest)
        if not hmac.compare_digest(commitment, hkdf(self.master, b"till/v1/commit" + header)) or not genuine:
            raise Refused("forged")
        if blocks:
            raise Refused("blocks_unsupported")
        try:
            seal_key = hkdf(self.master, b"till/v1/seal" + header)
            contents = AESGCMSIV(seal_key).decrypt(ZERO_NONCE, sealed, header)
        except (InvalidTag, ValueError):
            raise Refused("forged") from None
        return contents_decode(contents), key_id(self.index_key, header[11:])

    def answer(self, token):
        try:
            self.open(token)
        except Refused as refused:
            return refused.args[0]
        return "opened"


def unwrap_index_key(wrapped, master, instance_id):
    if len(wrapped) != 53 or wrapped[0] != 1 or wrapped[1:5] != master_key_id(master):
        raise Refused("wrapped")
    key = hkdf(master, b"till/v1/index-wrap" + instance_id)
    try:
        return AESGCMSIV(key).decrypt(ZERO_NONCE, wrapped[5:], wrapped[:5])
    except InvalidTag:
        raise Refused("wrapped") from None


def credential_cipher(master, instance_id, name, provider):
    key = hkdf(master, b"till/v1/credential" + instance_id + name.encode())
    preamble = b"\x02" + master_key_id(master)
    bound = preamble + instance_fingerprint(instance_id) + len(name).to_bytes(8, "big")
    return AESGCMSIV(key), preamble, bound + (name + provider).encode()


def seal_credential(upstream, master, instance_id, name):
    cipher, preamble, bound = credential_cipher(master, instance_id, name, upstream["provider"])
    return preamble + cipher.encrypt(ZERO_NONCE, contents_encode(upstream), bound)


def unseal_credential(sealed, master, instance_id, name, provider):
    cipher, preamble, bound = credential_cipher(master, instance_id, name, provider)
    if sealed[:5] != preamble:
        raise Refused("sealed")
    try:
        upstream = contents_decode(cipher.decrypt(ZERO_NONCE, sealed[5:], bound))
    except InvalidTag:
        raise Refused("sealed") from None
    if "key" not in upstream or upstream["provider"] != provider:
        raise Refused("sealed")
    return upstream


def changed(change, token):
    """Every token that one change makes, by position."""
    payload = text_decode(PREFIX, token)
    if change == "flip_bit":
        for bit in range(len(payload) * 8):
            flipped = bytearray(payload)
            flipped[bit // 8] ^= 0x80 >> (bit % 8)
            yield text_encode(PREFIX, bytes(flipped))
    elif change == "cut_payload":
        for length in range(len(payload)):
            yield text_encode(PREFIX, payload[:length])
    elif change == "replace_character":
        for at, old in enumerate(token):
            yield token[:at] + ("1" if old == "0" else "0") + token[at + 1 :]
    elif change == "cut_text":
        for length in range(len(token)):
            yield token[:length]
    else:
        raise ValueError(change)


# The checks.

failures = []
checks = 0


def equal(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        failures.append(f"{what}: found {found!r}, expected {expected!r}")


def refused(what, function, *arguments):
    try:
        function(*arguments)
    except Refused:
        equal(what, "refused", "refused")
    else:
        equal(what, "accepted", "refused")


def check_valid(instance, vector):
    name = vector["name"]
    random_id = bytes.fromhex(vector["random_id"])
    header = b"\x01" + instance.master_key_id + instance.fingerprint + random_id
    seal_key = hkdf(instance.master, b"till/v1/seal" + header)
    tag_root = hkdf(instance.master, b"till/v1/tag" + header)
    commitment = hkdf(instance.master, b"till/v1/commit" + header)
    contents = contents_encode(vector["upstream"])
    sealed = AESGCMSIV(seal_key).encrypt(ZERO_NONCE, contents, header)
    tag = mac(tag_root, header, commitment, prefixed(sealed))
    made = {
        "header": header,
        "seal_key": seal_key,
        "tag_root": tag_root,
        "contents": contents,
        "commitment": commitment,
        "sealed": sealed,
        "tag": tag,
        "token_fingerprint": hashlib.sha256(vector["token"].encode()).digest(),
    }
    for field, value in made.items():
        equal(f"{name}: {field}", value.hex(), vector[field])
    token = text_encode(PREFIX, header + commitment + prefixed(sealed) + tag)
    equal(f"{name}: token", token, vector["token"])
    equal(f"{name}: opened", instance.open(token), (vector["upstream"], vector["key_id"]))


def check_surroundings(vectors, master, instance_id, index_key):
    for vector in vectors["base62"]:
        equal("base62", base62_encode(bytes.fromhex(vector["bytes"])), vector["text"])
        equal("base62", base62_decode(vector["text"]).hex(), vector["bytes"])
    for text in vectors["base62_invalid"]:
        refused(f"base62 {text}", base62_decode, text)
    equal("master key", text_encode("till_master_", master), vectors["master_key"]["text"])
    equal("master key id", master_key_id(master).hex(), vectors["master_key"]["id"])
    equal("fingerprint", instance_fingerprint(instance_id).hex(), vectors["instance"]["fingerprint"])
    wrapped = bytes.fromhex(vectors["index_key"]["wrapped"])
    equal("index key", unwrap_index_key(wrapped, master, instance_id), index_key)
    for blob in vectors["index_key"]["refused"]:
        refused(f"index key {blob}", unwrap_index_key, bytes.fromhex(blob), master, instance_id)
    stored = vectors["credential"]
    upstream, name = stored["upstream"], stored["name"]
    sealed = seal_credential(upstream, master, instance_id, name)
    equal("credential", sealed.hex(), stored["sealed"])
    found = unseal_credential(sealed, master, instance_id, name, upstream["provider"])
    equal("credential unsealed", found, upstream)
    for other in stored["refused"]:
        blob, name, provider = bytes.fromhex(other["sealed"]), other["name"], other["provider"]
        refused(f"credential: {other['why']}", unseal_credential, blob, master, instance_id, name, provider)
    admin = vectors["admin_token"]
    equal("admin token", text_encode("till_admin_", bytes.fromhex(admin["random"])), admin["token"])
    digest = hashlib.sha256(b"till/v1/admin-token" + admin["token"].encode()).hexdigest()
    equal("admin token hash", digest, admin["hash"])


def main():
    beside = pathlib.Path(__file__).resolve().parent.parent / "docs" / "token-vectors.json"
    vectors = json.loads(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else beside).read_text())
    master = bytes.fromhex(vectors["master_key"]["bytes"])
    instance_id = bytes.fromhex(vectors["instance"]["id"])
    index_key = bytes.fromhex(vectors["index_key"]["bytes"])
    instance = Instance(master, instance_id, index_key)

    check_surroundings(vectors, master, instance_id, index_key)
    for vector in vectors["valid"]:
        check_valid(instance, vector)
    for vector in vectors["invalid"]:
        equal(vector["name"], instance.answer(vector["token"]), vector["error"])
    tokens = {vector["name"]: vector["token"] for vector in vectors["valid"]}
    for vector in vectors["changes"]:
        expected = [error for error, count in vector["errors"] for _ in range(count)]
        found = [instance.answer(token) for token in changed(vector["change"], tokens[vector["of"]])]
        equal(f"{vector['change']}: positions", len(found), len(expected))
        for at, pair in enumerate(zip(found, expected)):
            equal(f"{vector['change']} {at}", *pair)
        equal(f"{vector['change']}: opened", expected.count("opened"), 0)

    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{checks} checks, {len(failures)} failed")
    if failures or not (vectors["valid"] and vectors["invalid"] and vectors["changes"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
