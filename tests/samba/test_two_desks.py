"""Two desks on one file: locks, who may open it meanwhile, leases, and being told of changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from smbprotocol.change_notify import FileAction, FileSystemWatcher
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.open import CreateDisposition, LockFlags, ShareAccess

from tests.support.mounting import wait_for
from tests.support.office import Office
from tests.support.samba import BERT

# Two that smbprotocol has no name for ([MS-ERREF] 2.3.1).
FILE_LOCK_CONFLICT, LOCK_NOT_GRANTED = "0xc0000054", "0xc0000055"
SHARED = LockFlags.SMB2_LOCKFLAG_SHARED_LOCK


def refused(status: str) -> object:
    """The server answers with this status."""
    return pytest.raises(SMBResponseException, match=status)


def test_byte_ranges(office: Office, room: Path) -> None:
    """A locked range can be neither written nor read by another desk, everything else can; a desk that vanishes gives
    its locks back.
    """
    name = rf"{room.name}\database.accdb"
    with office.desk(BERT) as second:
        with office.desk() as first:
            mine = first.open(name)
            mine.write(bytes(1000))
            theirs = second.open(name)
            first.lock(mine, 100, 50)
            for offset, length in ((100, 50), (149, 1), (0, 1000)):
                with refused(FILE_LOCK_CONFLICT):
                    theirs.write(b"x" * length, offset)
                with refused(FILE_LOCK_CONFLICT):
                    theirs.read(offset, length)
                with refused(LOCK_NOT_GRANTED):
                    second.lock(theirs, offset, length, SHARED)
            theirs.write(b"before", 94)
            theirs.write(b"behind", 150)
            mine.write(b"within", 100)
            second.lock(theirs, 500, 10, SHARED)
            first.lock(mine, 505, 10, SHARED)
            with refused(LOCK_NOT_GRANTED):
                first.lock(mine, 500, 1)
            first.unlock(mine, 100, 50)
            assert theirs.read(94, 62) == b"beforewithin" + bytes(44) + b"behind"
            # A lock may lie where the file has no bytes: databases use such places as signals.
            first.lock(mine, 1 << 40, 1)
            with refused(LOCK_NOT_GRANTED):
                second.lock(theirs, 1 << 40, 1)
            first.vanish()

        def free() -> bool:
            try:
                second.lock(theirs, 1 << 40, 1)
            except SMBResponseException:
                return False
            return True

        wait_for(free, "the lock of the desk that vanished is given back")
        second.unlock(theirs, 500, 10)
        second.lock(theirs, 505, 10)
        theirs.close()


def test_who_may_open(office: Office, room: Path) -> None:
    """What a desk does not share cannot be opened, renamed or deleted elsewhere; what it deletes is gone for all when
    the last has closed it.
    """
    name = rf"{room.name}\letter.docx"
    with office.desk() as first, office.desk(BERT) as second:
        mine = first.open(name, share=ShareAccess.FILE_SHARE_READ)
        mine.write(b"Dear colleague")
        assert second.read(name) == b"Dear colleague"
        for attempt in (lambda: second.open(name), lambda: second.delete(name)):
            with refused("STATUS_SHARING_VIOLATION"):
                attempt()
        mine.close()
        held = second.open_to_read(name)
        first.delete(name)
        assert held.read(0, 4) == b"Dear"
        with refused("STATUS_DELETE_PENDING"):
            first.read(name)
        held.close()
        with refused("STATUS_OBJECT_NAME_NOT_FOUND"):
            first.open(name, CreateDisposition.FILE_OPEN)
    assert list(room.iterdir()) == []


def told(watcher: FileSystemWatcher) -> list[tuple[int, str]]:
    """What a desk is told: kind of change and name."""
    watcher.response_event.wait(60)
    assert watcher.result, "nothing was told"
    return [(one["action"].get_value(), one["file_name"].get_value()) for one in watcher.result]


def test_changes_are_told(office: Office, room: Path) -> None:
    """A desk that watches a folder is told of what another makes, renames and deletes there, and of what the server's
    own programs do.
    """
    with office.desk() as first, office.desk(BERT) as second:
        folder = second.folder(room.name)
        steps = (
            (lambda: first.write(rf"{room.name}\a.txt", b"a"), (FileAction.FILE_ACTION_ADDED, "a.txt")),
            (lambda: first.delete(rf"{room.name}\a.txt"), (FileAction.FILE_ACTION_REMOVED, "a.txt")),
            (lambda: (room / "b.txt").write_bytes(b"b"), (FileAction.FILE_ACTION_ADDED, "b.txt")),
            (lambda: (room / "b.txt").unlink(), (FileAction.FILE_ACTION_REMOVED, "b.txt")),
        )
        for act, expected in steps:
            watcher = second.watch(folder)
            act()
            assert expected in told(watcher)
        folder.close()
