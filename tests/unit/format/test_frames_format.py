"""encfs/format: frame, header, directory and session, without keys."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.directory import NO_PARENT, DirectoryRecord, parse_directory_body
from encfs.format.frame import Frame, FrameKind, parse_frame
from encfs.format.header import FileHeader, HeaderFlag, parse_header_body
from encfs.format.session import SessionRecord, SessionState, new_session_id, parse_session_body

ID = st.binary(min_size=16, max_size=16)
KEY = st.binary(min_size=32, max_size=32).filter(any)
U64 = st.integers(0, limits.U64_MAX)
EPOCH = st.integers(0, limits.EPOCH_MAX)
NAME = st.binary(min_size=1, max_size=255).filter(limits.is_plain_name)

HEADERS = st.builds(
    FileHeader,
    kind=st.sampled_from([FrameKind.FILE, FrameKind.SYMLINK]),
    log2_cell=st.sampled_from([12, 14, 16]),
    epoch=EPOCH,
    fid=ID,
    size=st.integers(1 << 30, limits.PLAIN_SIZE_MAX),
    synced_size=st.integers(0, 1 << 30),
    generation=U64,
    session=ID,
    flags=st.integers(0, 7).map(HeaderFlag),
    content_key=KEY,
    previous_content_key=st.none() | KEY,
    cells_sealed=U64,
    parent=ID,
    attribute_id=ID,
    name=NAME,
)
DIRECTORIES = st.builds(
    DirectoryRecord,
    epoch=EPOCH,
    dir_id=ID,
    parent=ID.filter(any),
    generation=U64,
    session=ID,
    name=NAME,
)
TEXT = st.binary(max_size=64).filter(lambda text: b"\0" not in text)
SESSIONS = st.builds(
    SessionRecord,
    epoch=EPOCH,
    session=ID,
    state=st.sampled_from([SessionState.CLEAN, SessionState.RECOVERED]),
    started_ms=U64,
    ended_ms=U64,
    pid=st.integers(0, 2**32 - 1),
    uid=st.integers(0, 2**32 - 1),
    host=TEXT,
    mountpoint=TEXT,
)
FRAMES = st.one_of(HEADERS, DIRECTORIES, SESSIONS).map(lambda item: item.frame)

HEADER = FileHeader(
    kind=FrameKind.FILE,
    log2_cell=12,
    epoch=0,
    fid=b"f" * 16,
    size=10,
    synced_size=10,
    generation=1,
    session=b"s" * 16,
    flags=HeaderFlag(0),
    content_key=b"\xaa\xbb\xcc\xdd" * 8,
    previous_content_key=b"\x11\x22\x33\x44" * 8,
    cells_sealed=1,
    parent=b"p" * 16,
    attribute_id=b"a" * 16,
    name=b"secret-name",
)
DIRECTORY = DirectoryRecord(
    epoch=0, dir_id=b"d" * 16, parent=b"p" * 16, generation=1, session=b"s" * 16, name=b"secret-name"
)
SESSION = SessionRecord(
    epoch=0, session=b"s" * 16, state=SessionState.OPEN, started_ms=1, pid=2, uid=3, host=b"h", mountpoint=b"/m"
)


@given(FRAMES, st.binary(min_size=464, max_size=464))
def test_clear_part_round_trip(frame, sealed):
    """Section 6: a frame is 48 clear bytes, 12 of nonce, 452 sealed; it is read back the same."""
    parsed, nonce, body = parse_frame(memoryview(frame.clear() + sealed))
    assert parsed == frame
    assert (nonce, body) == (sealed[:12], sealed[12:])
    assert parsed.clear() == frame.clear()


def test_clear_part_bytes():
    """Section 6: the bytes of one clear part, written out."""
    frame = Frame(FrameKind.SYMLINK, 14, 7, None, b"0123456789abcdef")
    assert frame.clear() == b"CLKF\1\2\x0e\0" + b"\0\0\0\7" + b"\xff" * 4 + b"0123456789abcdef" + bytes(16)
    file = Frame(FrameKind.FILE, 12, 8, 7, b"0123456789abcdef").clear()
    assert file[:16] == b"CLKF\1\1\x0c\0" + b"\0\0\0\x08" + b"\0\0\0\x07"
    assert Frame(FrameKind.DIRECTORY, 0, 1).clear() == b"CLKD\1\3\0\0" + b"\0\0\0\1" + b"\xff" * 4 + bytes(32)
    assert Frame(FrameKind.SESSION, 0, 0, None).clear()[:6] == b"CLKS\1\4"


@pytest.mark.parametrize(
    ("kind", "log2_cell", "epoch", "content"),
    [
        (FrameKind.FILE, 12, 7, 7),
        (FrameKind.FILE, 12, 7, 8),
        (FrameKind.DIRECTORY, 0, 7, 1),
        (FrameKind.SESSION, 0, 7, 0),
    ],
)
def test_impossible_content_epochs(kind, log2_cell, epoch, content):
    """Section 6: it is older than the epoch of the frame, and only a file header has one."""
    with pytest.raises(FormatError):
        Frame(kind, log2_cell, epoch, content, b"0123456789abcdef" if kind is FrameKind.FILE else bytes(16))


@given(HEADERS)
def test_header_round_trip(header):
    """Section 9.1: a body of 436 bytes that is read back the same."""
    body = header.body()
    assert len(body) == 436
    assert parse_header_body(header.frame, body) == header


@given(DIRECTORIES)
def test_directory_round_trip(record):
    """Section 8: a body of 436 bytes that is read back the same."""
    assert len(record.body()) == 436
    assert parse_directory_body(record.frame, record.body()) == record


@given(SESSIONS)
def test_session_round_trip(record):
    """Section 11: a body of 436 bytes that is read back the same."""
    assert len(record.body()) == 436
    assert parse_session_body(record.frame, record.body()) == record


def test_header_offsets():
    """Section 9.1: every field stands at the offset of the table."""
    body = replace(HEADER, flags=HeaderFlag.MULTI, size=0x0102, synced_size=3, generation=4, cells_sealed=5).body()
    assert body[:24] == bytes([0, 0, 0, 0, 0, 0, 1, 2]) + bytes(7) + b"\3" + bytes(7) + b"\4"
    assert body[24:40] == HEADER.session
    assert body[40:48] == b"\0\0\0\2" + bytes(4)
    assert body[48:80] == HEADER.content_key
    assert body[80:112] == HEADER.previous_content_key
    assert body[112:120] == bytes(7) + b"\5"
    assert body[120:136] == HEADER.parent
    assert body[136:152] == HEADER.attribute_id
    assert body[152:] == b"\0\x0bsecret-name" + bytes(436 - 154 - 11)


def test_directory_offsets():
    """Section 8: every field stands at the offset of the table."""
    body = DIRECTORY.body()
    assert body[:56] == b"d" * 16 + b"p" * 16 + bytes(7) + b"\1" + b"s" * 16
    assert body[56:] == bytes(4) + b"\0\x0bsecret-name" + bytes(436 - 62 - 11)


def test_session_offsets():
    """Section 11: every field stands at the offset of the table."""
    body = replace(SESSION, state=SessionState.CLEAN, ended_ms=9).body()
    assert body[:24] == b"s" * 16 + b"\2" + bytes(7)
    assert body[24:48] == bytes(7) + b"\1" + bytes(7) + b"\t" + b"\0\0\0\2\0\0\0\3"
    assert body[48:113] == b"\1h" + bytes(63)
    assert body[113:369] == b"\2/m" + bytes(253)
    assert body[369:] == bytes(67)


def test_long_texts_are_cut():
    """Section 11: a host of more than 64 and a mount point of more than 255 bytes are cut to fit."""
    record = replace(SESSION, host=b"h" * 65, mountpoint=b"m" * 300)
    parsed = parse_session_body(record.frame, record.body())
    assert (parsed.host, parsed.mountpoint) == (b"h" * 64, b"m" * 255)


def test_session_id():
    """Section 11: a session id is the time and 8 random bytes, so ids sort by time."""
    assert new_session_id(0x0102, b"12345678") == bytes(6) + b"\1\2" + b"12345678"
    assert new_session_id(1, b"\xff" * 8) < new_session_id(2, bytes(8))
    with pytest.raises(AssertionError):
        new_session_id(1, b"")


@pytest.mark.parametrize("item", [HEADER, DIRECTORY, SESSION], ids=["header", "directory", "session"])
def test_repr_tells_no_secrets(item):
    """Section 9.1: neither a key nor a name is in a repr, which may reach a log."""
    text = repr(item)
    for word in ("secret-name", "aabbccdd", "11223344", r"\xaa\xbb", r'\x11"3D'):
        assert word not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": FrameKind.DIRECTORY},
        {"size": -1, "synced_size": -1},
        {"synced_size": 11},
        {"size": 2**60 + 1},
        {"generation": 2**64},
        {"cells_sealed": -1},
        {"flags": HeaderFlag(8)},
        {"content_key": b"k" * 31},
        {"previous_content_key": b"k" * 33},
        {"session": b""},
        {"parent": b"p" * 15},
        {"attribute_id": b"a" * 17},
        {"name": b""},
        {"name": b"."},
        {"name": b".."},
        {"name": b"a/b"},
        {"name": b"a\0"},
        {"name": b"n" * 256},
    ],
    ids=str,
)
def test_impossible_headers_are_not_made(changes):
    """Section 9.1: what a reader refuses cannot be written either."""
    with pytest.raises(FormatError):
        replace(HEADER, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": 1},
        {"generation": 2**64},
        {"dir_id": b""},
        {"session": b""},
        {"parent": b""},
        {"name": b""},
        {"name": b".."},
        {"parent": NO_PARENT},
    ],
    ids=str,
)
def test_impossible_directories_are_not_made(changes):
    """Section 8: only the root has no name, and only the root has no parent."""
    with pytest.raises(FormatError):
        replace(DIRECTORY, **changes)


@pytest.mark.parametrize(
    "changes",
    [{"session": b""}, {"started_ms": -1}, {"ended_ms": 1}, {"pid": 2**32}, {"uid": -1}, {"host": b"a\0b"}],
    ids=str,
)
def test_impossible_sessions_are_not_made(changes):
    """Section 11: an open session has no end, and numbers fit."""
    with pytest.raises(FormatError):
        replace(SESSION, **changes)


@pytest.mark.parametrize(
    "arguments",
    [
        (FrameKind.FILE, 13, 0, None, bytes(16)),
        (FrameKind.FILE, 0, 0, None, bytes(16)),
        (FrameKind.FILE, 12, 0, None, bytes(15)),
        (FrameKind.DIRECTORY, 12, 0, None),
        (FrameKind.SESSION, 0, 0, None, b"f" * 16),
        (FrameKind.SESSION, 0, 0xFFFF_FFFF, None),
        (FrameKind.SESSION, 0, 0, 0xFFFF_FFFF),
        (FrameKind.SESSION, 0, -1, None),
    ],
    ids=str,
)
def test_impossible_frames_are_not_made(arguments):
    """Section 6: 0xFFFFFFFF is no epoch, and only file headers have a cell size and a fid."""
    with pytest.raises(FormatError):
        Frame(*arguments)


@given(st.binary(max_size=600) | st.binary(min_size=512, max_size=512))
def test_garbage_is_a_format_error(garbage):
    """Section 6: whatever the bytes are, the one error is FormatError."""
    try:
        frame, _, _ = parse_frame(garbage)
    except FormatError:
        return
    assert frame.clear() == garbage[:48]


@given(FRAMES, st.integers(0, 47), st.integers(1, 255))
def test_a_changed_clear_byte_is_refused_or_read(frame, position, change):
    """Section 6: no clear byte can change without being refused or coming out again as changed."""
    raw = bytearray(frame.clear() + bytes(464))
    raw[position] ^= change
    try:
        parsed, _, _ = parse_frame(raw)
    except FormatError:
        return
    assert parsed != frame
    assert parsed.clear() == raw[:48]


@given(st.binary(min_size=436, max_size=436) | st.binary(max_size=500))
def test_garbage_bodies(garbage):
    """Sections 8, 9.1, 11: whatever an opened body holds, the one error is FormatError."""
    for item, parse in ((HEADER, parse_header_body), (DIRECTORY, parse_directory_body), (SESSION, parse_session_body)):
        try:
            assert parse(item.frame, garbage).body() == garbage
        except FormatError:
            pass


@given(st.sampled_from([HEADER, DIRECTORY, SESSION]), st.integers(0, 435), st.integers(1, 255))
def test_a_changed_body_byte_is_refused_or_read(item, position, change):
    """Sections 8, 9.1, 11: a body has one spelling; what is accepted is written again byte for byte."""
    parse = {FileHeader: parse_header_body, DirectoryRecord: parse_directory_body, SessionRecord: parse_session_body}
    body = bytearray(item.body())
    body[position] ^= change
    try:
        parsed = parse[type(item)](item.frame, bytes(body))
    except FormatError:
        return
    assert parsed.body() == body
    assert parsed != item


def test_bodies_of_another_kind():
    """Sections 8, 11: a body is only read as what its frame says."""
    with pytest.raises(FormatError):
        parse_directory_body(SESSION.frame, DIRECTORY.body())
    with pytest.raises(FormatError):
        parse_session_body(DIRECTORY.frame, SESSION.body())
    with pytest.raises(FormatError):
        parse_header_body(DIRECTORY.frame, HEADER.body())


def test_records_are_immutable():
    """Section 6: a record that was checked cannot be changed afterwards."""
    for item in (HEADER, DIRECTORY, SESSION, HEADER.frame):
        with pytest.raises(AttributeError):
            setattr(item, fields(item)[0].name, None)
