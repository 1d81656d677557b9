"""Read-only mounts: asked for, and on a medium that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import Maker
from tests.support.linux import error_of, needs_root
from tests.support.mounting import MountedVolume, cloakfs
from tests.support.twin import look, tree


def populate(top: Path) -> None:
    """A little of everything."""
    (top / "d").mkdir()
    (top / "d/f").write_bytes(b"content" * 3000)
    (top / ("n" * 255)).write_bytes(b"long name")
    (top / "s").symlink_to("d/f")
    (top / ("s" * 200)).symlink_to("d/f")
    os.mkfifo(top / "p")
    os.link(top / "d/f", top / "g")
    os.setxattr(top / "g", "user.note", b"value")
    (top / "d/f").chmod(0o604)
    os.utime(top / "g", ns=(1, 2))


def refused(top: Path) -> dict[str, str | None]:
    """Every kind of change, and what came of it."""
    file = top / "d/f"
    return {
        "create": error_of(lambda: (top / "new").write_bytes(b"")),
        "write": error_of(lambda: os.close(os.open(file, os.O_WRONLY))),
        "read and write": error_of(lambda: os.close(os.open(file, os.O_RDWR))),
        "truncate": error_of(lambda: os.truncate(file, 0)),
        "O_TRUNC": error_of(lambda: os.close(os.open(file, os.O_RDONLY | os.O_TRUNC))),
        "mkdir": error_of(lambda: (top / "new").mkdir()),
        "rmdir": error_of(lambda: (top / "d").rmdir()),
        "unlink": error_of(file.unlink),
        "rename": error_of(lambda: file.rename(top / "f")),
        "link": error_of(lambda: os.link(file, top / "l")),
        "symlink": error_of(lambda: (top / "new").symlink_to("x")),
        "mkfifo": error_of(lambda: os.mkfifo(top / "new")),
        "chmod": error_of(lambda: file.chmod(0o600)),
        "chown": error_of(lambda: os.chown(file, os.getuid(), -1)),
        "utime": error_of(lambda: os.utime(file)),
        "setxattr": error_of(lambda: os.setxattr(file, "user.a", b"")),
        "removexattr": error_of(lambda: os.removexattr(file, "user.note")),
    }


def contents(top: Path) -> object:
    """All that can be read."""
    return (
        tree(top),
        (top / "d/f").read_bytes(),
        (top / ("n" * 255)).read_bytes(),
        os.readlink(top / "s"),
        os.readlink(top / ("s" * 200)),
        os.getxattr(top / "d/f", "user.note"),
        (top / "g").stat().st_mtime_ns,
        sorted(os.listdir(top)),
    )


def lower_state(volume: MountedVolume) -> dict[str, object]:
    """Every byte and time below."""
    return {
        str(path.relative_to(volume.lower)): (
            look(path),
            path.lstat().st_mtime_ns,
            path.lstat().st_ctime_ns,
            path.read_bytes() if path.is_file() and not path.is_symlink() else None,
        )
        for path in (volume.lower, *volume.lower.rglob("*"))
    }


def test_read_only_mount_changes_nothing(make_volume: Maker) -> None:
    """--read-only: everything reads, every change is EROFS, not one byte or time below is another afterwards."""
    volume = make_volume()
    populate(volume.path)
    expected = contents(volume.path)
    volume.lock()
    before = lower_state(volume)
    volume.mount("--read-only")
    assert contents(volume.path) == expected
    assert set(refused(volume.path).values()) == {"EROFS"}
    fd = os.open(volume.path / "d/f", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    volume.lock()
    assert lower_state(volume) == before


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of its own, mounted."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4")
    image, place = tmp_path / "image", tmp_path / "medium"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    place.mkdir()
    result = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip(f"no loop devices: {result.stderr}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def on_medium(medium: Path, make_volume: Maker) -> MountedVolume:
    """A locked volume with something in it, on a medium that has since become read-only."""
    volume = make_volume(mount=False)
    volume.lower = Path(shutil.move(volume.lower, medium / "volume"))
    volume.mount()
    populate(volume.path)
    volume.lock()
    subprocess.run(["mount", "-o", "remount,ro", medium], check=True)
    return volume


@needs_root
def test_read_only_medium(on_medium: MountedVolume) -> None:
    """On a medium that cannot be written, --read-only reads everything, and every change is EROFS."""
    assert error_of(lambda: (on_medium.lower / "x").write_bytes(b"")) == "EROFS"
    on_medium.mount("--read-only")
    assert set(refused(on_medium.path).values()) == {"EROFS"}
    assert (on_medium.path / "d/f").read_bytes() == b"content" * 3000
    assert os.getxattr(on_medium.path / "g", "user.note") == b"value"
    assert os.statvfs(on_medium.path).f_flag & os.ST_RDONLY
    on_medium.lock()


@needs_root
def test_writable_mount_of_a_read_only_medium_is_refused(on_medium: MountedVolume) -> None:
    """Without --read-only the command says what is wrong, and leaves no mount and no process."""
    result = cloakfs(
        "mount", str(on_medium.lower), str(on_medium.path), "--passphrase-file", str(on_medium.secret_file), check=False
    )
    assert result.returncode not in (0, 1)
    assert "read-only" in result.stderr.lower()
    assert "Traceback" not in result.stderr
    assert not os.path.ismount(on_medium.path)


def test_two_readers_at_once(make_volume: Maker) -> None:
    """Readers do not shut each other out: a volume that is mounted read-only can be read by another command."""
    volume = make_volume()
    (volume.path / "f").write_bytes(b"content")
    volume.remount("--read-only")
    result = cloakfs("cat", str(volume.lower), "f", "--passphrase-file", str(volume.secret_file))
    assert result.stdout == "content"
