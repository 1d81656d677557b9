"""What the heads of segments tell without any key: for whom the log is sealed, when it began.

Owns: these two questions. Must not know: whether a head is genuine (``encfs.core.audit_verify``).
"""

from __future__ import annotations

from collections.abc import Iterator

from encfs.audit.home import Home
from encfs.audit.log import frames_of, locked, segments
from encfs.crypto import kem
from encfs.errors import AuditorKeyError, FormatError
from encfs.format.audit import AuditKind, Moment, SegmentHead, parse_audit_frame, parse_segment_head


def check_auditor(home: Home, private: bytes) -> None:
    """Tell a wrong key from a log that was changed.

    Raises:
        AuditorKeyError: no part of the log is sealed to the public half of ``private``, nor would a new one be.
        OSError: the log cannot be read.
    """
    public = kem.public_of(private)
    if public == home.keys()[1]:
        return
    found = False
    with locked(home.store, home.dirfd, shared=True):
        for _, head in _heads(home):
            if head.auditor == public:
                return
            found = True
    # Where no head is whole nothing can be said of the key: then the log is damaged, which verifying tells.
    if found:
        raise AuditorKeyError(
            "this auditor key is not the one of the audit log on this computer",
            hint="It belongs to another practice, another computer or another user. The right file was written here by:"
            " cloakfs audit key --out   Whether the log was changed is told without a key too: cloakfs audit verify",
        )


def began(home: Home) -> Moment | None:
    """When the first part that is left began; None if none has a head. Raises: OSError."""
    with locked(home.store, home.dirfd, shared=True):
        return next((at for at, _ in _heads(home)), None)


def _heads(home: Home) -> Iterator[tuple[Moment, SegmentHead]]:
    for number in segments(home.store, home.dirfd):
        data = next(frames_of(home.store, home.dirfd, number), b"")
        try:
            frame, _ = parse_audit_frame(data)
            if frame.kind is AuditKind.HEAD:
                yield frame.at, parse_segment_head(frame.content)
        except FormatError:
            continue
