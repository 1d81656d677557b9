"""encfs/backup/targets.py, markers.py: what is a target, and which medium is there (FORMAT.md 18)."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from encfs.backup import markers
from encfs.backup.markers import Marker, check_marker, find_medium, marker_of, prepare_directory
from encfs.backup.plans import EngineKind, Plan
from encfs.backup.targets import TargetKind, check_not_own_medium, parse
from encfs.core.documents import open_document, sign_document
from encfs.crypto.signing import Algorithm, Signer
from encfs.errors import BackupError, ExitCode, NotEmptyError, UsageError, WrongMediumError
from encfs.registers import media
from tests.support import blockdev
from tests.support.backup_plans import PLAN, VOLUME, a_plan, a_run

# -- what is typed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "location"),
    [
        ("/media/backup/", TargetKind.DIRECTORY, "/media/backup"),
        ("//media//backup/../b", TargetKind.DIRECTORY, "/media/b"),
        ("/media/ftp:x", TargetKind.DIRECTORY, "/media/ftp:x"),
        ("sftp:anna@nas:/srv/b", TargetKind.SFTP, "sftp:anna@nas:/srv/b"),
        ("sftp:nas:b", TargetKind.SFTP, "sftp:nas:b"),
        ("sftp://anna@nas.lan:2222//srv/b", TargetKind.SFTP, "sftp://anna@nas.lan:2222//srv/b"),
        ("sftp://anna@[fe80::1]:22/b", TargetKind.SFTP, "sftp://anna@[fe80::1]:22/b"),
        ("rclone:nas:a/b/", TargetKind.RCLONE, "nas:a/b"),
        ("rclone:my nas.2:", TargetKind.RCLONE, "my nas.2:"),
        ("rclone:nas:/", TargetKind.RCLONE, "nas:/"),
    ],
)
def test_targets(text: str, kind: TargetKind, location: str) -> None:
    """Each kind is known by how it is written, and what is written down gives the same target again."""
    target = parse(text)
    assert (target.kind, target.location) == (kind, location)
    assert parse(target.text) == target


def test_a_relative_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written down as the whole path: the timer runs elsewhere. One with a colon is given with a dot."""
    monkeypatch.chdir(tmp_path)
    assert parse("sub/b").text == f"{tmp_path}/sub/b"
    assert parse("./a:b").text == f"{tmp_path}/a:b"
    assert os.fsencode(parse(os.fsdecode(b"/m/\xff")).location) == b"/m/\xff"


@pytest.mark.parametrize(
    "text",
    ["ftp://nas/b", "FTP:nas", "http://nas/b", "webdav://nas/b", "dav:x", "rest:http://nas:8000/", "rsync://nas/b"],
)
def test_clear_text(text: str) -> None:
    """A protocol that encrypts nothing is refused, with what to use instead."""
    with pytest.raises(UsageError, match="clear text") as caught:
        parse(text)
    assert "sftp:USER@HOST:PATH" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("smb://nas/share", "Mount the share"),
        (r"\\nas\share", "Mount the share"),
        ("nfs://nas/share", "Mount the share"),
        ("https://cloud/dav", "rclone config"),
        ("s3:s3.example.org/bucket", "rclone config"),
        ("rest:https://nas/", "rclone config"),
        ("anna@nas:/srv/b", "sftp:anna@nas:/srv/b"),
        ("C:/backup", "Give a directory"),
        ("~/backup", "whole path"),
        ("/", "another disk"),
        ("/..", "another disk"),
        ("", "Give a directory"),
        ("/a\nb", "Give a directory"),
        ("sftp:nas", "PATH is"),
        ("sftp:anna@nas:", "PATH is"),
        ("sftp:-oProxyCommand=x@nas:/b", "PATH is"),
        ("sftp:anna@-oProxyCommand=x:/b", "PATH is"),
        ("sftp://anna@nas:port/b", "PATH is"),
        ("sftp://anna:secret@nas/b", "ssh-copy-id"),
        ("rclone:nas", "rclone listremotes"),
        ("rclone:-v:b", "rclone listremotes"),
        ("rclone:nas:a/../../b", "rclone listremotes"),
        ("rclone::ftp,host=nas:/b", "rclone config"),
        ("rclone:nas,url='http://x':b", "rclone config"),
        ("rclone:/srv/b:c", "rclone config"),
    ],
)
def test_no_targets(text: str, advice: str) -> None:
    """What is none is refused with what to do; a password in a target is not repeated."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert advice in caught.value.hint
    assert "secret" not in f"{caught.value}{caught.value.hint}"


# -- the marker --------------------------------------------------------------------------------------------------------

MARKER = Marker(plan=PLAN, volume=VOLUME, label="A", engine=EngineKind.COPY)


def test_the_marker(tmp_path: Path) -> None:
    """FORMAT.md 18: a document of the kind backup-target with these five fields, and nothing beside it."""
    markers.write_marker(os.fsencode(tmp_path), MARKER)
    document = open_document((tmp_path / "cloakfs.backup").read_bytes(), "backup-target")
    assert document.body == {"plan": PLAN, "volume": VOLUME, "label": "A", "engine": "copy", "version": 1}
    assert markers.read_marker(os.fsencode(tmp_path)) == MARKER
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["cloakfs.backup"]


def test_a_marker_of_a_crash(tmp_path: Path) -> None:
    """What a crash left under another name is no marker, and does not stand in the way of one."""
    (tmp_path / "cloakfs.backup.new").write_bytes(b"half")
    assert markers.read_marker(os.fsencode(tmp_path)) is None
    markers.write_marker(os.fsencode(tmp_path), MARKER)
    assert markers.read_marker(os.fsencode(tmp_path)) == MARKER
    assert not (tmp_path / "cloakfs.backup.new").exists()


@pytest.mark.parametrize("damage", ["bit", "empty", "version", "engine", "more"])
def test_a_damaged_marker(tmp_path: Path, damage: str) -> None:
    """It is not guessed whose target that is: an error of the backup, which says what to do."""
    data = bytearray(markers.pack_marker(MARKER))
    if damage == "bit":
        data[data.index(b'"A"') + 1] ^= 1
    elif damage == "empty":
        data.clear()
    else:
        body = {"plan": PLAN, "volume": VOLUME, "label": "A", "engine": "copy", "version": 1}
        body |= {"version": {"version": 2}, "engine": {"engine": "tar"}, "more": {"more": 1}}[damage]
        data = bytearray(sign_document(Signer.generate(), kind="backup-target", made_at=0, host="other", body=body))
    (tmp_path / "cloakfs.backup").write_bytes(data)
    with pytest.raises(BackupError, match="damaged") as caught:
        find_medium(a_plan("A"), os.fsencode(tmp_path))
    assert "Nothing was written" in caught.value.hint


def test_a_marker_of_another_computer(tmp_path: Path) -> None:
    """Whoever signed it: after a fire it is another computer that reads it."""
    body = {"plan": PLAN, "volume": VOLUME, "label": "A", "engine": "copy", "version": 1}
    signer = Signer(Algorithm.ED25519, bytes(32))
    (tmp_path / "cloakfs.backup").write_bytes(
        sign_document(signer, kind="backup-target", made_at=0, host="burnt", body=body)
    )
    assert find_medium(a_plan("A"), os.fsencode(tmp_path)) == MARKER


# -- which medium is there ---------------------------------------------------------------------------------------------


def refused(plan: Plan, at: Path, kind: type[BackupError] = WrongMediumError) -> str:
    """Message and hint with which what lies there is refused."""
    before = sorted(os.listdir(at)) if at.is_dir() else None
    with pytest.raises(BackupError) as caught:
        find_medium(plan, os.fsencode(at))
    assert type(caught.value) is kind
    assert before == (sorted(os.listdir(at)) if at.is_dir() else None)
    return f"{caught.value} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        (Marker(plan=PLAN, volume="0d" * 16, label="A", engine=EngineKind.COPY), "another volume"),
        (Marker(plan="0d" * 16, volume=VOLUME, label="A", engine=EngineKind.COPY), "another backup of this volume"),
        (Marker(plan=PLAN, volume=VOLUME, label="Z", engine=EngineKind.COPY), "does not take turns"),
        (Marker(plan=PLAN, volume=VOLUME, label="", engine=EngineKind.COPY), "does not take turns"),
        (Marker(plan=PLAN, volume=VOLUME, label="A", engine=EngineKind.RESTIC), "made by restic"),
    ],
)
def test_the_wrong_medium(tmp_path: Path, marker: Marker, said: str) -> None:
    """It is refused with 33; the text says which one is there, why not, and which ones are taken."""
    markers.write_marker(os.fsencode(tmp_path), marker)
    text = refused(a_plan("A", "B", runs=(a_run(1, "A"),)), tmp_path)
    assert said in text
    assert (f'"{marker.label}"' if marker.label else "without a label") in text.split("|")[0]
    assert 'Expected is "B"; these are taken: "B", "A".' in text
    assert WrongMediumError.exit_code == 33


def test_the_right_medium(tmp_path: Path) -> None:
    """Any of the set is taken, however its label is spelled; so is one without a label that was there first."""
    plan = a_plan("Stick A", "B")
    for label in ("Stick A", "stick a", "B"):
        markers.write_marker(os.fsencode(tmp_path), marker_of(plan, label))
        assert find_medium(plan, os.fsencode(tmp_path)).label == label
    unlabelled = marker_of(plan, "")
    check_marker(a_plan(), unlabelled)
    check_marker(a_plan("B", runs=(a_run(1),)), unlabelled)


@pytest.mark.parametrize("labels", [(), ("A", "B")])
def test_nothing_is_plugged_in(tmp_path: Path, labels: tuple[str, ...]) -> None:
    """An empty mount point is no medium: what is written there would fill the disk of the computer."""
    missing = refused(a_plan(*labels), tmp_path / "at", WrongMediumError if labels else BackupError)
    assert "the target is not there" in missing
    (tmp_path / "at").mkdir()
    text = refused(a_plan(*labels), tmp_path / "at")
    assert "the medium is not there" in text
    (tmp_path / "at/report.odt").write_bytes(b"x")
    assert "other files" in refused(a_plan(*labels), tmp_path / "at")
    assert ('"A", "B"' in text) is bool(labels)


def test_a_target_that_is_no_directory(tmp_path: Path) -> None:
    """A file is none, and what cannot be read is said as it is."""
    (tmp_path / "file").write_bytes(b"")
    assert "not there" in refused(a_plan(), tmp_path / "file", BackupError)
    (tmp_path / "loop").symlink_to("loop")
    assert os.strerror(errno.ELOOP) in refused(a_plan(), tmp_path / "loop", BackupError)


def test_all_media_are_lost(tmp_path: Path) -> None:
    """Then none is expected, and it is said how to add one."""
    media.add("A")
    media.lost("A", lost_at=1)
    (tmp_path / "at").mkdir()
    assert "lost or destroyed" in refused(a_plan("A"), tmp_path / "at")


@pytest.mark.parametrize("labels", [(), ("A",)])
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a filesystem")
def test_a_new_medium(tmp_path: Path, labels: tuple[str, ...]) -> None:
    """An empty medium that is plugged in is none of the set, and it is said how it becomes one."""
    (tmp_path / "at").mkdir()
    blockdev.mount("tmpfs", tmp_path / "at", "tmpfs", "size=1m")
    try:
        text = refused(a_plan(*labels), tmp_path / "at")
    finally:
        blockdev.unmount(tmp_path / "at")
    assert "is empty" in text
    assert f"cloakfs backup init VOLUME {tmp_path}/at --label LABEL" in text


# -- a new target ------------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[bytes]:
    """A volume on a disk of its own, which is memory."""
    path = tmp_path / "disk"
    path.mkdir()
    blockdev.mount("tmpfs", path, "tmpfs", "size=1m")
    try:
        (path / "volume").mkdir()
        yield os.fsencode(path / "volume")
    finally:
        blockdev.unmount(path)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts filesystems")


@needs_root
def test_a_new_target(tmp_path: Path, volume: bytes) -> None:
    """It is made, and made once more without harm; only the last directory of its path is."""
    at = tmp_path / "target"
    for _ in range(2):
        prepare_directory(os.fsencode(at), MARKER, volume=volume)
    assert find_medium(a_plan("A"), os.fsencode(at)) == MARKER
    assert at.stat().st_mode & 0o777 == 0o700
    with pytest.raises(UsageError, match="is not there"):
        prepare_directory(os.fsencode(tmp_path / "not-mounted/backup"), MARKER, volume=volume)
    assert not (tmp_path / "not-mounted").exists()


@needs_root
def test_what_is_there_stays(tmp_path: Path, volume: bytes) -> None:
    """A directory with something else in it is not taken, nor the target of another backup or another medium."""
    at = tmp_path / "target"
    at.mkdir()
    (at / "letter.odt").write_bytes(b"x")
    with pytest.raises(NotEmptyError, match="not empty"):
        prepare_directory(os.fsencode(at), MARKER, volume=volume)
    assert os.listdir(at) == ["letter.odt"]
    (at / "letter.odt").unlink()
    (at / "lost+found").mkdir()
    prepare_directory(os.fsencode(at), MARKER, volume=volume)
    before = (at / "cloakfs.backup").read_bytes()
    for other in ({"plan": "0d" * 16}, {"label": "B"}, {"engine": EngineKind.RESTIC}):
        marker = Marker(**{"plan": PLAN, "volume": VOLUME, "label": "A", "engine": EngineKind.COPY} | other)
        with pytest.raises(WrongMediumError, match='already: the medium "A"'):
            prepare_directory(os.fsencode(at), marker, volume=volume)
    assert (at / "cloakfs.backup").read_bytes() == before


# -- the medium of the volume ------------------------------------------------------------------------------------------


def own_medium(target: Path | bytes, volume: Path | bytes, *mountpoints: Path) -> str:
    """Why a target is refused; empty if it is not."""
    try:
        check_not_own_medium(os.fsencode(target), os.fsencode(volume), map(os.fsencode, mountpoints))
    except UsageError as exc:
        assert "another disk" in exc.hint
        return str(exc)
    return ""


def test_inside_each_other(tmp_path: Path) -> None:
    """Neither in the volume, nor in its mount, nor around it; also through symlinks and where it is not there yet."""
    volume, mount = tmp_path / "v", tmp_path / "m"
    for path in (volume, mount, tmp_path / "volume-2"):
        path.mkdir()
    (tmp_path / "link").symlink_to(volume)
    for inside in (volume, volume / "backup/new", tmp_path / "link/backup", mount, mount / "b"):
        assert "in the volume itself" in own_medium(inside, volume, mount)
    assert "lies in the target" in own_medium(tmp_path, volume)
    assert "same disk" in own_medium(tmp_path / "volume-2", volume)


@pytest.fixture
def two_disks(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two places in memory: images in them are on no disk of the computer."""
    with ExitStack() as stack:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            blockdev.mount("tmpfs", tmp_path / name, "tmpfs", "size=60m")
            stack.callback(blockdev.unmount, tmp_path / name)
        yield tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=blockdev.needs_filesystem("ext4"))])
def test_the_same_disk(tmp_path: Path, two_disks: tuple[Path, Path], kind: str) -> None:
    """Real filesystems on loop devices: another device is another disk, unless the image of it lies on the volume's."""
    one, two = two_disks
    blockdev.make_filesystem(kind, one / "image")
    (tmp_path / "stick").mkdir()
    with blockdev.mounted_image(one / "image", tmp_path / "stick", kind):
        assert own_medium(tmp_path / "stick/backup", tmp_path / "stick/lost+found") != ""
        assert own_medium(tmp_path / "stick/backup", two) == ""
        assert own_medium(two / "backup", tmp_path / "stick") == ""
        # The image is a file of the first disk.
        (one / "volume").mkdir()
        assert "same disk" in own_medium(tmp_path / "stick/backup", one / "volume")
        assert "same disk" in own_medium(one / "backup", tmp_path / "stick")


@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=blockdev.needs_filesystem("ext4"))])
def test_partitions_of_one_disk(tmp_path: Path, two_disks: tuple[Path, Path], kind: str) -> None:
    """Two partitions have two devices, and one disk: that is refused."""
    one, two = two_disks
    disk = one / "disk"
    with disk.open("wb") as file:
        # Two partitions of 10 MiB in the table of an MBR: type, first sector, number of sectors.
        file.truncate(24 << 20)
        for number in range(2):
            file.seek(446 + 16 * number)
            file.write(struct.pack("<4xB3xII", 0x83, 2048 + 20480 * number, 20480))
        file.seek(510)
        file.write(b"\x55\xaa")
    device, fd = blockdev.attach(disk)
    try:
        _check_partitions(tmp_path, device, two)
    finally:
        os.close(fd)


def _check_partitions(tmp_path: Path, device: str, elsewhere: Path) -> None:
    subprocess.run(["partx", "--add", device], check=True)
    try:
        nodes = sorted(re.findall(rf"{device}p\d", " ".join(map(str, Path("/dev").glob("loop*p*")))))
        assert len(nodes) == 2
        with ExitStack() as stack:
            places = [tmp_path / f"part-{number}" for number in range(2)]
            for node, place in zip(nodes, places, strict=True):
                place.mkdir()
                subprocess.run(["mkfs.ext4", "-q", "-F", node], check=True)
                blockdev.mount(node, place, "ext4")
                stack.callback(blockdev.unmount, place)
            assert os.stat(places[0]).st_dev != os.stat(places[1]).st_dev
            assert "same disk" in own_medium(places[1] / "backup", places[0])
            assert own_medium(places[1] / "backup", elsewhere) == ""
    finally:
        subprocess.run(["partx", "--delete", device], check=True)
