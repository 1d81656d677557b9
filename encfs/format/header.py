"""The file header: what is known of one file besides its cells.

Owns: FORMAT.md section 9.1. Must not know: keys' use, cells, where the header is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import IntFlag
from struct import Struct
from typing import Any, Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.frame import Frame, FrameKind, unpad
from encfs.units import DirId, FileId, SessionId

_BODY: Final = Struct(">QQQ16sI4s32s32sQ16s16sH255s27s")
_NO_KEY: Final = bytes(limits.KEY_SIZE)
_ZERO4: Final = bytes(4)
_ZERO27: Final = bytes(27)


class HeaderFlag(IntFlag):
    """Flags of a file."""

    SPARSE = 1
    MULTI = 2
    PARITY = 4

    def __and__(self, other: int) -> HeaderFlag:
        """By table: asked of every header, and ``IntFlag`` takes longer for it than the parse of all the rest."""
        return _FLAGS[int.__and__(self, other)]


_FLAGS: Final = [HeaderFlag(value) for value in range(8)]
"""By value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """All of a file header, clear part and body. Its repr shows neither keys nor the name.

    Attributes:
        kind: ``FrameKind.FILE`` or ``FrameKind.SYMLINK``.
        log2_cell: log2 of the cell size.
        content_epoch: in which ``content_key`` was drawn, where that is older than ``epoch``; else None.
        size: plain size in bytes.
        synced_size: plain bytes from the start that an fsync has confirmed.
        cells_sealed: at least as many cells as were ever sealed under ``content_key``.
        parent: dir id of the directory that holds the file.
        attribute_id: names the key of the extended attributes; constant for the file's life.

    Raises:
        FormatError: the values cannot stand in a header.
    """

    kind: FrameKind
    log2_cell: int
    epoch: int
    content_epoch: int | None = None
    fid: FileId
    size: int
    synced_size: int
    generation: int
    session: SessionId
    flags: HeaderFlag
    content_key: bytes = field(repr=False)
    previous_content_key: bytes | None = field(default=None, repr=False)
    cells_sealed: int
    parent: DirId
    attribute_id: bytes
    name: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.kind > FrameKind.SYMLINK:
            raise FormatError("a file header is of another kind")
        if not 0 <= self.synced_size <= self.size <= limits.PLAIN_SIZE_MAX:
            raise FormatError("the sizes in a file header contradict each other")
        if not (0 <= self.generation <= limits.U64_MAX and 0 <= self.cells_sealed <= limits.U64_MAX):
            raise FormatError("a count in a file header is out of range")
        if not 0 <= self.flags < len(_FLAGS):
            raise FormatError("a file header has unknown flags")
        if (
            len(self.content_key) != limits.KEY_SIZE
            or len(self.session) != limits.SESSION_ID_SIZE
            or len(self.parent) != limits.DIR_ID_SIZE
            or len(self.attribute_id) != limits.ATTRIBUTE_ID_SIZE
            or (self.previous_content_key is not None and len(self.previous_content_key) != limits.KEY_SIZE)
        ):
            raise FormatError("a key or id in a file header has the wrong length")
        if not limits.is_plain_name(self.name):
            raise FormatError("the name in a file header is not a name")

    @property
    def frame(self) -> Frame:
        """The clear part."""
        return Frame(self.kind, self.log2_cell, self.epoch, self.content_epoch, self.fid)

    def following(self, *, size: int, synced_size: int, session: SessionId, cells_sealed: int) -> FileHeader:
        """The header of the next generation, with other sizes and counts.

        Made at every close and fsync: the fields that stay were checked when this header was made, and
        ``dataclasses.replace`` would check them all again (8 us instead of 2).

        Raises:
            FormatError: the sizes contradict each other.
        """
        if not 0 <= synced_size <= size <= limits.PLAIN_SIZE_MAX or self.generation >= limits.U64_MAX:
            raise FormatError("the sizes in a file header contradict each other")
        made: FileHeader = object.__new__(FileHeader)
        for get, put in _SLOTS:
            put(made, get(self))
        _set_size(made, size)
        _set_synced_size(made, synced_size)
        _set_generation(made, self.generation + 1)
        _set_session(made, session)
        _set_cells_sealed(made, cells_sealed)
        return made

    @property
    def key_epoch(self) -> int:
        """The epoch in which the content key was drawn."""
        return self.epoch if self.content_epoch is None else self.content_epoch

    def under(self, epoch: int) -> FileHeader:
        """The same header, to be sealed under another, later epoch (FORMAT.md section 14)."""
        return self if epoch == self.epoch else replace(self, epoch=epoch, content_epoch=self.key_epoch)

    def body(self) -> bytes:
        """The 436 bytes to seal."""
        return _BODY.pack(
            self.size,
            self.synced_size,
            self.generation,
            self.session,
            self.flags,
            _ZERO4,
            self.content_key,
            self.previous_content_key or _NO_KEY,
            self.cells_sealed,
            self.parent,
            self.attribute_id,
            len(self.name),
            self.name,
            _ZERO27,
        )


_MEMBERS: Final[dict[str, Any]] = {part.name: FileHeader.__dict__[part.name] for part in fields(FileHeader)}
_SLOTS: Final = [(member.__get__, member.__set__) for member in _MEMBERS.values()]
_set_size, _set_synced_size, _set_generation, _set_session, _set_cells_sealed = (
    _MEMBERS[name].__set__ for name in ("size", "synced_size", "generation", "session", "cells_sealed")
)


def parse_header_body(frame: Frame, body: bytes) -> FileHeader:
    """Read an opened body.

    Raises:
        FormatError: the body has not the form of section 9.1.
    """
    if len(body) != limits.BODY_SIZE:
        raise FormatError("the body of a file header has the wrong length")
    (
        size,
        synced_size,
        generation,
        session,
        flags,
        zero4,
        content_key,
        previous_key,
        cells_sealed,
        parent,
        attribute_id,
        length,
        padded,
        zero27,
    ) = _BODY.unpack(body)
    if flags >= len(_FLAGS) or zero4 != _ZERO4 or zero27 != _ZERO27:
        raise FormatError("a file header has unknown flags or fields")
    return FileHeader(
        kind=frame.kind,
        log2_cell=frame.log2_cell,
        epoch=frame.epoch,
        content_epoch=frame.content_epoch,
        fid=frame.fid,
        size=size,
        synced_size=synced_size,
        generation=generation,
        session=SessionId(session),
        flags=_FLAGS[flags],
        content_key=content_key,
        previous_content_key=None if previous_key == _NO_KEY else previous_key,
        cells_sealed=cells_sealed,
        parent=DirId(parent),
        attribute_id=attribute_id,
        name=unpad(padded, length),
    )
