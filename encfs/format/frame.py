"""The clear part of the 512-byte sealed frame.

Owns: FORMAT.md section 6. Must not know: how the body is sealed, or what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.units import FileId

_CLEAR: Final = Struct(">4sBBBBII16s16s")
_ZERO16: Final = bytes(16)
NO_FILE_ID: Final = FileId(_ZERO16)
_LOG2_CELLS: Final = frozenset(size.bit_length() - 1 for size in limits.CELL_SIZES)


class FrameKind(IntEnum):
    """Byte 5 of a frame."""

    FILE = 1
    SYMLINK = 2
    DIRECTORY = 3
    SESSION = 4


_MAGIC: Final = {
    FrameKind.FILE: b"CLKF",
    FrameKind.SYMLINK: b"CLKF",
    FrameKind.DIRECTORY: b"CLKD",
    FrameKind.SESSION: b"CLKS",
}
_KINDS: Final = {(magic, kind.value): kind for kind, magic in _MAGIC.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes 0 to 47 of a frame, which are also its AAD.

    Attributes:
        content_epoch: of a file header, when its content key was drawn, where that was in an older epoch.

    Raises:
        FormatError: the values cannot stand in a frame.
    """

    kind: FrameKind
    log2_cell: int
    epoch: int
    content_epoch: int | None = None
    fid: FileId = NO_FILE_ID

    def __post_init__(self) -> None:
        if self.kind <= FrameKind.SYMLINK:
            if self.log2_cell not in _LOG2_CELLS or len(self.fid) != limits.FILE_ID_SIZE:
                raise FormatError("a file header names no known cell size")
        elif self.log2_cell or self.fid != _ZERO16 or self.content_epoch is not None:
            raise FormatError("a record has fields that only a file header has")
        content = self.content_epoch
        if not (0 <= self.epoch <= limits.EPOCH_MAX and (content is None or 0 <= content < self.epoch)):
            raise FormatError("a frame names an impossible epoch")

    def clear(self) -> bytes:
        """The 48 clear bytes."""
        kind = self.kind
        content = limits.NO_EPOCH if self.content_epoch is None else self.content_epoch
        return _CLEAR.pack(
            _MAGIC[kind], limits.FORMAT_VERSION, kind, self.log2_cell, 0, self.epoch, content, self.fid, _ZERO16
        )


def parse_frame(raw: bytes | bytearray | memoryview) -> tuple[Frame, bytes, bytes]:
    """Split a frame of 512 bytes.

    Returns:
        The clear part, the 12-byte nonce, and the sealed body (ciphertext || tag).

    Raises:
        FormatError: these bytes are not a frame of version 1.
    """
    data = bytes(raw)
    if len(data) != limits.FRAME_SIZE:
        raise FormatError("a frame is not 512 bytes long")
    frame = parse_clear(data)
    return frame, data[limits.FRAME_CLEAR_SIZE : limits.FRAME_NONCE_END], data[limits.FRAME_NONCE_END :]


def parse_clear(data: bytes) -> Frame:
    """The clear part at the start of ``data``, which has 48 bytes at least.

    Raises:
        FormatError: these bytes are not that of a frame of version 1.
    """
    magic, version, number, log2_cell, pad, epoch, content, fid, reserved = _CLEAR.unpack_from(data)
    kind = _KINDS.get((magic, number))
    if kind is None or version != limits.FORMAT_VERSION or pad or reserved != _ZERO16:
        raise FormatError("a frame has not the form of version 1")
    return Frame(kind, log2_cell, epoch, None if content == limits.NO_EPOCH else content, FileId(fid))


def unpad(padded: bytes, length: int) -> bytes:
    """The text of a zero-padded field.

    Raises:
        FormatError: the text, which never ends in a zero byte, is not ``length`` bytes long.
    """
    text = padded.rstrip(b"\0")
    if len(text) != length:
        raise FormatError("a field is not padded with zero bytes")
    return text
