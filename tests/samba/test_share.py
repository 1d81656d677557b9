"""What one desk does in the share: files, trees, attributes, streams, large and many files; and whose they are."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest
from smbprotocol.exceptions import AccessDenied, SMBResponseException
from smbprotocol.open import CreateDisposition

from tests.support.office import Office
from tests.support.programs import MARKER, run
from tests.support.samba import ANNA, BERT
from tests.support.smb import EVERYBODY, NOBODY, READ, WRITE

GIB = 1 << 30


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree on a desk: three levels, names with umlauts and spaces, sizes about those of cells."""
    top = tmp_path / f"{MARKER} 2026"
    for number, size in enumerate((0, 1, 3551, 3552, 4096, 70_001)):
        folder = top / ("Ärztliche Briefe" if number % 2 else f"Labor/{MARKER}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number} für Frau Ö.pdf").write_bytes(os.urandom(size))
    return top


def test_files_and_trees(office: Office, room: Path, tree: Path, tmp_path: Path) -> None:
    """A tree goes up, is renamed and comes back the same; what is deleted is gone, also after a remount."""
    at = f"cd {room.name}"
    office.smbclient(at, "prompt off", "recurse on", "mput *", cwd=tree.parent)
    assert contents(room) == contents(tree.parent)
    office.smbclient(
        at, f'rename "{tree.name}" old', 'rename "old/Labor" "moved"', "mkdir empty",
        'del "old/Ärztliche Briefe/1 für Frau Ö.pdf"',
        f'put "{tree}/Ärztliche Briefe/5 für Frau Ö.pdf" once.pdf', "rename once.pdf twice.pdf",
        f'put "{tree}/Ärztliche Briefe/3 für Frau Ö.pdf" twice.pdf', "deltree empty",
    )  # fmt: skip
    office.remount()
    back = tmp_path / "back"
    back.mkdir()
    office.smbclient(at, "prompt off", "recurse on", "mget *", cwd=back)
    briefe, labor = contents(tree / "Ärztliche Briefe"), contents(tree / "Labor")
    del briefe["1 für Frau Ö.pdf"]
    expected = {f"old/Ärztliche Briefe/{name}": content for name, content in briefe.items()}
    expected |= {f"moved/{name}": content for name, content in labor.items()}
    assert contents(back) == contents(room) == {**expected, "twice.pdf": briefe["3 für Frau Ö.pdf"]}
    assert not (room / "empty").exists()


def test_attributes_and_streams(office: Office, room: Path, tmp_path: Path) -> None:
    """Hidden, read-only, system and archive, and a stream, follow a file through renames and a remount; none is seen
    below.
    """
    (tmp_path / "letter").write_bytes(b"Dear colleague")
    (tmp_path / "zone").write_bytes(b"[ZoneTransfer]\nZoneId=3\n" + MARKER.encode())
    name, at = "letter.docx", f"cd {room.name}"
    stream = f"{name}:Zone.Identifier"
    office.smbclient(
        at, f"put letter {name}", f"put zone {stream}", f"setmode {name} +rhsa", f"rename {name} new-{name}",
        f"setmode new-{name} -r", "mkdir folder", "setmode folder +h", cwd=tmp_path,
    )  # fmt: skip
    before = office.smbclient(at, f"allinfo new-{name}", "allinfo folder")
    office.remount()
    after = office.smbclient(at, f"allinfo new-{name}", "allinfo folder", f"get new-{stream} back", cwd=tmp_path)
    assert "attributes: HSA (26)" in after
    assert "attributes: HD (12)" in after
    assert "stream: [:Zone.Identifier:$DATA]" in after
    for what in ("create_time", "write_time"):
        assert [line for line in before.splitlines() if what in line] == [
            line for line in after.splitlines() if what in line
        ]
    assert (tmp_path / "back").read_bytes() == (tmp_path / "zone").read_bytes()
    held = os.listxattr(room / f"new-{name}")
    assert {"user.DOSATTRIB", "user.DosStream.Zone.Identifier:$DATA"} <= set(held)
    for path in office.volume.lower.rglob("*"):
        for attribute in os.listxattr(path):
            value = os.getxattr(path, attribute)
            assert b"Zone" not in value
            assert "DOSATTRIB" not in attribute


def test_a_word_document_is_saved(office: Office, room: Path) -> None:
    """An owner file that nobody else may open, a new file, two renames, as Word does; a reader sees whole versions."""
    at = room.name
    with office.desk() as writer, office.desk(BERT) as reader:
        versions = [f"version {number}".encode() * 5000 for number in range(4)]
        writer.write(rf"{at}\letter.docx", versions[0])
        owner = writer.open(rf"{at}\~$letter.docx", CreateDisposition.FILE_CREATE, share=NOBODY)
        owner.write(b"Anna")
        with pytest.raises(SMBResponseException, match="STATUS_SHARING_VIOLATION"):
            reader.open(rf"{at}\~$letter.docx")
        for version in versions[1:]:
            reading = reader.open_to_read(rf"{at}\letter.docx")
            before = bytes(reading.read(0, reading.end_of_file))
            writer.write(rf"{at}\~WRD0001.tmp", version)
            old = writer.open(rf"{at}\letter.docx", CreateDisposition.FILE_OPEN, share=EVERYBODY)
            writer.rename(old, rf"{at}\~WRL0002.tmp")
            new = writer.open(rf"{at}\~WRD0001.tmp", CreateDisposition.FILE_OPEN)
            writer.rename(new, rf"{at}\letter.docx")
            old.close()
            new.close()
            writer.delete(rf"{at}\~WRL0002.tmp")
            # The reader still has the version that it opened.
            assert bytes(reading.read(0, reading.end_of_file)) == before
            reading.close()
            assert reader.read(rf"{at}\letter.docx") == version
        owner.close()
        writer.delete(rf"{at}\~$letter.docx")
    office.remount()
    assert contents(room) == {"letter.docx": versions[-1]}


def test_a_file_beyond_four_gib(office: Office, room: Path) -> None:
    """A file with a hole of five GiB in it keeps its ends and its length."""
    name = rf"{room.name}\scan.raw"
    with office.desk() as desk:
        file = desk.open(name)
        file.write(b"first", 0)
        file.write(b"last", 5 * GIB)
        file.close()
        file = desk.open_to_read(name)
        assert file.end_of_file == 5 * GIB + 4
        assert file.read(0, 7) == b"first\0\0"
        assert file.read(5 * GIB - 2, 6) == b"\0\0last"
        file.close()
    office.remount()
    assert (room / "scan.raw").stat().st_size == 5 * GIB + 4
    (room / "scan.raw").unlink()  # What looks for plain text below would read all of the hole.


@pytest.mark.slow
def test_a_large_file_and_many_small_ones(office: Office, room: Path, tmp_path: Path) -> None:
    """A GiB and 2,000 documents go up by smbclient and come back the same."""
    many = tmp_path / "many"
    many.mkdir()
    for number in range(2000):
        (many / f"letter {number:04}.docx").write_bytes(os.urandom(number % 9000))
    with (tmp_path / "film.mp4").open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(4 << 20))
    back = tmp_path / "back"
    back.mkdir()
    office.smbclient(f"cd {room.name}", "prompt off", "recurse on", "mput many", "put film.mp4", cwd=tmp_path)
    office.remount()
    office.smbclient(f"cd {room.name}", "prompt off", "recurse on", "mget *", cwd=back)
    run("diff", "-r", many, back / "many")
    run("cmp", tmp_path / "film.mp4", back / "film.mp4")


def test_two_thousand_documents_are_listed(office: Office, room: Path) -> None:
    """Two desks list a folder of 2,000 documents, while a third deletes half of them: none is missed, none is twice."""
    names = [f"letter {number:04}.docx" for number in range(2000)]
    for name in names:
        (room / name).write_bytes(b"x")
    with office.desk() as first, office.desk(BERT) as second:
        folder = first.folder(room.name)
        assert first.names(folder) == names
        for name in names[::2]:
            (room / name).unlink()
        assert second.names(second.folder(room.name)) == names[1::2]
        folder.close()


def test_owners_permissions_and_acls(office: Office, room: Path) -> None:
    """Two users own what they make, keep each other out where they say so, and let in whom an ACL names; all of it
    outlives a remount.
    """
    at = room.name
    anna, bert = pwd.getpwnam(ANNA).pw_uid, pwd.getpwnam(BERT).pw_uid
    with office.desk() as hers, office.desk(BERT) as his:
        hers.write(rf"{at}\hers.txt", b"hers")
        his.write(rf"{at}\his.txt", b"his")
        assert ((room / "hers.txt").stat().st_uid, (room / "his.txt").stat().st_uid) == (anna, bert)
        assert his.read(rf"{at}\hers.txt") == b"hers"
        (room / "hers.txt").chmod(0o600)
        with pytest.raises(AccessDenied):
            his.read(rf"{at}\hers.txt")
    with office.desk() as hers:
        # The user of this number on the server ([MS-DTYP] 2.4.2 and Samba's "Unix User" domain).
        hers.allow(rf"{at}\hers.txt", {f"S-1-22-1-{anna}": READ | WRITE, f"S-1-22-1-{bert}": READ})
    told: list[set[tuple[str, int]]] = []
    for _ in range(2):
        with office.desk(BERT) as his:
            assert his.read(rf"{at}\hers.txt") == b"hers"
            with pytest.raises(AccessDenied):
                his.write(rf"{at}\hers.txt", b"mine")
            told.append(his.allowed(rf"{at}\hers.txt"))
        office.remount()
    assert told[0] == told[1] == {(f"S-1-22-1-{anna}", READ | WRITE), (f"S-1-22-1-{bert}", READ)}
    assert ((room / "hers.txt").stat().st_uid, (room / "his.txt").stat().st_uid) == (anna, bert)
    owners = {path.stat().st_uid for path in office.volume.lower.rglob("*") if stat.S_ISREG(path.stat().st_mode)}
    assert {anna, bert} <= owners
