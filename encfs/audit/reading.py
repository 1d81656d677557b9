"""Reading and verifying the whole log.

Owns: which files are read, in which order, under which lock. Must not know: how what is found is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from encfs.audit.home import Home
from encfs.audit.log import frames_of, is_whole, locked, segments
from encfs.core.audit_verify import LogVerifier, Taken, Trouble
from encfs.errors import FormatError, UsageError
from encfs.format.limits import DIGEST_SIZE, LOG_ID_SIZE


@dataclass(frozen=True, slots=True)
class Anchor:
    """What is kept elsewhere of a log: that frame ``seq`` had ``head``.

    Raises:
        FormatError: a part of it has the wrong length.
    """

    log_id: bytes
    seq: int
    head: bytes
    wall_ms: int

    def __post_init__(self) -> None:
        if (len(self.log_id), len(self.head)) != (LOG_ID_SIZE, DIGEST_SIZE) or self.seq < 0:
            raise FormatError("a part of an anchor has the wrong length")

    def line(self) -> str:
        """One line of an anchor file."""
        return json.dumps({"log": self.log_id.hex(), "seq": self.seq, "head": self.head.hex(), "wall_ms": self.wall_ms})


def parse_anchors(text: str) -> list[Anchor]:
    """The lines of an anchor file.

    Raises:
        UsageError: one is no anchor.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            value = json.loads(line)
            found.append(
                Anchor(
                    log_id=bytes.fromhex(value["log"]),
                    seq=int(value["seq"]),
                    head=bytes.fromhex(value["head"]),
                    wall_ms=int(value["wall_ms"]),
                )
            )
        except (ValueError, KeyError, TypeError, FormatError) as exc:
            raise UsageError(f"line {number} of the anchor file is no anchor") from exc
    return found


def read_log(home: Home, verifier: LogVerifier) -> Iterator[Taken]:
    """Every frame that can be read, in order, while ``verifier`` takes them all.

    Raises:
        OSError: a segment cannot be read.
    """
    with locked(home.store, home.dirfd, shared=True):
        for number in segments(home.store, home.dirfd):
            verifier.begin_segment(number)
            for data in frames_of(home.store, home.dirfd, number):
                if not is_whole(data):
                    verifier.broken(Trouble.CUT_SHORT)
                    break
                taken = verifier.take(data)
                if taken is not None:
                    yield taken
    verifier.finish()
