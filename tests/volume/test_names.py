"""Names of every kind: long, linked, symlinks in files, renamed, exchanged, without any (FORMAT.md sections 7 to 9)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encfs.format.header import HeaderFlag
from encfs.volume import Volume
from encfs.volume.attributes import Setattr
from tests.support.stores import NoSymlinkStore
from tests.support.volumes import LONG, ROOT, LowerVolume, open_file, pattern, read, verify

LONGEST = b"x" * 255


def names(volume: Volume, path: bytes = b"") -> set[bytes]:
    """What a directory holds."""
    return {entry.name for entry in volume.list_directory(path)}


def fails(code: int, call: Callable[[], object]) -> None:
    """The call raises this errno."""
    with pytest.raises(OSError) as failed:  # noqa: PT011 - the errno says which
        call()
    assert failed.value.errno == code, errno.errorcode[failed.value.errno or 0]


def link(volume: Volume, path: bytes, name: bytes) -> None:
    """Another name in the root."""
    volume.changes.link(volume.resolve(path, follow=False), volume.tree.root, name)


def exchange(volume: Volume, one: bytes, two: bytes) -> None:
    """RENAME_EXCHANGE by paths."""
    volume.changes.exchange(*volume._parent_of(one), *volume._parent_of(two))


# -- lengths and bytes of names -------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 15, 16, 17, 159, 160, 161, 176, 254, 255])
@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "symlink in a file"])
def test_every_length_of_name(lower: LowerVolume, length: int, kind: str) -> None:
    """Names of 1 to 255 bytes, on both sides of the border at 160, survive a new session (FORMAT.md section 7)."""
    name = b"n" * length
    make = {
        "file": lambda volume: volume.write_file(name, b"content"),
        "directory": lambda volume: volume.make_directory(name),
        "symlink": lambda volume: volume.make_symlink(name, b"target"),
        "symlink in a file": lambda volume: volume.make_symlink(name, b"t" * 4095),
    }[kind]
    with lower.unlock() as volume:
        make(volume)
    (below,) = (path.name for path in lower.path.iterdir() if not path.name.startswith("cloakfs."))
    assert below.startswith("~") == (length > 160)
    assert below.endswith(".l") == (kind == "symlink in a file" or (kind == "symlink" and length > 160))
    with lower.unlock() as volume:
        (entry,) = volume.list_directory()
        assert entry.name == name
        if kind == "file":
            assert read(volume, name) == b"content"
        elif kind == "directory":
            volume.write_file(name + b"/inside", b"")
            volume.remove(name + b"/inside")
        else:
            assert volume.read_link(name) == (b"target" if kind == "symlink" else b"t" * 4095)
            assert entry.size == len(volume.read_link(name))
            assert stat.S_ISLNK(entry.mode)
        volume.rename(name, b"short")
        assert names(volume) == {b"short"}
        volume.rename(b"short", LONGEST)
        assert names(volume) == {LONGEST}
        volume.remove(LONGEST)
    assert lower.findings() == []


def test_names_that_are_too_long(lower: LowerVolume) -> None:
    """Names of 256 bytes are refused, and of nodes those above 160 (FORMAT.md sections 7 and 12)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"")
        volume.make_symlink(b"l", b"x")
        root = volume.tree.root
        for call in (
            lambda: volume.write_file(b"n" * 256, b""),
            lambda: volume.make_directory(b"n" * 256),
            lambda: volume.make_symlink(b"n" * 256, b"x"),
            lambda: volume.rename(b"a", b"n" * 256),
            lambda: link(volume, b"a", b"n" * 256),
            lambda: volume.changes.mknod(root, b"n" * 161, stat.S_IFIFO | 0o600, 0, ROOT),
            lambda: volume.make_symlink(b"m", b"t" * 4096),
        ):
            fails(errno.ENAMETOOLONG, call)
        volume.changes.mknod(root, b"n" * 160, stat.S_IFIFO | 0o600, 0, ROOT)
        fails(errno.ENAMETOOLONG, lambda: volume.rename(b"n" * 160, b"n" * 161))
        fails(errno.EMLINK, lambda: link(volume, b"n" * 160, b"n" * 161))
        fails(errno.ENOENT, lambda: volume.make_symlink(b"m", b""))
        assert names(volume) == {b"a", b"l", b"n" * 160}
    assert lower.findings() == []


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(wanted=st.sets(st.binary(min_size=1, max_size=255), max_size=12))
def test_any_bytes(wanted: set[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any bytes but ``/`` and NUL make a name, and come back as they were (FORMAT.md section 7)."""
    wanted = {name.replace(b"/", b"_").replace(b"\0", b"_") for name in wanted} - {b".", b".."}
    lower = LowerVolume(tmp_path_factory.mktemp("names") / "volume")
    with lower.unlock() as volume:
        for name in wanted:
            volume.write_file(name, name)
    with lower.unlock() as volume:
        assert names(volume) == wanted
        for name in wanted:
            assert read(volume, name) == name
        assert verify(volume)[0] == []


def test_nothing_of_a_name_is_below(lower: LowerVolume) -> None:
    """Neither names nor targets nor contents nor attributes can be found in the lower tree (THREAT_MODEL.md)."""
    marks = [b"patient-miller", b"diagnosis-target", b"letter-content", b"user.private", b"private-value"]
    with lower.unlock() as volume:
        volume.make_directory(marks[0])
        volume.write_file(marks[0] + b"/" + marks[0] + b"L" * 200, marks[2] * 100)
        volume.make_symlink(marks[0] + b"/l", marks[1])
        volume.make_symlink(marks[0] + b"/m", marks[1] * 250)
        volume.attributes.set(volume.resolve(marks[0]), marks[3], marks[4])
    everything = b"".join(
        os.fsencode(path) + (os.fsencode(str(seen[4])) if isinstance(seen[4], str) else seen[4]) + str(seen[5]).encode()
        for path, seen in lower.snapshot().items()
    )
    for mark in marks:
        assert mark not in everything


# -- hard links -----------------------------------------------------------------------------------------------


def test_one_long_name_among_links(lower: LowerVolume) -> None:
    """A file can have one long name among its links; a second is EMLINK (FORMAT.md section 9.1)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
        link(volume, b"a", b"b")
        link(volume, b"a", LONG)
        fails(errno.EMLINK, lambda: link(volume, b"a", LONGEST))
        fails(errno.EMLINK, lambda: volume.rename(b"b", LONGEST))
        assert names(volume) == {b"a", b"b", LONG}
        volume.rename(LONG, LONGEST)
        assert names(volume) == {b"a", b"b", LONGEST}
        volume.rename(LONGEST, b"c")
        volume.rename(b"b", LONG)
        assert names(volume) == {b"a", b"c", LONG}
    with lower.unlock() as volume:
        assert names(volume) == {b"a", b"c", LONG}
        assert {read(volume, name) for name in names(volume)} == {b"content"}
        assert volume.stat(LONG).links == 3
    assert lower.findings() == []


def test_long_name_is_free_again_with_the_last_link(lower: LowerVolume) -> None:
    """When the long link is gone and one is left, that one may get a long name (FORMAT.md section 9.1)."""
    with lower.unlock() as volume:
        for number, step in enumerate(
            (lambda name: volume.rename(name, LONGEST), lambda name: link(volume, name, LONGEST))
        ):
            name = b"a%d" % number
            volume.write_file(LONG, b"content")
            link(volume, LONG, name)
            volume.remove(LONG)
            step(name)
            assert LONGEST in names(volume)
            assert read(volume, LONGEST) == b"content"
            volume.remove(LONGEST)
    assert lower.findings() == []


def test_last_link_has_a_place_again(lower: LowerVolume) -> None:
    """A rename of the last link clears MULTI, so that swapping the file is seen again (FORMAT.md section 9.1)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"content")
        link(volume, b"a", b"b")
        volume.remove(b"a")
        volume.rename(b"b", b"c")
    assert not lower.header(b"c").flags & HeaderFlag.MULTI
    assert lower.header(b"c").name == b"c"


def test_links_of_every_kind(lower: LowerVolume) -> None:
    """Files, symlinks of both kinds, pipes and devices can be linked; directories cannot (sections 9.1 and 9.4)."""
    with lower.unlock() as volume:
        root = volume.tree.root
        volume.write_file(b"file", b"content")
        volume.make_symlink(b"symlink", b"target")
        volume.make_symlink(b"in-file", b"t" * 4000)
        volume.changes.mknod(root, b"pipe", stat.S_IFIFO | 0o600, 0, ROOT)
        volume.make_directory(b"directory")
        for name in (b"file", b"symlink", b"in-file", b"pipe"):
            link(volume, name, name + b"2")
            link(volume, name + b"2", name + b"3")
            volume.remove(name)
            volume.rename(name + b"2", name + b"4")
        fails(errno.EPERM, lambda: link(volume, b"directory", b"other"))
        fails(errno.EEXIST, lambda: link(volume, b"file3", b"file4"))
        fails(errno.EMLINK, lambda: link(volume, b"symlink3", LONG))
        fails(errno.EMLINK, lambda: volume.rename(b"symlink3", LONG))
    with lower.unlock() as volume:
        for name in (b"file", b"symlink", b"in-file", b"pipe"):
            three, four = (volume.stat(name + end, follow=False) for end in (b"3", b"4"))
            assert three.inode == four.inode
            assert three.links == four.links == 2
        assert read(volume, b"file4") == b"content"
        assert volume.read_link(b"symlink4") == volume.read_link(b"symlink3") == b"target"
        assert volume.read_link(b"in-file3") == b"t" * 4000
    assert lower.findings() == []


# -- symlinks in files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 100, 2900, 3020, 3026, 3027, 3028, 3100, 4094, 4095])
def test_every_length_of_target(lower: LowerVolume, length: int) -> None:
    """Targets of 1 to 4,095 bytes, in a lower symlink where they fit, else in a file (FORMAT.md section 9.4)."""
    target = pattern(length).replace(b"\0", b"0")
    with lower.unlock() as volume:
        volume.make_symlink(b"l", target)
        assert volume.stat(b"l", follow=False).size == length
    path = lower.lower(b"l")
    assert path.is_symlink() == (length <= 3026)
    with lower.unlock() as volume:
        assert volume.read_link(b"l") == target
        volume.rename(b"l", b"m")
        assert volume.read_link(b"m") == target
    assert lower.findings() == []


def test_store_without_symlinks(lower: LowerVolume) -> None:
    """Where the lower filesystem has no symlinks they are kept in files (FORMAT.md section 9.4)."""
    with lower.unlock(store=NoSymlinkStore) as volume:
        volume.make_symlink(b"l", b"target")
        assert volume.read_link(b"l") == b"target"
        volume.write_file(b"target", b"content")
        assert read(volume, b"l") == b"content"
        fails(errno.EEXIST, lambda: volume.make_symlink(b"l", b"other"))
        fails(errno.EEXIST, lambda: volume.make_directory(b"l"))
        volume.make_directory(b"d")
        volume.rename(b"l", b"d/m")
        volume.rename(b"d/m", LONG)
        link(volume, LONG, b"n")
        assert names(volume) == {LONG, b"d", b"n", b"target"}
    assert not any(path.is_symlink() for path in lower.path.rglob("*"))
    with lower.unlock() as volume:
        assert volume.read_link(LONG) == volume.read_link(b"n") == b"target"
        assert {entry.name for entry in volume.list_directory() if stat.S_ISLNK(entry.mode)} == {LONG, b"n"}
        volume.remove(b"n")
        volume.remove(LONG)
    assert lower.findings() == []


def test_symlink_to_a_long_name_and_back(lower: LowerVolume) -> None:
    """A symlink that gets a long name moves into a file and keeps text, owner, times and number (section 9.4)."""
    with lower.unlock() as volume:
        volume.make_symlink(b"l", b"target")
        path = lower.lower_in(volume, b"l")
        os.utime(path, ns=(1, 1_000_000_007), follow_symlinks=False)
        if os.geteuid() == 0:
            os.lchown(path, 1234, 4321)
        before = volume.stat(b"l", follow=False)
        node = volume.resolve(b"l", follow=False)
        node.lookups += 1  # the kernel knows it
        for name in (LONG, b"back", LONGEST, b"l"):
            (old,) = names(volume)
            volume.rename(old, name)
            after = volume.stat(name, follow=False)
            assert volume.read_link(name) == b"target"
            assert (after.mode, after.size, after.uid, after.gid, after.inode, after.mtime_ns) == (
                (before.mode, before.size, before.uid, before.gid, before.inode, before.mtime_ns)
            )
            assert volume.resolve(name, follow=False) is node
    assert lower.findings() == []


def test_symlink_over_something_with_a_long_name(lower: LowerVolume) -> None:
    """A symlink renamed onto a long name replaces what was there, whatever its kind (FORMAT.md section 9.4)."""
    with lower.unlock() as volume:
        for old in ("file", "symlink"):
            if old == "file":
                volume.write_file(LONG, b"content")
            else:
                volume.make_symlink(LONG, b"other")
            volume.make_symlink(b"l", b"target")
            volume.rename(b"l", LONG)
            assert names(volume) == {LONG}
            assert volume.read_link(LONG) == b"target"
            volume.remove(LONG)
        volume.make_directory(LONG)
        volume.make_symlink(b"l", b"target")
        fails(errno.EISDIR, lambda: volume.rename(b"l", LONG))
        assert volume.read_link(b"l") == b"target"
    assert lower.findings() == []


# -- rename ---------------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Volume, bytes], object]] = {
    "file": lambda volume, path: volume.write_file(path, b"file"),
    "symlink": lambda volume, path: volume.make_symlink(path, b"symlink"),
    "in-file": lambda volume, path: volume.make_symlink(path, b"t" * 4000),
    "directory": lambda volume, path: volume.make_directory(path),
    "pipe": lambda volume, path: volume.changes.mknod(volume.tree.root, path, stat.S_IFIFO | 0o600, 0, ROOT),
}


def kind_of(volume: Volume, path: bytes) -> str:
    """Which of the kinds is there."""
    mode = volume.stat(path, follow=False).mode
    if stat.S_ISLNK(mode):
        return "symlink" if volume.read_link(path) == b"symlink" else "in-file"
    return "directory" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "file"


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_rename_over(lower: LowerVolume, tmp_path: Path, source: str, target: str) -> None:
    """Each kind over each other kind: what rename(2) does on a plain filesystem (FORMAT.md sections 8 to 9.5)."""
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, kind in (("a", source), ("b", target)):
        path = plain / name
        if kind == "directory":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "file":
            path.write_bytes(b"")
        else:
            path.symlink_to("x")
    with lower.unlock() as volume:
        KINDS[source](volume, b"a")
        KINDS[target](volume, b"b")
        try:
            (plain / "a").rename(plain / "b")
        except OSError as exc:
            fails(exc.errno or 0, lambda: volume.rename(b"a", b"b"))
            assert (kind_of(volume, b"a"), kind_of(volume, b"b")) == (source, target)
        else:
            volume.rename(b"a", b"b")
            assert names(volume) == {b"b"}
            assert kind_of(volume, b"b") == source
    assert not list(lower.path.rglob("cloakfs.t.*"))
    assert lower.findings() == []


@pytest.mark.parametrize("one", KINDS)
@pytest.mark.parametrize("two", KINDS)
def test_exchange(lower: LowerVolume, one: str, two: str) -> None:
    """Two names swap what they name, whatever it is (FORMAT.md sections 8 to 9.4)."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        KINDS[one](volume, b"a")
        if two == "pipe":
            volume.changes.mknod(volume.resolve(b"d"), b"b", stat.S_IFIFO | 0o600, 0, ROOT)
        else:
            KINDS[two](volume, b"d/b")
        numbers = volume.stat(b"a", follow=False).inode, volume.stat(b"d/b", follow=False).inode
        nodes = volume.resolve(b"a", follow=False), volume.resolve(b"d/b", follow=False)
        for node in nodes:
            node.lookups += 1
        if (one == "in-file") != (two == "in-file"):
            fails(errno.EINVAL, lambda: exchange(volume, b"a", b"d/b"))
            assert (kind_of(volume, b"a"), kind_of(volume, b"d/b")) == (one, two)
        else:
            exchange(volume, b"a", b"d/b")
            assert (kind_of(volume, b"a"), kind_of(volume, b"d/b")) == (two, one)
            swapped = volume.stat(b"d/b", follow=False).inode, volume.stat(b"a", follow=False).inode
            assert swapped == numbers
            assert (volume.resolve(b"d/b", follow=False), volume.resolve(b"a", follow=False)) == nodes
    assert lower.findings() == []


def test_exchange_corner_cases(lower: LowerVolume) -> None:
    """Missing names, one inode under two names, long names of lower symlinks (FORMAT.md section 9.4)."""
    with lower.unlock() as volume:
        volume.write_file(b"a", b"a")
        volume.write_file(LONG, b"long")
        volume.make_symlink(b"l", b"target")
        fails(errno.ENOENT, lambda: exchange(volume, b"a", b"missing"))
        fails(errno.ENOENT, lambda: exchange(volume, b"missing", b"a"))
        fails(errno.EINVAL, lambda: exchange(volume, b"l", LONG))
        exchange(volume, b"a", LONG)
        assert (read(volume, b"a"), read(volume, LONG)) == (b"long", b"a")
        link(volume, b"a", b"a2")
        exchange(volume, b"a", b"a2")
        assert read(volume, b"a2") == b"long"
    assert lower.findings() == []


def test_rename_of_directories(lower: LowerVolume) -> None:
    """Onto an empty directory yes, onto one with something no, into itself never (FORMAT.md section 8)."""
    with lower.unlock() as volume:
        for path in (b"d", b"d/sub", b"empty", b"full", b"full/x"):
            volume.make_directory(path)
        volume.write_file(b"d/sub/f", b"content")
        fails(errno.ENOTEMPTY, lambda: volume.rename(b"d", b"full"))
        fails(errno.EINVAL, lambda: volume.rename(b"d", b"d/sub/d"))
        fails(errno.ENOENT, lambda: volume.rename(b"missing", b"empty"))
        fails(errno.ENOENT, lambda: volume.rename(b"d", b"missing/d"))
        root = volume.tree.root
        fails(errno.EEXIST, lambda: volume.changes.rename(root, b"d", root, b"empty", no_replace=True))
        assert read(volume, b"d/sub/f") == b"content"
        volume.rename(b"d", b"empty")
        assert names(volume) == {b"empty", b"full"}
        assert read(volume, b"empty/sub/f") == b"content"
        volume.changes.rename(root, b"empty", volume.resolve(b"full"), LONG, no_replace=True)
        assert read(volume, b"full/" + LONG + b"/sub/f") == b"content"
        volume.rename(b"full/" + LONG + b"/sub", b"sub")
        assert read(volume, b"sub/f") == b"content"
    with lower.unlock() as volume:
        assert read(volume, b"sub/f") == b"content"
    assert not list(lower.path.rglob("cloakfs.t.*"))
    assert lower.findings() == []


def test_deep_tree_after_a_rename_above(lower: LowerVolume) -> None:
    """Everything below a renamed directory stays where it is, open files too (FORMAT.md section 8)."""
    with lower.unlock() as volume:
        path = b"a"
        volume.make_directory(path)
        for _ in range(30):
            path += b"/d"
            volume.make_directory(path)
        with open_file(volume, path + b"/f") as file:
            file.write(0, b"before")
            volume.rename(b"a", b"b")
            file.write(6, b" and after")
        assert read(volume, b"b" + path[1:] + b"/f") == b"before and after"
        fails(errno.ENOENT, lambda: volume.stat(path))
    assert lower.findings() == []


def test_rename_over_an_open_file(lower: LowerVolume) -> None:
    """The replaced file lives on for whoever has it open, the new one is what the name names (section 9.1)."""
    with lower.unlock() as volume:
        volume.write_file(b"new", b"new")
        with open_file(volume, b"old") as file:
            file.write(0, b"old")
            volume.rename(b"new", b"old")
            file.write(3, b" lives")
            assert bytes(file.read(0, 100)) == b"old lives"
            assert read(volume, b"old") == b"new"
        with open_file(volume, b"old") as file:
            volume.rename(b"old", b"moved")
            file.write(0, b"NEW")
        assert read(volume, b"moved") == b"NEW"
    assert lower.findings() == []


# -- without a name -------------------------------------------------------------------------------------------


def test_unlinked_file_lives_on(lower: LowerVolume) -> None:
    """An open file without a name is read, written, synced, stat'ed and given attributes until its close (DESIGN 7)."""
    with lower.unlock() as volume:
        handle = volume.open(b"a", create=True, writable=True)
        node = volume.resolve(b"a")
        node.lookups += 1
        handle.write(0, pattern(5000))
        volume.remove(b"a")
        fails(errno.ENOENT, lambda: volume.stat(b"a"))
        handle.write(5000, pattern(5000))
        handle.sync()
        handle.truncate(7000)
        assert handle.read(0, 10_000) == (pattern(5000) * 2)[:7000]
        assert volume.tree.stat(node).st_nlink == 0
        assert volume.tree.plain_links(node, volume.tree.stat(node)) == 0
        volume.attributes.set(node, b"user.x", b"y")
        assert volume.attributes.get_all(node) == {b"user.x": b"y"}
        volume.attributes.setattr(node, Setattr(mode=0o600, uid=os.getuid(), mtime_ns=5))
        assert volume.tree.stat(node).st_mtime_ns == 5
        fails(errno.ENOENT, lambda: volume.changes.link(node, volume.tree.root, b"back"))
        volume.write_file(b"a", b"another")
        handle.close()
        assert volume.tree.plain_links(node, volume.tree.stat(node)) == 0
        volume.tree.nodes.forget(node.inode, 1)
        assert read(volume, b"a") == b"another"
    assert lower.findings() == []


def test_removed_directory_is_a_ghost(lower: LowerVolume) -> None:
    """A directory without a name can be stat'ed and nothing can be made in it (FORMAT.md section 8)."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        node = volume.resolve(b"d")
        node.lookups += 1
        volume.remove(b"d")
        assert volume.tree.plain_links(node, volume.tree.stat(node)) == 0
        assert stat.S_ISDIR(volume.tree.stat(node).st_mode)
        fails(errno.ENOENT, lambda: volume.changes.create(node, b"f", 0o600, ROOT))
        fails(errno.ENOENT, lambda: volume.changes.mkdir(node, b"f", 0o700, ROOT))
        volume.write_file(b"f", b"")
        fails(errno.ENOENT, lambda: volume.changes.rename(volume.tree.root, b"f", node, b"f"))
        fails(errno.ENOENT, lambda: volume.changes.link(volume.resolve(b"f"), node, b"f"))
        assert names(volume) == {b"f"}
    assert lower.findings() == []


def test_removing(lower: LowerVolume) -> None:
    """unlink and rmdir say no as on any filesystem (FORMAT.md section 8)."""
    with lower.unlock() as volume:
        root = volume.tree.root
        volume.make_directory(b"d")
        volume.write_file(b"d/f", b"")
        fails(errno.ENOTEMPTY, lambda: volume.remove(b"d"))
        fails(errno.EISDIR, lambda: volume.changes.unlink(root, b"d"))
        fails(errno.ENOTDIR, lambda: volume.changes.rmdir(volume.resolve(b"d"), b"f"))
        fails(errno.ENOENT, lambda: volume.changes.rmdir(root, b"x"))
        fails(errno.ENOENT, lambda: volume.remove(b"x"))
        volume.remove(b"d/f")
        volume.remove(b"d")
        assert names(volume) == set()
    assert {path.name for path in lower.path.iterdir()} == {
        "cloakfs.volume", "cloakfs.volume.bak", "cloakfs.d", "cloakfs.s"
    }  # fmt: skip


def test_directory_of_many_entries(fast_path: Path) -> None:
    """A thousand entries of several kinds come back complete, with numbers that survive (FORMAT.md section 7)."""
    lower = LowerVolume(fast_path / "volume")
    with lower.unlock() as volume:
        for number in range(1000):
            name = b"%d" % number * (1 + number % 60)
            KINDS[["file", "symlink", "in-file", "pipe"][number % 4]](volume, name[:160])
        before = {entry.name: entry.inode for entry in volume.list_directory()}
    assert len(before) == 1000
    with lower.unlock() as volume:
        assert {entry.name: entry.inode for entry in volume.list_directory()} == before
