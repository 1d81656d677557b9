"""Repair: what is wrong is put right as far as it goes, nothing is lost on the way (docs/findings.md, "Repair")."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.errors import CloakfsError, LowerIOError, ReadOnlyError
from encfs.volume.lost_found import LostFound, is_kept
from encfs.volume.repair import Outcome, Repair
from encfs.volume.verify import Severity
from tests.support import evidence
from tests.support.repair_damages import DAMAGES, contents, copy_of, move, populate, swap
from tests.support.repairing import (
    NOW,
    RUN,
    findings_of,
    lower_pieces,
    missing_bytes,
    planned,
    repair,
    repair_open,
)
from tests.support.stores import ENOSPC, FailingStore, FullStore
from tests.support.volumes import CELLS, LowerVolume, flip, pattern, read


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[LowerVolume, dict[bytes, bytes]]:
    """A volume that tests copy, and what is in it."""
    lower = LowerVolume(tmp_path_factory.mktemp("whole") / "volume")
    with lower.unlock() as volume:
        populate(volume)
        return lower, contents(volume)


@pytest.fixture
def full(whole: tuple[LowerVolume, dict[bytes, bytes]], fast_path: Path) -> LowerVolume:
    """A fresh copy of it."""
    return copy_of(whole[0], fast_path / "volume")


def check(full: LowerVolume, intact: dict[bytes, bytes], changed: set[bytes], pieces: set[bytes]) -> None:
    """Nothing is wrong any more, nothing is lost, and what was not damaged is as it was."""
    findings, _ = full.verify()
    assert [(one.code, one.path) for one in findings if one.severity is not Severity.INFO] == []
    assert all(is_kept(one.path) for one in findings if one.code != "temporary")
    with full.unlock(read_only=True) as volume:
        now = contents(volume)
        assert {path: now.get(path) for path in intact if path not in changed} == {
            path: content for path, content in intact.items() if path not in changed
        }
        assert set(now) <= set(intact)
    assert missing_bytes(pieces, full) == set()


def without_sessions(lower: LowerVolume) -> dict[str, tuple[object, ...]]:
    """The lower tree without what every unlock writes."""
    sessions = str(lower.path / "cloakfs.s")
    return {
        path: seen
        for path, seen in lower.snapshot().items()
        if not path.startswith(sessions) and path != str(lower.path)
    }


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage(full: LowerVolume, whole: tuple[LowerVolume, dict[bytes, bytes]], damage: str) -> None:
    """The plan says what will be done and changes nothing; done, nothing is wrong, nothing lost (docs/findings.md)."""
    apply, words, changed = DAMAGES[damage]
    apply(full)
    pieces, before = lower_pieces(full), without_sessions(full)
    actions = planned(full)
    assert without_sessions(full) == before, "planning changed something"
    assert all(action.text and action.found for action in actions)
    done = repair(full)
    assert all(one.outcome is Outcome.DONE for one in done), done
    texts = [one.action.text for one in done]
    assert len(texts) == len(words)
    for word in words:
        fits = [text for text in texts if re.search(word, text)]
        assert fits, (word, texts)
        texts.remove(fits[0])
    check(full, whole[1], changed, pieces)
    with full.unlock(read_only=True) as volume:
        report = read(volume, RUN + b"/report.txt").decode()
    for one in done:
        assert one.action.text in report
    assert "not come to its end" not in report
    assert repair(full) == [], "a second run finds nothing to do"
    evidence.record("repair", damage, note="nothing lost, verify clean afterwards")


def test_kept_files_are_what_was_there(full: LowerVolume) -> None:
    """What is kept in lost+found is byte for byte what was below (docs/findings.md, "Repair")."""
    lower = full.lower(b"b")
    flip(lower, 70)
    raw, attributes = lower.read_bytes(), os.getxattr(lower, "user.cloakfs")
    record = full.lower(b"d") / "cloakfs.d"
    flip(record, 70)
    broken = record.read_bytes()
    repair(full)
    with full.unlock(read_only=True) as volume:
        assert read(volume, RUN + b"/b.lower") == raw
        assert read(volume, RUN + b"/b.attributes") == attributes
        assert read(volume, RUN + b"/d.record") == broken
        assert volume.stat(RUN).mode & 0o777 == 0o700


def test_a_copy_is_read_back(full: LowerVolume) -> None:
    """A copy that is not what was to be copied is given up, and leaves nothing (docs/findings.md, "Repair")."""
    passes: list[int] = []

    def changing(offset: int, size: int) -> bytes:
        passes.append(offset)
        return (pattern(5000, passes.count(0)) + b"more" * (passes.count(0) > 1))[offset : offset + size]

    with full.unlock() as volume:
        lost = LostFound(volume, NOW)
        with pytest.raises(LowerIOError, match="not what was written"):
            lost.keep(b"copy", changing)
        assert volume.list_directory(lost.path) == []
        lost.keep(b"copy", lambda offset, size: pattern(5000)[offset : offset + size])
        assert read(volume, lost.path + b"/copy") == pattern(5000)
    assert full.findings() == []
    assert not list(full.path.rglob("cloakfs.t.*"))


def test_foreign_things_are_left_alone(full: LowerVolume) -> None:
    """What is not the volume's stays where it is, and is told with the reason (docs/findings.md)."""
    (full.path / "Thumbs.db").write_bytes(b"x")
    (full.lower(b"d") / ("A" * 43)).write_bytes(b"y" * 600)
    (full.lower(b"d") / "cloakfs.volume").write_bytes(b"z")
    (full.path / "folder").mkdir()
    (full.path / "folder" / "in it").write_bytes(b"y")
    before = without_sessions(full)
    with full.unlock() as volume:
        done, left = repair_open(volume)
    assert done == []
    assert sorted(one.finding.lower_path.rpartition(b"/")[2] for one in left) == sorted(
        [b"Thumbs.db", b"A" * 43, b"cloakfs.volume", b"folder"]
    )
    assert all("not cloakfs's" in one.reason for one in left)
    assert without_sessions(full) == before
    evidence.record("repair", "foreign files", note="left alone")


def test_only_what_is_below_the_paths(full: LowerVolume, whole: tuple[LowerVolume, dict[bytes, bytes]]) -> None:
    """Repair of a sub-path touches nothing else (docs/findings.md, "Repair")."""
    for name in (b"d/c", b"f/c", b"b"):
        flip(full.lower(name), 5000)
    elsewhere = {
        path: seen for path, seen in without_sessions(full).items() if not path.startswith(str(full.lower(b"d")))
    }
    done = repair(full, [b"d"])
    assert [one.action.path for one in done] == [b"d/c"]
    assert {path: seen for path, seen in without_sessions(full).items() if path in elsewhere} == elsewhere
    assert full.findings() == [("cell-damaged", b"b"), ("cell-damaged", b"f/c")]
    repair(full, [b"f/c"])
    assert full.findings() == [("cell-damaged", b"b")]


def test_a_second_copy_is_a_file_of_its_own(full: LowerVolume) -> None:
    """A copy has the same content under an id of its own: one can be deleted without the other (FORMAT.md 9.1)."""
    shutil.copyfile(full.lower(b"d/c"), full.lower(b"d") / "c (conflict)")
    repair(full)
    original, copy = full.header(b"d/c"), full.header(RUN + b"/c")
    assert original.fid != copy.fid
    with full.unlock(read_only=True) as volume:
        assert read(volume, RUN + b"/c") == read(volume, b"d/c") == pattern(20_000, b"d/c")


def test_a_place_that_is_taken_by_something_else(full: LowerVolume) -> None:
    """What cannot go home because a good file is there goes to lost+found as it is (docs/findings.md, "Repair")."""
    move(full, b"d/c", b"f", "stray")
    with full.unlock() as volume:
        volume.write_file(b"d/c", b"newer")
    (one,) = repair(full)
    assert "its place is taken" in one.action.text
    assert full.findings() == []
    with full.unlock(read_only=True) as volume:
        assert read(volume, b"d/c") == b"newer"
        assert read(volume, RUN + b"/c") == pattern(20_000, b"d/c")


def test_a_place_that_is_taken_since_the_plan(full: LowerVolume) -> None:
    """Nothing is ever renamed over something, whatever the plan was (docs/findings.md, "Repair")."""
    move(full, b"d/c", b"f", "stray")
    with full.unlock() as volume:
        mender = Repair(volume, now=lambda: NOW)
        plan = mender.plan(findings_of(volume))
        volume.write_file(b"d/c", b"newer")
        (one,) = mender.apply(plan)
        assert (one.outcome, one.reason) == (Outcome.FAILED, "File exists")
        assert read(volume, b"d/c") == b"newer"
    assert [code for code, _ in full.findings()] == ["foreign"]


def test_a_header_that_a_checkpoint_knows(full: LowerVolume, whole: tuple[LowerVolume, dict[bytes, bytes]]) -> None:
    """A destroyed header is rebuilt from a checkpoint if it opens the file's cells, and only then (section 12)."""
    known = {name: full.header(name) for name in (b"b", b"d/c")}
    with full.unlock() as volume, volume.open(b"b", writable=True) as file:
        file.write(20_000, b"grown since")
    for name in known:
        flip(full.lower(name), 70)
    pieces = lower_pieces(full)
    wrong = replace(known[b"d/c"], content_key=bytes(32))

    def find_header(_volume: object, _parent: bytes, name: bytes) -> object:
        return known[b"b"] if name == b"b" else wrong

    done = repair(full, find_header=find_header)
    assert sorted(one.action.text.split(";")[0].partition("lost+found")[0] for one in done) == [
        "its header is rebuilt from a checkpoint", "its sealed bytes are moved to "
    ]  # fmt: skip
    with full.unlock(read_only=True) as volume:
        assert read(volume, b"b") == pattern(20_000, b"b") + b"grown since"
        assert volume.stat(RUN + b"/b.header").size == 512
    check(full, whole[1], {b"b", b"d/c"}, pieces)


@pytest.mark.parametrize("cell_size", CELLS)
def test_cell_sizes(fast_path: Path, cell_size: int) -> None:
    """Bad cells, cut files and destroyed headers with cells of each size (FORMAT.md sections 9.2 and 9.3)."""
    lower = LowerVolume(fast_path / "volume", cell_size)
    content = pattern(5 * cell_size)
    with lower.unlock() as volume:
        for name in (b"cell", b"cut", b"header"):
            volume.write_file(name, content)
    flip(lower.lower(b"cell"), 2 * cell_size + 100)
    os.truncate(lower.lower(b"cut"), 3 * cell_size + 100)
    flip(lower.lower(b"header"), 70)
    raw = {name: lower.lower(name).read_bytes() for name in (b"cut", b"header")}
    assert len(repair(lower)) == 3
    assert lower.findings() == []
    with lower.unlock(read_only=True) as volume:
        assert read(volume, b"cut") == content[: volume.ctx.geometry.start_of(3)]
        assert {name: read(volume, RUN + b"/" + name + b".lower") for name in raw} == raw
        assert volume.stat(RUN + b"/cell").size == len(content)


def test_lost_and_found_of_the_user(full: LowerVolume) -> None:
    """A directory or file called lost+found is nothing special; neither is damage in it (docs/findings.md)."""
    with full.unlock() as volume:
        volume.write_file(b"lost+found", b"a file of that name")
    flip(full.lower(b"b"), 5000)
    repair(full)
    assert full.findings() == []
    with full.unlock(read_only=True) as volume:
        assert volume.stat(b"lost+found-2/2026-11-22T000000Z/b").size == 20_000
    with full.unlock() as volume:
        volume.make_directory(b"lost+found-2/mine")
        volume.write_file(b"lost+found-2/mine/b", pattern(20_000))
    flip(full.lower(b"lost+found-2/mine/b"), 5000)
    assert full.findings() == [("cell-damaged", b"lost+found-2/mine/b")]


def test_a_volume_that_is_open_for_reading(full: LowerVolume) -> None:
    """Repair of a volume that is open read-only is refused."""
    with full.unlock(read_only=True) as volume, pytest.raises(ReadOnlyError):
        Repair(volume)


@pytest.mark.parametrize("room", [0, 2000, 30_000])
def test_full_disk(full: LowerVolume, room: int) -> None:
    """Without room nothing is changed, or what is changed is whole; nothing is lost (docs/findings.md, "Repair")."""
    flip(full.lower(b"b"), 70)
    os.truncate(full.lower(b"d/c"), 3 * 4096)
    flip(full.lower(b"f/c"), 5000)
    (full.lower(b"d/e") / "cloakfs.d").unlink()
    pieces, before, found = lower_pieces(full), without_sessions(full), full.findings()
    with full.unlock(store=FullStore) as volume:
        findings = findings_of(volume)
        mender = Repair(volume, now=lambda: NOW)
        store: FullStore = volume.ctx.store  # type: ignore[assignment]
        store.only_growth = True
        store.room = room
        done = list(mender.apply(mender.plan(findings)))
        store.room = None
    assert any(one.outcome is Outcome.SKIPPED and "no room" in one.reason for one in done)
    if not any(one.outcome is Outcome.DONE for one in done):
        assert without_sessions(full) == before
        assert full.findings() == found
    assert missing_bytes(pieces, full) == set()
    repair(full)
    assert full.findings() == []
    assert missing_bytes(pieces, full) == set()
    evidence.record("repair", "full disk", note="nothing lost")


@pytest.mark.parametrize("damage", ["cell", "directory copied", "swapped files"])
def test_a_rename_that_fails(full: LowerVolume, damage: str) -> None:
    """If an object cannot be moved its record names the old place again, and nothing is changed (docs/findings.md)."""
    DAMAGES[damage][0](full)
    pieces, before = lower_pieces(full), full.findings()
    with full.unlock(store=FailingStore) as volume:
        findings = findings_of(volume)
        mender = Repair(volume, now=lambda: NOW)
        plan = mender.plan(findings)
        store: FailingStore = volume.ctx.store  # type: ignore[assignment]
        store.after = 3 + (damage == "directory copied")  # Two directories, the report, and a record.
        store.times = 1 + (damage == "swapped files")
        store.broken = {"rename": ENOSPC}
        done = list(mender.apply(plan))
        store.broken = {}
    assert [one.outcome for one in done if one.outcome is Outcome.DONE] == []
    assert full.findings() == before
    assert missing_bytes(pieces, full) == set()
    repair(full)
    assert full.findings() == []


def test_stopped_in_the_middle(full: LowerVolume) -> None:
    """Broken off between two steps, the report says what was done; the next run goes on (docs/findings.md)."""
    for name in (b"b", b"d/c", b"f/c"):
        flip(full.lower(name), 5000)
    pieces = lower_pieces(full)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return False

    with full.unlock() as volume, pytest.raises(KeyboardInterrupt):
        repair_open(volume, stop=stop)
    assert len(full.findings()) == 2
    with full.unlock(read_only=True) as volume:
        report = read(volume, RUN + b"/report.txt").decode()
    assert report.count("   done: ") == 1
    assert report.count("   planned: ") == 2
    assert "not come to its end" in report
    assert len(repair(full)) == 2
    assert full.findings() == []
    assert missing_bytes(pieces, full) == set()
    with full.unlock() as volume:
        assert volume.recovery is None


def test_damage_is_not_taken_for_a_crash(full: LowerVolume) -> None:
    """A repair that is killed leaves a volume that strict rules judge, not the tolerance after a crash (section 11)."""
    swap(full, b"b", b"d/c")
    child = os.fork()
    if child == 0:
        try:
            Repair(full.unlock())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    with full.unlock() as volume:
        assert volume.recovery is None
        with pytest.raises(CloakfsError):
            read(volume, b"b")
