"""Reading and verifying the whole log.

Owns: which files are read, in which order, under which lock. Must not know: how what is found is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from encfs.audit.home import Home
from encfs.audit.log import frames_of, is_whole, locked, segments
from encfs.core.audit_verify import LogVerifier, Taken, Trouble


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
