"""The session record: who wrote to the volume, from when to when, and whether it ended well.

Owns: the record of FORMAT.md section 11. Must not know: the clock, the lock, recovery.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.frame import Frame, FrameKind, unpad
from encfs.units import SessionId

_BODY: Final = Struct(">16sB7sQQIIB64sB255s67s")
_ZERO7: Final = bytes(7)
_ZERO67: Final = bytes(67)
_U32_MAX: Final = 0xFFFF_FFFF


class SessionState(IntEnum):
    """How far a session has come."""

    OPEN = 1
    CLEAN = 2
    RECOVERED = 3


_STATES: Final = {state.value: state for state in SessionState}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One session record.

    Attributes:
        started_ms: milliseconds since 1970.
        ended_ms: the same, 0 while the session is OPEN.
        host: host name; what is longer than 64 bytes is cut off when written.
        mountpoint: likewise with 255 bytes; empty for use as a library.

    Raises:
        FormatError: the values cannot stand in a session record.
    """

    epoch: int
    session: SessionId
    state: SessionState
    started_ms: int
    ended_ms: int = 0
    pid: int
    uid: int
    host: bytes
    mountpoint: bytes

    def __post_init__(self) -> None:
        if len(self.session) != limits.SESSION_ID_SIZE:
            raise FormatError("the id of a session has the wrong length")
        if not (0 <= self.started_ms <= limits.U64_MAX and 0 <= self.ended_ms <= limits.U64_MAX):
            raise FormatError("a time in a session record is out of range")
        if not (0 <= self.pid <= _U32_MAX and 0 <= self.uid <= _U32_MAX):
            raise FormatError("a number in a session record is out of range")
        if self.state is SessionState.OPEN and self.ended_ms:
            raise FormatError("an open session has an end")
        if b"\0" in self.host or b"\0" in self.mountpoint:
            raise FormatError("a text in a session record has a zero byte")

    @property
    def frame(self) -> Frame:
        """The clear part."""
        return Frame(FrameKind.SESSION, 0, self.epoch)

    def body(self) -> bytes:
        """The 436 bytes to seal."""
        host = self.host[: limits.HOST_MAX]
        mountpoint = self.mountpoint[: limits.MOUNTPOINT_MAX]
        return _BODY.pack(
            self.session,
            self.state,
            _ZERO7,
            self.started_ms,
            self.ended_ms,
            self.pid,
            self.uid,
            len(host),
            host,
            len(mountpoint),
            mountpoint,
            _ZERO67,
        )


def parse_session_body(frame: Frame, body: bytes) -> SessionRecord:
    """Read an opened body.

    Raises:
        FormatError: the body has not the form of section 11.
    """
    if frame.kind is not FrameKind.SESSION or len(body) != limits.BODY_SIZE:
        raise FormatError("the body of a session record has the wrong kind or length")
    (
        session,
        number,
        zero7,
        started_ms,
        ended_ms,
        pid,
        uid,
        host_size,
        host,
        mount_size,
        mount,
        zero67,
    ) = _BODY.unpack(body)
    state = _STATES.get(number)
    if state is None or zero7 != _ZERO7 or zero67 != _ZERO67:
        raise FormatError("a session record has an unknown state or field")
    return SessionRecord(
        epoch=frame.epoch,
        session=SessionId(session),
        state=state,
        started_ms=started_ms,
        ended_ms=ended_ms,
        pid=pid,
        uid=uid,
        host=unpad(host, host_size),
        mountpoint=unpad(mount, mount_size),
    )


def new_session_id(now_ms: int, random8: bytes) -> SessionId:
    """u64 milliseconds || 8 random bytes; ids sort by time.

    Raises:
        AssertionError: ``random8`` is not 8 bytes (an error of the caller).
    """
    if len(random8) != 8:
        raise AssertionError("internal error: a session id takes 8 random bytes")
    return SessionId(now_ms.to_bytes(8, "big") + random8)
