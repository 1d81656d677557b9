"""Records that this process could not write, until the log knows how many those were.

Owns: their number in this process, and that it gets to where the next process finds it. Must not know: what was in
them, why they could not be written.

Where the log is on a disk that is full the number is written beside it (``gaps.py``); where nothing at all can be
written, on a read-only disk, it is kept in this process and is gone with it.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from encfs.audit.home import home
from encfs.audit.log import STATE, AuditLog
from encfs.errors import AuditError

_lock = threading.Lock()
_unsaved = [0]


def count(number: int) -> None:
    """So many more are lost."""
    with _lock:
        _unsaved[0] += number
    # What cannot be noted now is kept here.
    with suppress(OSError, RuntimeError, AuditError), home() as here:
        if STATE in here.store.list(here.dirfd):
            settle(here.log())


def settle(log: AuditLog) -> None:
    """Let the log know what it does not know yet. Raises: OSError: it still does not."""
    with _lock:
        number = _unsaved[0]
        if number:
            log.note_lost(number)
            _unsaved[0] = 0


def _forget() -> None:
    """A daemon that was forked: the process that it came from tells what it has lost itself."""
    _unsaved[0] = 0


os.register_at_fork(after_in_child=_forget)
