"""A checkpoint: its clear head, and the records that say what was in the volume.

Owns: FORMAT.md section 12 but for the sealing: bytes <-> dataclasses. Must not know: keys' use, chunks' seals, where
checkpoints are kept, what is compared with them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.directory import DirectoryRecord, parse_directory_body
from encfs.format.frame import Frame, FrameKind, parse_clear
from encfs.format.header import FileHeader, parse_header_body
from encfs.format.session import SessionState
from encfs.units import DirId, SessionId, VolumeId

_HEAD: Final = Struct(">4sB3sI4s16s16s")
_MAGIC: Final = b"CLKM"
_LENGTH: Final = Struct(">H")
_START: Final = Struct(">16sQ16s")
_SESSION: Final = Struct(">16sB")
_FILE: Final = Struct(">BQ32s")
_OTHER: Final = Struct(">IQ")
_END: Final = Struct(">QQQQQQ32s")
_CLEAR: Final = limits.FRAME_CLEAR_SIZE
# Bodies are kept without the zero bytes after the name; this is where the name begins in each.
_HEADER_NAME: Final = 154
_RECORD_NAME: Final = 62
_LENGTH_SIZE: Final = 2
NO_CHECKPOINT: Final = bytes(limits.CHECKPOINT_ID_SIZE)
NO_DIGEST: Final = bytes(limits.DIGEST_SIZE)


class RecordKind(IntEnum):
    """First byte of a record."""

    START = 1
    SESSION = 2
    DIRECTORY = 3
    FILE = 4
    SYMLINK = 5
    OTHER = 6
    DAMAGED = 7
    END = 8


class FileState(IntEnum):
    """What the digest of a file is worth."""

    DIGESTED = 0
    """It is the digest of the cells that this generation of the header goes with."""
    CHANGING = 1
    """None: the file was written to all the time."""
    DAMAGED = 2
    """None: the header opened, but the cells could not be read in full."""


_STATES: Final = {state.value: state for state in SessionState}
_FILE_STATES: Final = {state.value: state for state in FileState}


@dataclass(frozen=True, slots=True)
class Head:
    """The 48 clear bytes of a checkpoint, which are part of the AAD of each chunk.

    Raises:
        FormatError: the values cannot stand in a head.
    """

    epoch: int
    checkpoint_id: bytes
    volume_id: VolumeId

    def __post_init__(self) -> None:
        if not 0 <= self.epoch <= limits.EPOCH_MAX:
            raise FormatError("a checkpoint names an impossible epoch")
        if len(self.checkpoint_id) != limits.CHECKPOINT_ID_SIZE or len(self.volume_id) != limits.VOLUME_ID_SIZE:
            raise FormatError("an id in the head of a checkpoint has the wrong length")

    @property
    def made_ms(self) -> int:
        """When it was begun, ms since 1970."""
        return int.from_bytes(self.checkpoint_id[:8], "big")

    def pack(self) -> bytes:
        return _HEAD.pack(
            _MAGIC, limits.FORMAT_VERSION, bytes(3), self.epoch, bytes(4), self.checkpoint_id, self.volume_id
        )


def parse_head(data: bytes) -> Head:
    """Raises: FormatError."""
    if len(data) != limits.CHECKPOINT_HEAD_SIZE:
        raise FormatError("a checkpoint is shorter than its head")
    magic, version, zero3, epoch, zero4, checkpoint_id, volume_id = _HEAD.unpack(data)
    if magic != _MAGIC or version != limits.FORMAT_VERSION or any(zero3) or any(zero4):
        raise FormatError("this is not a checkpoint of version 1")
    return Head(epoch, checkpoint_id, VolumeId(volume_id))


def new_checkpoint_id(now_ms: int, random8: bytes) -> bytes:
    """u64 milliseconds || 8 random bytes, as the ids of sessions, with which they sort.

    Raises:
        AssertionError: ``random8`` is not 8 bytes (an error of the caller).
    """
    if len(random8) != 8:
        raise AssertionError("internal error: the id of a checkpoint takes 8 random bytes")
    return now_ms.to_bytes(8, "big") + random8


@dataclass(frozen=True, slots=True)
class Start:
    """The first record: who made the checkpoint, and on what it builds."""

    session: SessionId
    config_seq: int
    previous: bytes


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session record as it stood. One that is OPEN here may have gone on after the checkpoint."""

    session: SessionId
    state: SessionState


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A directory, by its whole record."""

    record: DirectoryRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A regular file or a symlink in a file, by its whole header. Its repr shows neither keys nor names.

    Attributes:
        header: as it was on the disk; with the content keys it can be rebuilt from here.
        lower_size: length of the lower file.
        digest: SHA-256 over the 16-byte tags of its cells in order, 16 zero bytes for a hole.
        parent, name: where it was found; differs from the header's for hard links only.
    """

    header: FileHeader
    lower_size: int
    state: FileState
    digest: bytes
    parent: DirId
    name: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SymlinkEntry:
    """A lower symlink. ``digest``: SHA-256 of its lower target."""

    parent: DirId
    name: bytes = field(repr=False)
    digest: bytes


@dataclass(frozen=True, slots=True)
class OtherEntry:
    """A pipe, socket or device node. ``kind``: the type bits of its mode; ``device``: its device number or 0."""

    parent: DirId
    name: bytes = field(repr=False)
    kind: int
    device: int


@dataclass(frozen=True, slots=True)
class DamagedEntry:
    """Something that was there but did not open."""

    parent: DirId
    name: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class End:
    """The last record: how many of each kind, plain bytes of all files, and the digest of all records before it."""

    directories: int
    files: int
    symlinks: int
    others: int
    damaged: int
    size: int
    digest: bytes


Entry = DirectoryEntry | FileEntry | SymlinkEntry | OtherEntry | DamagedEntry
Record = Start | KnownSession | Entry | End


def pack(record: Record) -> bytes:
    """A record with its length in front.

    Raises:
        FormatError: a name is not a plain name, or a number does not fit.
    """
    body = _pack(record)
    return _LENGTH.pack(len(body)) + body


def _pack(record: Record) -> bytes:
    match record:
        case Start():
            return bytes([RecordKind.START]) + _START.pack(record.session, record.config_seq, record.previous)
        case KnownSession():
            return bytes([RecordKind.SESSION]) + _SESSION.pack(record.session, record.state)
        case DirectoryEntry(one):
            body = one.body()[: _RECORD_NAME + len(one.name)]
            return bytes([RecordKind.DIRECTORY]) + one.frame.clear() + body
        case FileEntry():
            return _pack_file(record)
        case SymlinkEntry():
            return bytes([RecordKind.SYMLINK]) + record.digest + _place(record.parent, record.name)
        case OtherEntry():
            fields = _OTHER.pack(record.kind, record.device)
            return bytes([RecordKind.OTHER]) + fields + _place(record.parent, record.name)
        case DamagedEntry():
            return bytes([RecordKind.DAMAGED]) + _place(record.parent, record.name)
        case End():
            counts = (record.directories, record.files, record.symlinks, record.others, record.damaged, record.size)
            return bytes([RecordKind.END]) + _END.pack(*counts, record.digest)


def _pack_file(entry: FileEntry) -> bytes:
    header = entry.header
    head = bytes([RecordKind.FILE]) + _FILE.pack(entry.state, entry.lower_size, entry.digest)
    body = header.body()[: _HEADER_NAME + len(header.name)]
    at_home = (entry.parent, entry.name) == (header.parent, header.name)
    return head + header.frame.clear() + body + (b"" if at_home else _place(entry.parent, entry.name))


def _place(parent: DirId, name: bytes) -> bytes:
    if len(parent) != limits.DIR_ID_SIZE or not limits.is_plain_name(name):
        raise FormatError("a checkpoint has a place that cannot be")
    return parent + name


def split(chunk: bytes) -> Iterator[bytes]:
    """The records of one opened chunk, each without its length.

    Raises:
        FormatError: the lengths do not add up.
    """
    at, end = 0, len(chunk)
    while at < end:
        start = at + _LENGTH_SIZE
        at = start + int.from_bytes(chunk[at:start], "big")
        if not start < at <= end:
            raise FormatError("a record of a checkpoint has the wrong length")
        yield chunk[start:at]


def kind_of(raw: bytes) -> RecordKind:
    """Raises: FormatError: no such kind."""
    try:
        return RecordKind(raw[0])
    except ValueError:
        raise FormatError("a checkpoint has a record of an unknown kind") from None


_AT_FRAME: Final = 1 + _FILE.size
_FID: Final = slice(_AT_FRAME + 16, _AT_FRAME + 32)
_GENERATION: Final = slice(_AT_FRAME + _CLEAR + 16, _AT_FRAME + _CLEAR + 24)


def file_id_of(raw: bytes) -> bytes:
    """The fid in the record of a file, without parsing all of it."""
    return raw[_FID]


def generation_of(raw: bytes) -> int:
    """The generation in the record of a file, without parsing all of it."""
    return int.from_bytes(raw[_GENERATION], "big")


def parse(raw: bytes) -> Record:
    """A record from its bytes without the length.

    Raises:
        FormatError: it has not the form of section 12.
    """
    kind, body = kind_of(raw), raw[1:]
    try:
        match kind:
            case RecordKind.START:
                session, seq, previous = _START.unpack(body)
                return Start(SessionId(session), seq, previous)
            case RecordKind.SESSION:
                session, state = _SESSION.unpack(body)
                return KnownSession(SessionId(session), _STATES[state])
            case RecordKind.DIRECTORY:
                return DirectoryEntry(_parse_directory(body))
            case RecordKind.FILE:
                return _parse_file(body)
            case RecordKind.SYMLINK:
                parent, name = _parse_place(body[limits.DIGEST_SIZE :])
                return SymlinkEntry(parent, name, body[: limits.DIGEST_SIZE])
            case RecordKind.OTHER:
                mode, device = _OTHER.unpack(body[: _OTHER.size])
                return OtherEntry(*_parse_place(body[_OTHER.size :]), mode, device)
            case RecordKind.DAMAGED:
                return DamagedEntry(*_parse_place(body))
            case RecordKind.END:
                return End(*_END.unpack(body))
    except (KeyError, struct.error):
        raise FormatError(f"a record of a checkpoint is malformed ({kind.name.lower()})") from None


def _parse_directory(body: bytes) -> DirectoryRecord:
    record = parse_directory_body(*_frame_and_body(body))
    if len(body) != _CLEAR + _RECORD_NAME + len(record.name):
        raise FormatError("the record of a directory in a checkpoint has the wrong length")
    return record


def _parse_file(body: bytes) -> FileEntry:
    state, lower_size, digest = _FILE.unpack(body[: _FILE.size])
    framed = body[_FILE.size :]
    length = _CLEAR + _HEADER_NAME
    if len(framed) >= length:
        length += int.from_bytes(framed[length - _LENGTH_SIZE : length], "big")
    frame, padded = _frame_and_body(framed[:length])
    if frame.kind > FrameKind.SYMLINK or len(framed) < length:
        raise FormatError("a file in a checkpoint has no header of a file")
    header = parse_header_body(frame, padded)
    place = framed[length:]
    parent, name = _parse_place(place) if place else (header.parent, header.name)
    if place and (parent, name) == (header.parent, header.name):
        raise FormatError("a file in a checkpoint has its place twice")
    return FileEntry(
        header=header, lower_size=lower_size, state=_FILE_STATES[state], digest=digest, parent=parent, name=name
    )


def _frame_and_body(framed: bytes) -> tuple[Frame, bytes]:
    body = framed[_CLEAR:]
    if len(framed) < _CLEAR or len(body) > limits.BODY_SIZE:
        raise FormatError("a header in a checkpoint has the wrong length")
    return parse_clear(framed), body + bytes(limits.BODY_SIZE - len(body))


def _parse_place(data: bytes) -> tuple[DirId, bytes]:
    parent, name = DirId(data[: limits.DIR_ID_SIZE]), data[limits.DIR_ID_SIZE :]
    _place(parent, name)
    return parent, name
