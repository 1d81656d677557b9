"""Seal and open the three kinds of frame: file headers, directory and session records.

Owns: which key seals which frame (FORMAT.md section 6). Must not know: where frames are stored.

Rule: the key is always the one of the epoch that the frame itself names, so a volume stays
readable while a rotation is under way.
"""

from __future__ import annotations

from typing import Final

from encfs.core.keys import KeyRing
from encfs.crypto.aead import seal_with, unseal_with
from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.directory import DirectoryRecord, parse_directory_body
from encfs.format.frame import Frame, FrameKind, parse_frame
from encfs.format.header import FileHeader, parse_header_body
from encfs.format.session import SessionRecord, parse_session_body

_CLEAR: Final = limits.FRAME_CLEAR_SIZE


def seal_header(ring: KeyRing, header: FileHeader) -> bytes:
    """The 512 bytes of a file header.

    Raises:
        FormatError: ``header.epoch`` is not an epoch of the volume.
    """
    clear = header.frame.clear()
    return clear + seal_with(ring.of(header.epoch).header_aead(header.fid), clear, header.body())


def open_header(ring: KeyRing, raw: bytes | bytearray | memoryview) -> FileHeader:
    """The inverse of ``seal_header``.

    Raises:
        FormatError: not the frame of a file header, or of an epoch that the volume does not have.
        AuthenticationError: not sealed by this volume, or changed.
    """
    data = bytes(raw)
    frame, _, _ = parse_frame(data)
    if frame.kind > FrameKind.SYMLINK:
        raise FormatError("a record stands where a file header belongs")
    aead = ring.of(frame.epoch).header_aead(frame.fid)
    return parse_header_body(frame, unseal_with(aead, data[:_CLEAR], data[_CLEAR:]))


def seal_directory(ring: KeyRing, record: DirectoryRecord) -> bytes:
    """The 512 bytes of a directory record.

    Raises:
        FormatError: ``record.epoch`` is not an epoch of the volume.
    """
    return _seal(ring, ring.of(record.epoch).directory_key, record.frame.clear(), record.body())


def open_directory(ring: KeyRing, raw: bytes | bytearray | memoryview) -> DirectoryRecord:
    """The inverse of ``seal_directory``; raises as ``open_header`` does."""
    data = bytes(raw)
    frame = _frame_of(data, FrameKind.DIRECTORY)
    return parse_directory_body(frame, _open(ring, ring.of(frame.epoch).directory_key, data))


def seal_session(ring: KeyRing, record: SessionRecord) -> bytes:
    """The 512 bytes of a session record.

    Raises:
        FormatError: ``record.epoch`` is not an epoch of the volume.
    """
    return _seal(ring, ring.of(record.epoch).session_key, record.frame.clear(), record.body())


def open_session(ring: KeyRing, raw: bytes | bytearray | memoryview) -> SessionRecord:
    """The inverse of ``seal_session``; raises as ``open_header`` does."""
    data = bytes(raw)
    frame = _frame_of(data, FrameKind.SESSION)
    return parse_session_body(frame, _open(ring, ring.of(frame.epoch).session_key, data))


def _frame_of(data: bytes, kind: FrameKind) -> Frame:
    frame, _, _ = parse_frame(data)
    if frame.kind is not kind:
        raise FormatError("a frame of another kind stands where a record belongs")
    return frame


def _seal(ring: KeyRing, key: bytes, clear: bytes, body: bytes) -> bytes:
    # nonce || ciphertext || tag is what seal() gives and also what bytes 48 to 511 are.
    return clear + ring.suite.seal(key, clear, body)


def _open(ring: KeyRing, key: bytes, data: bytes) -> bytes:
    return ring.suite.unseal(key, data[:_CLEAR], data[_CLEAR:])
