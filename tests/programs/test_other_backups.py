"""Other backup programs over a volume: what they keep of the sealed directory, what a save costs (docs/backup.md)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume
from tests.support.programs import describe, link_groups, make_tree, need, run

pytestmark = [pytest.mark.mount, pytest.mark.programs]

PASSWORD = {
    "RESTIC_PASSWORD": "for tests",
    "BORG_PASSPHRASE": "for tests",
    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
}
LARGE = 8 << 20


class Restic:
    """A repository, and what a run adds to it."""

    def __init__(self, base: Path) -> None:
        need("restic")
        self._to = ("restic", "--repo", str(base / "restic"), "--cache-dir", str(base / "restic-cache"))
        run(*self._to, "init", env=PASSWORD)

    def take(self, tree: Path) -> tuple[int, int]:
        """Bytes that are new in the repository, and files that it took for changed."""
        said = run(*self._to, "backup", "--json", ".", cwd=tree, env=PASSWORD)
        summary = json.loads(said.splitlines()[-1])
        return summary["data_added"], summary["files_changed"] + summary["files_new"]

    def give_back(self, to: Path) -> None:
        run(*self._to, "restore", "latest", "--target", str(to), env=PASSWORD)


class Borg:
    """The same of borg."""

    def __init__(self, base: Path) -> None:
        need("borg")
        self._repository, self._number = base / "borg", 0
        self._home = {**PASSWORD, "BORG_BASE_DIR": str(base / "borg-home")}
        run("borg", "init", "--encryption", "repokey", self._repository, env=self._home)

    def take(self, tree: Path) -> tuple[int, int]:
        self._number += 1
        where = f"{self._repository}::{self._number}"
        said = run("borg", "create", "--json", "--list", "--filter", "AM", where, ".", cwd=tree, env=self._home)
        return json.loads(said)["archive"]["stats"]["deduplicated_size"], 0

    def give_back(self, to: Path) -> None:
        to.mkdir()
        run("borg", "extract", "--numeric-ids", f"{self._repository}::{self._number}", cwd=to, env=self._home)


def _with_restic(lower: Path, to: Path) -> None:
    one = Restic(to.parent)
    one.take(lower)
    one.give_back(to)


def _with_borg(lower: Path, to: Path) -> None:
    one = Borg(to.parent)
    one.take(lower)
    one.give_back(to)


def _with_rsync(lower: Path, to: Path) -> None:
    run("rsync", "-aHAX", "--numeric-ids", "--modify-window=-1", f"{lower}/", f"{to}/")


def _with_cp(lower: Path, to: Path) -> None:
    run("cp", "-a", lower, to)


_SLOWLY = (_with_rsync, _with_restic, _with_borg)


@pytest.mark.parametrize("tool", [_with_cp, *(pytest.param(one, marks=pytest.mark.slow) for one in _SLOWLY)])
def test_what_a_program_took_of_a_locked_volume_is_the_volume(
    volume: MountedVolume, base: Path, tool: Callable[[Path, Path], None]
) -> None:
    """The directory of a locked volume, copied and given back, opens, and all in it is as it was; no key is needed."""
    tree = volume.path / "tree"
    make_tree(tree)
    before, groups = describe(tree), link_groups(tree)
    volume.lock()
    tool(volume.lower, base / "back")
    shutil.rmtree(volume.lower)
    (base / "back").rename(volume.lower)
    volume.mount()
    after = describe(tree)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set()
    assert link_groups(tree) == groups


def test_what_a_plain_copy_to_a_cloud_leaves_behind(volume: MountedVolume, base: Path) -> None:
    """Rclone keeps the contents of a locked volume, and no links, modes, owners and attributes: our manifest does."""
    need("rclone")
    tree = volume.path / "tree"
    tree.mkdir()
    (tree / "letter").write_bytes(b"Dear colleague")
    (tree / "letter").chmod(0o640)
    os.setxattr(tree / "letter", "user.note", b"seen")
    os.link(tree / "letter", tree / "the same letter")
    (tree / "link").symlink_to("letter")
    volume.lock()
    run("rclone", "--config", base / "rclone.conf", "copy", volume.lower, base / "back")
    shutil.rmtree(volume.lower)
    (base / "back").rename(volume.lower)
    volume.mount()
    found = describe(tree)
    assert found.keys() == {".", "letter", "the same letter"}
    assert (tree / "letter").read_bytes() == (tree / "the same letter").read_bytes() == b"Dear colleague"
    assert {found[name].links for name in ("letter", "the same letter")} == {1}
    assert found["letter"].mode == 0o644


@pytest.mark.slow
@pytest.mark.parametrize("program", [Restic, Borg])
def test_a_file_that_is_saved_again_costs_little_through_the_mount(
    volume: MountedVolume, base: Path, program: type[Restic | Borg]
) -> None:
    """Through the mount the same content in a new file adds almost nothing; of the sealed directory all of it."""
    mounted, sealed = (
        program(base / name) for name in ("of-the-mount", "of-the-directory") if not (base / name).mkdir()
    )
    large = volume.path / "scan.pdf"
    large.write_bytes(os.urandom(LARGE))
    volume.remount()
    assert mounted.take(volume.path)[0] > LARGE
    assert sealed.take(volume.lower)[0] > LARGE
    volume.remount()
    added, changed = mounted.take(volume.path)
    assert (added < 64 << 10, changed) == (True, 0), "a volume that was mounted anew looks as before"
    shutil.copyfile(large, volume.path / "scan.new")
    (volume.path / "scan.new").replace(large)
    volume.remount()
    assert mounted.take(volume.path)[0] < 64 << 10
    assert sealed.take(volume.lower)[0] > LARGE


@pytest.mark.slow
def test_of_a_locked_volume_its_mount_point_is_empty(volume: MountedVolume, base: Path) -> None:
    """Restic takes nothing there, and says so: whoever points it at the mount sees to it that it is mounted."""
    one = Restic(base)
    volume.lock()
    with pytest.raises(pytest.fail.Exception, match="snapshot is empty"):
        one.take(volume.path)
    volume.mount()
