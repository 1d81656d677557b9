"""Frames, cells, names, symlinks and attributes: damaged as they are on the disk, and malformed under right keys.

The second kind authenticates: it is what a faulty or hostile writer who holds the keys could have left, and the only
way to reach the parsers behind the AEAD.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from encfs.core import attributes as core_attributes
from encfs.core import frames, symlinks
from encfs.core.cells import CellCodec, CellError, Scratch
from encfs.core.keys import KeyRing
from encfs.crypto.aead import NAME_KEY_SIZE
from encfs.crypto.kdf import Label
from encfs.errors import DataError
from encfs.format import base64url, limits
from encfs.format.attributes import pack_attributes, parse_attributes
from encfs.format.directory import parse_directory_body
from encfs.format.frame import Frame, FrameKind, parse_frame
from encfs.format.geometry import Geometry
from encfs.format.header import FileHeader, HeaderFlag, parse_header_body
from encfs.format.session import parse_session_body
from encfs.units import DirId, FileId
from tests.support.fuzzing import MEMORY_MAX, Fuzz, damaged, damaged_fixed, peak_memory

OURS = (DataError,)
DIR = DirId(b"d" * 16)
Vectors = Callable[[str], Any]

OPENERS: dict[str, Callable[[KeyRing, bytes], Any]] = {
    "header": frames.open_header,
    "directory": frames.open_directory,
    "session": frames.open_session,
}
PARSERS: dict[str, Callable[[Frame, bytes], Any]] = {
    "header": parse_header_body,
    "directory": parse_directory_body,
    "session": parse_session_body,
}


def good_frames(vectors: Vectors, kind: str) -> list[bytes]:
    """The stored frames of one kind."""
    return [bytes.fromhex(one["bytes"]) for one in vectors("frames")["good"] if one["kind"] == kind]


def key_of(ring: KeyRing, frame: Frame) -> bytes:
    """The key that seals such a frame."""
    keys = ring.of(frame.epoch)
    if frame.kind is FrameKind.DIRECTORY:
        return keys.directory_key
    return keys.session_key if frame.kind is FrameKind.SESSION else keys.header_key(frame.fid)


def body_of(ring: KeyRing, raw: bytes) -> bytes:
    """What a good frame holds."""
    return ring.suite.unseal(key_of(ring, parse_frame(raw)[0]), raw[:48], raw[48:])


@pytest.mark.parametrize("kind", OPENERS)
def test_frame_as_it_is_on_the_disk(fuzz: Fuzz, ring: KeyRing, vectors: Vectors, kind: str) -> None:
    """512 bytes from anybody, more, or fewer: our error, never an object of their making (FORMAT.md section 6)."""
    good = good_frames(vectors, kind)

    def attempt(raw: bytes) -> None:
        opened = OPENERS[kind](ring, raw)
        assert raw in good, f"{opened} was never sealed"

    every = [raw for one in OPENERS for raw in good_frames(vectors, one)]
    fuzz(
        f"frame: {kind}, as it is on the disk",
        attempt,
        damaged(st.sampled_from(every)) | damaged_fixed(st.sampled_from(every)) | st.binary(max_size=600),
        examples=200,
        explicit=[b"", bytes(512), b"\xff" * 512, *good_frames(vectors, kind)],
        allowed=OURS,
    )


@pytest.mark.parametrize("kind", OPENERS)
def test_frame_sealed_with_the_right_key(fuzz: Fuzz, ring: KeyRing, vectors: Vectors, kind: str) -> None:
    """A malformed body under the right key is refused, or means what it says (FORMAT.md sections 8, 9.1 and 11)."""
    good = good_frames(vectors, kind)

    def attempt(clear: bytes, body: bytes) -> None:
        frame = parse_frame(clear + bytes(464))[0]
        raw = clear + ring.suite.seal(key_of(ring, frame), clear, body)
        opened = OPENERS[kind](ring, raw)
        assert opened.body() == body
        assert opened.frame.clear() == clear

    clears = st.sampled_from([raw[:48] for raw in good])
    bodies = st.sampled_from([body_of(ring, raw) for raw in good])
    fuzz(
        f"frame: {kind}, malformed under the right key",
        attempt,
        clears | damaged_fixed(clears),
        damaged_fixed(bodies) | st.binary(min_size=436, max_size=436),
        examples=250,
        explicit=[(good[0][:48], bytes(436)), (good[0][:48], b"\xff" * 436)],
        allowed=OURS,
    )


@pytest.mark.parametrize("kind", PARSERS)
def test_body_of_any_length(fuzz: Fuzz, ring: KeyRing, vectors: Vectors, kind: str) -> None:
    """A body of another length, or of another kind of frame, is refused (FORMAT.md section 6)."""
    every = [raw for one in OPENERS for raw in good_frames(vectors, one)]
    bodies = st.sampled_from([body_of(ring, raw) for raw in every])
    kinds = st.sampled_from([parse_frame(raw)[0] for raw in every])
    fuzz(f"frame: {kind} body of any length", PARSERS[kind], kinds, damaged(bodies), examples=120, allowed=OURS)


# -- cells -------------------------------------------------------------------------------------------------------

GEOMETRY = Geometry(4096)
NO_FLAGS = HeaderFlag(0)


def header(*, flags: HeaderFlag = NO_FLAGS, previous: bytes | None = None) -> FileHeader:
    """The header of a file with known keys."""
    return FileHeader(
        kind=FrameKind.FILE, log2_cell=12, epoch=7, fid=FileId(b"f" * 16), size=0, synced_size=0, generation=1,
        session=bytes(16), flags=flags, content_key=b"k" * 32, previous_content_key=previous, cells_sealed=0,
        parent=DIR, attribute_id=bytes(16), name=b"name",
    )  # fmt: skip


def test_cells(fuzz: Fuzz, ring: KeyRing) -> None:
    """Runs of cells with anything in them: the content that was sealed, zeros in a hole, or CellError (section 9.2)."""
    scratch = Scratch(GEOMETRY)
    content = bytes(range(1, 252)) * 100
    plain = content[: GEOMETRY.start_of(4) - 100]

    def attempt(
        first: int, count: int, last_len: int, changes: list[tuple[int, bytes]], flags: HeaderFlag, sparse: bool
    ) -> None:
        codec = CellCodec(ring.suite, GEOMETRY, header(flags=flags, previous=b"p" * 32))
        scratch.lower[:] = bytes(len(scratch.lower))
        begin = GEOMETRY.start_of(first)
        full = GEOMETRY.start_of(first + count - 1) - begin
        codec.seal_full(scratch, 0, first, memoryview(plain)[:full])
        codec.seal_one(scratch, count - 1, first + count - 1, plain[full : full + last_len], last_len)
        for at, piece in changes:
            scratch.lower[at : at + len(piece)] = piece
        scratch.plain[:] = bytes(len(scratch.plain))
        codec.open_run(scratch, first, count, last_len, sparse=sparse)
        for index in range(first, first + count):
            opened = bytes(scratch.slot(index - first, index)[3])
            start = GEOMETRY.start_of(index) - begin
            size = last_len if index == first + count - 1 else GEOMETRY.capacity(index)
            wanted = plain[start : start + size]
            assert opened[:size] == wanted or (sparse and not any(opened)), f"cell {index} holds what nobody wrote"

    pieces = st.one_of(
        st.binary(min_size=1, max_size=64),
        st.sampled_from([bytes(4096), bytes(16), bytes(2), b"\0\1", b"\xff\xff\1\0"]),
    )
    places = st.integers(0, 4 * 4096 - 1) | st.sampled_from([0, 512, 514, 4096, 4098, 8192])
    fuzz(
        "cells: anything in a run",
        attempt,
        st.sampled_from([0, 1, 5, (1 << 52) - 1]),
        st.integers(1, 3),
        st.sampled_from([1, 100, 3551, 3552]),
        st.lists(st.tuples(places, pieces), max_size=3),
        st.sampled_from([HeaderFlag(0), HeaderFlag.PARITY]),
        st.booleans(),
        examples=200,
        allowed=(CellError,),
    )


# -- names, symlinks, attributes ------------------------------------------------------------------------------------


def test_lower_names(fuzz: Fuzz, ring: KeyRing) -> None:
    """A lower name opens to the one name that gives it, or not at all (FORMAT.md section 7)."""
    names = ring.metadata.names
    plain = st.binary(min_size=1, max_size=160).filter(limits.is_plain_name)
    good = plain.map(lambda name: bytes(names.seal(DIR, name)))

    def attempt(lower: bytes) -> None:
        name = names.open(DIR, lower)
        if name is not None:
            assert names.seal(DIR, name) == lower.removesuffix(b".l")

    fuzz(
        "names: lower names",
        attempt,
        damaged(good) | st.binary(max_size=300) | st.text("AQgw-_~.l=", max_size=240).map(str.encode),
        examples=250,
        explicit=[b"", b"~", b".l", b"~" + b"A" * 43, b"~" + b"A" * 42 + b"B", b"A" * 43, b"A" * 235, b"=" * 43],
        allowed=OURS,
    )


def test_names_sealed_with_the_right_key(fuzz: Fuzz, ring: KeyRing) -> None:
    """What is no name, but was sealed as one, is refused: padding, length, slashes, dots (FORMAT.md section 7)."""
    names = ring.metadata.names
    cipher = ring.suite.name_cipher(ring.suite.expand(ring.metadata._key, Label.NAME, NAME_KEY_SIZE))

    def attempt(padded: bytes) -> None:
        lower = base64url.encode(cipher.seal(padded, DIR))
        name = names.open(DIR, lower)
        assert name is not None
        assert limits.is_plain_name(name)
        assert names.seal(DIR, name) == lower

    fuzz(
        "names: malformed under the right key",
        attempt,
        st.binary(min_size=1, max_size=200)
        | st.binary(min_size=1, max_size=16).map(lambda name: name.ljust(16, b"\0")),
        examples=150,
        explicit=[
            bytes(16),
            b"a".ljust(32, b"\0"),
            b".".ljust(16, b"\0"),
            b"..".ljust(16, b"\0"),
            b"a/b".ljust(16, b"\0"),
        ],
        allowed=OURS,
    )


def test_symlink_targets(fuzz: Fuzz, ring: KeyRing) -> None:
    """Lower symlinks to anything, and malformed targets under the right key (FORMAT.md section 9.4)."""
    good = symlinks.seal_target(ring, dir_id=DIR, name=b"name", target=b"../target", multi=False)

    def attempt(lower: bytes) -> None:
        symlinks.open_target(ring, lower)
        assert lower == good

    def sealed(plain: bytes) -> None:
        lower = base64url.encode(ring.suite.seal(ring.metadata.symlink_key, Label.SYMLINK, plain))
        opened = symlinks.open_target(ring, lower)
        assert 1 <= len(opened.target) <= limits.SYMLINK_TARGET_MAX
        assert b"\0" not in opened.target

    places = b"\0" + bytes(16)
    fuzz(
        "symlinks: lower targets",
        attempt,
        damaged(st.just(good)) | st.binary(max_size=4095),
        explicit=[b"", b"/etc/passwd", b"A" * 4095, b"." * 60],
        allowed=OURS,
    )
    fuzz(
        "symlinks: malformed under the right key",
        sealed,
        damaged(st.just(places + b"target")) | st.binary(max_size=64),
        explicit=[b"", places, places + b"\0", places + b"t" * 4096, b"\2" + bytes(16) + b"t"],
        allowed=OURS,
    )


def test_attribute_lists(fuzz: Fuzz, ring: KeyRing) -> None:
    """Sealed lists of attributes, damaged or malformed under the right key (FORMAT.md section 10)."""
    listed = pack_attributes({b"user.a": b"1", b"user.b": b"2" * 300, b"system.posix_acl_access": b"\2\0\0\0"})
    good = ring.suite.seal(ring.metadata.xattr_key(DIR), Label.XATTR, listed)

    def attempt(sealed: bytes) -> None:
        core_attributes.open_attributes(ring, DIR, sealed)
        assert sealed == good

    def same(packed: bytes) -> None:
        assert pack_attributes(parse_attributes(packed)) == packed

    fuzz("attributes: as on the disk", attempt, damaged(st.just(good)) | st.binary(max_size=100), allowed=OURS)
    fuzz(
        "attributes: malformed under the right key",
        same,
        damaged(st.just(listed)) | st.binary(max_size=200),
        examples=200,
        explicit=[b"", b"\xff\xff", b"\0\6user.a\xff\xff\xff\xff", b"\0\0\0\0\0\0", listed + listed],
        allowed=OURS,
    )


def test_memory_of_a_length_that_lies() -> None:
    """A length field allocates nothing by itself (FORMAT.md section 10)."""

    def parse() -> None:
        with pytest.raises(DataError):
            parse_attributes(b"\0\6user.a\xff\xff\xff\xff" + bytes(1000))

    assert peak_memory(parse) < MEMORY_MAX // 100


def test_headers_of_other_epochs(fuzz: Fuzz, ring: KeyRing) -> None:
    """A frame that names an epoch that is not the volume's is refused, whatever the number (FORMAT.md section 6)."""
    sealed = frames.seal_header(ring, header())

    def attempt(epoch: int, previous: int) -> None:
        raw = sealed[:8] + epoch.to_bytes(4, "big") + previous.to_bytes(4, "big") + sealed[16:]
        opened = frames.open_header(ring, raw)
        assert opened == replace(header(), epoch=7)

    numbers = st.integers(0, 0xFFFF_FFFF) | st.sampled_from([0, 7, 0xFFFF_FFFE, 0xFFFF_FFFF])
    fuzz("frame: epochs", attempt, numbers, numbers, examples=60, allowed=OURS)
