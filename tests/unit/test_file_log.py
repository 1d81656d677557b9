"""Events of files on their way to the log (FORMAT.md section 16, "Gaps" and "Names of files")."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from encfs.audit import journal, losing
from encfs.audit.file_log import BATCH, FileLog
from encfs.audit.home import home
from encfs.audit.log import Place, RecordsOf
from encfs.audit.reading import read_log
from encfs.core.audit_verify import LogVerifier
from encfs.core.names_hashed import normal_path, path_hash
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError
from encfs.format.audit_body import AuditBody, Outcome
from encfs.happenings import FileAction, FileEvent
from encfs.units import VolumeId

VOLUME = VolumeId(b"v" * 16)


def event(number: int) -> FileEvent:
    """The event of that number."""
    return FileEvent(
        action=FileAction.CREATE,
        path=b"dir/%d" % number,
        uid=7,
        pid=8,
        at_ns=time.monotonic_ns(),
        inode=number,
        fid=b"f" * 16,
    )


class Written:
    """Stands in for the log: what was written with each call; ``full``: it cannot be."""

    def __init__(self) -> None:
        self.calls: list[list[AuditBody]] = []
        self.full = False
        self.place = Place(b"l" * 16, 1)

    def __call__(self, records_of: RecordsOf, *, count: int, give_up: bool) -> None:
        """As :func:`encfs.audit.journal.record_all`."""
        assert not give_up
        records = records_of(self.place)
        if self.full:
            raise AuditError("no room")
        assert {volume for volume, _ in records} == {VOLUME}
        self.calls.append([body for _, body in records])
        assert count == sum(body.action == "file.create" for body in self.calls[-1])

    def inodes(self) -> list[object]:
        """Of all events, in the order in which they were written."""
        return [body.detail["inode"] for call in self.calls for body in call if body.action == "file.create"]


def log_to(written: Written, capacity: int = 1000) -> FileLog:
    """A queue whose end is there."""
    return FileLog(VOLUME, b"s" * 8, reads=False, capacity=capacity, write=written)


def in_the_log() -> list[AuditBody]:
    """All records of this test's host."""
    with home() as here:
        return [taken.body for taken in read_log(here, LogVerifier(CLOAKFS_1, here.auditor_key())) if taken.body]


@pytest.fixture(autouse=True)
def nothing_lost() -> None:
    """What an earlier test has lost is not this one's."""
    losing._unsaved[0] = 0


def test_batches_and_their_key() -> None:
    """Few writes for many events, in order; the key of names once in a segment, before the first of them."""
    written = Written()
    log = log_to(written)
    for number in range(BATCH + 50):
        log.happened(event(number))
    assert log.write_all()
    assert [len(call) for call in written.calls] == [BATCH + 1, 50]
    assert written.inodes() == list(range(BATCH + 50))
    keys = written.calls[0][0]
    assert (keys.action, keys.uid) == ("file.names", os.getuid())
    key = bytes.fromhex(str(keys.detail["key"]))
    first = written.calls[0][1]
    assert (first.object, first.uid, first.slot) == (path_hash(CLOAKFS_1, key, b"dir/0"), 7, b"s" * 8)
    assert (first.detail["pid"], first.detail["file"]) == (8, (b"f" * 16).hex())
    for place in (Place(b"l" * 16, 2), Place(b"m" * 16, 2)):
        written.place = place
        for number in (1, 2):
            log.happened(event(number))
            assert log.write_all()
        assert [[body.action for body in call] for call in written.calls[-2:]] == [
            ["file.names", "file.create"],
            ["file.create"],
        ]
        assert written.calls[-2][0] == keys


def test_what_finds_no_room_is_counted() -> None:
    """Events wait while the log is full, as many as there is room for; then the log says how many are missing."""
    written = Written()
    written.full = True
    log = log_to(written, capacity=10)
    for number in range(25):
        log.happened(event(number))
    assert not log.write_all()
    log.happened(event(25))  # What was taken from the queue has made room in it.
    written.full = False
    assert log.write_all()
    assert written.inodes() == [*range(10), 25]
    gaps = [body for call in written.calls for body in call if body.action == "log.gap"]
    assert [body.detail for body in gaps] == [{"lost": 15, "what": "files"}]


def test_the_end_writes_all() -> None:
    """Whatever was taken before :meth:`end` is written when that returns; no thread is left."""
    written = Written()
    log = log_to(written)
    log.begin()
    for number in range(600):
        log.happened(event(number))
    log.end()
    assert written.inodes() == list(range(600))
    assert "audit" not in {thread.name for thread in threading.enumerate()}


def test_what_cannot_be_written_at_the_end_is_a_gap(host_memory: Path) -> None:
    """The next record of this host says how much that was."""
    journal.record(AuditBody(action="test", outcome=Outcome.DONE, uid=0))
    assert host_memory.exists()
    written = Written()
    written.full = True
    log = log_to(written, capacity=3)
    log.begin()
    for number in range(5):
        log.happened(event(number))
    log.end()
    journal.record(AuditBody(action="test", outcome=Outcome.DONE, uid=0))
    found = in_the_log()
    assert [body.action for body in found] == ["test", "log.gap", "test"]
    assert found[1].detail["lost"] == 5


def test_an_error_that_nobody_expected(host_memory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The mount goes on and ends; what was not written is counted."""
    journal.record(AuditBody(action="test", outcome=Outcome.DONE, uid=0))
    assert host_memory.exists()

    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    log = FileLog(VOLUME, b"s" * 8, reads=False, write=broken)
    log.begin()
    log.happened(event(1))
    log.end()
    assert "unexpected error" in caplog.text
    journal.record(AuditBody(action="test", outcome=Outcome.DONE, uid=0))
    assert [body.detail["lost"] for body in in_the_log() if body.action == "log.gap"] == [1]


@pytest.mark.parametrize("spelled", [b"a/b", b"/a/b", b"a//b/", b"./a/./b"])
def test_one_spelling_of_a_path(spelled: bytes) -> None:
    """FORMAT.md section 16: no slash at the ends, one between names; bytes that no encoding knows are bytes."""
    assert normal_path(spelled) == b"a/b"
    assert normal_path(b"\xff /\xfe") == b"\xff /\xfe"


def test_the_bytes_of_a_hash() -> None:
    """A value that was computed elsewhere: printf dir/0 | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101..."""
    assert path_hash(CLOAKFS_1, b"\x01" * 32, b"dir/0") == "6a6e3c2b77742f78bcf9e5413b786659"
