"""What logind says, and what comes of it (encfs/fuse/logind.py): a real bus, no mount."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyfuse3")
import trio

from encfs.fuse.logind import LogindWatch
from encfs.locking import LockReason
from tests.support.logind import Bus, Logind, needs_bus
from tests.support.mounting import wait_for

pytestmark = needs_bus
USER = 12345


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """A bus that this process takes for that of the machine."""
    with Bus(tmp_path) as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield bus


class Watched:
    """A mount of ``uid`` that only notes why it was to be locked."""

    def __init__(self, uid: int) -> None:
        self.locked: list[LockReason] = []
        self.watch = LogindWatch(self._lock, uid)

    async def _lock(self, reason: LockReason) -> None:
        self.locked.append(reason)

    async def during(self, *steps: object) -> list[list[LockReason]]:
        """What it was locked for after each step, a call that may wait."""
        after = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch.watch)
            for step in steps:
                await trio.to_thread.run_sync(step)  # type: ignore[arg-type]
                after.append(list(self.locked))
            nursery.cancel_scope.cancel()
        self.watch.release()
        return after


def test_only_the_last_session_counts(bus: Bus) -> None:
    """Another session's end locks nothing; the last one's does."""
    with Logind(bus, USER, sessions=2) as logind:
        watched = Watched(USER)
        after = trio.run(
            watched.during,
            lambda: wait_for(lambda: watched.watch.reasons, "it listens"),
            logind.end_session,
            # What it asks comes in order: a second question is put when the first answer has been dealt with.
            logind.look_again,
            logind.end_session,
            lambda: wait_for(lambda: watched.locked, "the mount is locked"),
        )
        assert after[:3] == [[], [], []]
        assert after[-1] == [LockReason.LOG_OUT]
        assert watched.watch.reasons == [LockReason.SUSPEND, LockReason.LOG_OUT]


@pytest.mark.parametrize(("uid", "sessions"), [(USER, 0), (0, 1)])
def test_whose_log_out_counts(bus: Bus, uid: int, sessions: int) -> None:
    """Not that of a user who was not logged in at the mount, nor root's: only sleep locks."""
    with Logind(bus, uid, sessions=sessions) as logind:
        watched = Watched(uid)
        after = trio.run(
            watched.during,
            lambda: wait_for(lambda: watched.watch.reasons, "it listens"),
            lambda: logind.signal("SessionRemoved", "so", "7", "/org/freedesktop/login1/session/_37"),
            lambda: logind.signal("PrepareForSleep", "b", True),
            lambda: wait_for(lambda: watched.locked, "the mount is locked"),
        )
        assert after[-1] == [LockReason.SUSPEND]
        assert watched.watch.reasons == [LockReason.SUSPEND]


def test_a_bus_without_logind(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    """One line, and when logind comes it is heard."""
    caplog.set_level("INFO")
    watched = Watched(USER)

    def come() -> None:
        wait_for(lambda: "no logind" in caplog.text, "it says so")
        with Logind(bus, USER, sessions=1) as logind:
            logind.wait_for_inhibitor()
            wait_for(lambda: watched.watch.reasons, "it listens")

    trio.run(watched.during, come)
    assert caplog.text.count("no logind (org.freedesktop.DBus.Error.NameHasNoOwner)") == 1
