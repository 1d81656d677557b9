"""Whatever happened: "locked" is never said of a volume that was open (docs/incident.md, "What the record can say").

Random lives of a computer, with what was true written down beside the log in a way of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from encfs.evidence.verdict import Verdict, judge
from encfs.format.audit import Clock
from encfs.format.audit_body import Outcome
from tests.support.timelines import MOUNT, Life, at, minute

_ORDERLY = ["mount", "mount", "lock", "lock", "read", "read-ends", "beat", "tick"]
_TROUBLES = {
    "killed": ["kill"],
    "restarted": ["restart"],
    "pulled": ["pull"],
    "clock": ["set-clock", "right-clock"],
    "others": ["refused", "other"],
    "all": ["kill", "restart", "pull", "set-clock", "right-clock", "refused", "other"],
}


def lives(kinds: list[str]) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    """What happens, after how many minutes, and a number that means something to some of it."""
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(1, 90), st.integers(-120, 120)), max_size=12)


@dataclass
class Truth:
    """A life, and minute by minute whether the volume was open in it. One writer at a time, as flock(2) has it.

    Attributes:
        mount: the process that has it mounted, if any.
        reader: the command that reads it, if any.
        opened: whether it was open at any time of each minute.
        pulled: since it was pulled out while it was open nobody has opened it.
    """

    life: Life = field(default_factory=Life)
    mount: int | None = None
    reader: int | None = None
    pids: int = MOUNT
    opened: list[bool] = field(default_factory=lambda: [False])
    pulled_at: int | None = None

    @property
    def now(self) -> int:
        return len(self.opened) - 1

    def wait(self, minutes: int) -> None:
        self.opened += [self.mount is not None or self.reader is not None] * minutes

    def step(self, kind: str, wait: int, number: int) -> None:
        self.wait(wait)
        getattr(self, "_" + kind.replace("-", "_"), lambda _number: None)(number)
        if self.mount is not None or self.reader is not None:
            self.opened[-1] = True

    def _mount(self, _number: int) -> None:
        if self.mount is None and self.reader is None:
            self.pids += 1
            self.mount, self.pulled_at = self.pids, None
            self.life.mount(self.now, self.pids)

    def _lock(self, _number: int) -> None:
        if self.mount is not None:
            self.life.lock(self.now, pid=self.mount)
            self.mount = None

    def _read(self, _number: int) -> None:
        if self.reader is None:
            self.pids += 1
            self.reader, self.pulled_at = self.pids, None
            self.life.record(self.now, "volume.unlock", pid=self.pids, read_only=1)

    def _read_ends(self, number: int) -> None:
        if self.reader is not None:
            outcome = Outcome.DONE if number > 0 else Outcome.FAILED
            self.life.record(self.now, "volume.cat", outcome, pid=self.reader)
            self.reader = None

    def _beat(self, _number: int) -> None:
        if self.mount is not None:
            self.life.record(self.now, "volume.open", pid=self.mount)

    def _kill(self, number: int) -> None:
        if number > 0:
            self.mount = None
        else:
            self.reader = None

    def _restart(self, _number: int) -> None:
        self.mount = self.reader = None
        self.life.restart(self.now)

    def _pull(self, _number: int) -> None:
        if self.mount is not None:
            self.life.lock(self.now, "medium-gone", pid=self.mount)
            self.mount, self.pulled_at = None, self.now

    def _tick(self, _number: int) -> None:
        self.life.tick(self.now)

    def _refused(self, number: int) -> None:
        self.life.record(self.now, "volume.unlock", Outcome.REFUSED, pid=5, read_only=0)
        self.life.record(self.now, "volume.mount" if number > 0 else "volume.cat", Outcome.REFUSED, pid=5)

    def _other(self, _number: int) -> None:
        self.life.record(self.now, "volume.verify", Outcome.REFUSED, pid=4)

    def _set_clock(self, number: int) -> None:
        """Nobody keeps it right then."""
        self.life.tick(self.now)
        self.life.offset, self.life.clock = number * 60, Clock.UNSYNCHRONISED
        self.life.tick(self.now)

    def _right_clock(self, _number: int) -> None:
        self.life.tick(self.now)
        self.life.offset, self.life.clock = 0, Clock.SYNCHRONISED
        self.life.tick(self.now)


def lived(steps: list[tuple[str, int, int]]) -> Truth:
    """A life; its end is long after, and the log goes on until then."""
    truth = Truth()
    for kind, wait, number in steps:
        truth.step(kind, wait, number)
    truth.wait(1000)
    truth._right_clock(0)
    return truth


@pytest.mark.parametrize("trouble", _TROUBLES)
@settings(max_examples=400, deadline=None)
@given(st.data())
def test_locked_is_never_said_of_an_open_volume(trouble: str, data: st.DataObject) -> None:
    """At that minute it was open by what was written down beside, or had been pulled out open: never "locked"."""
    truth = lived(data.draw(lives(_ORDERLY + _TROUBLES[trouble])))
    lost = data.draw(st.integers(0, len(truth.opened) - 900))
    # Found at once, so that what came later is no contradiction, which would hide what is looked at here.
    judgement = judge(truth.life.line(), truth.life.whole(), minute(lost), found_at=at(lost + 1))
    event(str(judgement.verdict))
    if truth.opened[lost] or (truth.pulled_at is not None and truth.pulled_at <= lost):
        assert judgement.verdict is not Verdict.LOCKED


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=8), st.integers(2, 900))
def test_an_orderly_life_is_told_as_it_was(uses: list[tuple[int, int]], after: int) -> None:
    """With a right clock and every end recorded it says locked after the last lock, and open whenever it was open."""
    truth = Truth()
    for closed, opened in uses:
        truth.step("mount", closed, 0)
        truth.step("lock", opened, 0)
    end = truth.now
    truth.wait(1000)
    truth._tick(0)
    line, whole = truth.life.line(), truth.life.whole()
    assert judge(line, whole, minute(end + after)).verdict is Verdict.LOCKED
    for lost in [number for number, was_open in enumerate(truth.opened) if was_open]:
        assert judge(line, whole, minute(lost)).verdict is Verdict.OPEN
