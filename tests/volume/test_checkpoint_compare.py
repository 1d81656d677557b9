"""Volumes against their checkpoints: each attack is found and named, each legitimate change is not (FORMAT.md 12)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.format.slots import SlotKind
from encfs.host.freshness import HostFreshness
from encfs.volume import Volume
from tests.support.checkpoints import Found, compare, compare_in, make, make_in, stored
from tests.support.evidence import record
from tests.support.volumes import CELLS, LONG, RECOVERY_KEY, ROOT, LowerVolume, flip, open_file, pattern, read

Change = Callable[[Volume], object]


def fill(volume: Volume) -> None:
    """Some of everything, as it was once."""
    for directory in (b"d", b"d/e", b"gone-dir", LONG + b"d"):
        volume.make_directory(directory)
    for name in (b"a", b"b", b"d/c", b"grown", b"gone", b"replaced", b"gone-dir/x", LONG):
        volume.write_file(name, pattern(20_000, name))
    volume.write_file(b"empty", b"")
    volume.write_file(b"linked", pattern(5000))
    volume.changes.link(volume.resolve(b"linked"), volume.resolve(b"d"), b"linked too")
    volume.write_file(b"linked 2", pattern(5000, 2))
    volume.changes.link(volume.resolve(b"linked 2"), volume.resolve(b"d"), b"linked 2 too")
    with open_file(volume, b"sparse") as file:
        file.write(0, pattern(20_000, b"s"))
        file.write(1 << 20, b"end")
    volume.make_symlink(b"l", b"old target")
    volume.make_symlink(b"l2", b"target")
    volume.make_symlink(b"m", b"t" * 4000)
    volume.changes.mknod(volume.tree.root, b"pipe", 0o10600, 0, ROOT)


def work_on(volume: Volume) -> None:
    """What was done between the old copy and the checkpoint."""
    with open_file(volume, b"a") as file:
        file.write(5000, b"new bytes")
    with open_file(volume, b"grown") as file:
        file.write(20_000, b"more")
    volume.remove(b"gone")
    volume.remove(b"gone-dir/x")
    volume.remove(b"gone-dir")
    with open_file(volume, b"replaced") as file:
        file.truncate(0)
        file.write(0, b"quite another text")
    volume.remove(b"l")
    volume.make_symlink(b"l", b"new target")
    volume.rename(b"d/e", b"d/f")
    volume.rename(b"d/f", b"d/e")


def copy_tree(source: Path, target: Path) -> None:
    """All of it, pipes included."""
    subprocess.run(["cp", "-a", source, target], check=True)


class Scene:
    """A volume, an old copy of it, and a checkpoint in between."""

    def __init__(self, base: Path, cell_size: int = 4096) -> None:
        self.lower = LowerVolume(base / "volume", cell_size)
        with self.lower.unlock() as volume:
            fill(volume)
            self.known = {name: self.below(volume, name) for name in NAMES}
        self.old = base / "old"
        copy_tree(self.lower.path, self.old)
        with self.lower.unlock() as volume:
            work_on(volume)
        make(self.lower)

    def below(self, volume: Volume, name: bytes) -> Path:
        """The lower path of a plain one, within the volume. One of several names is that very one."""
        directory, _, last = name.rpartition(b"/")
        found = volume.tree.find(volume.resolve(directory), last)
        assert found is not None
        parent = self.lower.lower_in(volume, directory).relative_to(self.lower.path)
        return parent / os.fsdecode(found.lower_name)

    def path(self, name: bytes) -> Path:
        return self.lower.path / self.known[name]

    def put_back(self, name: bytes) -> None:
        """The old copy of a lower file, symlink or directory."""
        source, target = self.old / self.known[name], self.path(name)
        if target.is_symlink() or target.is_file():
            target.unlink()
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)

    def put_back_cell(self, name: bytes, cell: int) -> None:
        """One old cell."""
        size = self.lower.cell_size
        with open(self.old / self.known[name], "rb") as source, open(self.path(name), "r+b") as target:
            source.seek(cell * size)
            target.seek(cell * size)
            target.write(source.read(size))

    def zero_cell(self, name: bytes, cell: int) -> None:
        """A hole where there was none."""
        with open(self.path(name), "r+b") as target:
            target.seek(cell * 4096)
            target.write(bytes(4096))

    def exchange(self, one: bytes, two: bytes) -> None:
        """Two lower names trade what they name."""
        spare = self.lower.path / "spare"
        self.path(one).rename(spare)
        self.path(two).rename(self.path(one))
        spare.rename(self.path(two))


NAMES = (
    b"a", b"b", b"d", b"d/c", b"d/e", b"gone", b"gone-dir", b"grown", b"replaced", b"linked", b"d/linked too",
    b"linked 2", b"sparse", b"l", b"l2", b"m", b"pipe", b"empty", LONG,
)  # fmt: skip


def to_pipe(scene: Scene, name: bytes) -> None:
    """A pipe in the place of what was there."""
    scene.path(name).unlink()
    os.mkfifo(scene.path(name))


# What is done below; what is found if nobody has written since, and what if somebody has.
ATTACKS: dict[str, tuple[Callable[[Scene], object], Found, Found]] = {
    "a file is replaced by its older self": (
        lambda s: s.put_back(b"grown"), [("file-rollback", b"grown")], [("file-rollback", b"grown")]
    ),
    "one cell is replaced by its older self": (
        lambda s: s.put_back_cell(b"a", 1), [("cell-replayed", b"a")], [("cell-replayed", b"a")]
    ),
    "a cell of a sparse file becomes a hole": (
        lambda s: s.zero_cell(b"sparse", 2), [("cell-replayed", b"sparse")], [("cell-replayed", b"sparse")]
    ),
    "a deleted file is put back": (
        lambda s: s.put_back(b"gone"), [("file-replayed", b"gone")], [("file-replayed", b"gone")]
    ),
    "a file that was rewritten is put back": (
        lambda s: s.put_back(b"replaced"), [("file-replayed", b"replaced")], [("file-replayed", b"replaced")]
    ),
    "a deleted directory is put back with its file": (
        lambda s: s.put_back(b"gone-dir"),
        [("directory-replayed", b"gone-dir"), ("file-replayed", b"gone-dir/x")],
        [("directory-replayed", b"gone-dir"), ("file-replayed", b"gone-dir/x")],
    ),
    "an old directory record is put back": (
        lambda s: shutil.copy2(s.old / s.known[b"d/e"] / "cloakfs.d", s.path(b"d/e") / "cloakfs.d"),
        [("directory-rollback", b"d/e")],
        [("directory-rollback", b"d/e")],
    ),
    "a file is deleted": (lambda s: s.path(b"b").unlink(), [("file-deleted", b"b")], [("file-missing", b"b")]),
    "a file with a long name is deleted": (
        lambda s: s.path(LONG).unlink(), [("file-deleted", LONG)], [("file-missing", LONG)]
    ),
    "a symlink in a file is deleted": (
        lambda s: s.path(b"m").unlink(), [("file-deleted", b"m")], [("file-missing", b"m")]
    ),
    "a directory is deleted with its files": (
        lambda s: shutil.rmtree(s.path(b"d")),
        [("directory-deleted", b"d"), ("directory-deleted", b"d/e"), ("file-deleted", b"d/c"),
         ("file-deleted", b"d/linked 2 too"), ("file-deleted", b"d/linked too")],
        [("file-missing", b"d/c")],
    ),
    "a file becomes a pipe": (
        lambda s: to_pipe(s, b"b"), [("file-deleted", b"b"), ("node-replaced", b"b")], [("file-missing", b"b")]
    ),
    "names of hard links are exchanged": (
        lambda s: s.exchange(b"linked", b"linked 2"),
        [("file-replayed", b"linked"), ("file-replayed", b"linked 2")],
        [],
    ),
    "one name of a hard link is deleted": (
        lambda s: s.path(b"linked").unlink(), [("file-deleted", b"linked")], []
    ),
    "an old symlink is put back": (lambda s: s.put_back(b"l"), [("symlink-replayed", b"l")], []),
    "a symlink is deleted": (lambda s: s.path(b"l2").unlink(), [("symlink-deleted", b"l2")], []),
    "a pipe is deleted": (lambda s: s.path(b"pipe").unlink(), [("node-replaced", b"pipe")], []),
}  # fmt: skip


@pytest.mark.parametrize("later", [False, True], ids=["nobody wrote since", "somebody wrote since"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(fast_path: Path, attack: str, later: bool) -> None:
    """Section 12, Comparing: each row that says "put back", "deleted" or "made below", with its code and path."""
    apply, alone, written = ATTACKS[attack]
    scene = Scene(fast_path)
    if later:
        with scene.lower.unlock() as volume:
            volume.write_file(b"later", b"x")
    assert compare(scene.lower) == []
    apply(scene)
    assert compare(scene.lower) == sorted(written if later else alone)
    if alone and written:
        record("checkpoint", attack, note="found: " + ", ".join(sorted({code for code, _ in alone + written})))
    elif not later:
        record("checkpoint", attack, note="found if nobody wrote since: " + ", ".join({code for code, _ in alone}))


@pytest.mark.parametrize("cell_size", CELLS)
def test_each_old_cell_is_found(fast_path: Path, cell_size: int) -> None:
    """Section 12: every single cell of a file is in its digest, the first and the last included."""
    lower = LowerVolume(fast_path / "volume", cell_size)
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(5 * cell_size))
    path = lower.lower(b"a")
    old = path.read_bytes()
    with lower.unlock() as volume, open_file(volume, b"a") as file:
        file.write(0, pattern(5 * cell_size, 1))
    make(lower)
    new = path.read_bytes()
    cells = range(0, len(new) - len(new) % cell_size, cell_size)  # What follows the last cell is a hole.
    for start in cells:
        begin = start or 512
        path.write_bytes(new[:begin] + old[begin : start + cell_size] + new[start + cell_size :])
        assert lower.findings() == []
        assert compare(lower) == [("cell-replayed", b"a")], start // cell_size
    record("checkpoint", "every single cell of a file replaced by its older self", cases=len(cells), note="found")


def rewrite(volume: Volume) -> None:
    """As editors do it: a new file, renamed over the old one."""
    volume.write_file(b"a.new", b"better text")
    volume.rename(b"a.new", b"a")


def shrink_and_grow(volume: Volume) -> None:
    """Other sizes, other cells."""
    with open_file(volume, b"a") as file:
        file.truncate(9000)
        file.write(9000, pattern(30_000))


def truncate_to_nothing(volume: Volume) -> None:
    """A fresh fid."""
    with open_file(volume, b"a") as file:
        file.truncate(0)


def write_in_place(volume: Volume) -> None:
    """A few bytes in the middle."""
    with open_file(volume, b"b") as file:
        file.write(7000, b"other")


def append(volume: Volume) -> None:
    """More at the end."""
    with open_file(volume, b"b") as file:
        file.write(20_000, pattern(9000))


def make_hole(volume: Volume) -> None:
    """Cells that are never written."""
    with open_file(volume, b"b") as file:
        file.write(300_000, b"far")


def change_symlink(volume: Volume) -> None:
    """Another target under the same name."""
    volume.remove(b"l")
    volume.make_symlink(b"l", b"somewhere else")


def exchange(volume: Volume) -> None:
    """Two names swap what they name."""
    volume.changes.exchange(volume.tree.root, b"a", volume.tree.root, b"b")


def new_tree(volume: Volume) -> None:
    """A directory with a file, a symlink and a pipe."""
    volume.make_directory(b"n")
    volume.write_file(b"n/file", b"x")
    volume.make_symlink(b"n/link", b"y")
    volume.changes.mknod(volume.tree.root, b"pipe 2", 0o10600, 0, ROOT)


LEGITIMATE: dict[str, Change] = {
    "write": write_in_place,
    "append": append,
    "overwrite by rename": rewrite,
    "shrink and grow": shrink_and_grow,
    "truncate to 0": truncate_to_nothing,
    "a hole": make_hole,
    "rename": lambda v: v.rename(b"a", b"renamed"),
    "rename to a long name": lambda v: v.rename(b"a", LONG + b"2"),
    "move": lambda v: v.rename(b"a", b"d/e/a"),
    "move a directory": lambda v: v.rename(b"d", LONG + b"d/moved"),
    "exchange": exchange,
    "recreate": lambda v: (v.remove(b"a"), v.write_file(b"a", b"new")),
    "a hard link": lambda v: v.changes.link(v.resolve(b"a"), v.resolve(b"d"), b"second"),
    "one hard link less": lambda v: v.remove(b"linked"),
    "a hard link moves": lambda v: v.rename(b"linked", b"d/e/linked"),
    "a symlink changes": change_symlink,
    "a symlink moves": lambda v: v.rename(b"l", b"d/l"),
    "a symlink goes": lambda v: v.remove(b"l2"),
    "a pipe goes": lambda v: v.remove(b"pipe"),
    "an empty directory goes": lambda v: v.remove(b"d/e"),
    "new things": new_tree,
    "attributes": lambda v: v.attributes.set(v.resolve(b"a"), b"user.x", b"y"),
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("change", LEGITIMATE)
def test_legitimate_change(fast_path: Path, change: str) -> None:
    """Section 12: what is done through cloakfs is no finding, neither now nor when the next checkpoint is made."""
    scene = Scene(fast_path)
    with scene.lower.unlock() as volume:
        LEGITIMATE[change](volume)
        assert compare_in(volume)[0] == []
    assert compare(scene.lower) == []
    make(scene.lower)
    assert compare(scene.lower) == []
    record("checkpoint", "legitimate changes", note="no finding")


def test_counts_of_the_comparison(fast_path: Path) -> None:
    """Section 12: what changed legitimately is counted, by kind."""
    scene = Scene(fast_path)
    with scene.lower.unlock() as volume:
        write_in_place(volume)
        volume.write_file(b"new", b"x")
        rewrite(volume)
    with scene.lower.unlock(read_only=True) as volume:
        findings, summary = compare_in(volume)
    assert findings == []
    assert summary.clean
    assert (summary.changed, summary.added, summary.removed) == (1, 2, 1)
    assert summary.same == summary.files - 2
    assert summary.written
    assert not summary.crashed


def test_deletion_that_this_host_knows_of(fast_path: Path, host_memory: Path) -> None:
    """Sections 12 and 13: whoever deletes through cloakfs hears nothing of it; on another host it is a warning."""
    scene = Scene(fast_path)

    def unlock(*, read_only: bool = False) -> Volume:
        return Volume.unlock(
            os.fsencode(scene.lower.path), RECOVERY_KEY, SlotKind.RECOVERY, read_only=read_only,
            freshness=HostFreshness(),
        )  # fmt: skip

    with unlock() as volume:
        assert read(volume, b"b")
        volume.remove(b"b")
    with unlock(read_only=True) as volume:
        assert compare_in(volume)[0] == []
    assert compare(scene.lower) == [("file-missing", b"b")]
    scene.path(b"d/c").unlink()
    with unlock(read_only=True) as volume:
        assert [(str(one.code), one.path) for one in compare_in(volume)[0]] == [("file-missing", b"d/c")]
    record("checkpoint", "a deletion that the host knows of", note="no finding; any other is told")


def overwrite_without_a_header(volume: Volume) -> None:
    """Cells reach the disk, their header does not: the process dies first."""
    handle = volume.open(b"b", writable=True)
    handle.write(5000, b"lost header")


@pytest.mark.parametrize("recovered", [False, True], ids=["before recovery", "after recovery"])
def test_crash_during_an_overwrite(fast_path: Path, recovered: bool) -> None:
    """Section 12: cells without their header after a crash are told as such, and end with the next checkpoint."""
    scene = Scene(fast_path)
    scene.lower.crash(overwrite_without_a_header)
    if recovered:
        scene.lower.unlock().close()
        assert scene.lower.findings() == []
    assert compare(scene.lower) == [("checkpoint-crash", b"b")]
    with scene.lower.unlock() as volume:
        result, findings = make_in(volume, alone=True)
    assert [(str(one.severity), str(one.code), one.path) for one in findings] == [("info", "checkpoint-crash", b"b")]
    assert (result.damaged, result.reused) == (0, 0)
    assert compare(scene.lower) == []
    assert make(scene.lower).reused == result.files
    record("checkpoint", "a crash during an overwrite", note="told as the crash's doing; no false alarm")


@pytest.mark.parametrize("change", LEGITIMATE)
def test_crash_after_a_legitimate_change(fast_path: Path, change: str) -> None:
    """Section 12: a crash makes no evidence of what was done legitimately before it."""
    scene = Scene(fast_path)
    scene.lower.crash(LEGITIMATE[change])
    severities = {one.severity for one in _after_crash(scene.lower)}
    assert severities <= {"info"}
    record("checkpoint", "legitimate changes before a crash", note="no warning, no error")


def _after_crash(lower: LowerVolume) -> list:  # type: ignore[type-arg]
    with lower.unlock() as volume:
        assert volume.recovery is not None
    with lower.unlock(read_only=True) as volume:
        return compare_in(volume)[0]


def test_crash_of_the_session_that_was_open(fast_path: Path) -> None:
    """Section 12: the session that was OPEN when the checkpoint was made may crash after it."""
    scene = Scene(fast_path)

    def work(volume: Volume) -> None:
        make_in(volume)
        volume.write_file(b"new", b"x" * 9000)
        overwrite_without_a_header(volume)

    scene.lower.crash(work)
    scene.lower.unlock().close()
    assert compare(scene.lower) == [("checkpoint-crash", b"b")]


def test_crash_is_remembered_behind_many_sessions(fast_path: Path) -> None:
    """Section 12: the record of a crash since the checkpoint is kept when older session records go."""
    scene = Scene(fast_path)
    scene.lower.crash(overwrite_without_a_header)
    for _ in range(20):
        scene.lower.unlock().close()
    assert compare(scene.lower) == [("checkpoint-crash", b"b")]


def test_older_volume_against_a_copy(fast_path: Path) -> None:
    """Section 12: a whole older volume is found with a copy of the checkpoint that is kept elsewhere."""
    scene = Scene(fast_path)
    copy = fast_path / "copy"
    shutil.copy(stored(scene.lower)[-1], copy)
    shutil.rmtree(scene.lower.path)
    copy_tree(scene.old, scene.lower.path)
    found = compare(scene.lower, copy)
    for expected in (
        ("file-rollback", b"a"), ("file-rollback", b"grown"), ("file-replayed", b"gone"),
        ("file-replayed", b"replaced"), ("directory-replayed", b"gone-dir"), ("symlink-replayed", b"l"),
        ("directory-rollback", b"d/e"),
    ):  # fmt: skip
        assert expected in found
    with scene.lower.unlock() as volume:
        volume.write_file(b"later", b"x")
    assert ("file-rollback", b"a") in compare(scene.lower, copy)
    record("checkpoint", "the whole volume is replaced by its older self", note="found with a copy kept elsewhere")


def test_what_verify_reports_is_not_reported_twice(fast_path: Path) -> None:
    """Section 12: a damaged file, header or directory hides what is in it; the comparison adds nothing to it."""
    scene = Scene(fast_path)
    flip(scene.path(b"b"), 70)
    flip(scene.path(LONG), 70)
    flip(scene.path(b"d") / "cloakfs.d", 70)
    assert compare(scene.lower) == []
    codes = [code for code, _ in scene.lower.findings()]
    assert sorted(codes) == ["directory-damaged", "entry-damaged", "file-damaged"]


def test_clock_that_goes_back(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 12: later sessions have greater ids than a checkpoint whatever the clock says, so nothing is evidence."""
    scene = Scene(fast_path)
    monkeypatch.setattr("encfs.volume.sessions._now_ms", lambda: 1_000_000)
    with scene.lower.unlock() as volume:
        volume.write_file(b"new", b"x")
        write_in_place(volume)
    assert compare(scene.lower) == []
    monkeypatch.setattr("encfs.volume.checkpoint_make.time.time_ns", lambda: 1_000_000)
    before = stored(scene.lower)[-1].name
    assert make(scene.lower).name > before
    assert compare(scene.lower) == []
