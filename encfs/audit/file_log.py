"""What programs do with the files of a mount, on its way to the log.

Owns: a queue that ends somewhere, the thread that writes it in batches, names as HMACs (FORMAT.md section 16, "Names of
files"). Must not know: requests, which of them are events, policies.

A program never waits for the log: what finds no room in the queue is counted, and the log says how many those were.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from encfs.audit import journal, losing
from encfs.audit.log import Place
from encfs.core.names_hashed import new_name_key, path_hash
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError
from encfs.format.audit_body import AuditBody, Outcome
from encfs.happenings import FileEvent
from encfs.units import VolumeId

logger: Final = logging.getLogger("cloakfs.audit")

CAPACITY: Final = 16_384
# So many records are one write; the epoch of the log ends between two of them.
BATCH: Final = 256
# An event waits so long for others, unless many have come.
_GATHER_SECONDS: Final = 1.0
# After a batch that could not be written: a disk that is full stays so for a while.
_AGAIN_SECONDS: Final = 10.0

Records = list[tuple[VolumeId, AuditBody]]


class FileLog:
    """Satisfies :class:`encfs.happenings.FileJournal` with the log of this user.

    Args:
        slot: id of the slot that opened the volume.
        reads: whether it wants to know of files that are opened for reading.
        capacity: how many events wait at most.
        write: as :func:`encfs.audit.journal.record_all`.
    """

    def __init__(
        self,
        volume_id: VolumeId,
        slot: bytes,
        *,
        reads: bool,
        capacity: int = CAPACITY,
        write: Callable[..., None] = journal.record_all,
    ) -> None:
        self.reads = reads
        self._volume_id = volume_id
        self._slot = slot
        self._capacity = capacity
        self._append = write
        self._key = new_name_key()
        self._key_in: Place | None = None  # the segment that has it
        self._queue: deque[FileEvent] = deque()
        self._held: list[FileEvent] = []  # taken from the queue, and not written yet
        self._overflowed = 0
        self._overflow_told = 0
        self._wanted = threading.Event()
        self._hurry = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread, in the process that serves the mount."""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def happened(self, event: FileEvent) -> None:
        """Take it for the next batch; from one thread only."""
        queue = self._queue
        if len(queue) >= self._capacity:
            self._overflowed += 1
            return
        queue.append(event)
        if not self._wanted.is_set():
            self._wanted.set()
        if len(queue) == BATCH:
            self._hurry.set()

    def end(self) -> None:
        """Write what is left, or count it as lost."""
        self._ending = True
        self._wanted.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()
        left = len(self._held) + len(self._queue) + self._overflowed - self._overflow_told
        if left:
            losing.count(left)

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception as exc:
            logger.error("unexpected error in the audit log; nothing more of files is recorded", exc_info=exc)

    def _work(self) -> None:
        while not self._ending:
            self._wanted.wait()
            self._hurry.wait(_GATHER_SECONDS)
            self._wanted.clear()
            self._hurry.clear()
            if not self.write_all() and not self._ending:
                self._hurry.wait(_AGAIN_SECONDS)
                self._wanted.set()
        self.write_all()

    def write_all(self) -> bool:
        """Write all that waits; whether that went."""
        while self._held or self._queue or self._overflowed > self._overflow_told:
            while self._queue and len(self._held) < BATCH:
                self._held.append(self._queue.popleft())
            if not self._write(self._held, self._overflowed - self._overflow_told):
                return False
            self._held = []
        return True

    def _write(self, events: list[FileEvent], overflow: int) -> bool:
        place: Place | None = None

        def records_of(here: Place) -> Records:
            nonlocal place
            place = here
            return self._records(here, events, overflow)

        try:
            self._append(records_of, count=len(events), give_up=False)
        except AuditError as exc:
            logger.warning("what is done with files is not recorded: %s", exc)
            return False
        self._key_in = place
        self._overflow_told += overflow
        return True

    def _records(self, place: Place, events: list[FileEvent], overflow: int) -> Records:
        bodies = []
        if place != self._key_in:
            bodies.append(self._own("file.names", key=self._key.hex()))
        if overflow:
            bodies.append(self._own("log.gap", lost=overflow, what="files"))
        now = time.monotonic_ns()
        bodies += [self._body(event, now) for event in events]
        return [(self._volume_id, body) for body in bodies]

    def _own(self, action: str, **detail: str | int) -> AuditBody:
        return AuditBody(action=action, outcome=Outcome.DONE, uid=os.getuid(), slot=self._slot, detail=detail)

    def _body(self, event: FileEvent, now: int) -> AuditBody:
        detail: dict[str, str | int] = {
            "inode": event.inode,
            "pid": event.pid,
            "ago_ms": (now - event.at_ns) // 1_000_000,
        }
        if event.fid:
            detail["file"] = event.fid.hex()
        if event.kind:
            detail["kind"] = event.kind
        if event.to is not None:
            detail["to"] = self._hash(event.to)
        if event.replaced:
            detail["replaced"] = event.replaced
        if event.exchange:
            detail["exchange"] = 1
        return AuditBody(
            action=str(event.action),
            outcome=Outcome.DONE,
            uid=event.uid,
            slot=self._slot,
            object="" if event.path is None else self._hash(event.path),
            detail=detail,
        )

    def _hash(self, path: bytes) -> str:
        return path_hash(CLOAKFS_1, self._key, path)
