"""Where a scan goes, and what it counts (encfs/evidence/scanning.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.evidence import scanning
from encfs.evidence.likely import Kind
from encfs.evidence.scanning import DAY, Age, LeftOut, Scan, Wanted, scan
from encfs.format.limits import CONFIG_NAME

PDF = b"%PDF-1.7\n" + bytes(100)
NOW = 1_800_000_000.0


def make(path: Path, content: bytes = PDF, *, days: float = 1) -> Path:
    """A file that was changed so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def run(root: Path, **wanted: object) -> Scan:
    """A scan of a directory without mounts in it."""
    return scan(str(root), Wanted(**{"now": NOW} | wanted))  # type: ignore[arg-type]


def test_counts_by_kind_age_and_folder(tmp_path: Path) -> None:
    """Each file once: how many of which kind, how old, how large, and in which folder."""
    make(tmp_path / "top.pdf")
    make(tmp_path / "a/one.pdf", days=29)
    make(tmp_path / "a/b/two.pdf", days=31)
    make(tmp_path / "a/b/c/d/three.pdf", days=400)
    make(tmp_path / "a/b/c/d/four", b"MSH|^~\\&|x|", days=3000)
    make(tmp_path / "a/b/none.txt", b"nothing")
    make(tmp_path / "a/b/empty.pdf", b"")
    found = run(tmp_path)
    assert found.outside.kinds == {Kind.DOCUMENT: 4, Kind.HL7: 1}
    assert found.outside.ages == {Age.MONTH: 2, Age.YEAR: 1, Age.SIX_YEARS: 1, Age.OLDER: 1}
    assert (found.outside.bytes, found.outside.clinical) == (4 * len(PDF) + 11, 1)
    assert (found.looked_at, found.folders, found.inside.files) == (6, 5, 0)
    rows = [(path, tally.files) for path, tally in found.top]
    assert rows[0] == (str(tmp_path / "a/b"), 3)
    assert sorted(rows[1:]) == [(str(tmp_path), 1), (str(tmp_path / "a"), 1)]
    assert [path for path, _ in run(tmp_path, depth=0).top] == [str(tmp_path)]


def test_the_folders_with_the_most(tmp_path: Path) -> None:
    """So many as were asked for, the one with the most first."""
    for number in range(1, 6):
        for each in range(number):
            make(tmp_path / f"f{number}/{each}.pdf")
    assert [(Path(path).name, tally.files) for path, tally in run(tmp_path, top=2).top] == [("f5", 5), ("f4", 4)]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither to a file nor to a folder, and a pipe keeps nobody waiting."""
    make(tmp_path / "elsewhere/x.pdf")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file.pdf").symlink_to(tmp_path / "elsewhere/x.pdf")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "pipe.pdf")
    found = run(root)
    assert (found.outside.files, found.looked_at, found.folders) == (0, 0, 1)
    assert (found.unreadable_files, found.unreadable_folders) == (0, 0)


def test_what_becomes_a_link_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that somebody replaces by a link after it was listed is not gone into."""
    make(tmp_path / "elsewhere/x.pdf")
    root = tmp_path / "root"
    for name in ("first", "second"):
        make(root / name / "x.pdf")
    ask = scanning.layout.holds_volume

    def swap(directory: str) -> bool:
        """While one of the two is looked at, the other one is replaced."""
        here = Path(directory)
        if here.parent == root and not any(path.is_symlink() for path in root.iterdir()):
            (other,) = [path for path in root.iterdir() if path != here]
            other.rename(tmp_path / "old")
            other.symlink_to(tmp_path / "elsewhere")
        return ask(directory)

    monkeypatch.setattr(scanning.layout, "holds_volume", swap)
    found = run(root)
    assert (found.outside.files, found.folders, found.unreadable_folders) == (1, 2, 1)


def test_only_the_beginning_is_read_and_the_time_of_reading_stays(tmp_path: Path) -> None:
    """4 KiB and no more, as strace sees it; the time of reading is not changed."""
    path = make(tmp_path / "root/large.pdf", PDF * 5000)
    os.utime(path, (5, NOW))
    program = f"from tests.evidence.test_scanning import *; print(run(Path({str(tmp_path / 'root')!r})).outside.files)"
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=openat,read,pread64", "-o", str(trace), sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"
    lines = [line for line in trace.read_text(encoding="utf-8").splitlines() if "large.pdf" in line]
    assert [line.rpartition("= ")[2] for line in lines if "read" in line] == ["4096"]
    assert [line for line in lines if "openat" in line and "O_NOATIME" in line and "O_NOFOLLOW" in line]
    assert path.stat().st_atime == 5


def test_volumes_programs_and_exclusions_are_left_out(tmp_path: Path) -> None:
    """By the config in it, by name, and by what was asked for."""
    make(tmp_path / "volume/x.pdf")
    (tmp_path / "volume" / os.fsdecode(CONFIG_NAME)).write_bytes(b"")
    make(tmp_path / "node_modules/x.pdf")
    make(tmp_path / "old/x.pdf")
    make(tmp_path / "x.pdf.bak")
    found = run(tmp_path, exclude=("old", "*.bak"))
    assert found.outside.files == 0
    assert found.left_out == {LeftOut.VOLUME: 1, LeftOut.PROGRAM: 1, LeftOut.EXCLUDED: 2}


def test_mounts(tmp_path: Path) -> None:
    """Nothing that is mounted is even touched; open volumes count as inside where that is wanted."""
    for name in ("stick", "proc", "locked", "open"):
        make(tmp_path / name / "deep/x.pdf")
    make(tmp_path / "x.pdf")
    table = {
        str(tmp_path / name): kind
        for name, kind in (("stick", "vfat"), ("proc", "proc"), ("locked", "fuse.cloakfs"), ("open", "fuse.cloakfs"))
    }
    found = run(tmp_path, mounts=lambda: table)
    assert (found.outside.files, found.inside.files) == (1, 0)
    assert found.left_out == {LeftOut.FILESYSTEM: 1, LeftOut.SYSTEM: 1, LeftOut.MOUNT: 2}
    found = run(tmp_path, mounts=lambda: table, across=True, open_volumes=frozenset({str(tmp_path / "open")}))
    assert (found.outside.files, found.inside.files, found.looked_at) == (2, 1, 2)
    assert [path for path, _ in found.top if path.startswith(str(tmp_path / "open"))] == []
    inside = run(tmp_path / "open/deep", mounts=lambda: table)
    assert (inside.outside.files, inside.inside.files, inside.top) == (0, 1, [])


@pytest.fixture
def another_filesystem(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs in the directory, which a table of mounts may or may not show."""
    if os.geteuid():
        pytest.skip("only root mounts")
    place = tmp_path / "root/other"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_what_is_mounted_meanwhile(another_filesystem: Path) -> None:
    """A filesystem that was not there at the start is left out too; a subvolume, which is no mount, is not."""
    make(another_filesystem / "x.pdf")
    make(another_filesystem.parent / "x.pdf")
    tables = iter([{}, {str(another_filesystem): "tmpfs"}])
    found = run(another_filesystem.parent, mounts=lambda: next(tables))
    assert (found.outside.files, found.left_out) == (1, {LeftOut.FILESYSTEM: 1})
    assert run(another_filesystem.parent, mounts=dict).outside.files == 2


def test_the_same_filesystem_twice(tmp_path: Path) -> None:
    """What is mounted at two places counts once, also where one is inside of the other."""
    if os.geteuid():
        pytest.skip("only root mounts")
    make(tmp_path / "root/x.pdf")
    inner = tmp_path / "root/again"
    inner.mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "root", inner], check=True)
    try:
        found = run(tmp_path / "root", mounts=lambda: {str(inner): "ext4"}, across=True)
    finally:
        subprocess.run(["umount", inner], check=True)
    assert found.outside.files == 1


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """A folder and a file of somebody else; the rest is gone through."""
    make(tmp_path / "root/closed/x.pdf")
    make(tmp_path / "root/x.pdf").chmod(0)
    make(tmp_path / "root/y.pdf").chmod(0o644)
    (tmp_path / "root/closed").chmod(0)
    program = (
        "from tests.evidence.test_scanning import *; import os, sys; os.setuid(65534) if not os.geteuid() else 0; "
    )
    program += "r = run(Path(sys.argv[1])); print(r.unreadable_folders, r.unreadable_files, r.outside.files)"
    own = [parent for parent in tmp_path.parents if parent.stat().st_uid == os.geteuid() and parent != Path("/")]
    for directory in (tmp_path, *own, tmp_path / "root"):
        directory.chmod(directory.stat().st_mode | 0o055)
    command = [sys.executable, "-c", program, str(tmp_path / "root")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    (tmp_path / "root/closed").chmod(0o700)
    assert (done.stdout, done.stderr) == ("1 1 1\n", "")


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    """Nobody is told that nothing was found where nothing was looked at."""
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError):
        run(make(tmp_path / "x.pdf"))


def test_what_is_remembered_does_not_grow(tmp_path: Path) -> None:
    """Thousands of folders with one file each: twenty of them are kept, and progress is told on the way."""
    for number in range(3000):
        make(tmp_path / f"{number % 10}/{number}/x.pdf")
    told: list[int] = []
    found = scan(str(tmp_path), Wanted(now=NOW), lambda so_far: told.append(so_far.looked_at))
    assert (found.outside.files, len(found.top)) == (3000, 20)
    assert told == [500, 1000, 1500, 2000, 2500, 3000]
