"""Audit logs of many years, written in a moment: clocks that tests set, and what is read from a directory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from encfs.audit.home import directory, home
from encfs.audit.log import AuditLog, LogKeys
from encfs.audit.reading import read_segments
from encfs.core.audit_verify import LogVerifier, Trouble
from encfs.crypto import kem
from encfs.crypto.signing import Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.format import limits
from encfs.format.audit import Clock, Moment
from encfs.format.audit_body import AuditBody, Outcome
from encfs.store.base import Store
from encfs.store.local import LocalStore
from encfs.units import VolumeId

DAY: Final = 86_400_000
AUDITOR, PUBLIC = kem.generate()
KEYS: Final = LogKeys(PUBLIC, Signer.generate())
VOLUME: Final = VolumeId(b"v" * 16)
BEGAN: Final = 1_600_000_000_000


class Clocks:
    """All clocks of a host; time passes when a test says so."""

    def __init__(self, wall_ms: int = BEGAN) -> None:
        self.wall_ms, self._mono_ms, self._boot = wall_ms, 0, 1

    def __call__(self) -> Moment:
        return Moment(
            boot_id=bytes([self._boot]) * 16, wall_ms=self.wall_ms, mono_ms=self._mono_ms, clock=Clock.SYNCHRONISED
        )

    def pass_days(self, days: float) -> None:
        """So much time goes by."""
        self.wall_ms += int(days * DAY)
        self._mono_ms += int(days * DAY)

    def set_wall(self, wall_ms: int) -> None:
        """Somebody sets the wall clock."""
        self.wall_ms = wall_ms

    def restart(self, wall_ms: int) -> None:
        """The host is started again, with this wall clock."""
        self.wall_ms, self._mono_ms, self._boot = wall_ms, 0, self._boot + 1


def body(number: int) -> AuditBody:
    """The record of that number."""
    return AuditBody(action="test", outcome=Outcome.DONE, uid=os.geteuid(), detail={"number": number})


@contextmanager
def log_in(
    path: Path, now: Callable[[], Moment], *, store_on: Callable[[int], Store] = LocalStore, keys: LogKeys = KEYS
) -> Iterator[tuple[AuditLog, Store, int]]:
    """The log of a directory, its store, and the directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        store = store_on(fd)
        yield AuditLog(store, fd, keys, now=now), store, fd
    finally:
        os.close(fd)


def modelled(store: Store, now: Callable[[], Moment]) -> AuditLog:
    """The log of a store that has no descriptors of the kernel."""
    return AuditLog(store, 0, KEYS, lock=lambda *_: nullcontext(), now=now)


def years_of(path: Path, now: Clocks, years: float = 7, every: float = 30, *, keys: LogKeys = KEYS) -> int:
    """A log with a record every so many days; how many records there are."""
    count = int(years * 366 / every)
    with log_in(path, now, keys=keys) as (log, _, _):
        log.begin()
        for number in range(count):
            now.pass_days(every)
            log.record(VOLUME, body(number))
    return count


def read(
    store: Store, dirfd: int, *, auditor: bytes | None = AUDITOR, anchors: Mapping[int, bytes] | None = None
) -> tuple[LogVerifier, list[int]]:
    """All that is there, verified, and the numbers of the tests' records."""
    verifier = LogVerifier(CLOAKFS_1, auditor, anchors)
    bodies = [taken.body for taken in read_segments(store, dirfd, verifier) if taken.body is not None]
    return verifier, [int(each.detail["number"]) for each in bodies if each.action == "test"]


def read_in(
    path: Path, *, auditor: bytes | None = AUDITOR, anchors: Mapping[int, bytes] | None = None
) -> tuple[LogVerifier, list[int]]:
    """The same of a directory."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read(LocalStore(fd), fd, auditor=auditor, anchors=anchors)
    finally:
        os.close(fd)


def troubles(verifier: LogVerifier) -> list[Trouble]:
    """What is wrong, in the order in which it was found."""
    return [problem.trouble for problem in verifier.problems]


def years_here(years: float = 7, every: float = 30) -> Clocks:
    """The log of this user (``CLOAKFS_STATE_DIRECTORY``), of so many years until now; its clocks."""
    now = Clocks(int(time.time() * 1000 - years * 366 * DAY))
    usual, limits.AUDIT_EPOCH_MS = limits.AUDIT_EPOCH_MS, DAY  # type: ignore[misc]
    try:
        with home() as here:
            signer = here.signer()
            public = here.keys()[1]
            assert public is not None
            years_of(directory(), now, years, every, keys=LogKeys(public, signer))
    finally:
        limits.AUDIT_EPOCH_MS = usual  # type: ignore[misc]
    return now
