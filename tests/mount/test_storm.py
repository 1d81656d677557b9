"""Several processes make, move, link, write and remove the same few names at once; nothing may break."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from tests.mount.conftest import Maker
from tests.support.linux import RENAME_EXCHANGE, RENAME_NOREPLACE, Child, error_of, renameat2
from tests.support.twin import tree

# What a program may meet when another one was quicker. EIO, ESTALE, EBADF, EACCES and the like are not among them.
EXPECTED = {"ENOENT", "EEXIST", "ENOTEMPTY", "EISDIR", "ENOTDIR", "EINVAL", "EPERM", "ELOOP", "EMLINK", "ENODATA"}
LONG = "long name " * 20


def _write(path: Path, rng: random.Random) -> None:
    """A whole file of one byte, in one of the ways that programs have."""
    content = bytes([rng.randrange(1, 256)]) * rng.randrange(1, 20_000)
    if rng.random() < 0.5:
        fresh = path.with_name(f"{path.name[:100]}.{os.getpid()}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    else:
        fresh = None
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(fd, content)
        if rng.random() < 0.2:
            os.fsync(fd)
    finally:
        os.close(fd)
    if fresh is not None:
        try:
            fresh.rename(path)
        except OSError:
            error_of(fresh.unlink)
            raise


def _change(top: Path, rng: random.Random) -> None:
    """One random operation."""
    names = [f"{number}" for number in range(4)] + [LONG]
    places = [*names, *(f"{a}/{b}" for a in names for b in names)]
    one, two = top / rng.choice(places), top / rng.choice(places)
    choice = rng.randrange(12)
    if choice <= 1:
        _write(one, rng)
    elif choice == 2:
        one.mkdir()
    elif choice == 3:
        one.rmdir()
    elif choice == 4:
        one.unlink()
    elif choice == 5:
        one.rename(two)
    elif choice == 6:
        renameat2(one, two, RENAME_EXCHANGE)
    elif choice == 7:
        renameat2(one, two, RENAME_NOREPLACE)
    elif choice == 8:
        os.link(one, two, follow_symlinks=False)
    elif choice == 9:
        one.symlink_to("target" * rng.randrange(1, 40))
    elif choice == 10:
        os.setxattr(one, "user.number", b"%d" % rng.randrange(100)) if rng.random() < 0.5 else os.chmod(one, 0o755)
    else:
        for entry in os.scandir(one):
            entry.stat(follow_symlinks=False)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_of_changes(make_volume: Maker, seed: int) -> None:
    """Whatever comes between: no error but those of a race lost, whole files, the same tree after a remount."""
    volume = make_volume()

    def storm(number: int) -> set[str]:
        rng = random.Random(seed * 100 + number)
        return {error_of(lambda: _change(volume.path, rng)) or "" for _ in range(700)}

    children = [Child(lambda number=number: storm(number)) for number in range(4)]  # type: ignore[misc]
    errors: set[str] = set().union(*(child.result() for child in children))
    assert errors <= EXPECTED | {""}
    before = tree(volume.path)
    volume.remount()
    assert tree(volume.path) == before
    for name, at in before.items():
        path = volume.path / name
        if stat.S_ISREG(int(at.mode, 8)):
            assert len(set(path.read_bytes())) <= 1
        elif stat.S_ISLNK(int(at.mode, 8)):
            assert set(os.readlink(path).split("target")) == {""}
