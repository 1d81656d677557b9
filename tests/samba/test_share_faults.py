"""What desks see when the daemon dies or the disk is full, and that nothing plain is left anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbprotocol.exceptions import SMBException, SMBResponseException

from tests.support.media import lower_filesystem, marks
from tests.support.mounting import is_mounted, wait_for
from tests.support.office import SHARE, Office, opened
from tests.support.samba import BERT
from tests.support.smb import Desk

PIECE = os.urandom(1 << 20)


def is_let_in(office: Office) -> bool:
    """Whether a desk that comes now gets the share."""
    try:
        with office.desk(BERT):
            return True
    except SMBResponseException:
        return False


def test_the_daemon_is_killed(office: Office, room: Path) -> None:
    """kill -9 during a transfer: the desk gets an error, nobody is let in, nothing is written to the bare
    directory, and after a new mount all that was flushed is there and work goes on.
    """
    name = rf"{room.name}\film.mp4"
    with office.desk() as desk:
        desk.write(rf"{room.name}\flushed.docx", PIECE)
        file = desk.open(name)
        for number in range(4):
            file.write(PIECE, number << 20)
        os.kill(office.volume.pid, 9)
        with pytest.raises(SMBException):
            for number in range(4, 64):
                file.write(PIECE, number << 20)
            file.close()
        wait_for(office.volume.is_dead, "the daemon dies")
        assert not is_let_in(office)
        with pytest.raises(SMBException):
            desk.write(rf"{room.name}\other.docx", b"plain")
        # Somebody clears the dead mount away: now the path leads into a bare directory.
        office.volume.clear_dead_mount()
        assert not is_mounted(office.volume.path)
        assert not is_let_in(office)
        for attempt in ("other.docx", rf"{room.name}\other.docx"):
            with pytest.raises(SMBException):
                desk.write(attempt, b"plain")
    said = office.smbclient("put /etc/hostname plain.txt", check=False)
    assert "NT_STATUS_ACCESS_DENIED" in said
    assert list(office.volume.path.iterdir()) == []
    office.volume.mount()
    with office.desk() as desk:
        assert desk.read(rf"{room.name}\flushed.docx") == PIECE
        desk.write(name, b"again" * 10_000)
        assert desk.read(name) == b"again" * 10_000
    assert sorted(path.name for path in room.iterdir()) == ["film.mp4", "flushed.docx"]


def test_a_locked_volume_serves_nothing(office: Office, room: Path) -> None:
    """While the volume is locked nobody is let in and nothing is written; after the next mount everybody is."""
    (room / "letter.docx").write_bytes(PIECE)
    office.nobody_is_inside()
    office.volume.lock()
    try:
        assert not is_let_in(office)
        assert "NT_STATUS_ACCESS_DENIED" in office.smbclient("ls", check=False)
        assert list(office.volume.path.iterdir()) == []
    finally:
        office.volume.mount()
    with office.desk() as desk:
        assert desk.read(rf"{room.name}\letter.docx") == PIECE


@pytest.fixture
def full(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[tuple[Office, object]]:
    """An office whose volume lies on a small disk."""
    base = place / "small"
    base.mkdir()
    with lower_filesystem("ext4", base) as lower, opened(base, lower.path / "volume") as office:
        yield office, lower


@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=marks("ext4"))])
def test_no_room(full: tuple[Office, object], kind: str) -> None:
    """A desk that fills the disk is told so; what was there is as it was; free space is the disk's own; when room is
    made, work goes on.
    """
    office, lower = full
    with office.desk() as desk:
        desk.write("kept.docx", PIECE)
        lower.leave(3 << 20)  # type: ignore[attr-defined]
        with pytest.raises(SMBResponseException, match=r"STATUS_DISK_FULL|0xc000007f"):
            for number in range(64):
                desk.write(f"more {number}.docx", PIECE, flush=False)
        assert desk.read("kept.docx") == PIECE
    assert _free(office) == os.statvfs(lower.path).f_bavail * os.statvfs(lower.path).f_frsize  # type: ignore[attr-defined]
    (lower.path / "ballast").unlink()  # type: ignore[attr-defined]
    with Desk(office.server, SHARE) as desk:
        desk.write("after.docx", PIECE)
        assert desk.read("after.docx") == PIECE
        assert desk.read("kept.docx") == PIECE


def _free(office: Office) -> int:
    """Free bytes, as smbclient is told."""
    blocks = office.smbclient("du").splitlines()
    line = next(line for line in blocks if "blocks of size" in line)
    words = line.split()
    return int(words[words.index("size") + 1].rstrip(".")) * int(words[words.index("blocks", 3) - 1])
