#!/usr/bin/env python3
"""Inspect the lower side of a cloakfs volume.

An independent reader, written from FORMAT.md alone: it shares no code with the program. "Section N" is a section
of that page. It never writes, never follows a lower symlink and takes no lock: on a mounted volume a file that is
being written just then can look damaged (section 11).

Exit status: 0 all that was looked at is right, 1 something does not authenticate or breaks the format, 2 usage.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import errno
import getpass
import hashlib
import hmac
import json
import os
import re
import stat
import struct
import sys
import unicodedata
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

if TYPE_CHECKING:
    from collections.abc import Iterator

Info = dict[str, Any]

SPARSE, MULTI, PARITY = 1, 2, 4
CLEAR = "4s magic, B version, B type, B log2_cell, B zero, I epoch, I content_epoch, 16s fid, 16s zero"
TYPES = {b"CLKF": (1, 2), b"CLKD": (3,), b"CLKS": (4,)}
LABELS = {b"CLKF": b"header", b"CLKD": b"directory", b"CLKS": b"session"}
BODIES = {
    b"CLKF": "Q size, Q synced_size, Q generation, 16s session, I flags, I zero, 32s content_key, 32s previous_key,"
    "Q cells_sealed, 16s dir_id, 16s attribute_id, H length, 255s name, 27s zero",
    b"CLKD": "16s dir_id, 16s parent, Q generation, 16s session, I zero, H length, 255s name, 119s zero",
    b"CLKS": "16s session, B state, 7s zero, Q start_ms, Q end_ms, I pid, I uid,"
    "B length, 64s host, B length, 255s mount_point, 67s zero",
}
STATES = {1: "OPEN", 2: "CLEAN", 3: "RECOVERED"}
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CONFIG_NAMES = ("cloakfs.volume", "cloakfs.volume.bak")
CONFIG_LIMIT = (1 << 20) + 256  # 1 MiB of JSON and the two other lines
CONFIG = {"volume_id": str, "seq": int, "created": int, "suite": str, "cell_size": int, "features": dict}
CONFIG |= {"min_reader": int, "root_dir_id": str, "rk_id": str, "slots": list, "epochs": list}
CONFIG |= {"metadata": str}
OPTIONAL: dict[str, type] = {"policy": dict, "rotations": list}
ROTATION = {"epoch": int, "reason": str, "started": int, "finished": int, "data": int}
ROTATION |= {"files": int, "directories": int, "cells": int}
SLOT = {"id": str, "kind": str, "label": str, "created": int, "kdf": dict, "pub": str, "commit": str}
SLOT |= {"esk": str, "erk": str, "auth": str}
WITH_PASSPHRASE = ("passphrase", "passphrase+key-file")
ARGON2 = {"alg": str, "memory_kib": int, "passes": int, "lanes": int, "salt": str}
ARGON2_LIMITS = {"memory_kib": (65_536, 4_194_304), "passes": (3, 64), "lanes": (1, 16)}
ENCRYPTED = re.compile(r"(?:[A-Za-z0-9_-]{43,235}|~[A-Za-z0-9_-]{43})(?:\.l)?")
KINDS = {"-": "file", "d": "directory", "l": "symlink", "p": "fifo", "s": "socket", "b": "block", "c": "character"}
BRIEF = ("lower", "kind", "size", "sha256", "target", "xattrs")


class Damaged(Exception):  # noqa: N818 - it names the finding
    """Bytes on the disk are not what FORMAT.md says, or do not authenticate."""


def require(condition: object, message: str) -> None:
    """Raise Damaged with the message unless the condition holds."""
    if not condition:
        raise Damaged(message)


# Primitives (section 1)


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(written: str, what: str, size: int | None = None) -> bytes:
    """Decode base64url; any but the one canonical way to write some bytes is refused."""
    try:
        data = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4))
    except ValueError:
        raise Damaged(f"{what}: not base64url") from None
    require(b64(data) == written, f"{what}: not canonical base64url")
    require(size in (None, len(data)), f"{what}: {len(data)} bytes, not {size}")
    return data


def gcm_open(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes, what: str) -> bytes:
    """Open AES-256-GCM ciphertext || tag."""
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise Damaged(f"{what} does not authenticate") from None


def sealed_open(key: bytes, aad: bytes, blob: bytes, what: str) -> bytes:
    """Open sealed(key, aad, plaintext) = nonce || ciphertext || tag."""
    require(len(blob) >= 28, f"{what} is too short")
    return gcm_open(key, blob[:12], aad, blob[12:], what)


def expand(key: bytes, info: bytes, length: int = 32) -> bytes:
    """X(k, info) of section 5."""
    return HKDFExpand(SHA256(), length, info).derive(key)


def text(data: bytes) -> str:
    """Bytes as text that can be turned back."""
    return data.decode("utf-8", "surrogateescape")


def untext(written: str) -> bytes:
    """The bytes that became this text."""
    return written.encode("utf-8", "surrogateescape")


# Config and slots (sections 3 and 4)


class Config(NamedTuple):
    """A parsed config whose sum D is right; the MAC is checked by Keys."""

    signed: bytes
    fields: Info
    mac: bytes

    def id(self, field: str, size: int = 16) -> bytes:
        """The bytes of one id."""
        return unb64(self.fields[field], field, size)


def canonical(value: object) -> bytes:
    """Canonical JSON (section 3)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def check_fields(value: object, schema: dict[str, type], what: str) -> None:
    """An object with exactly these fields, of these types."""
    right = isinstance(value, dict) and {name: type(field) for name, field in value.items()} == schema
    require(right, f"config: fields of the {what} are missing, unknown or of another type")


def parse_config(raw: bytes) -> Config:
    """Split a config into its three lines, check D and the fields (section 3)."""
    first = re.match(rb"cloakfs-volume ([0-9]+)\n", raw)
    require(first and first[1] == b"1", "config: not a config of format 1")
    parts = re.fullmatch(rb"([^\n]*\n([^\n]*)\n)mac ([\w-]{43}) sum ([\w-]{22})\n", raw)
    if not parts:
        raise Damaged("config: not three lines of the right form")
    require(b64(hashlib.sha256(parts[1]).digest()[:16]).encode() == parts[4], "config: checksum is wrong")
    try:
        fields = json.loads(parts[2])
    except (ValueError, RecursionError):
        raise Damaged("config: not JSON") from None
    require(canonical(fields) == parts[2], "config: not canonical JSON")
    optional = {name: kind for name, kind in OPTIONAL.items() if isinstance(fields, dict) and name in fields}
    check_fields(fields, CONFIG | optional, "object")
    if "policy" in optional:
        require(fields["policy"], "config: an empty policy")
        check_fields(fields["policy"], dict.fromkeys(fields["policy"], int), "policy")
    check_fields(fields["features"], dict.fromkeys(("compat", "incompat", "ro_compat"), list), "features")
    for slot in fields["slots"]:
        check_fields(slot, SLOT | ({"data": str} if "data" in slot else {}), "slot")
        check_fields(slot["kdf"], ARGON2 if slot["kind"] in WITH_PASSPHRASE else {"alg": str}, "kdf")
    for epoch in fields["epochs"]:
        check_fields(epoch, {"epoch": int, "created": int, "state": str, "wrap": str}, "epoch")
    for rotation in fields.get("rotations", []):
        check_fields(rotation, ROTATION, "rotation")
    return Config(parts[1], fields, unb64(text(parts[3]), "config MAC"))


def check_readable(config: Config) -> None:
    """Refuse what a reader of version 1 must not open (section 3)."""
    fields = config.fields
    require(fields["suite"] == "cloakfs-1", f"unknown suite {fields['suite']!r}")
    require(fields["min_reader"] <= 1, "the config asks for a newer reader")
    require(fields["cell_size"] in (4096, 16384, 65536), "cell size is none of the three")
    require(not fields["features"]["incompat"], f"unknown features: {fields['features']['incompat']}")


def passphrase_bytes(raw: bytes) -> bytes:
    """The passphrase in the bytes of a file (section 4)."""
    raw = raw.removesuffix(b"\r\n") if raw.endswith(b"\r\n") else raw.removesuffix(b"\n")
    with contextlib.suppress(UnicodeDecodeError):
        raw = unicodedata.normalize("NFC", raw.decode()).encode()
    require(raw, "the passphrase is empty")
    return raw


def recovery_bytes(written: str) -> bytes:
    """The 32 bytes of a recovery key as text (section 4)."""
    plain = re.sub(r"[\s-]", "", written).upper().translate(str.maketrans("ILO", "110"))
    require(len(plain) == 65 and set(plain) <= set(CROCKFORD), "recovery key: not 65 digits")
    number = 0
    for group in range(13):
        *values, check = (CROCKFORD.index(digit) for digit in plain[5 * group : 5 * group + 5])
        for value in values:
            number = number << 5 | value
        expected = 0  # 2 v0 + 4 v1 + 8 v2 + 16 v3 = 2 (v0 + 2 (v1 + 2 (v2 + 2 v3)))
        for value in reversed(values):
            doubled = (expected ^ value) << 1
            expected = doubled ^ (doubled >> 5) * 0b100101
        require(check == expected ^ group, f"recovery key: group {group + 1} is mistyped")
    require(number & 15 == 0, "recovery key: the low bits are not zero")
    return (number >> 4).to_bytes(32, "big")


def slot_secret(slot: Info, passphrase: bytes, key: bytes) -> bytes:
    """S of section 4; the limits are checked before any work."""
    if slot["kind"] not in WITH_PASSPHRASE:
        return key
    kdf = slot["kdf"]
    require(kdf["alg"] == "argon2id", f"slot: unknown kdf {kdf['alg']!r}")
    for name, (low, high) in ARGON2_LIMITS.items():
        require(low <= kdf[name] <= high, f"slot: {name} is outside of its limits")
    salt = unb64(kdf["salt"], "slot salt", 16)
    return hash_secret_raw(passphrase, salt, kdf["passes"], kdf["memory_kib"], kdf["lanes"], 32, Type.ID, 0x13) + key


def key_file_bytes(raw: bytes) -> bytes:
    """The 32 bytes of a key file (section 4)."""
    found = re.fullmatch(rb"cloakfs-key-file 1 ([\w-]{43}) ([0-9a-f]{8})\r?\n?", raw)
    require(found is not None, "key file: not the form of one")
    assert found is not None
    key = unb64(found[1].decode(), "key file", 32)
    require(b"%08x" % zlib.crc32(key) == found[2], "key file: damaged")
    return key


def open_slot(config: Config, slot: Info, passphrase: bytes, key: bytes) -> tuple[bytes, bytes] | None:
    """The root key and the authenticator from one slot, None if the secret is not this slot's (section 4)."""
    binding = config.id("volume_id") + unb64(slot["id"], "slot id", 8)
    derived = HKDF(SHA256(), 64, binding, b"cloakfs/1 slot").derive(slot_secret(slot, passphrase, key))
    if not hmac.compare_digest(derived[32:], unb64(slot["commit"], "slot commit", 32)):
        return None
    clear = {name: slot[name] for name in ("data", "kdf", "kind", "pub") if name in slot}
    bound = hashlib.sha256(canonical(clear)).digest()
    esk = unb64(slot["esk"], "slot esk", 12 + 128 + 16)
    private = sealed_open(derived[:32], b"cloakfs/1 esk" + binding + bound, esk, "slot esk")
    seed, curve, authenticator = private[:64], private[64:96], private[96:]
    mlkem, x25519 = MLKEM768PrivateKey.from_seed_bytes(seed), X25519PrivateKey.from_private_bytes(curve)
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    erk = unb64(slot["erk"], "slot erk", 1120 + 48)
    info = b"cloakfs/1 erk" + binding + config.id("rk_id", 8) + authenticator
    try:
        return suite.decrypt(erk, MLKEM768X25519PrivateKey(mlkem, x25519), info), authenticator
    except InvalidTag:
        raise Damaged("slot erk does not authenticate") from None


def check_auth(config: Config, slot: Info, root_key: bytes, authenticator: bytes) -> None:
    """The slot's auth holds the authenticator that esk holds (section 4); for after the MAC."""
    aad = b"cloakfs/1 auth" + config.id("volume_id") + unb64(slot["id"], "slot id", 8)
    sealed = unb64(slot["auth"], "slot auth", 12 + 32 + 16)
    found = sealed_open(expand(root_key, b"cloakfs/1 auth"), aad, sealed, "slot auth")
    require(hmac.compare_digest(found, authenticator), "slot auth is not the authenticator of esk")


# Key tree and names (sections 5 and 7)


class Keys:
    """Every key below the root key; a config whose MAC is wrong is refused."""

    def __init__(self, root_key: bytes, config: Config) -> None:
        self.root_key = root_key
        self.check_mac(config)
        wrap_key, self.epochs = expand(root_key, b"cloakfs/1 wrap"), dict[int, bytes]()
        for entry in config.fields["epochs"]:
            require(0 <= entry["epoch"] < 0xFFFFFFFF, "config: an impossible epoch")
            aad = b"cloakfs/1 epoch" + config.id("volume_id") + struct.pack(">I", entry["epoch"])
            wrap = unb64(entry["wrap"], "epoch wrap", 60)
            self.epochs[entry["epoch"]] = sealed_open(wrap_key, aad, wrap, f"epoch {entry['epoch']}")
        active = [entry["epoch"] for entry in config.fields["epochs"] if entry["state"] == "active"]
        require(active == [max(self.epochs, default=None)], "config: not exactly one active epoch, the highest")
        aad = b"cloakfs/1 metadata" + config.id("volume_id")
        self.metadata = sealed_open(wrap_key, aad, unb64(config.fields["metadata"], "metadata", 60), "metadata key")

    def check_mac(self, config: Config) -> None:
        """Check M (section 3)."""
        expected = hmac.digest(expand(self.root_key, b"cloakfs/1 config"), config.signed, "sha256")
        require(hmac.compare_digest(expected, config.mac), "config: MAC is wrong")

    def of_epoch(self, label: bytes, tail: bytes, epoch: int) -> bytes:
        """One key below that of an epoch."""
        require(epoch in self.epochs, f"epoch {epoch} is not in the config")
        return expand(self.epochs[epoch], b"cloakfs/1 " + label + tail, 32)

    def of_metadata(self, label: bytes, tail: bytes = b"", length: int = 32) -> bytes:
        """One key below the metadata key."""
        return expand(self.metadata, b"cloakfs/1 " + label + tail, length)

    def encode_name(self, dir_id: bytes, name: bytes) -> str:
        """Plain name to lower name (section 7)."""
        if len(name) > 160:
            return "~" + b64(hmac.digest(self.of_metadata(b"longname"), dir_id + name, "sha256"))
        return b64(AESSIV(self.of_metadata(b"name", length=64)).encrypt(name + bytes(-len(name) % 16), [dir_id]))

    def decode_name(self, dir_id: bytes, lower: str) -> bytes:
        """Lower name to plain name of at most 160 bytes (section 7)."""
        try:
            padded = AESSIV(self.of_metadata(b"name", length=64)).decrypt(unb64(lower, "name"), [dir_id])
        except InvalidTag:
            raise Damaged("name does not authenticate") from None
        name = padded.rstrip(b"\0")
        check_name(name)
        require(len(padded) == len(name) + -len(name) % 16, "name: wrong padding")
        return name


def check_name(name: bytes) -> None:
    """The rules for a plain name (section 7)."""
    good = 1 <= len(name) <= 255 and not set(name) & set(b"/\0") and name not in (b".", b"..")
    require(good, "not a plain name")


# Sealed frames (sections 6, 8, 9.1 and 11)


def unpack_fields(layout: str, body: bytes) -> Info:
    """Fields by their layout; "zero" MUST be zero, "length" is that of the zero-padded field after it."""
    fields, length = Info(), None
    codes, names = zip(*(item.split() for item in layout.split(",")), strict=True)
    for name, value in zip(names, struct.unpack(">" + "".join(codes), body), strict=True):
        if name == "zero":
            require(not any(value) if isinstance(value, bytes) else value == 0, "frame: a field is not zero")
        elif name == "length":
            length = value
        elif length is None:
            fields[name] = value
        else:
            require(length <= len(value) and not any(value[length:]), f"frame: wrong padding of the {name}")
            fields[name], length = value[:length], None
    return fields


class Frame(NamedTuple):
    """A sealed frame and its clear fields (section 6)."""

    raw: bytes
    clear: Info

    @classmethod
    def parse(cls, raw: bytes) -> Frame:
        """Check everything that needs no key."""
        require(len(raw) == 512, f"frame: {len(raw)} bytes, not 512")
        clear = unpack_fields(CLEAR, raw[:48])
        kind, log2_cell = clear["type"], clear["log2_cell"]
        require(kind in TYPES.get(clear["magic"], ()), "frame: magic or type is wrong")
        require(clear["version"] == 1, f"frame: version {clear['version']}")
        fits = log2_cell in (12, 14, 16) if kind < 3 else not log2_cell and not any(clear["fid"])
        require(fits, "frame: cell size or fid does not fit the type")
        return cls(raw, clear)

    def open(self, keys: Keys, magic: bytes) -> Info:
        """The body, opened with the key of the epoch that the frame names, and what must hold in it."""
        require(self.clear["magic"] == magic, f"frame: magic is not {text(magic)}")
        key = keys.of_epoch(LABELS[magic], self.clear["fid"] if magic == b"CLKF" else b"", self.clear["epoch"])
        opened = gcm_open(key, self.raw[48:60], self.raw[:48], self.raw[60:], f"frame {text(magic)}")
        body = unpack_fields(BODIES[magic], opened)
        if magic == b"CLKF":
            check_name(body["name"])
            require(not body["flags"] & ~7 and body["synced_size"] <= body["size"], "file header: wrong flags or sizes")
        if magic == b"CLKS":
            id_time = struct.pack(">Q", body["start_ms"])
            require(body["state"] in STATES and body["session"][:8] == id_time, "session record: wrong state or id")
        return body


@contextlib.contextmanager
def open_lower(path: Path) -> Iterator[int]:
    """A descriptor of a lower file; a symlink is never followed, a pipe never waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_lower(path: Path, limit: int) -> bytes:
    """The first bytes of a lower file."""
    with open_lower(path) as descriptor, open(descriptor, "rb", closefd=False) as stream:
        return stream.read(limit)


def read_frame(path: Path) -> Frame:
    """The frame that is a whole lower file."""
    return Frame.parse(read_lower(path, 513))


# Checkpoints (section 12)


def checkpoint_records(raw: bytes, keys: Keys) -> list[bytes]:
    """The records of a checkpoint, without their lengths; all of it is authenticated, and whole."""
    head, records, chunks, at = raw[:48], [], [], 48
    key = keys.of_epoch(b"checkpoint", head[16:32], int.from_bytes(head[8:12], "big"))
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        require(at + 4 + 28 < end <= len(raw), "checkpoint: a chunk has the wrong length")
        chunks.append(raw[at + 4 : end])
        at = end
    for index, chunk in enumerate(chunks):
        aad = b"M" + head + struct.pack(">QB", index, index == len(chunks) - 1)
        opened = sealed_open(key, aad, chunk, f"checkpoint, chunk {index}")
        require(len(opened) <= 65536, "checkpoint: a chunk is too long")
        while opened:
            size = int.from_bytes(opened[:2], "big")
            require(0 < size <= len(opened) - 2, "checkpoint: a record has the wrong length")
            records.append(opened[2 : 2 + size])
            opened = opened[2 + size :]
    kinds = [record[0] for record in records]
    good = len(kinds) > 1 and kinds[0] == 1 and kinds[-1] == 8 and set(kinds[1:-1]) <= {2, 3, 4, 5, 6, 7}
    require(good, "checkpoint: records are missing or out of order")
    whole = b"".join(struct.pack(">H", len(record)) + record for record in records[:-1])
    require(records[-1][-32:] == hashlib.sha256(whole).digest(), "checkpoint: the digest of the whole is wrong")
    return records


def place_fields(data: bytes) -> Info:
    """A place: dir id and plain name."""
    check_name(data[16:])
    return {"dir_id": data[:16], "name": data[16:]}


def framed_fields(data: bytes, layout: str, names_at: int) -> tuple[Info, Info, bytes]:
    """Clear part, body and rest of a frame that is kept without the zero bytes after its name."""
    end = 48 + names_at + int.from_bytes(data[48 + names_at - 2 : 48 + names_at], "big")
    require(len(data) >= end, "checkpoint: a header is cut short")
    clear = Frame.parse(data[:48] + bytes(464)).clear
    return clear, unpack_fields(layout, data[48:end] + bytes(484 - end)), data[end:]


def checkpoint_fields(record: bytes) -> Info:
    """One record, by its kind."""
    kind, data = record[0], record[1:]
    if kind == 1:
        return {"kind": "start"} | unpack_fields("16s session, Q seq, 16s previous", data)
    if kind == 2:
        fields = unpack_fields("16s session, B state", data)
        return {"kind": "session"} | fields | {"state": STATES[fields["state"]]}
    if kind == 3:
        _, body, rest = framed_fields(data, BODIES[b"CLKD"], 62)
        require(not rest, "checkpoint: something follows a directory record")
        return {"kind": "directory"} | body
    if kind == 4:
        fields = unpack_fields("B state, Q lower_size, 32s digest", data[:41])
        require(fields["state"] <= 2, "checkpoint: a file has an unknown state")
        clear, body, rest = framed_fields(data[41:], BODIES[b"CLKF"], 154)
        place = place_fields(rest) if rest else {"dir_id": body["dir_id"], "name": body["name"]}
        return {"kind": "file", "fid": clear["fid"], "type": clear["type"]} | body | fields | place
    if kind == 5:
        return {"kind": "symlink", "digest": data[:32]} | place_fields(data[32:])
    if kind == 6:
        return {"kind": "other"} | unpack_fields("I mode, Q device", data[:12]) | place_fields(data[12:])
    if kind == 7:
        return {"kind": "damaged"} | place_fields(data)
    layout = "Q directories, Q files, Q symlinks, Q others, Q damaged, Q bytes, 32s digest"
    return {"kind": "end"} | unpack_fields(layout, data)


# Files (sections 9.2 and 9.3)


def geometry(lower_size: int, cell: int) -> tuple[int, int, int]:
    """L to cells n, plain bytes of the last cell, plain size S (section 9.3)."""
    if lower_size == 512:
        return 0, 0, 0
    n, m = divmod(lower_size, cell)
    full = cell - 32 if n > 1 else cell - 544
    require(n >= 1 and m < full, f"lower size {lower_size} is not possible")
    last = m or full
    return n, last, last + (cell - 544 + (n - 2) * (cell - 32) if n > 1 else 0)


class LowerFile:
    """A regular file or a symlink in a file, behind an open descriptor."""

    def __init__(self, descriptor: int, cell: int, keys: Keys | None) -> None:
        self.descriptor, self.cell = descriptor, cell
        self.frame = Frame.parse(os.pread(descriptor, 512, 0))
        require(self.frame.clear["magic"] == b"CLKF", "not a file header")
        require(1 << self.frame.clear["log2_cell"] == cell, "cell size is not the volume's")
        self.lower_size = os.fstat(descriptor).st_size
        self.cells, self.last, self.size = geometry(self.lower_size, cell)
        self.header = self.frame.open(keys, b"CLKF") if keys else {}

    def raw_cell(self, index: int) -> bytes:
        """The bytes of one cell."""
        return os.pread(self.descriptor, self.cell - 512 * (index == 0), self.cell * index or 512)

    def plain_cell(self, index: int) -> bytes:
        """The plain bytes of one cell, authenticated (section 9.2)."""
        raw, what, header = self.raw_cell(index), f"cell {index}", self.header
        wanted = self.last if index == self.cells - 1 else len(raw) - 32
        if not any(raw):
            require(header["flags"] & SPARSE and index < self.cells - 1, f"{what}: a hole where none may be")
            return bytes(wanted)
        length, flags, zero = struct.unpack_from(">HBB", raw)
        require(length == wanted and flags <= 1 and not zero, f"{what}: clear part is wrong")
        key = header["content_key"] if flags == bool(header["flags"] & PARITY) else header["previous_key"]
        require(any(key), f"{what}: there is no previous content key")
        padded = gcm_open(key, raw[4:16], b"C" + struct.pack(">Q", index) + raw[:4], raw[16:], what)
        require(not any(padded[length:]), f"{what}: padding is not zero")
        return padded[:length]

    def clear_cell(self, index: int) -> Info:
        """The clear part of one cell."""
        raw = self.raw_cell(index)
        clear = {"len": int.from_bytes(raw[:2], "big"), "flags": raw[2], "nonce": raw[4:16]}
        return {"cell": index} | (clear if any(raw) else {"hole": True})


# The volume


class Volume:
    """A lower volume, with a key or without; what is wrong is gathered in `problems`."""

    def __init__(self, root: Path, args: argparse.Namespace) -> None:
        self.root, self.args, self.deep = root, args, True
        self.keys: Keys | None = None
        self.problems: list[str] = []
        configs: list[Config] = []
        for name in CONFIG_NAMES:
            with self.guard(root / name):
                configs.append(parse_config(read_lower(root / name, CONFIG_LIMIT)))
        require(configs, "; ".join(self.problems))
        configs.sort(key=lambda config: int(config.fields["seq"]), reverse=True)
        self.config = configs[0]
        if not args.no_key:
            self.config, self.keys = self.unlock(configs)

    @contextlib.contextmanager
    def guard(self, where: Path) -> Iterator[None]:
        """Note a damage and go on."""
        try:
            yield
        except (Damaged, OSError) as error:
            self.problems.append(f"{where}: {error}")

    def unlock(self, configs: list[Config]) -> tuple[Config, Keys]:
        """The first copy, by falling seq, that unlocks and has a right MAC (sections 3 and 4)."""
        kind, *secret = read_secret(self.args)
        for config in configs:
            check_readable(config)
            for number, slot in enumerate(config.fields["slots"]):
                with self.guard(self.root / f"slot {number}"):
                    opened = open_slot(config, slot, *secret) if slot["kind"] == kind else None
                    if opened is not None:
                        keys = Keys(opened[0], config)
                        check_auth(config, slot, *opened)
                        return config, keys
        raise Damaged("; ".join([*self.problems, f"this {kind} opens no slot"]))

    def shown(self, fields: Info) -> Info:
        """Fields for the eye: names as text, keys hidden."""
        hidden = {name: "(hidden)" for name in ("content_key", "previous_key") if name in fields}
        names = {name: text(fields[name]) for name in ("magic", "name", "host", "mount_point") if name in fields}
        return fields | names | ({} if self.args.show_keys else hidden)

    def describe(self, path: Path, dir_id: bytes | None, info: Info) -> None:
        """Fill in all about one lower object; `dir_id` is that of its directory, None if that is not known."""
        info |= {"lower": path.name, "kind": KINDS[stat.filemode(path.lstat().st_mode)[0]]}
        if info["kind"] == "file":
            with open_lower(path) as descriptor:
                low = LowerFile(descriptor, self.config.fields["cell_size"], self.keys)
                self.describe_file(path, dir_id, info, low)
        elif info["kind"] == "directory":
            self.describe_directory(path, dir_id, info)
        elif info["kind"] == "symlink":
            self.describe_symlink(path, dir_id, info)
        elif self.keys and dir_id:
            info["name"] = text(self.keys.decode_name(dir_id, path.name))

    def describe_file(self, path: Path, dir_id: bytes | None, info: Info, low: LowerFile) -> None:
        """A regular file or a symlink in a file (sections 9.1 to 9.4)."""
        in_file = low.frame.clear["type"] == 2
        info |= {"kind": "symlink" if in_file else "file", "frame": self.shown(low.frame.clear)}
        info |= {"lower size": low.lower_size, "size": low.size, "cells": low.cells}
        if self.args.cells:
            info["cell headers"] = [low.clear_cell(index) for index in range(low.cells)]
        if not self.keys:
            return
        header = low.header
        info["header"] = self.shown(header)
        with self.guard(path):
            self.check_place(path, dir_id, info, (header["dir_id"], header["name"]), multi=header["flags"] & MULTI)
        with self.guard(path):
            info["xattrs"] = self.xattrs(path, header["attribute_id"])
        with self.guard(path):
            require(header["size"] == low.size, f"size {header['size']} in the header does not fit the lower size")
        if self.deep or in_file:
            self.authenticate(path, low, info)

    def authenticate(self, path: Path, low: LowerFile, info: Info) -> None:
        """Open every cell (section 9.2): the digest, and the target of a symlink in a file."""
        digest, good, target = hashlib.sha256(), 0, b""
        for index in range(low.cells):
            with self.guard(path):
                plain = low.plain_cell(index)
                digest.update(plain)
                target += plain if info["kind"] == "symlink" else b""
                good += 1
        info |= {"cells authenticated": good, "sha256": digest.hexdigest() if good == low.cells else None}
        if info["kind"] == "symlink":
            with self.guard(path):
                require(1 <= low.size <= 4095, "symlink target: wrong length")
            info["target"] = text(target)

    def describe_directory(self, path: Path, dir_id: bytes | None, info: Info) -> None:
        """A directory by its record (section 8)."""
        frame = read_frame(path / "cloakfs.d")
        info["frame"] = self.shown(frame.clear)
        if not self.keys:
            return
        record = frame.open(self.keys, b"CLKD")
        info["record"] = self.shown(record)
        with self.guard(path):
            if path == self.root:
                place = (record["dir_id"], record["parent"], record["name"])
                require(place == (self.config.id("root_dir_id"), bytes(16), b""), "the record is not that of the root")
                info |= {"name": "", "place": "ok"}
            else:
                self.check_place(path, dir_id, info, (record["parent"], record["name"]))
        with self.guard(path):
            info["xattrs"] = self.xattrs(path, record["dir_id"])

    def describe_symlink(self, path: Path, dir_id: bytes | None, info: Info) -> None:
        """A lower symlink (section 9.4)."""
        blob = unb64(text(os.readlink(bytes(path))), "symlink")
        info["size"] = len(blob) - 45
        if not self.keys:
            return
        plain = sealed_open(self.keys.of_metadata(b"symlink"), b"cloakfs/1 symlink", blob, "symlink")
        require(18 <= len(plain) <= 17 + 4095 and plain[0] <= 1, "symlink: wrong form")
        info["target"] = text(plain[17:])
        if dir_id:
            name = self.keys.decode_name(dir_id, path.name)
            place = hmac.digest(self.keys.of_metadata(b"place"), dir_id + name, "sha256")[:16]
            require(plain[0] or place == plain[1:17], "the symlink was made for another place")
            info |= {"name": text(name), "place": "ok"}

    def check_place(
        self, path: Path, dir_id: bytes | None, info: Info, place: tuple[bytes, bytes], *, multi: bool = False
    ) -> None:
        """The plain name; header or record name the place where the object is found (sections 7, 8 and 9.1)."""
        if dir_id is None or self.keys is None:
            return
        require(path.name.endswith(".l") == (info["kind"] == "symlink"), "type and end of the lower name differ")
        stem = path.name.removesuffix(".l")
        name = place[1] if stem.startswith("~") else self.keys.decode_name(dir_id, stem)
        right = place == (dir_id, name) and self.keys.encode_name(dir_id, name) == stem
        require(right or (multi and not stem.startswith("~")), "header or record name another place")
        info |= {"name": text(name), "place": "ok"}

    def xattrs(self, path: Path, identity: bytes) -> Info:
        """The extended attributes of one object (section 10)."""
        try:
            blob = os.getxattr(path, "user.cloakfs", follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return {}
            raise
        assert self.keys is not None
        rest = sealed_open(self.keys.of_metadata(b"xattr", identity), b"cloakfs/1 xattr", blob, "xattrs")
        found: list[tuple[bytes, bytes]] = []
        while rest:
            name, rest = cut_field(rest, 2)
            value, rest = cut_field(rest, 4)
            found.append((name, value))
        names = [name for name, _ in found]
        require(names and names == sorted(set(names)), "xattrs: an empty or unsorted list")
        return {text(name): text(value) for name, value in found}

    def dir_id_at(self, path: Path) -> bytes | None:
        """Id of a lower directory, places checked from the root on; None without a key or outside of the volume."""
        if not self.keys or not path.is_relative_to(self.root):
            return None
        info = Info()
        with self.guard(path):
            self.describe(path, None if path == self.root else self.dir_id_at(path.parent), info)
        return info["record"]["dir_id"] if "record" in info else None

    def entries(self, path: Path, dir_id: bytes | None, prefix: str = "", *, recurse: bool) -> Iterator[Info]:
        """What a lower directory holds; foreign entries are left out (section 2)."""
        seen: set[str] = set()
        for child in sorted(child for child in path.iterdir() if ENCRYPTED.fullmatch(child.name)):
            info = Info()
            with self.guard(child):
                self.describe(child, dir_id, info)
                require(info.get("name") not in seen, "a second entry of the same plain name")
            seen |= {info["name"]} if "name" in info else set()
            found = {"path": prefix + info["name"]} if "name" in info else {}
            yield found | {key: info[key] for key in BRIEF if key in info}
            if recurse and info.get("kind") == "directory" and "place" in info:
                yield from self.entries(child, info["record"]["dir_id"], found["path"] + "/", recurse=True)

    def tree(self) -> list[Info]:
        """The root and everything below it."""
        info = Info()
        self.describe(self.root, None, info)
        first = {"path": "."} | {key: info[key] for key in BRIEF if key in info}
        return [first, *self.entries(self.root, info["record"]["dir_id"], recurse=True)]

    def find(self, plain: bytes) -> tuple[Path, Info]:
        """Walk down a plain path; every place on the way must be right."""
        assert self.keys is not None
        path, info = self.root, Info()
        self.describe(path, None, info)
        for part in filter(None, plain.split(b"/")):
            require(info["kind"] == "directory", f"{text(plain)}: there is a component that is no directory")
            dir_id = info["record"]["dir_id"]
            lower = self.keys.encode_name(dir_id, part)
            found = [path / name for name in (lower, lower + ".l") if os.path.lexists(path / name)]
            if not found:
                raise FileNotFoundError(errno.ENOENT, "no such plain path", text(plain))
            path, info = found[0], Info()
            self.describe(path, dir_id, info)
            require(info.get("name") == text(part), "; ".join(self.problems))
        return path, info

    def write_content(self, path: Path, info: Info) -> None:
        """Plain content, symlink target or list of names to standard output."""
        if info["kind"] == "file":
            with open_lower(path) as descriptor:
                low = LowerFile(descriptor, self.config.fields["cell_size"], self.keys)
                sys.stdout.buffer.writelines(map(low.plain_cell, range(low.cells)))
        elif info["kind"] == "directory":
            for entry in self.entries(path, info["record"]["dir_id"], recurse=False):
                sys.stdout.buffer.write(untext(entry.get("path") or entry["lower"]) + b"\n")
        else:
            sys.stdout.buffer.write(untext(info.get("target", "")))

    def inspect(self, path: Path) -> Info:
        """All about one lower path."""
        path, info = path.parent if path.name == "cloakfs.d" else path, Info()
        if path.parent == self.root and path.name in CONFIG_NAMES:
            return self.inspect_config(path)
        if path.parent == self.root / "cloakfs.s":
            return self.inspect_session(path)
        if path.parent == self.root / "cloakfs.c":
            return self.inspect_checkpoint(path)
        if path == self.root:
            info = {"config": self.inspect_config(path / CONFIG_NAMES[0])}
            records = sorted(one for one in (path / "cloakfs.s").glob("*") if one.name != "lock")
            info["session records"] = [self.inspect_session(one) for one in records]
            checkpoints = sorted((path / "cloakfs.c").glob("*"))
            if checkpoints:
                info["checkpoints"] = [one.name for one in checkpoints]
        elif path.is_relative_to(self.root) and not ENCRYPTED.fullmatch(path.name):
            return {"lower": path.name, "kind": "reserved" if path.name.startswith("cloakfs.") else "foreign"}
        with self.guard(path):
            self.describe(path, None if path == self.root else self.dir_id_at(path.parent), info)
        if info.get("kind") == "directory":
            self.deep = False
            below = info["record"]["dir_id"] if "record" in info else None
            info["entries"] = list(self.entries(path, below, recurse=False))
        return info

    def inspect_config(self, path: Path) -> Info:
        """One copy of the config (section 3)."""
        info: Info = {"lower": path.name, "kind": "config", "checksum": "wrong"}
        with self.guard(path):
            config = parse_config(read_lower(path, CONFIG_LIMIT))
            info |= config.fields | {"checksum": "ok"}
            if self.keys:
                self.keys.check_mac(config)
                info["MAC"] = "ok"
        return info

    def inspect_checkpoint(self, path: Path) -> Info:
        """One checkpoint (section 12)."""
        info: Info = {"lower": path.name, "kind": "checkpoint"}
        with self.guard(path):
            raw = read_lower(path, path.lstat().st_size)
            head = unpack_fields("4s magic, B version, 3s zero, I epoch, I zero, 16s id, 16s volume_id", raw[:48])
            good = (head["magic"], head["version"], head["volume_id"]) == (b"CLKM", 1, self.config.id("volume_id"))
            require(good, "this is no checkpoint of this volume")
            info["head"] = self.shown(head)
            if path.parent == self.root / "cloakfs.c":
                require(head["id"].hex() == path.name, "the checkpoint is another one than its name says")
            if self.keys:
                info["records"] = [self.shown(checkpoint_fields(one)) for one in checkpoint_records(raw, self.keys)]
        return info

    def inspect_session(self, path: Path) -> Info:
        """One session record (section 11)."""
        info: Info = {"lower": path.name, "kind": "session"}
        with self.guard(path):
            frame = read_frame(path)
            info["frame"] = self.shown(frame.clear)
            if self.keys:
                record = frame.open(self.keys, b"CLKS")
                info |= self.shown(record) | {"state": STATES[record["state"]]}
                require(record["session"].hex() == path.name, "the record is that of another session")
        return info


def cut_field(data: bytes, size: int) -> tuple[bytes, bytes]:
    """A length of `size` bytes and the field after it: the field and the rest."""
    end = size + int.from_bytes(data[:size], "big")
    require(len(data) >= max(size, end), "xattrs: cut short")
    return data[size:end], data[end:]


# Command line


def read_secret(args: argparse.Namespace) -> tuple[str, bytes, bytes]:
    """The kind of the secret, a passphrase, and 32 bytes of a key; one of them can be empty (section 4)."""
    if args.recovery_file:
        return "recovery", b"", recovery_bytes(args.recovery_file.read_text("ascii", "replace"))
    key = key_file_bytes(args.key_file.read_bytes()) if args.key_file else b""
    if key and not args.passphrase_file:
        return "key-file", b"", key
    raw = args.passphrase_file.read_bytes() if args.passphrase_file else untext(getpass.getpass("Passphrase: "))
    return ("passphrase+key-file" if key else "passphrase"), passphrase_bytes(raw), key


def find_root(path: Path) -> Path:
    """Walk up to the directory that holds the config."""
    for candidate in (path, *path.parents):
        if any((candidate / name).is_file() for name in CONFIG_NAMES):
            return candidate
    raise FileNotFoundError(errno.ENOENT, "no cloakfs.volume here or above", str(path))


def as_json(value: object) -> str:
    """JSON with bytes in hexadecimal."""
    return json.dumps(value, indent=1, default=bytes.hex)


def printable(value: object) -> str:
    """One value on one line, without control characters."""
    line = value.hex() if isinstance(value, bytes) else str(value)
    return line if line.isprintable() else json.dumps(line)


def print_info(info: Info, indent: str = "") -> None:
    """Nested fields as indented lines."""
    for key, value in info.items():
        parts = value if isinstance(value, list) else [value]
        if not parts or not all(isinstance(part, dict) for part in parts):
            print(f"{indent}{printable(key)}: {printable(value)}")
            continue
        for part in parts:
            print(f"{indent}{printable(key)}:")
            print_info(part, indent + "  ")


def print_tree(entries: list[Info]) -> None:
    """One line for each entry: kind, size, SHA-256, path, target."""
    for entry in entries:
        size, digest = entry.get("size", "-"), entry.get("sha256") or "-"
        target = f" -> {printable(entry['target'])}" if "target" in entry else ""
        path = printable(entry.get("path", f"? {entry['lower']}"))
        print(f"{entry['kind']:9} {size:>12} {digest:64} {path}{target}")


def run(args: argparse.Namespace) -> int:
    """Do what the arguments ask."""
    path = args.path.parent.resolve() / args.path.name if args.path.is_symlink() else args.path.resolve()
    path.lstat()
    volume = Volume(args.volume.resolve() if args.volume else find_root(path), args)
    if args.content or args.cat_path is not None:
        volume.deep, info = False, Info()
        if args.cat_path is not None:
            path, info = volume.find(os.fsencode(args.cat_path))
        else:
            volume.describe(path, volume.dir_id_at(path.parent), info)
        volume.write_content(path, info)
    else:
        info = {"entries": volume.tree()} if args.tree else volume.inspect(path)
        if args.json:
            print(as_json(info | {"problems": volume.problems}))
        elif args.tree:
            print_tree(info["entries"])
        else:
            print_info(info)
    for problem in volume.problems:
        print(f"WRONG: {printable(problem)}", file=sys.stderr)
    return 1 if volume.problems else 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, help="a lower file, directory or symlink, a config or a session record")
    parser.add_argument("--volume", type=Path, metavar="DIR", help="root of the volume; else found by walking up")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--passphrase-file", type=Path, metavar="F")
    key.add_argument("--recovery-file", type=Path, metavar="F")
    parser.add_argument("--key-file", type=Path, metavar="F", help="alone, or with --passphrase-file")
    key.add_argument("--no-key", action="store_true", help="show only what is visible without a key")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--content", action="store_true", help="write the plain content to standard output")
    what.add_argument("--cat-path", metavar="A/B/C", help="write the content of a plain path to standard output")
    what.add_argument("--tree", action="store_true", help="list the whole volume with sizes and SHA-256")
    parser.add_argument("--cells", action="store_true", help="show the clear part of each cell")
    parser.add_argument("--show-keys", action="store_true", help="print content keys")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    if args.no_key and (args.content or args.tree or args.cat_path is not None):
        parser.error("--content, --cat-path and --tree need a key")
    return args


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    args = parse_arguments(argv)
    try:
        return run(args)
    except Damaged as error:
        print(f"WRONG: {printable(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"inspect_lower: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
