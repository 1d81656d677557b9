"""Checkpoints are made whole, cheaply, and without losing evidence (FORMAT.md section 12)."""

from __future__ import annotations

import os
import random
import shutil
import traceback
from collections import Counter
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path

import pytest

from encfs.errors import AuthenticationError, FormatError, NotFoundError, ReadOnlyError
from encfs.format.checkpoint import Head
from encfs.store.local import LocalStore
from encfs.volume import Volume
from encfs.volume.checkpoint import find_header, open_newest
from encfs.volume.checkpoint_index import load
from encfs.volume.checkpoint_make import CheckpointMaker
from encfs.volume.findings import Finding
from encfs.volume.steps import Waiting
from encfs.volume.verify import Progress, Reading
from tests.support.checkpoints import compare, compare_in, make, make_in, stored
from tests.support.evidence import record
from tests.support.stores import DyingStore, FullStore
from tests.support.volumes import LONG, LowerVolume, flip, open_file, pattern, read


@pytest.fixture
def filled(fast_path: Path) -> LowerVolume:
    """Files in directories, names long and short."""
    lower = LowerVolume(fast_path / "volume")
    with lower.unlock() as volume:
        for directory in (b"d", b"d/e", LONG + b"d"):
            volume.make_directory(directory)
        for name in (b"a", b"b", b"d/c", b"d/e/f"):
            volume.write_file(name, pattern(20_000, name))
        volume.write_file(b"empty", b"")
        volume.make_symlink(b"l", b"target")
    return lower


class CountingStore(LocalStore):
    """Counts reads by the name under which a file was opened."""

    def __init__(self, root_fd: int) -> None:
        super().__init__(root_fd)
        self.reads: Counter[bytes] = Counter()
        self.bytes = 0
        self._names: dict[int, bytes] = {}

    def open(self, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
        fd = super().open(dirfd, name, flags, mode)
        self._names[fd] = name
        return fd

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = super().pread(fd, size, offset)
        self.reads[self._names[fd]] += 1
        self.bytes += len(data)
        return data

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        self.reads[self._names[fd]] += 1
        self.bytes += len(buffer)
        return super().preadv(fd, buffer, offset, wait=wait)


def test_unchanged_files_cost_one_header_read(filled: LowerVolume) -> None:
    """Section 12: a file whose generation is that of the checkpoint before is not read, but for its header, once."""
    with filled.unlock() as volume:
        for number in range(200):
            volume.write_file(b"d/%d" % number, pattern(5000, number))
    make(filled)
    with filled.unlock(store=CountingStore) as volume:
        store = volume.ctx.store
        assert isinstance(store, CountingStore)
        volume.write_file(b"d/7", b"new")
        with open_file(volume, b"d/8") as file:
            file.write(4000, b"new")
        store.reads.clear()
        store.bytes = 0
        result, findings = make_in(volume)
        lower_names = [name for name in store.reads if len(name) >= 43]
        reads, taken = dict(store.reads), store.bytes
    assert findings == []
    assert (result.files, result.read, result.reused) == (205, 2, 203)
    assert len(lower_names) == 205
    assert Counter(reads[name] for name in lower_names) == {1: 203, 3: 2}
    assert reads[b"cloakfs.d"] == 4 + 1  # That of the directory with a long name also for the name.
    cells = 2 * 2 * 4096
    assert taken < 205 * 512 + cells + 10 * 4096 + result.size + 2 * 512
    record("checkpoint", "unchanged files", cases=203, note="one header read each, no cell is read")


def test_nothing_of_it_is_seen(filled: LowerVolume) -> None:
    """Section 2: the folder is no entry, no link of the root, and nothing foreign; only the two newest are kept."""
    with filled.unlock() as volume:
        names, links = volume.list_directory(), volume.stat(b"").links
        made = [make_in(volume)[0].name for _ in range(4)]
        assert (volume.list_directory(), volume.stat(b"").links) == (names, links)
    with filled.unlock(read_only=True) as volume:
        assert (volume.list_directory(), volume.stat(b"").links) == (names, links)
    assert filled.findings() == []
    assert [path.name for path in stored(filled)] == made[2:]
    assert made == sorted(made)
    assert {path.stat().st_mode & 0o777 for path in stored(filled)} == {0o600}
    assert (filled.path / "cloakfs.c").stat().st_mode & 0o777 == 0o700
    for path in stored(filled):
        assert b"target" not in path.read_bytes()


def test_no_plain_name_or_key_is_in_it(filled: LowerVolume) -> None:
    """THREAT_MODEL.md section 3, A1: names and content keys are sealed in the checkpoint too."""
    name = b"Befund-Mustermann-2026"
    with filled.unlock() as volume:
        volume.write_file(name, b"x")
        key = _header_of(volume, name).content_key
        make_in(volume)
    (path,) = stored(filled)
    assert name not in path.read_bytes()
    assert key not in path.read_bytes()


def _header_of(volume: Volume, path: bytes):  # type: ignore[no-untyped-def]
    with open_file(volume, path) as file:
        return file.header


def test_dying_at_every_change(fast_path: Path) -> None:
    """Section 12: the process dies before or within any lower change: the checkpoint before is good."""
    cases = 0
    for torn in (False, True):
        for first in (True, False):
            cases += _die_everywhere(fast_path / f"{torn}-{first}", torn=torn, first=first)
    assert cases > 15
    record(
        "checkpoint", "the process dies at every lower change", cases=cases, note="old or new checkpoint, no leftover"
    )


def _die_everywhere(base: Path, *, torn: bool, first: bool) -> int:
    base.mkdir()
    lower = LowerVolume(base / "template")
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(20_000))
        volume.write_file(b"b", pattern(20_000, 1))
    if not first:
        make(lower)
        make(lower)
        with lower.unlock() as volume, open_file(volume, b"a") as file:
            file.write(100, b"new")
    before = {path.name for path in stored(lower)}
    number = 0
    while True:
        shutil.rmtree(base / "run", ignore_errors=True)
        shutil.copytree(lower.path, base / "run")
        run = object.__new__(LowerVolume)
        run.path, run.cell_size = base / "run", 4096
        if not _make_and_die(run, number, torn=torn):
            return number
        with run.unlock() as volume:
            assert volume.recovery is not None
            assert volume.recovery.failed == 0
        assert run.findings() == []
        assert not list(run.path.rglob("cloakfs.t.*"))
        names = {path.name for path in stored(run)}
        assert names or first
        assert len(before & names) + len(names - before) >= min(1, len(before))
        if names:
            assert compare(run) == []
        make(run)
        assert compare(run) == []
        assert len(stored(run)) <= 2
        number += 1


def _make_and_die(lower: LowerVolume, number: int, *, torn: bool) -> bool:
    """Whether the process died on the way."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            volume = lower.unlock(store=DyingStore)
            store = volume.ctx.store
            assert isinstance(store, DyingStore)
            store.dies_at, store.torn = number, torn
            make_in(volume, alone=True)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 77)
    return status == 77


def test_full_disk(filled: LowerVolume) -> None:
    """Section 12: where there is no room for it, the checkpoints are as they were, and nothing half-made is left."""
    make(filled)
    before = stored(filled)
    with filled.unlock(store=FullStore) as volume:
        store = volume.ctx.store
        assert isinstance(store, FullStore)
        for room in (0, 100, 1000):
            store.room = room
            with pytest.raises(OSError, match="No space") as failure:
                make_in(volume)
            assert failure.value.errno == ENOSPC
            store.room = None
            assert stored(filled) == before
            assert not list(filled.path.rglob("cloakfs.t.*"))
        assert make_in(volume)[1] == []
    assert compare(filled) == []


def test_broken_off(filled: LowerVolume) -> None:
    """Section 12: whoever stops in the middle leaves nothing, and the volume can be locked."""
    with filled.unlock() as volume:
        steps = 1
        while True:
            run = CheckpointMaker(volume, alone=False).run()
            for _ in range(steps):
                step = next(run, None)
                if isinstance(step, Waiting):
                    step.call()
            if step is None:
                break
            run.close()
            assert not list(filled.path.rglob("cloakfs.t.*"))
            assert not volume.tree.open_nodes()
            steps += 5
        assert steps > 20
    assert filled.findings() == []


def test_file_that_is_written_to_all_the_time(filled: LowerVolume) -> None:
    """Section 12: it is taken again, and at last without a digest; later it is no evidence of anything."""
    make(filled)
    with filled.unlock() as volume, open_file(volume, b"a") as file:
        maker, writes = CheckpointMaker(volume, alone=False), 0
        for step in maker.run():
            if isinstance(step, Waiting):
                step.call()
            elif isinstance(step, Reading) and step.file is file:
                file.write(writes, b"again")
                writes += 1
            assert not isinstance(step, Finding)
        assert maker.result is not None
        assert (maker.result.changing, maker.result.reused, writes) == (1, 4, 6)
        file.write(9000, b"more")
        assert compare_in(volume)[0] == []
    assert compare(filled) == []
    assert make(filled).read == 1


def test_file_that_changes_once_is_taken_again(filled: LowerVolume) -> None:
    """Section 12: a digest is never that of two states."""
    with filled.unlock() as volume, open_file(volume, b"a") as file:
        file.write(0, pattern(3 << 20))
        maker, reads = CheckpointMaker(volume, alone=False), 0
        for step in maker.run():
            if isinstance(step, Waiting):
                step.call()
            elif isinstance(step, Reading) and step.file is file and step.size:
                reads += 1
                if reads == 2:
                    file.write(0, b"changed behind the reader")
        assert maker.result is not None
        assert (maker.result.changing, maker.result.read) == (0, 5)
        assert reads > 4
        assert compare_in(volume)[0] == []
    assert compare(filled) == []


@pytest.mark.parametrize("seed", range(12))
def test_changes_while_it_is_made(filled: LowerVolume, seed: int) -> None:
    """Section 12: files and directories may come, grow, move and go meanwhile; no comparison calls that tampering."""
    chosen, removed = random.Random(seed), 0
    with filled.unlock() as volume:
        for number in range(10):
            volume.make_directory(b"dir-%d" % number)
            volume.write_file(b"dir-%d/old" % number, pattern(3000, number))
    make(filled)
    with filled.unlock() as volume:
        maker = CheckpointMaker(volume, alone=False)
        for count, step in enumerate(maker.run()):
            if isinstance(step, Waiting):
                step.call()
            assert not isinstance(step, Finding), step
            removed += _change_something(volume, chosen, count)
        assert volume.ctx.events == 0
        _only_removed(volume, removed)
    assert filled.findings() == []
    with filled.unlock(read_only=True) as volume:
        _only_removed(volume, removed)
    record("checkpoint", "changes while a checkpoint is made", note="no false alarm")


def _only_removed(volume: Volume, removed: int) -> None:
    findings, _ = compare_in(volume)
    assert {str(one.code) for one in findings} <= {"file-missing"}
    assert len(findings) <= removed


def _change_something(volume: Volume, chosen: random.Random, count: int) -> int:
    """One random change; how many files it removed."""
    directories = [entry.name for entry in volume.list_directory() if entry.name.startswith(b"dir-")]
    source, target = chosen.choice(directories), chosen.choice(directories)
    files = [entry.name for entry in volume.list_directory(source)]
    match chosen.randrange(7):
        case 0:
            volume.write_file(source + b"/new-%d" % chosen.randrange(4), pattern(2000, count))
        case 1 if source != target:
            # Out of sight of a walk that has been at the one and not at the other.
            volume.rename(source, target + b"/" + source)
            volume.rename(target + b"/" + source, b"dir-moved-%d" % count)
        case 2 if files:
            volume.rename(source + b"/" + files[0], target + b"/moved-%d" % count)
        case 3 if len(files) > 1:
            volume.remove(source + b"/" + files[0])
            return 1
        case 4:
            with open_file(volume, b"a") as file:
                file.write(chosen.randrange(30_000), b"x" * 5000)
        case _:
            pass
    return 0


def test_file_that_is_renamed_while_it_is_read(filled: LowerVolume) -> None:
    """Section 12: it is recorded where it is then, so what it replaced is not missed later."""
    with filled.unlock() as volume:
        maker, done = CheckpointMaker(volume, alone=False), False
        for step in maker.run():
            if isinstance(step, Waiting):
                step.call()
            elif isinstance(step, Reading) and step.size and not done and step.file.header.name == b"f":
                volume.rename(b"d/e/f", b"b")
                done = True
        assert done
        assert compare_in(volume)[0] == []
        found = find_header(volume, volume.config.root_dir_id, b"b")
        assert found is not None
        assert found.fid == _header_of(volume, b"b").fid
    assert compare(filled) == []


def test_directory_that_slips_behind_the_walk(filled: LowerVolume) -> None:
    """Section 12: a directory that moves from where the walk was not yet to where it has been is not left out."""
    with filled.unlock() as volume:
        for name in (b"one", b"two"):
            volume.make_directory(name)
            volume.make_directory(name + b"/sub")
            volume.write_file(name + b"/sub/file", b"x")
    make(filled)
    for first, second in ((b"one", b"two"), (b"two", b"one")):
        with filled.unlock() as volume:
            maker, moved = CheckpointMaker(volume, alone=False), False
            for step in maker.run():
                if isinstance(step, Waiting):
                    step.call()
                # The walk is in the middle of the tree: what is moved now is behind it in one of the two orders.
                if isinstance(step, Progress) and step.files > 2 and not moved:
                    volume.rename(first + b"/sub", second + b"/moved")
                    moved = True
            assert moved
            volume.rename(second + b"/moved", first + b"/sub")
        assert compare(filled) == []


def test_header_that_was_destroyed(filled: LowerVolume) -> None:
    """Section 12: what rebuilds a header stays known through any number of later checkpoints; the file reads again."""
    make(filled)
    path, header = filled.lower(b"d/c"), filled.header(b"d/c")
    flip(path, 70)
    for _ in range(3):
        with filled.unlock() as volume:
            result, findings = make_in(volume, alone=True)
        assert [(str(one.code), one.path) for one in findings] == [("file-damaged", b"d/c")]
        assert result.damaged == 1
        with filled.unlock(read_only=True) as volume:
            assert find_header(volume, header.parent, b"c") == header
            assert find_header(volume, header.parent, b"nothing") is None
    assert compare(filled) == []
    filled.write_header(path, replace(header, generation=header.generation + 1))
    with filled.unlock(read_only=True) as volume:
        assert read(volume, b"d/c") == pattern(20_000, b"d/c")
    assert compare(filled) == []
    make(filled)


def test_evidence_is_not_lost_by_the_next_checkpoint(filled: LowerVolume) -> None:
    """Section 12: a checkpoint that is made after tampering tells of it, and does not take the old state for good."""
    path, gone = filled.lower(b"a"), filled.lower(b"b")
    old, deleted = path.read_bytes(), gone.read_bytes()
    cell = filled.lower(b"d/c")
    old_cell = cell.read_bytes()[4096:8192]
    with filled.unlock() as volume:
        for name in (b"a", b"d/c"):
            with open_file(volume, name) as file:
                file.write(5000, b"new bytes")
        volume.remove(b"b")
    make(filled)
    path.write_bytes(old)
    gone.write_bytes(deleted)
    with cell.open("r+b") as file:
        file.seek(4096)
        file.write(old_cell)
    expected = [("cell-replayed", b"d/c"), ("file-replayed", b"b"), ("file-rollback", b"a")]
    for _ in range(3):
        with filled.unlock() as volume:
            findings = make_in(volume, alone=True)[1]
        told = sorted((str(one.code), one.path) for one in findings)
        assert told == [one for one in expected if one[0] != "cell-replayed"]
        assert compare(filled) == expected
    with filled.unlock() as volume:
        for name in (b"a", b"d/c", b"b"):
            content = read(volume, name)
            volume.remove(name)
            volume.write_file(name, content)
    assert compare(filled) == []
    make(filled)
    record(
        "checkpoint", "a new checkpoint after tampering", cases=3, note="the evidence stays until the file is rewritten"
    )


def test_file_that_was_deleted_below_is_told(filled: LowerVolume) -> None:
    """Section 12: nobody has written since the checkpoint before, and a file is gone: the next one says so."""
    make(filled)
    filled.lower(b"b").unlink()
    with filled.unlock() as volume:
        findings = make_in(volume, alone=True)[1]
    assert [(str(one.code), one.path) for one in findings] == [("file-deleted", b"b")]


def test_failed_write_leaves_no_evidence(fast_path: Path) -> None:
    """Section 12: cells that are put back after a failed write are sealed anew, so the next header is newer."""
    lower = LowerVolume(fast_path / "volume")
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(20_000))
    make(lower)
    with lower.unlock(store=FullStore) as volume:
        store = volume.ctx.store
        assert isinstance(store, FullStore)
        with open_file(volume, b"a") as file:
            store.room, store.only_growth = 0, True
            with pytest.raises(OSError, match="No space"):
                file.write(5000, pattern(40_000))
            store.room = None
    assert lower.findings() == []
    assert compare(lower) == []


def test_damaged_checkpoint(filled: LowerVolume) -> None:
    """Section 12: a damaged one is never used, nor an older one in its place; the next one says so and reads all."""
    make(filled)
    make(filled)
    newest = stored(filled)[-1]
    flip(newest, newest.stat().st_size - 1)
    with pytest.raises(AuthenticationError):
        compare(filled)
    with filled.unlock() as volume:
        result, findings = make_in(volume, alone=True)
    assert [(str(one.severity), str(one.code)) for one in findings] == [("warning", "checkpoint-damaged")]
    assert (result.reused, result.previous) == (0, "")
    assert compare(filled) == []


def test_wrong_checkpoints(filled: LowerVolume, fast_path: Path) -> None:
    """Section 12: none, one of another volume, one under another's name, and no checkpoint at all are told apart."""
    with pytest.raises(NotFoundError):
        compare(filled)
    make(filled)
    (one,) = stored(filled)
    copy = fast_path / "copy"
    shutil.copy(one, copy)
    assert compare(filled, copy) == []
    with pytest.raises(FormatError):
        compare(LowerVolume(fast_path / "other", 16384), copy)
    one.rename(one.with_name("f" * 32))
    with pytest.raises(FormatError):
        compare(filled)
    copy.write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError):
        compare(filled, copy)
    with filled.unlock(read_only=True) as volume, pytest.raises(ReadOnlyError):
        make_in(volume)


def test_forged_names(filled: LowerVolume) -> None:
    """Section 12: names and heads in the folder that no seal vouches for move no clock and hinder nothing."""
    with filled.unlock(read_only=True) as volume:
        volume_id = volume.config.volume_id
    (filled.path / "cloakfs.c").mkdir()
    for name in ("f" * 32, "0" * 32, "nonsense", "f" * 31):
        head = Head(0, bytes.fromhex(name) if len(name) == 32 else bytes(16), volume_id)
        (filled.path / "cloakfs.c" / name).write_bytes(head.pack() + (100).to_bytes(4, "big") + bytes(100))
    with filled.unlock() as volume:
        assert int.from_bytes(volume.ctx.session[:8], "big") < 1 << 48
        assert find_header(volume, volume.config.root_dir_id, b"a") is None
        findings = make_in(volume)[1]
    assert {str(one.code) for one in findings} == {"checkpoint-damaged"}


def _fill_with(lower: LowerVolume, count: int) -> None:
    with lower.unlock() as volume:
        for number in range(count):
            if number % 500 == 0:
                directory = b"dir-%d" % (number // 500)
                volume.make_directory(directory)
            volume.write_file(directory + b"/letter-%06d.odt" % number, b"Dear colleague %d" % number)


@pytest.mark.slow
def test_hundred_thousand_files(fast_path: Path) -> None:
    """Section 12: 100,000 files are handled, and an unchanged volume costs one header read for each."""
    lower = LowerVolume(fast_path / "volume")
    count = 100_000
    _fill_with(lower, count)
    first = make(lower)
    assert (first.files, first.read) == (count, count)
    with lower.unlock(store=CountingStore) as volume:
        store = volume.ctx.store
        assert isinstance(store, CountingStore)
        volume.write_file(b"dir-7/letter-003500.odt", b"changed")
        store.reads.clear()
        second, findings = make_in(volume)
        assert findings == []
        names = [name for name in store.reads if len(name) >= 43]
        assert sum(store.reads[name] for name in names) <= count + 2
        assert (second.read, second.reused) == (1, count - 1)
        with open_newest(volume.ctx, volume.root_fd) as checkpoint:
            assert checkpoint.size == second.size
        index = load(open_newest(volume.ctx, volume.root_fd))
        assert len(index.files) == count
    assert compare(lower) == []
    lower.lower(b"dir-3/letter-001777.odt").unlink()
    assert compare(lower) == [("file-missing", b"dir-3/letter-001777.odt")]
    record("checkpoint", "100,000 files", note="made, made again, compared", size=first.size)
