"""Backups of a mounted volume in a repository of restic (FORMAT.md 18, "Target of restic"): a run and what it says."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from encfs.backup.drilling import Trial, Wish
from encfs.backup.engine import Change
from encfs.backup.manifest import content_key, open_manifest
from encfs.backup.restic_run import PASSES
from encfs.backup.scratch import Scratch
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import BackupError, DataError, GuardError
from encfs.format.backup import Item, ItemKind, Taken
from encfs.format.recovery_key import encode_recovery_key
from tests.support.mounting import wait_for
from tests.support.restic_backups import KEY, PLAN, VOLUME, Told, Yard, anything, digest, nothing, paths

pytestmark = [pytest.mark.mount, pytest.mark.programs]


def _as_seen(top: Path, path: bytes) -> tuple[int, int, int, int]:
    info = os.lstat(os.path.join(os.fsencode(top), path))
    return info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns


def _fill(top: Path) -> None:
    """One of each kind of entry."""
    (top / "folder").mkdir(mode=0o2750)
    (top / "folder" / "letter.txt").write_bytes(b"dear colleague")
    (top / "empty").write_bytes(b"")
    (top / "tool").write_bytes(b"#!/bin/sh\n")
    (top / "tool").chmod(0o4755)
    os.link(top / "tool", top / "folder" / "tool-too")
    os.symlink("folder/letter.txt", top / "shortcut")
    os.mkfifo(top / "pipe", 0o620)
    (top / "-r *[x]\n").write_bytes(b"a name that options could be made of")
    Path(os.fsdecode(os.fsencode(top) + b"/latin\xe9")).write_bytes(b"no UTF-8")
    os.setxattr(top / "folder" / "letter.txt", "user.patient", b"0815")
    os.utime(top / "folder", ns=(1, 1_234_567_890_123_456_789))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(top / "socket"))


class Hook:
    """A flush that does something each time it is called; the first time is before anything was looked at."""

    def __init__(self, *actions: Callable[[], object], always: Callable[[], object] = nothing) -> None:
        self._actions = list(actions)
        self._always = always
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        (self._actions.pop(0) if self._actions else self._always)()


def test_a_run_has_everything(yard: Yard) -> None:
    """FORMAT.md 18: the manifest has each entry with all that it has, and what is in the repository is just that."""
    _fill(yard.top)
    made = yard.run(label="LABEL")
    items = made.manifest.by_path
    wanted = [b"", b"-r *[x]\n", b"empty", b"folder", b"folder/letter.txt", b"folder/tool-too", b"latin\xe9", b"pipe"]
    assert sorted(items) == [*wanted, b"shortcut", b"tool"]
    for path, item in items.items():
        assert (item.mode, item.uid, item.gid, item.mtime_ns) == _as_seen(yard.top, path)
        assert item.taken is Taken.WHOLE
    assert items[b"folder/letter.txt"].digest == digest(b"dear colleague")
    assert items[b"folder/letter.txt"].attributes == {"user.patient": b"0815"}
    assert items[b"shortcut"].target == b"folder/letter.txt"
    assert items[b"tool"].links == items[b"folder/tool-too"].links != 0
    assert items[b"empty"].links == 0
    head = made.manifest.head
    assert (head.plan, head.volume, head.engine, head.label, head.mounted) == (PLAN, VOLUME, "restic", "LABEL", True)
    assert (made.new_files, made.verified) == (6, sum(item.size for item in items.values()))
    engine = yard.engine()
    assert engine.runs() == [head]
    assert engine.manifest(head.run).items == made.manifest.items
    with engine.open(head.run) as source:
        for path in filter(None, items):
            entry, item = source.stat(path), items[path]
            assert (entry.mode, entry.uid, entry.gid, entry.mtime_ns) == _as_seen(yard.top, path)
            if item.kind is ItemKind.FILE:
                assert b"".join(source.read(path)) == (yard.top / os.fsdecode(path)).read_bytes()
                assert source.attributes(path) == item.attributes
        assert source.read_link(b"shortcut") == b"folder/letter.txt"
        assert [one.name for one in source.list(b"folder").entries] == [b"letter.txt", b"tool-too"]
    assert not list(engine._place.glob("mnt-*"))


def test_two_snapshots(yard: Yard) -> None:
    """FORMAT.md 18: a run is two snapshots with their tags, and the second has the manifest, signed, alone."""
    (yard.top / "letter").write_bytes(b"dear colleague")
    made = yard.run()
    run = made.manifest.head.run
    found = {frozenset(one.tags): one.id for one in yard.engine()._restic.snapshots()}
    assert found.keys() == {frozenset({"cloakfs", f"run={run}", what}) for what in ("data", "manifest")}
    assert found[frozenset({"cloakfs", f"run={run}", "data"})] == made.manifest.head.snapshot
    listed = yard.restic("ls", found[frozenset({"cloakfs", f"run={run}", "manifest"})]).stdout.split(b"\n")
    assert listed[1:] == [b"/manifest", b""] or listed[:-1] == [b"/manifest"]
    content = yard.restic("dump", found[frozenset({"cloakfs", f"run={run}", "manifest"})], "/manifest").stdout
    assert open_manifest(content).items == made.manifest.items


def test_an_unchanged_run_reads_nothing(yard: Yard) -> None:
    """What did not change is not read again, also after the volume was locked and opened; a changed file is."""
    _fill(yard.top)
    yard.volume.remount()
    newest = max(os.lstat(path).st_ctime for path in yard.top.rglob("*"))
    wait_for(lambda: time.time() > newest + 2.1, "the files are older than the steps of time of any filesystem")
    first = yard.run()
    yard.volume.remount()
    told = Told()
    second = yard.engine().run(anything, told)
    assert told.total("looking") == 0
    assert (second.new_files, second.verified, second.change.changed) == (0, 0, 0)
    assert second.manifest.items == first.manifest.items
    assert second.manifest.head.previous == first.manifest.head.run
    (yard.top / "folder" / "letter.txt").write_bytes(b"dear Colleague")
    told = Told()
    third = yard.engine().run(anything, told)
    assert told.total("looking") == len(b"dear colleague")
    assert (third.new_files, third.change.changed) == (1, 1)
    assert third.manifest.by_path[b"folder/letter.txt"].digest == digest(b"dear Colleague")


def test_what_has_just_changed_is_read_again(yard: Yard) -> None:
    """A file that was written shortly before a run could change again without showing it: the next run reads it."""
    (yard.top / "letter").write_bytes(b"dear colleague")
    yard.run()
    told = Told()
    again = yard.engine().run(anything, told)
    assert told.total("looking") == len(b"dear colleague")
    assert again.new_files == 0


def test_the_cache_tells_nothing(yard: Yard) -> None:
    """In the state directory is no name, no content, no digest without a key; a damaged cache is none."""
    (yard.top / "Mueller-Anna.txt").write_bytes(b"diagnosis of a patient")
    os.utime(yard.top / "Mueller-Anna.txt", (1, 1))
    newest = os.lstat(yard.top / "Mueller-Anna.txt").st_ctime
    wait_for(lambda: time.time() > newest + 2.1, "the file has settled")
    made = yard.run()
    place = yard.engine()._place
    digests = place / "digests"
    assert digest(b"diagnosis of a patient") in digests.read_bytes()
    for path in filter(Path.is_file, place.rglob("*")):
        content = path.read_bytes()
        for secret in (b"Mueller", b"diagnosis", CLOAKFS_1.digest(b"diagnosis of a patient")):
            assert secret not in content
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.is_relative_to(place / "cache")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    damaged = bytearray(digests.read_bytes())
    damaged[-40] ^= 1
    digests.write_bytes(damaged)
    told = Told()
    again = yard.engine().run(anything, told)
    assert told.total("looking") == len(b"diagnosis of a patient")
    assert again.manifest.items == made.manifest.items


def test_nobody_sees_names_or_the_key(yard: Yard) -> None:
    """The command lines and environments of restic have neither the key nor a name of what is in the volume."""
    for number in range(200):
        (yard.top / f"Mueller-{number}").write_bytes(os.urandom(1000))
    seen: list[bytes] = []

    def look(_: str) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    words = (entry / "cmdline").read_bytes()
                    if b"restic\0" in words and os.fsencode(yard.repository) in words:
                        seen.append(words + (entry / "environ").read_bytes())
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue

    run = yard.engine().run(anything, Told(look)).manifest.head.run
    yard.engine().verify(run, Told(look))
    commands = {word for one in seen for word in (b"backup", b"mount") if b"\0" + word + b"\0" in one}
    assert commands == {b"backup", b"mount"}
    for one in seen:
        assert b"Mueller" not in one
        assert encode_recovery_key(KEY).encode() not in one


# -- what changes meanwhile ------------------------------------------------------------------------------------------


def test_a_file_that_changed_meanwhile_is_taken_again(yard: Yard) -> None:
    """What was written to while restic read is taken by another pass, and is what it became."""
    letter = yard.top / "letter"
    letter.write_bytes(b"first")
    hook = Hook(nothing, lambda: letter.write_bytes(b"other"))
    made = yard.run(flush=hook)
    assert hook.count == 3
    item = made.manifest.by_path[b"letter"]
    assert (item.taken, item.digest) == (Taken.WHOLE, digest(b"other"))
    with yard.engine().open(made.manifest.head.run) as source:
        assert b"".join(source.read(b"letter")) == b"other"


def test_a_file_that_never_holds_still_is_listed(yard: Yard) -> None:
    """What is written to all the time is listed as taken live, and its digest is that of what is in the repository."""
    (yard.top / "still").write_bytes(b"still")
    database = yard.top / "database"
    database.write_bytes(b"0")
    hook = Hook(nothing, always=lambda: database.write_bytes(b"%d" % hook.count))
    made = yard.run(flush=hook)
    assert hook.count == PASSES + 1
    items = made.manifest.by_path
    assert items[b"still"].taken is Taken.WHOLE
    assert (items[b"database"].taken, items[b"database"].digest) == (Taken.LIVE, digest(b"%d" % PASSES))
    assert paths(made.manifest.not_whole()) == [b"database"]
    assert yard.engine().verify(made.manifest.head.run, Told()).damaged == ()


def test_what_comes_and_goes_meanwhile(yard: Yard) -> None:
    """A file that came after the last pass is listed as missing; one that went away is no part of the run."""
    (yard.top / "goes-1").write_bytes(b"x")

    def change() -> None:
        (yard.top / f"goes-{hook.count - 1}").rename(yard.top / f"goes-{hook.count}")

    hook = Hook(nothing, always=change)
    made = yard.run(flush=hook)
    items = made.manifest.by_path
    last = f"goes-{PASSES + 1}".encode()
    assert items[last].taken is Taken.MISSING
    assert items[f"goes-{PASSES}".encode()].taken is Taken.LIVE
    assert f"goes-{PASSES - 1}".encode() not in items


def test_what_was_there_only_for_a_moment(yard: Yard) -> None:
    """What restic has of a file that came and went between two looks is listed too: nothing is there that is not."""
    (yard.top / "folder").mkdir()
    passing = yard.top / "folder" / "lock"

    class Steps(Told):
        def phase(self, name: str, total: int) -> None:
            super().phase(name, total)
            if name == "copying":
                passing.write_bytes(b"in passing")

    made = yard.engine(flush=lambda: passing.unlink(missing_ok=True)).run(anything, Steps())
    item = made.manifest.by_path[b"folder/lock"]
    assert (item.taken, item.digest) == (Taken.LIVE, digest(b"in passing"))


def test_a_drill_of_it(yard: Yard) -> None:
    """All of a run, restored for a trial, is as its manifest says, with modes, owners, times and attributes."""
    _fill(yard.top)
    (yard.top / "socket").unlink()
    made = yard.run()
    engine = yard.engine()
    with Scratch(1 << 20) as scratch:
        trial = Trial(engine, made.manifest, key=content_key(KEY), scratch=scratch, steps=Told())
        came = trial.run(Wish(sample=None, seed=0))
    assert came.passed
    assert (came.found.files, came.found.extra) == (6, 0)


# -- the guard ---------------------------------------------------------------------------------------------------------


def test_the_guard_is_asked_first(yard: Yard) -> None:
    """The guard knows what changed, was removed and replaced, and where it refuses nothing is written."""
    for number in range(6):
        (yard.top / f"file-{number}").write_bytes(b"content %d" % number)
        os.utime(yard.top / f"file-{number}", (1, 1))
    newest = max(os.lstat(path).st_ctime for path in yard.top.iterdir())
    wait_for(lambda: time.time() > newest + 2.1, "the files have settled")
    yard.run()
    before = sorted(path.name for path in yard.repository.rglob("*"))
    (yard.top / "file-0").write_bytes(b"other")
    (yard.top / "new-name").write_bytes(b"replaced")
    (yard.top / "new-name").rename(yard.top / "file-1")
    (yard.top / "file-2").unlink()
    (yard.top / "file-3").rename(yard.top / "moved")
    (yard.top / "new").write_bytes(b"new")
    asked: list[Change] = []

    def guard(change: Change) -> None:
        asked.append(change)
        raise GuardError("too much")

    with pytest.raises(GuardError):
        yard.engine().run(guard, Told())
    assert asked == [Change(before=6, changed=1, replaced=1, removed=1, added=1)]
    assert sorted(path.name for path in yard.repository.rglob("*")) == before
    assert len(yard.runs()) == 1


# -- which are there ---------------------------------------------------------------------------------------------------


def test_prune_keeps_what_it_is_told(yard: Yard) -> None:
    """Runs that are not kept go with all that only they have, also what was broken off; others can be read in full."""
    big = os.urandom(200_000)
    (yard.top / "old").write_bytes(big)
    first = yard.run().manifest.head.run
    (yard.top / "old").unlink()
    (yard.top / "new").write_bytes(b"new")
    with pytest.raises(BackupError):
        yard.run(flush=Hook(nothing, lambda: (_ for _ in ()).throw(BackupError("broken off"))))
    second = yard.run().manifest.head.run
    engine = yard.engine()
    assert yard.runs() == [first, second]
    assert len(engine._restic.snapshots()) == 5
    assert engine.prune([first, second], Told()) >= 0
    assert len(engine._restic.snapshots()) == 4
    with pytest.raises(BackupError, match="not in the repository"):
        engine.prune([second, "0" * 32], Told())
    assert engine.prune([second], Told()) > len(big)
    assert yard.runs() == [second]
    assert engine.verify(second, Told()).damaged == ()
    with pytest.raises(DataError):
        engine.manifest(first)


def test_run_ids_grow(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """FORMAT.md 18: the id of a run is greater than those before, also when the clock was set back."""
    (yard.top / "a").write_bytes(b"a")
    first = yard.run().manifest.head.run
    monkeypatch.setattr("encfs.backup.restic_engine.time.time_ns", lambda: 1_000_000_000)
    second = yard.run().manifest.head
    assert second.run > first
    assert second.previous == first


def test_a_file_that_cannot_be_read(yard: Yard) -> None:
    """A file that is damaged in the volume is listed as missing, and the rest is taken."""
    (yard.top / "good").write_bytes(b"good")
    (yard.top / "bad").write_bytes(os.urandom(50_000))
    lower = {path for path in yard.volume.lower.rglob("*") if path.is_file() and path.stat().st_size > 50_000}
    (sealed,) = lower
    yard.volume.lock()
    content = sealed.read_bytes()
    try:
        sealed.write_bytes(content[:600] + bytes(len(content) - 600))
        yard.volume.mount()
        with pytest.raises(OSError, match=f"Errno {errno.EIO}"):
            (yard.top / "bad").read_bytes()
        made = yard.run()
    finally:
        yard.volume.lock()
        sealed.write_bytes(content)
        yard.volume.log.write_text("")
        yard.volume.mount()
    assert [(one.path, one.taken) for one in made.manifest.not_whole()] == [(b"bad", Taken.MISSING)]
    assert made.manifest.by_path[b"good"].digest == digest(b"good")


def test_only_some(yard: Yard) -> None:
    """Verify reads those that it is asked for."""
    for name in ("a", "b"):
        (yard.top / name).write_bytes(name.encode() * 10)
    made = yard.run()
    wanted: list[Item] = [made.manifest.by_path[b"a"]]
    checked = yard.engine().verify(made.manifest.head.run, Told(), wanted)
    assert (checked.files, checked.bytes, checked.damaged) == (1, 10, ())
