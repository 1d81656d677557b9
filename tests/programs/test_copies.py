"""Copies of a tree that has one of everything: rsync, tar and cp, in and out; find, du and df see the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume
from tests.support.programs import (
    MARKER,
    Reporter,
    assert_same_tree,
    crash,
    link_groups,
    make_tree,
    need,
    reporting,
    run,
)

pytestmark = [pytest.mark.mount, pytest.mark.programs]

# Times are compared to the nanosecond; without this rsync takes those within one second for the same.
RSYNC = ("rsync", "-aHAX", "--numeric-ids", "--modify-window=-1")
TAR = ("tar", "--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner")


@pytest.fixture
def source(base: Path) -> Path:
    """The tree, on the plain disk."""
    need("rsync", "setfacl", "tar")
    top = base / "source"
    try:
        make_tree(top)
    except OSError as exc:
        pytest.skip(f"the filesystem of the temporary directory has no attributes or ACLs: {exc}")
    return top


def assert_rsync_finds_no_difference(left: Path, right: Path) -> None:
    """Rsync, comparing contents, attributes and ACLs, would change nothing in either direction."""
    for one, other in ((left, right), (right, left)):
        changes = run(*RSYNC, "--checksum", "--dry-run", "--itemize-changes", "--delete", f"{one}/", f"{other}/")
        assert changes == ""


def test_rsync_both_ways(volume: MountedVolume, source: Path, base: Path) -> None:
    """rsync -aHAX into the mount and back: nothing of the tree is lost, neither for rsync nor for our own look."""
    inside, back = volume.path / f"copy {MARKER}", base / "back"
    run(*RSYNC, f"{source}/", f"{inside}/")
    assert_rsync_finds_no_difference(source, inside)
    assert_same_tree(source, inside)
    volume.remount()
    assert_same_tree(source, inside)
    run(*RSYNC, "--sparse", f"{inside}/", f"{back}/")
    assert_rsync_finds_no_difference(source, back)
    assert_same_tree(source, back)


def test_rsync_updates_a_copy(volume: MountedVolume, source: Path) -> None:
    """Changes, deletions and moves are brought to the copy, in place and by renaming."""
    inside = volume.path / "copy"
    run(*RSYNC, f"{source}/", f"{inside}/")
    (source / "large").write_bytes(b"changed" + (source / "large").read_bytes()[7:-3])
    (source / "n").mkdir()
    (source / ("n" * 255)).rename(source / "n" / ("m" * 255))
    letters = source / f"letters {MARKER}"
    (letters / "letter-10.txt").unlink()
    (letters / "the same letter").unlink()
    os.link(letters / "letter-11.txt", letters / "the same letter")
    os.removexattr(source / "sparse", "user.cloakfs-test")
    (source / "pipe").unlink()
    (source / "pipe").symlink_to("a link where a pipe was")
    for options in (("--inplace", "--no-whole-file"), ("--no-whole-file",)):
        run(*RSYNC, "--delete", *options, f"{source}/", f"{inside}/")
        assert_same_tree(source, inside)
        (source / "large").write_bytes((source / "large").read_bytes() + b"more")
    run(*RSYNC, "--delete", f"{source}/", f"{inside}/")
    volume.remount()
    assert_same_tree(source, inside)


def test_rsync_between_two_places_on_the_mount(volume: MountedVolume, source: Path) -> None:
    """A copy and a copy of the copy whose unchanged files are hard links (--link-dest), as backups are made."""
    first, second = volume.path / "monday", volume.path / "tuesday"
    run(*RSYNC, f"{source}/", f"{first}/")
    run(*RSYNC, "--link-dest", first, f"{first}/", f"{second}/")
    assert (first / "large").samefile(second / "large")
    volume.remount()
    assert (first / "large").samefile(second / "large")
    run("rm", "-rf", first)
    assert_rsync_finds_no_difference(source, second)


def test_tar_round_trip(volume: MountedVolume, source: Path, base: Path) -> None:
    """Unpacked on the mount, packed there, unpacked outside: the same tree each time."""
    run(*TAR, "--sparse", "-cf", base / "source.tar", "-C", source, ".")
    inside, back = volume.path / "unpacked", base / "back"
    inside.mkdir()
    back.mkdir()
    run(*TAR, "-xpf", base / "source.tar", "-C", inside)
    assert_same_tree(source, inside)
    volume.remount()
    run(*TAR, "-cf", volume.path / "packed.tar.gz", "--gzip", "-C", inside, ".")
    run(*TAR, "--compare", "-f", volume.path / "packed.tar.gz", "-C", inside)
    run(*TAR, "-xpf", volume.path / "packed.tar.gz", "-C", back)
    assert_same_tree(source, back)


def test_cp_find_du_df(volume: MountedVolume, source: Path, base: Path) -> None:
    """cp -a keeps everything; find, du, df and stat tell of the mount what they tell of a plain copy."""
    inside, back = volume.path / "copied", base / "back"
    run("cp", "-a", source, inside)
    assert_same_tree(source, inside)
    run("cp", "-a", "--sparse=always", inside, back)
    assert_same_tree(source, back)
    listing = ("find", ".", "-printf", r"%P\0%y %m %U %G %T@ %l\n", "(", "-type", "d", "-o", "-printf", r"%s %n\n", ")")
    assert sorted(run(*listing, cwd=source).split("\n")) == sorted(run(*listing, cwd=inside).split("\n"))
    apparent = ("sh", "-c", "find . ! -type d -print0 | du -bl --files0-from=- | sort")
    assert run(*apparent, cwd=source) == run(*apparent, cwd=inside)
    used = {place: int(run("du", "-s", "-k", place).split()[0]) for place in (source, inside)}
    # The header and the rounding to cells cost a little; a hole costs nothing.
    assert used[source] <= used[inside] < used[source] + 4 * len(list(source.rglob("*"))) + 1024
    assert int(run("du", "-k", inside / "sparse").split()[0]) < 100
    columns = "--output=size,itotal"
    assert run("df", columns, volume.path) == run("df", columns, volume.lower)
    assert run("df", "--output=target", volume.path).split() == ["Mounted", "on", str(volume.path)]
    assert run("stat", "-f", "-c", "%l", volume.path).strip() == "255"
    # Each object has one number, and it stays.
    numbers = run("find", ".", "-printf", r"%i %P\0", cwd=inside)
    volume.remount()
    assert run("find", ".", "-printf", r"%i %P\0", cwd=inside) == numbers
    assert link_groups(inside) == link_groups(source)
    run("rm", "-r", inside)
    assert [path.name for path in volume.path.iterdir()] == [f"{MARKER}.txt"]


@pytest.mark.parametrize(
    "program",
    [
        "rsync",
        pytest.param("rsync --inplace", marks=pytest.mark.slow),
        pytest.param("tar", marks=pytest.mark.slow),
        "cp",
    ],
)
def test_the_daemon_is_killed(volume: MountedVolume, base: Path, source: Path, program: str) -> None:
    """kill -9 of the daemon in the middle of a copy: the volume opens, is sound, and the copy can be finished."""
    inside = volume.path / "copy"
    many = source / "many"
    many.mkdir()
    for number in range(400):
        (many / f"{MARKER} {number}").write_bytes(os.urandom(number * 61))
    run("tar", "-cf", base / "source.tar", "-C", source, ".")
    inside.mkdir()
    command = {
        "rsync": (*RSYNC, "--out-format=%n", "--outbuf=L", f"{source}/", f"{inside}/"),
        "rsync --inplace": (*RSYNC, "--inplace", "--out-format=%n", "--outbuf=L", f"{source}/", f"{inside}/"),
        "tar": ("stdbuf", "-oL", "tar", "-xvf", str(base / "source.tar"), "-C", str(inside)),
        "cp": ("stdbuf", "-oL", "cp", "-av", f"{source}/.", str(inside)),
    }[program]
    for count in (60, 200):
        copy = Reporter(command)
        with reporting(copy):
            copy.read(count)
            crash(volume, copy)
        # Whatever is there can be listed, read and deleted, and half of it is.
        run("find", inside, "-type", "f", "-exec", "cat", "{}", "+")
        run("find", inside, "-name", "*1*", "-delete", check=False)
    run(*RSYNC, "--delete", "--checksum", f"{source}/", f"{inside}/")
    assert_same_tree(source, inside)
