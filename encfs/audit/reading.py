"""Reading and verifying the whole log.

Owns: which files are read, in which order, under which lock. Must not know: how what is found is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from encfs.audit.home import Home
from encfs.audit.log import frames_of, is_whole, locked, segments
from encfs.core.audit_trouble import Problem, Trouble
from encfs.core.audit_verify import LogVerifier, Taken
from encfs.format.anchor import Anchor
from encfs.format.limits import AUDIT_KEPT_MS
from encfs.store.base import Store


def read_log(home: Home, verifier: LogVerifier) -> Iterator[Taken]:
    """Every frame that can be read, in order, while ``verifier`` takes them all.

    Raises:
        OSError: a segment cannot be read.
    """
    with locked(home.store, home.dirfd, shared=True):
        yield from read_segments(home.store, home.dirfd, verifier)


def read_segments(store: Store, dirfd: int, verifier: LogVerifier) -> Iterator[Taken]:
    """The same for whoever keeps writers off. Raises: OSError."""
    for number in segments(store, dirfd):
        verifier.begin_segment(number)
        for data in frames_of(store, dirfd, number):
            if not is_whole(data):
                verifier.broken(Trouble.CUT_SHORT)
                break
            taken = verifier.take(data)
            if taken is not None:
                yield taken
    verifier.finish()


def too_early(verifier: LogVerifier, anchors: Iterable[Anchor]) -> list[Problem]:
    """Of a log that was read to its end: anchors of what was pruned when they were not yet six years old."""
    found = []
    for anchor in anchors:
        buried = verifier.gone.covering(anchor.seq)
        if buried is not None and buried.frame.at.wall_ms - anchor.wall_ms < AUDIT_KEPT_MS:
            found.append(Problem(Trouble.TOO_EARLY, buried.segment, buried.frame.seq))
    return list(dict.fromkeys(found))
