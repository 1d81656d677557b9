"""What happens to a file that changes while ``copy`` takes it (FORMAT.md section 18): taken again, older, or missing.

The changes are made in the flush before and after each batch, so that they come when they have to.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encfs.backup.copying import scanning
from encfs.backup.copying.scanning import opened
from encfs.backup.copying.taking import PASSES
from encfs.backup.copying.whole import Whole
from encfs.errors import BackupError
from encfs.format.backup import Taken
from encfs.store.local import LocalStore
from tests.support.sealed_backups import Sealed, allow, contents, tree_is
from tests.support.tree_backups import Silent
from tests.support.volumes import pattern

FILES = {b"quiet": pattern(300), b"busy": pattern(20_000, 2)}


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    """A volume with two files, and an empty target."""
    made = Sealed(tmp_path)
    made.write(FILES)
    return made


class _Flush:
    """Calls ``work`` with the number of the flush, from 0: 0 is the one before the first look."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self.count = 0
        self._work = work

    def __call__(self) -> None:
        self._work(self.count)
        self.count += 1


def _edit(sealed: Sealed, text: bytes) -> None:
    with sealed.volume.unlock() as volume, volume.open(b"busy", writable=True) as file:
        file.write(5000, text)


def _edited(text: bytes) -> bytes:
    return FILES[b"busy"][:5000] + text + FILES[b"busy"][5000 + len(text) :]


def test_file_that_changed_while_it_was_copied_is_taken_again(sealed: Sealed) -> None:
    """The second pass has it as it is then; what was copied first is nowhere."""
    flush = _Flush(lambda number: _edit(sealed, b"edited") if number == 1 else None)
    engine = sealed.engine(flush=flush)
    made = engine.run(allow, Silent())
    assert not made.manifest.not_whole()
    assert contents(engine, made.manifest.head.run) == {**FILES, b"busy": _edited(b"edited")}
    assert flush.count == 3
    tree_is(sealed.target, made.manifest)
    named = {item.digest.hex() for item in made.manifest.items}
    assert {path.name for path in sealed.target.glob("objects/??/*")} <= named


def test_file_that_never_holds_still_is_missing_and_then_older(sealed: Sealed) -> None:
    """Where no run has it, it is listed as missing; else the run before has it, and that stays in the backup."""
    busy = _Flush(lambda number: _edit(sealed, b"%d" % number))
    engine = sealed.engine(flush=busy)
    made = engine.run(allow, Silent())
    assert [item.taken for item in made.manifest.not_whole()] == [Taken.MISSING]
    assert set(engine.reasons.values()) == {"it was written to all the time"}
    assert contents(engine, made.manifest.head.run) == {b"quiet": FILES[b"quiet"]}
    whole = sealed.run().manifest.head.run
    then = contents(engine, whole)
    busy.count = 100
    made = sealed.engine(flush=busy).run(allow, Silent())
    assert [item.taken for item in made.manifest.not_whole()] == [Taken.OLDER]
    assert contents(engine, made.manifest.head.run) == then
    tree_is(sealed.target, made.manifest)
    made = sealed.run()
    assert not made.manifest.not_whole()
    assert contents(engine, made.manifest.head.run)[b"busy"] == _edited(b"%d" % (busy.count - 1))


def test_what_is_made_renamed_and_removed_meanwhile(sealed: Sealed) -> None:
    """A file that got another name is in the run under that, one that came too; one that went is not."""

    def work(number: int) -> None:
        if number == 1:
            with sealed.volume.unlock() as volume:
                volume.rename(b"busy", b"renamed")
                volume.remove(b"quiet")
                volume.write_file(b"new", b"new")

    engine = sealed.engine(flush=_Flush(work))
    made = engine.run(allow, Silent())
    assert not made.manifest.not_whole()
    assert contents(engine, made.manifest.head.run) == {b"renamed": FILES[b"busy"], b"new": b"new"}
    assert engine.verify(made.manifest.head.run, Silent()).damaged == ()


def test_file_that_is_replaced_all_the_time_is_taken_as_one_of_them(sealed: Sealed) -> None:
    """A program that saves a new file under the name: each is whole, and so is the one that is taken."""

    def work(number: int) -> None:
        with sealed.volume.unlock() as volume:
            volume.write_file(b"fresh", pattern(9000, number))
            volume.rename(b"fresh", b"busy")

    engine = sealed.engine(flush=_Flush(work))
    made = engine.run(allow, Silent())
    assert [item.taken for item in made.manifest.not_whole()] == [Taken.LIVE]
    content = contents(engine, made.manifest.head.run)[b"busy"]
    assert content in [pattern(9000, number) for number in range(12)]


def test_what_was_written_to_after_it_was_taken_is_listed(sealed: Sealed) -> None:
    """Each file is whole, but that one is not of the moment of which the others are: a database and its journal."""

    def work(number: int) -> None:
        with sealed.volume.unlock() as volume:
            if number in (1, 2):  # While the first pass copies, and while the second does.
                with volume.open(b"busy", writable=True) as file:
                    file.write(5000, b"%d" % number)
            if number == 3:  # While the third one copies what holds still now, another file is written to again.
                with volume.open(b"quiet", writable=True) as file:
                    file.write(0, b"late")

    engine = sealed.engine(flush=_Flush(work))
    made = engine.run(allow, Silent())
    (live,) = made.manifest.not_whole()
    assert live.taken is Taken.LIVE
    assert set(engine.reasons.values()) == {"it was written to during the run"}
    assert contents(engine, made.manifest.head.run) == {**FILES, b"busy": _edited(b"2")}
    assert engine.verify(made.manifest.head.run, Silent()).damaged == ()
    made = sealed.run()
    assert not made.manifest.not_whole()


def test_what_was_written_to_while_the_last_was_taken_is_listed(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that came during the last pass are taken behind it, and then everything is looked at once more."""
    passes = 0
    take = Whole._pass

    def counted(*arguments: Any) -> None:
        nonlocal passes
        passes += 1
        take(*arguments)

    def work(number: int) -> None:
        with sealed.volume.unlock() as volume:
            if passes <= len(PASSES):
                volume.write_file(b"came %d" % number, pattern(9000))
            else:
                with volume.open(b"quiet", writable=True) as file:
                    file.write(0, b"late")

    monkeypatch.setattr(Whole, "_pass", counted)
    made = sealed.engine(flush=_Flush(work)).run(allow, Silent())
    assert passes == len(PASSES) + 1
    quiet = os.fsencode(sealed.volume.lower(b"quiet").relative_to(sealed.volume.path))
    assert {item.path: item.taken for item in made.manifest.not_whole()} == {quiet: Taken.LIVE}


def test_file_that_moves_past_who_looks_is_not_taken_for_removed(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was moved from a folder not yet looked into to one that was: it is looked for again."""
    with sealed.volume.unlock() as volume:
        for name in (b"a", b"b"):
            volume.make_directory(name)
            volume.write_file(name + b"/of " + name, name)
    sealed.run()
    folders = {sealed.volume.lower(name).stat().st_ino: name for name in (b"a", b"b")}
    moved: list[bytes] = []

    class Moving(LocalStore):
        """When the first of the folders has been listed, the file of the other one moves there."""

        def list(self, dirfd: int) -> list[bytes]:
            found = super().list(dirfd)
            here = folders.get(self.fstat(dirfd).st_ino)
            if here and not moved:
                there = b"b" if here == b"a" else b"a"
                moved.append(here)
                with sealed.volume.unlock() as volume:
                    volume.rename(there + b"/of " + there, here + b"/of " + there)
            return found

    monkeypatch.setattr("encfs.backup.copying.engine.opened", lambda path: opened(path, Moving))
    engine = sealed.engine()
    made = engine.run(allow, Silent())
    (into,) = moved
    assert contents(engine, made.manifest.head.run) == {**FILES, into + b"/of a": b"a", into + b"/of b": b"b"}


def test_look_at_the_tree_is_made_again_where_something_is_missing(tmp_path: Path) -> None:
    """What is not found where it was is looked for once more; what is found nowhere then is gone."""
    first, second = (tmp_path / (letter * 43) for letter in "AB")
    for folder in (first, second):
        folder.mkdir()
        (folder / (folder.name[0].lower() * 43)).write_bytes(b"content")
    known = {path.stat().st_ino for path in tmp_path.glob("*/*")}
    listed: list[int] = []

    class Moving(LocalStore):
        """When the first of the folders has been listed, the file of the other one moves there."""

        def list(self, dirfd: int) -> list[bytes]:
            found = super().list(dirfd)
            here = first if self.fstat(dirfd).st_ino == first.stat().st_ino else second
            if self.fstat(dirfd).st_ino == here.stat().st_ino and not listed:
                there = second if here is first else first
                name = there.name[0].lower() * 43
                (there / name).rename(here / name)
                listed.append(dirfd)
            return found

    with opened(os.fsencode(tmp_path), Moving) as tree:
        seen = tree.settled(known)
        assert known <= {one.inode for one in seen.values()}
        next(tmp_path.glob("*/a*")).unlink()
        assert len(known & {one.inode for one in tree.settled(known).values()}) == 1


def test_only_records_are_taken_as_they_were_looked_at(sealed: Sealed) -> None:
    """A file that is being made is no longer than a header either, but is written by more than one write."""
    sealed.write({b"empty": b""})
    (sealed.volume.path / ("A" * 43)).write_bytes(b"")
    with opened(os.fsencode(sealed.volume.path)) as tree:
        seen = tree.scan()
    short = {path: one.content for path, one in seen.items() if 0 <= one.size <= 512 and one.mode & 0o100000}
    assert len(short) >= 5
    for path, content in short.items():
        is_record = path == b"cloakfs.d" or (path.startswith(b"cloakfs.s/") and not path.endswith(b"lock"))
        assert (content is not None) is is_record, path


def test_volume_that_goes_away_meanwhile_ends_the_run(sealed: Sealed) -> None:
    """Nothing is taken for removed, and there is no run."""
    first = sealed.run().manifest.head.run
    sealed.write({b"more": b"more"})

    def work(number: int) -> None:
        if number == 1:
            for path in sealed.volume.path.iterdir():
                path.rename(sealed.volume.path.parent / path.name)

    with pytest.raises(BackupError, match="not where the backup takes it from"):
        sealed.engine(flush=_Flush(work)).run(allow, Silent())
    assert [head.run for head in sealed.engine(known=sealed.volume.path.parent).runs()] == [first]


def test_flush_that_fails_ends_the_run(sealed: Sealed) -> None:
    """What a mount says goes on to whoever made the run; nothing was written."""

    def flush() -> None:
        raise BackupError("the volume was locked meanwhile", hint="Open it.")

    with pytest.raises(BackupError, match="locked meanwhile"):
        sealed.engine(flush=flush).run(allow, Silent())
    assert os.listdir(sealed.target) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"cloakfs.volume", True),
        (b"cloakfs.volume.bak", True),
        (b"cloakfs.d", True),
        (b"cloakfs.s", True),
        (b"cloakfs.s/lock", True),
        (b"cloakfs.s/" + b"0f" * 16, True),
        (b"cloakfs.c/" + b"0f" * 16, True),
        (b"A" * 43, True),
        (b"~" + b"A" * 43, True),
        (b"A" * 43 + b".l", True),
        (b"A" * 43 + b"/cloakfs.d", True),
        (b"cloakfs.t.0123456789abcdef", False),
        (b"A" * 43 + b"/cloakfs.t.0123456789abcdef", False),
        (b"A" * 43 + b"/cloakfs.volume", False),
        (b"A" * 43 + b"/cloakfs.s", False),
        (b"cloakfs.s/other", False),
        (b"cloakfs.c/lock", False),
        (b"A" * 42, False),
        (b"letter to somebody about something very long.odt", False),
        (b"A" * 43 + b".txt", False),
    ],
)
def test_what_belongs_to_a_volume(path: bytes, expected: bool) -> None:
    """By name alone, as in the table of FORMAT.md section 2."""
    assert scanning.belongs(path) is expected
