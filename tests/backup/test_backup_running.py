"""encfs/backup/running.py and busy.py: the guard, what is written down of a run, when old runs go (FORMAT.md 18)."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import pytest

from encfs.backup import busy, running
from encfs.backup.busy import BusyError
from encfs.backup.engine import Change, Guard, Made, Steps
from encfs.backup.manifest import Manifest, RunHead
from encfs.backup.plans import Keep, Plan, Result, Run
from encfs.backup.running import Watch, is_too_much
from encfs.errors import BackupError, GuardError
from encfs.format.backup import Item, ItemKind, Taken
from tests.support.drills import plan
from tests.support.tree_backups import Silent

NOW = int(datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp())
CALM = Change(before=100, changed=3, replaced=0, removed=1, added=9)
FILE = Item(path=b"a", kind=ItemKind.FILE, mode=0o100644, uid=0, gid=0, mtime_ns=0, size=7, digest=bytes(32))


def _head(at: float, tail: str = "00" * 8) -> RunHead:
    run = f"{int(at * 1000):016x}{tail}"
    return RunHead(
        plan="0b" * 16,
        run=run,
        volume="0c" * 16,
        engine="copy",
        label="Blue",
        snapshot="",
        checkpoint="",
        mounted=False,
        previous="",
    )


class Shelf:
    """A target with runs at these times; its next run has these items, and shows the guard this change."""

    def __init__(self, *at: float, change: Change = CALM, items: Sequence[Item] = (FILE,)) -> None:
        self.heads = [_head(one) for one in at]
        self.change = change
        self.items = tuple(items)
        self.kept: list[Sequence[str]] = []
        self.fails: BaseException | None = None

    def run(self, guard: Guard, steps: Steps) -> Made:
        del steps
        guard(self.change)
        if self.fails is not None:
            raise self.fails
        self.heads.append(_head(NOW))
        manifest = Manifest(self.heads[-1], self.items, digest="ab" * 32)
        return Made(manifest=manifest, change=self.change, new_files=2, new_bytes=5, verified=12)

    def runs(self) -> list[RunHead]:
        return self.heads

    def prune(self, keep: Sequence[str], steps: Steps) -> int:
        del steps
        self.kept.append(keep)
        return 4096

    def _no(self, *_: object) -> NoReturn:
        raise AssertionError("this one is not asked for that")

    manifest = verify = open = _no


def _make(shelf: Shelf, *, accepted: bool = False) -> running.Ended:
    return running.make(shelf, _plan(), label="Blue", accepted=accepted, steps=Silent(), now=lambda: NOW)


def _plan(**more: object) -> Plan:
    return replace(plan(), guard=50, **more)  # type: ignore[arg-type]  # of a test


# -- the guard ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "changed", "replaced", "removed", "held"),
    [
        (100, 50, 0, 0, False),
        (100, 51, 0, 0, True),
        (100, 0, 51, 0, True),
        (100, 0, 0, 51, True),
        (100, 17, 17, 17, True),
        (19, 19, 0, 0, False),
        (20, 20, 0, 0, True),
        (0, 0, 0, 0, False),
        (1000, 500, 0, 0, False),
    ],
)
def test_what_is_too_much(before: int, changed: int, replaced: int, removed: int, *, held: bool) -> None:
    """More than half of them, however: changed, replaced or gone; but never fewer than twenty files. New ones are no
    change.
    """
    change = Change(before=before, changed=changed, replaced=replaced, removed=removed, added=10_000)
    assert is_too_much(change, 50) is held


def test_a_held_run_is_written_down_as_such() -> None:
    """With the numbers that held it, and without any run; accepted, the same change is taken."""
    shelf = Shelf(change=Change(before=100, changed=40, replaced=10, removed=10, added=3))
    ended = _make(shelf)
    assert isinstance(ended.failure, GuardError)
    assert ended.made is None
    assert (ended.run.result, ended.run.id, ended.run.label) == (Result.GUARD, "", "Blue")
    assert (ended.run.changed, ended.run.removed, ended.run.before) == (50, 10, 100)
    assert "of 100 files 60 are not as at the last run (40 changed, 10 replaced by others, 10 gone)" in ended.run.why
    assert shelf.heads == []
    assert _make(shelf, accepted=True).run.result is Result.DONE


def test_the_percentage_is_that_of_the_plan() -> None:
    """80 % lets 60 % pass."""
    change = Change(before=100, changed=60, replaced=0, removed=0, added=0)
    Watch(80, accepted=False)(change)
    with pytest.raises(GuardError):
        Watch(59, accepted=False)(change)


# -- how a run ends ----------------------------------------------------------------------------------------------------


def test_a_good_run() -> None:
    """All numbers of what was made."""
    run = _make(Shelf()).run
    assert run.result is Result.DONE
    assert (run.files, run.bytes, run.new_files, run.new_bytes, run.verified) == (1, 7, 2, 5, 12)
    assert (run.changed, run.removed, run.before, run.manifest, run.why) == (3, 1, 100, "ab" * 32, "")
    assert (run.begun, run.ended) == (NOW, NOW)


def test_files_that_are_not_whole() -> None:
    """The run is good, and says how many of which kind."""
    others = [replace(FILE, path=b"b", taken=Taken.LIVE), replace(FILE, path=b"c", taken=Taken.OLDER)]
    gone = Item(path=b"d", kind=ItemKind.FILE, mode=0, uid=0, gid=0, mtime_ns=0, taken=Taken.MISSING)
    run = _make(Shelf(items=[FILE, *others, gone])).run
    assert (run.result, run.not_whole) == (Result.PARTLY, 3)
    assert run.why == (
        "1 file as an earlier run took it; 1 file taken while it was written to; 1 file not in the backup"
    )


@pytest.mark.parametrize(
    ("exc", "why"),
    [
        (BackupError("the target is gone"), "the target is gone"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/plain/name of a patient"), "No space left on device"),
        (KeyboardInterrupt(), "it was interrupted"),
        (ZeroDivisionError("name of a patient"), "internal error (ZeroDivisionError)"),
        (BackupError("two\nlines " + "x" * 1000), "two lines " + "x" * 490),
    ],
)
def test_a_run_that_fails(exc: BaseException, why: str) -> None:
    """It is written down in one line without a path, also of Ctrl-C; what raised it is there for the caller."""
    shelf = Shelf()
    shelf.fails = exc
    ended = _make(shelf)
    assert (ended.run.result, ended.run.why, ended.failure, ended.made) == (Result.FAILED, why, exc, None)
    assert ended.run.changed == 3


# -- old runs ----------------------------------------------------------------------------------------------------------


def _prune(shelf: Shelf, **keep: int) -> running.Pruned:
    wanted = _plan(keep=Keep(**{"daily": 2, "weekly": 0, "monthly": 0, **keep}))
    return running.prune(shelf, wanted, Silent(), now=NOW)


def test_old_runs_go() -> None:
    """All but what is to be kept; the engine is told what stays."""
    shelf = Shelf(*(NOW - timedelta(days=day).total_seconds() for day in (4, 3, 2, 1, 0)))
    found = _prune(shelf)
    assert shelf.kept == [[one.run for one in shelf.heads[3:]]]
    assert (found.removed, found.left, found.bytes, found.why_not) == (3, 2, 4096, "")


def test_nothing_goes_that_need_not() -> None:
    """Then the engine is not even asked."""
    shelf = Shelf(NOW - 86_400, NOW)
    assert _prune(shelf).removed == 0
    assert shelf.kept == []


def test_a_clock_that_was_ahead() -> None:
    """While a run is dated in the future all newer ones look as if they were of its day: none is taken away."""
    ahead = NOW + 3 * running.AHEAD
    shelf = Shelf(NOW - 10 * 86_400, NOW - 5 * 86_400, ahead, ahead + 1, ahead + 2)
    found = _prune(shelf, daily=1)
    assert (found.removed, found.left, shelf.kept) == (0, 5, [])
    assert "the clock of this computer is wrong, or was" in found.why_not


def test_what_was_there_before_a_great_change_stays() -> None:
    """Whoever said yes to it may have been wrong: for five weeks the run before is kept, whatever else goes."""
    shelf = Shelf(NOW - 7200, NOW - 3600, NOW)
    great = Run(id=shelf.heads[1].run, label="", result=Result.DONE, begun=0, ended=NOW - 3600, before=100, changed=60)
    one = _plan(keep=Keep(daily=1, weekly=0, monthly=0), runs=(great,))
    running.prune(shelf, one, Silent(), now=NOW)
    assert shelf.kept == [[shelf.heads[0].run, shelf.heads[2].run]]
    running.prune(shelf, one, Silent(), now=NOW - 3600 + running.REGRETTED)
    assert shelf.kept[1:] == [[shelf.heads[2].run]]
    running.prune(shelf, replace(one, runs=(replace(great, changed=40),)), Silent(), now=NOW)
    assert shelf.kept[2:] == [[shelf.heads[2].run]]


def test_a_target_without_any_run_is_not_pruned() -> None:
    """Behind a run that is not there something is very wrong."""
    with pytest.raises(BackupError):
        _prune(Shelf())


# -- one at a time -----------------------------------------------------------------------------------------------------


def _hold(ready: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    with busy.alone("0b" * 16):
        ready.set()
        done.wait()


def test_one_at_a_time() -> None:
    """Another process is refused at once, while it lives; another backup is not; when it is killed the lock is free."""
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(BusyError, match="worked on already"), busy.alone("0b" * 16):
        raise AssertionError("two at a time")
    with busy.alone("0c" * 16):
        pass
    other.kill()
    other.join()
    with busy.alone("0b" * 16):
        pass
