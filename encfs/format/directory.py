"""The directory record ``cloakfs.d``: who a directory is and where it belongs.

Owns: FORMAT.md section 8. Must not know: what is in the directory, or how the record is sealed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.frame import Frame, FrameKind, unpad
from encfs.units import DirId, SessionId

_BODY: Final = Struct(">16s16sQ16sIH255s119s")
_ZERO119: Final = bytes(119)
NO_PARENT: Final = DirId(bytes(limits.DIR_ID_SIZE))
"""The parent of the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryRecord:
    """One directory record. Its repr does not show the name.

    Attributes:
        parent: dir id of the parent, ``NO_PARENT`` for the root.
        name: the directory's own plain name, empty for the root and only there.

    Raises:
        FormatError: the values cannot stand in a directory record.
    """

    epoch: int
    dir_id: DirId
    parent: DirId
    generation: int
    session: SessionId
    flags: int = 0
    name: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.flags:
            raise FormatError("a directory record has unknown flags")
        if not 0 <= self.generation <= limits.U64_MAX:
            raise FormatError("the generation of a directory record is out of range")
        if (
            len(self.dir_id) != limits.DIR_ID_SIZE
            or len(self.parent) != limits.DIR_ID_SIZE
            or len(self.session) != limits.SESSION_ID_SIZE
        ):
            raise FormatError("an id in a directory record has the wrong length")
        if self.parent == NO_PARENT:
            if self.name:
                raise FormatError("the record of a root directory has a name")
        elif not limits.is_plain_name(self.name):
            raise FormatError("the name in a directory record is not a name")

    @property
    def frame(self) -> Frame:
        """The clear part."""
        return Frame(FrameKind.DIRECTORY, 0, self.epoch)

    def body(self) -> bytes:
        """The 436 bytes to seal."""
        return _BODY.pack(
            self.dir_id,
            self.parent,
            self.generation,
            self.session,
            self.flags,
            len(self.name),
            self.name,
            _ZERO119,
        )


def parse_directory_body(frame: Frame, body: bytes) -> DirectoryRecord:
    """Read an opened body.

    Raises:
        FormatError: the body has not the form of section 8.
    """
    if frame.kind is not FrameKind.DIRECTORY or len(body) != limits.BODY_SIZE:
        raise FormatError("the body of a directory record has the wrong kind or length")
    dir_id, parent, generation, session, flags, length, padded, zero = _BODY.unpack(body)
    if zero != _ZERO119:
        raise FormatError("a directory record is not padded with zero bytes")
    return DirectoryRecord(
        epoch=frame.epoch,
        dir_id=DirId(dir_id),
        parent=DirId(parent),
        generation=generation,
        session=SessionId(session),
        flags=flags,
        name=unpad(padded, length),
    )
