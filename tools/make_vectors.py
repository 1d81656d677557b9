#!/usr/bin/env python3
"""Makes tests/vectors/*.json: every object of FORMAT.md with fixed keys and nonces, and ways to break it.

    tools/make_vectors.py            write them
    tools/make_vectors.py --check    exit 1 if what is there differs

Randomness is replaced by a fixed stream, so each run gives the same bytes. Only HPKE's own randomness cannot be
replaced: what it sealed is taken over from the existing file for as long as it opens. standards.json is not made here:
it holds the vectors of others.

Vectors of a released version are never changed: a change here is a change of the format.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from enum import Enum
from hashlib import shake_256
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from encfs.core import attributes, config, frames, keys, slots, symlinks  # noqa: E402
from encfs.core.checkpoint import Sealer, open_records  # noqa: E402
from encfs.crypto import kem, rng  # noqa: E402
from encfs.crypto.suite import CLOAKFS_1, Suite  # noqa: E402
from encfs.errors import CloakfsError  # noqa: E402
from encfs.format import base64url, limits  # noqa: E402
from encfs.format import checkpoint as checkpoint_form  # noqa: E402
from encfs.format.checkpoint import new_checkpoint_id  # noqa: E402
from encfs.format.config import Config, assemble, split  # noqa: E402
from encfs.format.directory import NO_PARENT, DirectoryRecord  # noqa: E402
from encfs.format.epochs import Epoch, Rotation, RotationReason  # noqa: E402
from encfs.format.frame import FrameKind  # noqa: E402
from encfs.format.geometry import Geometry  # noqa: E402
from encfs.format.header import FileHeader, HeaderFlag  # noqa: E402
from encfs.format.recovery_key import encode_recovery_key  # noqa: E402
from encfs.format.session import SessionRecord, SessionState, new_session_id  # noqa: E402
from encfs.format.slots import Kdf, KdfAlg, SlotKind  # noqa: E402
from encfs.units import DirId, FileId, VolumeId  # noqa: E402

VECTORS = TOP / "tests" / "vectors"
Json = dict[str, Any]


def fixed(label: str, size: int) -> bytes:
    """Bytes that look random and are always the same."""
    return shake_256(f"cloakfs vectors: {label}".encode()).digest(size)


@contextmanager
def fixed_randomness(label: str) -> Iterator[None]:
    """Replace the kernel's generator by a stream that only depends on ``label``."""
    count = 0

    def random_bytes(n: int) -> bytes:
        nonlocal count
        count += 1
        return fixed(f"{label} {count}", n)

    original = rng.random_bytes
    rng.random_bytes = random_bytes
    try:
        yield
    finally:
        rng.random_bytes = original


VOLUME_ID = VolumeId(fixed("volume id", 16))
EPOCH_KEYS = {0: fixed("epoch 0", 32), 7: fixed("epoch 7", 32)}
METADATA_KEY = fixed("metadata", 32)
RING = keys.KeyRing(suite=CLOAKFS_1, volume_id=VOLUME_ID, metadata=METADATA_KEY, epochs=EPOCH_KEYS, active=7)
DIR_ID = DirId(fixed("dir id", 16))
FID = FileId(fixed("fid", 16))
SESSION = new_session_id(1_760_000_000_000, fixed("session", 8))


def plain_json(value: object) -> object:
    """A field of a dataclass as JSON: bytes in hex, enums as their numbers."""
    if isinstance(value, bytes):
        return value.hex()
    return value.value if isinstance(value, Enum) else value


def described(item: object) -> Json:
    """The fields of a dataclass as JSON."""
    return {field.name: plain_json(getattr(item, field.name)) for field in fields(item)}  # type: ignore[arg-type]


def error_of(call: Callable[..., object], *arguments: object) -> str:
    """The name of the error that a call raises; a call that succeeds is an error of this program."""
    try:
        call(*arguments)
    except CloakfsError as error:
        return type(error).__name__
    raise AssertionError(f"{call.__name__} accepts what it must refuse")


def key_ring_json() -> Json:
    """The keys that every file of vectors uses."""
    return {
        "volume_id": VOLUME_ID.hex(),
        "epochs": {str(number): key.hex() for number, key in EPOCH_KEYS.items()},
        "active": RING.active.epoch,
        "metadata": METADATA_KEY.hex(),
    }


# Frames: sections 6, 8, 9.1, 11


def header(**changes: object) -> FileHeader:
    """A file header, with some fields changed."""
    values: Json = {
        "kind": FrameKind.FILE,
        "log2_cell": 12,
        "epoch": 7,
        "content_epoch": None,
        "fid": FID,
        "size": 5000,
        "synced_size": 4096,
        "generation": 3,
        "session": SESSION,
        "flags": HeaderFlag(0),
        "content_key": fixed("content key", 32),
        "previous_content_key": None,
        "cells_sealed": 9,
        "parent": DIR_ID,
        "attribute_id": fixed("attribute id", 16),
        "name": b"report.odt",
    }
    return FileHeader(**values | changes)


def directory(**changes: object) -> DirectoryRecord:
    """A directory record, with some fields changed."""
    values: Json = {
        "epoch": 7,
        "dir_id": DIR_ID,
        "parent": DirId(fixed("parent", 16)),
        "generation": 1,
        "session": SESSION,
        "name": "Übung".encode(),
    }
    return DirectoryRecord(**values | changes)


def session(**changes: object) -> SessionRecord:
    """A session record, with some fields changed."""
    values: Json = {
        "epoch": 7,
        "session": SESSION,
        "state": SessionState.OPEN,
        "started_ms": 1_760_000_000_000,
        "pid": 4242,
        "uid": 1000,
        "host": b"desk",
        "mountpoint": b"/home/me/plain",
    }
    return SessionRecord(**values | changes)


Record = FileHeader | DirectoryRecord | SessionRecord


def frame_cases() -> Iterator[tuple[str, str, Record]]:
    """Name, kind and object of each good frame."""
    yield "file", "header", header()
    yield "empty file", "header", header(size=0, synced_size=0, cells_sealed=0, name=b"a")
    yield (
        "all flags, two keys, two epochs",
        "header",
        header(
            flags=HeaderFlag.SPARSE | HeaderFlag.MULTI | HeaderFlag.PARITY,
            previous_content_key=fixed("previous content key", 32),
            epoch=7,
            content_epoch=0,
        ),
    )
    yield "retired epoch", "header", header(epoch=0)
    yield (
        "largest values",
        "header",
        header(
            log2_cell=16,
            size=limits.PLAIN_SIZE_MAX,
            synced_size=limits.PLAIN_SIZE_MAX,
            generation=limits.U64_MAX,
            cells_sealed=limits.U64_MAX,
            name=b"\xff" * limits.NAME_MAX,
        ),
    )
    yield "symlink in a file", "header", header(kind=FrameKind.SYMLINK, log2_cell=14, name=b"n" * 161)
    yield "directory", "directory", directory()
    yield "root", "directory", directory(parent=NO_PARENT, name=b"")
    yield "long name", "directory", directory(name=b"d" * limits.NAME_MAX)
    yield "open session", "session", session()
    yield "clean session", "session", session(state=SessionState.CLEAN, ended_ms=1_760_000_100_000)
    yield "longest texts", "session", session(host=b"h" * limits.HOST_MAX, mountpoint=b"m" * limits.MOUNTPOINT_MAX)
    yield "library use", "session", session(state=SessionState.RECOVERED, mountpoint=b"", pid=0, uid=0xFFFF_FFFF)


SEAL: dict[str, Callable[..., bytes]] = {
    "header": frames.seal_header,
    "directory": frames.seal_directory,
    "session": frames.seal_session,
}
OPEN: dict[str, Callable[..., object]] = {
    "header": frames.open_header,
    "directory": frames.open_directory,
    "session": frames.open_session,
}
KEY_OF: dict[str, Callable[[], bytes]] = {
    "header": lambda: RING.of(7).header_key(FID),
    "directory": lambda: RING.of(7).directory_key,
    "session": lambda: RING.of(7).session_key,
}


def resealed(kind: str, clear: bytes, body: bytes) -> bytes:
    """A frame whose tag is right, whatever its parts are."""
    return clear + CLOAKFS_1.seal(KEY_OF[kind](), clear, body)


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    """Bytes with some of them replaced."""
    return data[:offset] + new + data[offset + len(new) :]


def bad_frames() -> Iterator[tuple[str, str, bytes]]:
    """Frames with one fault each. From "authentic:" on the tag is right, so only strict parsing sees the fault."""
    good: dict[str, Record] = {"header": header(), "directory": directory(), "session": session()}
    sealed = {kind: SEAL[kind](RING, item) for kind, item in good.items()}
    for kind, raw in sealed.items():
        yield f"{kind}: first bit of the nonce", kind, patched(raw, 48, bytes([raw[48] ^ 0x80]))
        yield f"{kind}: last bit of the body", kind, patched(raw, 495, bytes([raw[495] ^ 1]))
        yield f"{kind}: last bit of the tag", kind, patched(raw, 511, bytes([raw[511] ^ 1]))
        yield f"{kind}: zero bytes", kind, bytes(512)
        yield f"{kind}: one byte short", kind, raw[:-1]
        yield f"{kind}: one byte long", kind, raw + b"\0"
        yield f"{kind}: magic", kind, patched(raw, 0, b"CLKX")
        yield f"{kind}: version 2", kind, patched(raw, 4, b"\2")
        yield f"{kind}: type 0", kind, patched(raw, 5, b"\0")
        yield f"{kind}: epoch of another volume", kind, patched(raw, 8, b"\0\0\0\1")
        yield f"{kind}: other epoch", kind, patched(raw, 8, b"\0\0\0\0")
        yield f"{kind}: content epoch", kind, patched(raw, 12, b"\0\0\0\0")
        yield f"{kind}: pad byte 7", kind, patched(raw, 7, b"\1")
        yield f"{kind}: reserved byte 47", kind, patched(raw, 47, b"\1")
    yield "header: type 2 instead of 1", "header", patched(sealed["header"], 5, b"\2")
    yield "header: cell size 2^13", "header", patched(sealed["header"], 6, b"\x0d")
    yield "header: other cell size", "header", patched(sealed["header"], 6, b"\x0e")
    yield "header: other fid", "header", patched(sealed["header"], 31, bytes([FID[15] ^ 1]))
    yield "directory: cell size", "directory", patched(sealed["directory"], 6, b"\x0c")
    yield "directory: fid", "directory", patched(sealed["directory"], 16, b"\1")
    for kind, other in (("header", "directory"), ("directory", "session"), ("session", "header")):
        yield f"{other} where a {kind} belongs", kind, sealed[other]

    for kind, offset, new, what in (
        ("header", 0, b"\0" * 7 + b"\1", "synced size above size"),
        ("header", 0, b"\x10" + b"\0" * 6 + b"\1", "size above 2^60"),
        ("header", 43, b"\x08", "unknown flag"),
        ("header", 44, b"\0\0\0\1", "reserved bytes 44 to 47"),
        ("header", 152, b"\0\0", "name of length 0"),
        ("header", 152, b"\1\0", "name of length 256"),
        ("header", 152, b"\0\x09", "name shorter than its field"),
        ("header", 152, b"\0\x0b", "name that ends in a zero byte"),
        ("header", 154, b"a/b", "name with a slash"),
        ("header", 152, b"\0\2.." + bytes(8), "name that is two dots"),
        ("header", 408, b"x", "padding of the name"),
        ("header", 435, b"\1", "last byte"),
        ("directory", 59, b"\1", "flags"),
        ("directory", 16, bytes(16), "root with a name"),
        ("directory", 60, bytes(20), "no name"),
        ("directory", 316, b"x", "padding of the name"),
        ("directory", 435, b"\1", "last byte"),
        ("session", 16, b"\0", "state 0"),
        ("session", 16, b"\4", "state 4"),
        ("session", 23, b"\1", "reserved byte 23"),
        ("session", 39, b"\1", "open session with an end"),
        ("session", 48, b"\x41", "host of length 65"),
        ("session", 112, b"x", "padding of the host"),
        ("session", 113, b"\0", "mount point longer than its length"),
        ("session", 435, b"\1", "last byte"),
    ):
        item = good[kind]
        yield f"authentic: {kind}: {what}", kind, resealed(kind, item.frame.clear(), patched(item.body(), offset, new))


def frame_vectors() -> Json:
    """frames.json."""
    good, bad = [], []
    with fixed_randomness("frames"):
        for name, kind, item in frame_cases():
            raw = SEAL[kind](RING, item)
            good.append(
                {"name": name, "kind": kind, "fields": described(item), "nonce": raw[48:60].hex(), "bytes": raw.hex()}
            )
        for name, kind, raw in bad_frames():
            bad.append({"name": name, "kind": kind, "error": error_of(OPEN[kind], RING, raw), "bytes": raw.hex()})
    return {"keys": key_ring_json(), "good": good, "bad": bad}


# Checkpoints: section 12


CHECKPOINT_HEAD = checkpoint_form.Head(7, new_checkpoint_id(1_760_000_200_000, fixed("checkpoint", 8)), VOLUME_ID)


def checkpoint_records() -> Iterator[checkpoint_form.Record]:
    """One record of each kind, and each form of it, but for the last."""
    digest, parent = fixed("digest", 32), DirId(fixed("parent", 16))
    yield checkpoint_form.Start(SESSION, 3, fixed("previous checkpoint", 16))
    yield checkpoint_form.KnownSession(SESSION, SessionState.OPEN)
    yield checkpoint_form.DirectoryEntry(directory(parent=NO_PARENT, name=b""))
    yield checkpoint_form.DirectoryEntry(directory(name=b"d" * limits.NAME_MAX))
    for state, one in (
        (checkpoint_form.FileState.DIGESTED, header()),
        (checkpoint_form.FileState.CHANGING, header(kind=FrameKind.SYMLINK, name=b"n" * 161)),
        (checkpoint_form.FileState.DAMAGED, header(flags=HeaderFlag.SPARSE | HeaderFlag.MULTI)),
    ):
        taken = digest if state is checkpoint_form.FileState.DIGESTED else checkpoint_form.NO_DIGEST
        place = (parent, b"second name") if one.flags & HeaderFlag.MULTI else (one.parent, one.name)
        yield checkpoint_form.FileEntry(
            header=one, lower_size=9640, state=state, digest=taken, parent=place[0], name=place[1]
        )
    yield checkpoint_form.SymlinkEntry(DIR_ID, b"link", digest)
    yield checkpoint_form.OtherEntry(DIR_ID, b"device", 0o020000, 0x0501)
    yield checkpoint_form.DamagedEntry(DIR_ID, b"damaged")


def sealed_checkpoint() -> bytes:
    """A whole checkpoint."""
    sealer = Sealer(RING, CHECKPOINT_HEAD)
    out = CHECKPOINT_HEAD.pack()
    for record in checkpoint_records():
        out += sealer.add(record)
    return out + sealer.finish({"directories": 2, "files": 3, "symlinks": 1, "others": 1, "damaged": 1, "size": 15000})


def checkpoint_chunks(raw: bytes) -> list[bytes]:
    """The chunks of a checkpoint, with their lengths."""
    chunks, at = [], limits.CHECKPOINT_HEAD_SIZE
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        chunks.append(raw[at:end])
        at = end
    return chunks


def open_checkpoint(raw: bytes) -> list[bytes]:
    """The records of a checkpoint, each without its length."""
    head = checkpoint_form.parse_head(raw[: limits.CHECKPOINT_HEAD_SIZE])
    chunks = checkpoint_chunks(raw)
    last = len(chunks) - 1
    return list(open_records(RING, head, ((chunk[4:], number == last) for number, chunk in enumerate(chunks))))


def bad_checkpoints() -> Iterator[tuple[str, bytes]]:
    """Checkpoints with one fault each."""
    raw = sealed_checkpoint()
    head, chunk = raw[: limits.CHECKPOINT_HEAD_SIZE], raw[limits.CHECKPOINT_HEAD_SIZE :]
    yield "no chunk", head
    yield "the chunk twice", head + chunk + chunk
    yield "cut", raw[:-1]
    yield "last bit", raw[:-1] + bytes([raw[-1] ^ 1])
    yield "other id", patched(raw, 16, b"\1")
    yield "other volume", patched(raw, 47, bytes([raw[47] ^ 1]))
    yield "other epoch", patched(raw, 8, b"\0\0\0\0")
    yield "magic", patched(raw, 0, b"CLKX")
    yield "version 2", patched(raw, 4, b"\2")
    yield "reserved byte 7", patched(raw, 7, b"\1")
    yield "reserved byte 15", patched(raw, 15, b"\1")


def checkpoint_vectors() -> Json:
    """checkpoint.json."""
    with fixed_randomness("checkpoint"):
        raw = sealed_checkpoint()
    with fixed_randomness("checkpoint"):
        bad = [
            {"name": name, "error": error_of(open_checkpoint, changed), "bytes": changed.hex()}
            for name, changed in bad_checkpoints()
        ]
    return {
        "keys": key_ring_json(),
        "id": CHECKPOINT_HEAD.checkpoint_id.hex(),
        "epoch": CHECKPOINT_HEAD.epoch,
        "nonce": raw[52:64].hex(),
        "records": [{"kind": record[0], "bytes": record.hex()} for record in open_checkpoint(raw)],
        "bytes": raw.hex(),
        "bad": bad,
    }


# Names: section 7


def bad_names() -> Iterator[tuple[str, bytes]]:
    """Lower names that are not names of anything in DIR_ID."""
    names = RING.metadata.names
    good = names.seal(DIR_ID, b"report.odt")
    long_name = names.seal(DIR_ID, b"n" * 161)
    cipher = CLOAKFS_1.name_cipher(CLOAKFS_1.expand(METADATA_KEY, b"cloakfs/1 name", 64))

    def authentic(padded: bytes) -> bytes:
        return base64url.encode(cipher.seal(padded, DIR_ID))

    yield "other directory", names.seal(DirId(fixed("other dir", 16)), b"report.odt")
    other = keys.MetadataKeys(CLOAKFS_1, fixed("other metadata", 32))
    yield "other volume", other.names.seal(DIR_ID, b"report.odt")
    yield "changed", (b"B" if good.startswith(b"A") else b"A") + good[1:]
    yield "empty", b""
    yield "suffix only", b".l"
    yield "suffix twice", good + b".l.l"
    yield "config", limits.CONFIG_NAME
    yield "directory record", limits.RECORD_NAME
    yield "not base64url", b"hello world, this is not a name of cloakfs!!"
    yield "padding character", good + b"="
    yield "standard alphabet", b"+" + good[1:]
    yield "newline", good + b"\n"
    yield "spare bits", good[:-1] + bytes([good[-1] + 1])
    yield "16 bytes", base64url.encode(bytes(16))
    yield "33 bytes", base64url.encode(bytes(33))
    yield "192 bytes", base64url.encode(bytes(192))
    yield "long name, cut", long_name[:-1]
    yield "long name, not base64url", long_name[:-1] + b"!"
    yield "long name, spare bits", long_name[:-1] + bytes([long_name[-1] + 1])
    yield "authentic: no name", authentic(bytes(16))
    yield "authentic: two dots", authentic(b"..".ljust(16, b"\0"))
    yield "authentic: slash", authentic(b"a/b".ljust(16, b"\0"))
    yield "authentic: zero byte inside", authentic(b"a\0b".ljust(16, b"\0"))
    yield "authentic: padded twice", authentic(b"a".ljust(32, b"\0"))


def name_vectors() -> Json:
    """names.json."""
    good = []
    for plain in (
        b"a",
        b"report.odt",
        b"fifteen letters",
        b"sixteen letters.",
        b"seventeen letters",
        "Übung.pdf".encode(),
        b"\xff\xfe\n\t ~",
        b"...",
        b"n" * 159,
        b"n" * 160,
        b"n" * 161,
        b"n" * 255,
    ):
        names = RING.metadata.names
        lower = names.seal(DIR_ID, plain)
        good.append({"plain": plain.hex(), "lower": lower.decode("ascii"), "place": names.place(DIR_ID, plain).hex()})
    bad = [
        {"name": name, "lower": lower.hex(), "error": error_of(RING.metadata.names.open, DIR_ID, lower)}
        for name, lower in bad_names()
    ]
    return {"keys": key_ring_json(), "dir_id": DIR_ID.hex(), "good": good, "bad": bad}


# Symlinks and attributes: sections 9.4, 10


def symlink_vectors() -> Json:
    """symlinks.json."""
    good, bad = [], []
    key = RING.metadata.symlink_key
    with fixed_randomness("symlinks"):
        for target, multi in ((b"a", False), (b"../elsewhere", True), (b"\xff/" * 1500, False)):
            lower = symlinks.seal_target(RING, dir_id=DIR_ID, name=b"link", target=target, multi=multi)
            good.append({"target": target.hex(), "multi": multi, "lower": lower.decode("ascii")})
        first = symlinks.seal_target(RING, dir_id=DIR_ID, name=b"link", target=b"a", multi=False)
        for name, lower in (
            ("empty", b""),
            ("a plain path", b"../elsewhere"),
            ("cut", first[:-4]),
            ("changed", (b"B" if first.startswith(b"A") else b"A") + first[1:]),
            ("padding character", first + b"="),
            (
                "authentic: flag 2",
                base64url.encode(CLOAKFS_1.seal(key, b"cloakfs/1 symlink", b"\2" + bytes(16) + b"a")),
            ),
            ("authentic: no target", base64url.encode(CLOAKFS_1.seal(key, b"cloakfs/1 symlink", bytes(17)))),
            ("authentic: nothing", base64url.encode(CLOAKFS_1.seal(key, b"cloakfs/1 symlink", b""))),
            (
                "authentic: zero byte",
                base64url.encode(CLOAKFS_1.seal(key, b"cloakfs/1 symlink", bytes(17) + b"a\0b")),
            ),
            ("other label", base64url.encode(CLOAKFS_1.seal(key, b"cloakfs/1 xattr", bytes(17) + b"a"))),
        ):
            bad.append(
                {"name": name, "lower": lower.decode("ascii"), "error": error_of(symlinks.open_target, RING, lower)}
            )
    return {"keys": key_ring_json(), "dir_id": DIR_ID.hex(), "link_name": b"link".hex(), "good": good, "bad": bad}


def attribute_vectors() -> Json:
    """attributes.json."""
    object_id = fixed("attribute id", 16)
    good, bad = [], []
    lists: tuple[dict[bytes, bytes], ...] = (
        {b"user.a": b""},
        {b"user.b": b"2", b"user.a": b"1", b"security.selinux": b"x\0", b"system.posix_acl_access": bytes(28)},
        {b"trusted." + b"n" * 247: b"v" * 2000},
    )

    def entry(name: bytes, value: bytes) -> bytes:
        return len(name).to_bytes(2, "big") + name + len(value).to_bytes(4, "big") + value

    with fixed_randomness("attributes"):
        for listed in lists:
            sealed = attributes.seal_attributes(RING, object_id, listed)
            listed_json = {name.hex(): value.hex() for name, value in sorted(listed.items())}
            good.append({"attributes": listed_json, "nonce": sealed[:12].hex(), "sealed": sealed.hex()})
        key = RING.metadata.xattr_key(object_id)
        first = attributes.seal_attributes(RING, object_id, lists[0])
        sealings = [
            ("empty", b""),
            ("cut", first[:-1]),
            ("changed", first[:-1] + bytes([first[-1] ^ 1])),
            ("another object", attributes.seal_attributes(RING, fixed("another", 16), lists[0])),
        ]
        sealings += [
            (f"authentic: {name}", CLOAKFS_1.seal(key, b"cloakfs/1 xattr", packed))
            for name, packed in (
                ("cut length of a name", b"\0"),
                ("cut name", b"\0\x06user."),
                ("cut length of a value", b"\0\x06user.a\0\0"),
                ("cut value", b"\0\x06user.a\0\0\0\2v"),
                ("trailing byte", entry(b"user.a", b"v") + b"\0"),
                ("not sorted", entry(b"user.b", b"") + entry(b"user.a", b"")),
                ("twice", entry(b"user.a", b"") + entry(b"user.a", b"")),
                ("no name", entry(b"", b"")),
                ("namespace only", entry(b"user.", b"")),
                ("unknown namespace", entry(b"system.other", b"")),
                ("zero byte in a name", entry(b"user.a\0b", b"")),
                ("name of 256 bytes", entry(b"user." + b"n" * 251, b"")),
            )
        ]
        for name, sealed in sealings:
            error = error_of(attributes.open_attributes, RING, object_id, sealed)
            bad.append({"name": name, "sealed": sealed.hex(), "error": error})
    return {"keys": key_ring_json(), "object_id": object_id.hex(), "good": good, "bad": bad}


# Config, slots, public keys: sections 3, 4, 5

ROOT_KEY = fixed("root key", 32)
RK_ID = fixed("rk id", 8)
PASSPHRASE = "correct horse Ünïcode"  # noqa: S105 - of the vectors
RECOVERY_KEY = fixed("recovery key", 32)
PRIVATE = fixed("kem private", 96)


def kem_vectors(old: Json) -> Json:
    """kem.json."""
    private, info, plaintext = PRIVATE, b"cloakfs vectors", fixed("kem plaintext", 32)
    public = kem.public_of(private)
    sealed = kept(lambda: bytes.fromhex(old["sealed"]), private, info, plaintext) or kem.seal(public, info, plaintext)
    return {
        "private": private.hex(),
        "public": public.hex(),
        "info": info.hex(),
        "plaintext": plaintext.hex(),
        "sealed": sealed.hex(),
    }


def kept(read: Callable[[], bytes], private: bytes, info: bytes, plaintext: bytes) -> bytes | None:
    """What HPKE sealed in an earlier run, if it still opens."""
    try:
        sealed = read()
        return sealed if kem.unseal(private, info, sealed) == plaintext else None
    except (KeyError, ValueError, CloakfsError):
        return None


def config_vectors(old: Json) -> Json:
    """config.json."""
    sealings = iter(range(2))

    def kem_seal(public: bytes, info: bytes, plaintext: bytes) -> bytes:
        number = next(sealings)
        return kept(lambda: bytes.fromhex(old["erk"][number]), PRIVATE, info, plaintext) or kem.seal(
            public, info, plaintext
        )

    suite: Suite = replace(CLOAKFS_1, kem_generate=lambda: (PRIVATE, kem.public_of(PRIVATE)), kem_seal=kem_seal)
    with fixed_randomness("config"):
        slot_list = [
            slots.make_slot(
                suite,
                volume_id=VOLUME_ID,
                rk_id=RK_ID,
                root_key=ROOT_KEY,
                kind=kind,
                label=label,
                created=1_760_000_000,
                kdf=kdf,
                secret=secret,
            )
            for kind, label, kdf, secret in (
                (
                    SlotKind.PASSPHRASE,
                    "Müller, desk",
                    slots.new_argon2id(memory_kib=limits.KDF_MEMORY_KIB_MIN, passes=limits.KDF_PASSES_MIN, lanes=1),
                    slots.SlotSecret(passphrase=slots.passphrase_bytes(PASSPHRASE)),
                ),
                (SlotKind.RECOVERY, "", Kdf(KdfAlg.NONE), slots.SlotSecret(key=RECOVERY_KEY)),
            )
        ]
        epochs = tuple(
            Epoch(
                epoch=number,
                created=1_760_000_000,
                active=number == RING.active.epoch,
                wrap=keys.wrap_epoch(suite, root_key=ROOT_KEY, volume_id=VOLUME_ID, epoch=number, key=key),
            )
            for number, key in EPOCH_KEYS.items()
        )
        metadata = keys.wrap_metadata(suite, root_key=ROOT_KEY, volume_id=VOLUME_ID, key=METADATA_KEY)
    made = Config(
        volume_id=VOLUME_ID,
        seq=5,
        created=1_760_000_000,
        cell_size=4096,
        root_dir_id=DIR_ID,
        rk_id=RK_ID,
        slots=tuple(slot_list),
        epochs=epochs,
        metadata=metadata,
        rotations=(
            Rotation(epoch=3, reason=RotationReason.STAFF, started=1_760_000_100, finished=1_760_000_200, files=12),
            Rotation(epoch=7, reason=RotationReason.COMPROMISE, started=1_760_000_300, data=True),
        ),
    )
    raw = config.seal_config(suite, made, ROOT_KEY)
    return {
        "keys": key_ring_json(),
        "root_key": ROOT_KEY.hex(),
        "passphrase": PASSPHRASE,
        "recovery_key": encode_recovery_key(RECOVERY_KEY),
        "kem_private": PRIVATE.hex(),
        "erk": [slot.erk.hex() for slot in slot_list],
        "good": raw.decode("ascii"),
        "bad": [
            {"name": name, "error": error_of(config.read_copy, copy), "raw": copy.decode("latin-1")}
            for name, copy in bad_configs(raw)
        ],
    }


def bad_configs(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Configs with one fault each, kept short; those that are "summed" have a right checksum."""
    signed, mac, _ = split(raw)
    # A config that is small enough to be repeated: one epoch, no slots.
    value = json.loads(signed.split(b"\n")[1])
    value["slots"], value["epochs"], (ended, under_way) = [], value["epochs"][1:], value.pop("rotations")

    def summed(line: bytes, first: bytes = b"cloakfs-volume 1") -> bytes:
        made = first + b"\n" + line + b"\n"
        return assemble(made, mac, CLOAKFS_1.digest(made)[: limits.CHECKSUM_SIZE])

    def changed(**changes: object) -> bytes:
        return summed(canonical(value | changes))

    def canonical(item: object) -> bytes:
        return json.dumps(item, sort_keys=True, separators=(",", ":")).encode("ascii")

    small = changed()
    config.read_copy(small)  # Without a fault it is read: what fails below fails for its own fault.
    epoch = value["epochs"][0]
    features = value["features"]
    yield "empty", b""
    yield "not a config", b"hello\n"
    yield "cut in the middle", small[: len(small) // 2]
    yield "last newline missing", small[:-1]
    yield "fourth line", small + b"\n"
    yield "DOS newlines", small.replace(b"\n", b"\r\n")
    yield "one digit changed", small.replace(b'"seq":5', b'"seq":6')
    yield "version digit changed, checksum not", small.replace(b"cloakfs-volume 1", b"cloakfs-volume 3")
    yield "summed: version 2", summed(canonical(value), b"cloakfs-volume 2")
    yield "version 2 of another shape", b"cloakfs-volume 2\nsomething else\n"
    yield "summed: version 01", summed(canonical(value), b"cloakfs-volume 01")
    yield "summed: min_reader 2", changed(min_reader=2)
    yield "summed: unknown incompat feature", changed(features=features | {"incompat": ["chunked"]})
    yield "summed: unknown suite", changed(suite="cloakfs-2")
    yield "summed: spaces", summed(json.dumps(value, sort_keys=True).encode("ascii"))
    yield "summed: not sorted", summed(json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode("ascii"))
    yield "summed: key twice", summed(canonical(value)[:-1] + b',"volume_id":"' + value["volume_id"].encode() + b'"}')
    yield "summed: deeply nested", summed(b"[" * 3000 + b"]" * 3000)
    yield "summed: not an object", summed(b"[]")
    yield "summed: not JSON", summed(b"{")
    yield "summed: NaN", summed(canonical(value).replace(b'"seq":5', b'"seq":NaN'))
    yield "summed: extra field", changed(zzz=1)
    yield "summed: missing field", summed(canonical({name: value[name] for name in value if name != "rk_id"}))
    yield "summed: fraction", changed(seq=5.0)
    yield "summed: seq is true", changed(seq=True)
    yield "summed: seq 0", changed(seq=0)
    yield "summed: seq 2^64", changed(seq=1 << 64)
    yield "summed: cell size 8192", changed(cell_size=8192)
    yield "summed: volume id of 15 bytes", changed(volume_id=value["volume_id"][:20])
    yield "summed: volume id in other base64", changed(volume_id=value["volume_id"][:-1] + "=")
    yield "summed: volume id not ASCII", changed(volume_id="ü")
    yield "summed: no epoch", changed(epochs=[])
    yield "summed: two active epochs", changed(epochs=[epoch, epoch | {"epoch": 8}])
    yield "summed: epoch twice", changed(epochs=[epoch, epoch | {"state": "retired"}])
    yield "summed: epoch 2^32 - 1", changed(epochs=[epoch | {"epoch": 0xFFFF_FFFF}])
    yield "summed: state of an epoch", changed(epochs=[epoch | {"state": "gone"}])
    yield "summed: epoch is not an object", changed(epochs=[1])
    yield (
        "summed: the active epoch is not the highest",
        changed(epochs=[epoch, epoch | {"epoch": 8, "state": "retired"}]),
    )
    yield "summed: metadata key of 59 bytes", changed(metadata=value["metadata"][:-2])
    yield "summed: no rotations, spelled out", changed(rotations=[])
    yield "summed: too many rotations", changed(rotations=[ended] * 65)
    yield "summed: a rotation under way without a retired epoch", changed(rotations=[under_way])
    yield (
        "summed: a retired epoch without a rotation",
        changed(epochs=[epoch | {"epoch": 0, "state": "retired"}, epoch]),
    )
    yield (
        "summed: counts of a rotation under way",
        changed(epochs=[epoch | {"epoch": 0, "state": "retired"}, epoch], rotations=[under_way | {"cells": 1}]),
    )
    yield "summed: extent of a rotation", changed(rotations=[ended | {"data": 2}])
    yield "summed: reason of a rotation", changed(rotations=[ended | {"reason": "fun"}])
    yield "summed: rotation to epoch 0", changed(rotations=[ended | {"epoch": 0}])
    yield "summed: feature is a number", changed(features=features | {"compat": [1]})
    yield "summed: unknown list of features", changed(features=features | {"other": []})


# Small tables: sections 4, 9.3


def geometry_vectors() -> Json:
    """geometry.json: plain size and lower size at every border of the first cells, and lower sizes that are none."""
    table: Json = {}
    for cell_size in limits.CELL_SIZES:
        geometry = Geometry(cell_size)
        borders = [
            0,
            geometry.P0,
            geometry.P0 + geometry.P,
            geometry.P0 + 7 * geometry.P,
            1 << 30,
            limits.PLAIN_SIZE_MAX,
        ]
        sizes = sorted({size + step for size in borders for step in (-1, 0, 1)} | {3000, 5000})
        good = [(size, geometry.lower_size(size)) for size in sizes if 0 <= size <= limits.PLAIN_SIZE_MAX]
        bad = [0, 1, 511, 513, cell_size - 1, cell_size + geometry.P0, 2 * cell_size - 1, 2 * cell_size + geometry.P]
        bad += [3 * cell_size - 1, geometry.lower_size(limits.PLAIN_SIZE_MAX) + 1]
        table[str(cell_size)] = {"good": good, "bad": sorted(set(bad) - {512, 4096})}
    return table


def recovery_key_vectors() -> Json:
    """recovery_key.json."""
    return {
        "good": [
            {"key": key.hex(), "text": encode_recovery_key(key)}
            for key in (bytes(32), b"\xff" * 32, bytes(range(32)), RECOVERY_KEY)
        ]
    }


MAKERS: dict[str, Callable[[Json], Json]] = {
    "frames": lambda _: frame_vectors(),
    "checkpoint": lambda _: checkpoint_vectors(),
    "names": lambda _: name_vectors(),
    "symlinks": lambda _: symlink_vectors(),
    "attributes": lambda _: attribute_vectors(),
    "kem": kem_vectors,
    "config": config_vectors,
    "geometry": lambda _: geometry_vectors(),
    "recovery_key": lambda _: recovery_key_vectors(),
}


def make(name: str) -> str:
    """The text of one file of vectors."""
    path = VECTORS / f"{name}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return json.dumps(MAKERS[name](old), indent=1, ensure_ascii=True) + "\n"


def main() -> int:
    """Write or check all files."""
    parser = argparse.ArgumentParser(description="make tests/vectors/*.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    different = [name for name in MAKERS if not up_to_date(name, write=not check)]
    for name in different:
        print(f"tests/vectors/{name}.json {'differs' if check else 'written'}")
    return 1 if check and different else 0


def up_to_date(name: str, *, write: bool) -> bool:
    """Whether a file is as it would be made; else it is written if wanted."""
    path, text = VECTORS / f"{name}.json", make(name)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return True
    if write:
        path.write_text(text, encoding="utf-8")
    return False


if __name__ == "__main__":
    sys.exit(main())
