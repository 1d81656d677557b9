"""encfs/core/frames.py: headers and records, sealed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs import errors
from encfs.core import frames
from encfs.core.keys import KeyRing
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuthenticationError, FormatError
from encfs.format.directory import DirectoryRecord
from encfs.format.frame import FrameKind
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.session import SessionRecord, SessionState

SEAL = {"header": frames.seal_header, "directory": frames.seal_directory, "session": frames.seal_session}
OPEN = {"header": frames.open_header, "directory": frames.open_directory, "session": frames.open_session}
TYPES = {"header": FileHeader, "directory": DirectoryRecord, "session": SessionRecord}
ENUMS = {"flags": HeaderFlag, "kind": FrameKind, "state": SessionState}
TEXTUAL = {
    "fid", "session", "content_key", "previous_content_key", "parent", "attribute_id", "name", "dir_id", "host",
    "mountpoint",
}  # fmt: skip


def from_json(kind: str, fields: dict[str, object]) -> object:
    """Make the object that a stored vector describes."""

    def value(name: str, stored: object) -> object:
        if name in TEXTUAL and isinstance(stored, str):
            return bytes.fromhex(stored)
        if name in ENUMS and not (kind == "directory" and name == "flags"):
            return ENUMS[name](stored)
        return stored

    return TYPES[kind](**{name: value(name, stored) for name, stored in fields.items()})


def test_stored_frames(vectors, ring, give_nonce):
    """Sections 6, 8, 9.1, 11: each stored frame opens to its fields, and is sealed again byte for byte."""
    cases = vectors("frames")["good"]
    assert {case["kind"] for case in cases} == set(OPEN)
    for case in cases:
        kind, raw = case["kind"], bytes.fromhex(case["bytes"])
        item = from_json(kind, case["fields"])
        assert OPEN[kind](ring, raw) == item, case["name"]
        give_nonce(bytes.fromhex(case["nonce"]))
        assert SEAL[kind](ring, item) == raw, case["name"]


def test_stored_frames_that_are_bad(vectors, ring):
    """Section 6: each stored broken frame is refused with its recorded error."""
    for case in vectors("frames")["bad"]:
        error = getattr(errors, case["error"])
        assert issubclass(error, errors.DataError)
        with pytest.raises(error) as caught:
            OPEN[case["kind"]](ring, bytes.fromhex(case["bytes"]))
        assert type(caught.value) is error, case["name"]


def good(vectors, kind: str) -> bytes:
    """The first stored frame of a kind."""
    return bytes.fromhex(next(case["bytes"] for case in vectors("frames")["good"] if case["kind"] == kind))


@pytest.mark.parametrize("kind", OPEN)
def test_every_flipped_bit_is_refused(kind, vectors, ring):
    """Section 6: none of the 4,096 bits of a frame can change."""
    raw = good(vectors, kind)
    for position in range(512 * 8):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises((AuthenticationError, FormatError)):
            OPEN[kind](ring, changed)


@pytest.mark.parametrize("kind", OPEN)
def test_every_length(kind, vectors, ring):
    """Section 6: a frame has 512 bytes, not one less or more."""
    raw = good(vectors, kind)
    for bad in [raw[:size] for size in range(512)] + [raw + b"\0", raw + raw]:
        with pytest.raises(FormatError):
            OPEN[kind](ring, bad)


def test_bytes_like(vectors, ring):
    """Section 6: a frame is read from whatever buffer it is in."""
    raw = good(vectors, "header")
    assert frames.open_header(ring, bytearray(raw)) == frames.open_header(ring, memoryview(raw))


def test_another_volume(vectors, ring):
    """Section 5: a frame of another volume does not open."""
    other = KeyRing(
        suite=CLOAKFS_1, volume_id=ring.volume_id, metadata=bytes(32), epochs={0: bytes(32), 7: bytes(32)}, active=7
    )
    for kind, open_frame in OPEN.items():
        with pytest.raises(AuthenticationError):
            open_frame(other, good(vectors, kind))


def test_the_epoch_of_the_frame_decides(vectors, ring):
    """Section 6: a frame is sealed and opened under the epoch that it names, active or not."""
    header = frames.open_header(ring, good(vectors, "header"))
    for epoch in (0, 7):
        renewed = replace(header, epoch=epoch)
        assert frames.open_header(ring, frames.seal_header(ring, renewed)) == renewed
    with pytest.raises(FormatError):
        frames.seal_header(ring, replace(header, epoch=1))


def test_nonces_are_fresh(vectors, ring):
    """Section 1: the same header is never sealed to the same bytes."""
    header = frames.open_header(ring, good(vectors, "header"))
    assert len({frames.seal_header(ring, header)[48:60] for _ in range(50)}) == 50


@given(garbage=st.binary(min_size=512, max_size=512))
def test_garbage(ring, garbage):
    """Section 6: whatever the bytes are, the errors are FormatError and AuthenticationError."""
    for open_frame in OPEN.values():
        with pytest.raises((AuthenticationError, FormatError)):
            open_frame(ring, garbage)


def test_errors_tell_no_secrets(vectors, ring):
    """Section 9.1: neither name nor key is in an error about a header that opens but is wrong."""
    for case in vectors("frames")["bad"]:
        with pytest.raises(errors.DataError) as caught:
            OPEN[case["kind"]](ring, bytes.fromhex(case["bytes"]))
        assert "report" not in str(caught.value)
        assert len(str(caught.value)) < 100
