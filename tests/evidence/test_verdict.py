"""What is said of a loss: each row of the table in docs/incident.md, "What the record can say"."""

from __future__ import annotations

import pytest

from encfs.evidence.verdict import (
    Judgement,
    LogState,
    Memory,
    Proof,
    Reason,
    SessionSeen,
    Verdict,
    Why,
    judge,
    judge_without_log,
    with_keys,
    with_sessions,
    worst,
)
from encfs.evidence.when import Span
from encfs.format.audit import Clock
from encfs.format.audit_body import Outcome
from tests.support.timelines import COMMAND, MOUNT, Life, at, minute


def said(life: Life, lost: float, *, memory: Memory | None = None, found: float | None = None) -> Judgement:
    """Of a log in which nothing is wrong."""
    found_at = None if found is None else at(found)
    return judge(life.line(), life.whole(), minute(lost), memory=memory, found_at=found_at)


def in_short(judgement: Judgement) -> tuple[Verdict, Why]:
    """The verdict and the reason that decided."""
    return judgement.verdict, judgement.reasons[0].why


def evening() -> Life:
    """Mounted at minute 10, locked at 60, and the log goes on until 500."""
    life = Life()
    life.mount(10)
    life.lock(60)
    life.tick(500)
    return life


def test_locked_before() -> None:
    """The last record before is a lock, the log goes on after, nothing speaks against it."""
    judgement = said(evening(), 100)
    assert in_short(judgement) == (Verdict.LOCKED, Why.LOCKED)
    assert judgement.proof is Proof.SEALED
    assert judgement.reasons == (Reason(Why.LOCKED, at(60), 4),)


@pytest.mark.parametrize("reason", ["asked", "unmounted", "forced", "panic", "idle", "suspend", "log-out", "signal"])
def test_every_lock_but_one_is_a_lock(reason: str) -> None:
    """Why it was locked does not matter, as long as its medium was there."""
    life = Life()
    life.mount(10)
    life.lock(60, reason)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


@pytest.mark.parametrize(("anchored", "proof"), [(None, Proof.SEALED), (3, Proof.SEALED), (4, Proof.ANCHORED)])
def test_anchored_is_said_only_from_the_lock_on(anchored: int | None, proof: Proof) -> None:
    """An anchor of before the lock says nothing of it."""
    life = evening()
    judgement = judge(life.line(), life.whole(anchored), minute(100))
    assert (judgement.verdict, judgement.proof) == (Verdict.LOCKED, proof)


@pytest.mark.parametrize("lost", [11, 30, 60])
def test_open_then(lost: float) -> None:
    """Between mount and lock, also in the minute of the lock."""
    assert in_short(said(evening(), lost)) == (Verdict.OPEN, Why.MOUNTED)


def test_a_day_is_all_of_that_day() -> None:
    """Where only the day is known, it was open if it was so at any time of it."""
    day = Span(at(-200) * 1000, at(1000) * 1000, "that day")
    assert in_short(judge(evening().line(), evening().whole(), day)) == (Verdict.OPEN, Why.MOUNTED)


def test_pulled_after_the_time_that_was_given() -> None:
    """A lock after the loss because the medium went away: it was pulled out while it was open."""
    life = Life()
    life.mount(10)
    life.lock(60, "medium-gone")
    life.lock(300, "medium-gone")
    life.tick(500)
    judgement = said(life, 40)
    assert in_short(judgement) == (Verdict.OPEN, Why.MOUNTED)
    assert [reason.why for reason in judgement.reasons] == [Why.MOUNTED, Why.PULLED]


@pytest.mark.parametrize("lost", [5, 100, 499])
def test_pulled_and_not_seen_since(lost: float) -> None:
    """Also where people say that it was lost later, or a little earlier than it was opened."""
    life = Life()
    life.mount(10)
    life.lock(60, "medium-gone")
    life.tick(500)
    assert in_short(said(life, lost)) == (Verdict.OPEN, Why.PULLED)


def test_pulled_and_found_later() -> None:
    """That it is here again does not lock it then."""
    life = Life()
    life.mount(10)
    life.lock(60, "medium-gone")
    life.mount(300)
    life.lock(310)
    life.tick(500)
    assert in_short(said(life, 100, found=290)) == (Verdict.OPEN, Why.PULLED)


def test_pulled_put_back_and_locked() -> None:
    """The last record before the loss decides."""
    life = Life()
    life.mount(10)
    life.lock(60, "medium-gone")
    life.mount(70, pid=MOUNT + 1)
    life.lock(80, pid=MOUNT + 1)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


@pytest.mark.parametrize("lost", [30, 100, 400])
def test_no_end_is_recorded(lost: float) -> None:
    """Last seen open: it cannot be shown that it was locked."""
    life = Life()
    life.mount(10)
    life.record(25, "volume.open", pid=MOUNT)
    life.tick(500)
    assert in_short(said(life, lost)) == (Verdict.OPEN, Why.NO_END)


def test_no_end_until_it_was_opened_again() -> None:
    """Its daemon was killed: open as far as anybody can show, until somebody opened it for writing."""
    life = Life()
    life.mount(10)
    life.mount(200, pid=MOUNT + 1)
    life.lock(220, pid=MOUNT + 1)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.OPEN, Why.NO_END)
    assert in_short(said(life, 300)) == (Verdict.LOCKED, Why.LOCKED)


def test_what_was_replaced_and_is_alive_after_all() -> None:
    """Another copy of the volume was opened meanwhile: the first one counts until its own end."""
    life = Life()
    life.mount(10)
    life.mount(20, pid=MOUNT + 1)
    life.lock(30, pid=MOUNT + 1)
    life.record(115, "volume.open", pid=MOUNT)
    life.lock(130)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.OPEN, Why.MOUNTED)
    assert in_short(said(life, 200)) == (Verdict.LOCKED, Why.LOCKED)


def test_two_mounts_and_one_lock() -> None:
    """A reader beside it still has it open."""
    life = Life()
    life.mount(10, read_only=1)
    life.mount(20, pid=MOUNT + 1, read_only=1)
    life.lock(30)
    life.tick(500)
    assert said(life, 100).verdict is Verdict.OPEN


def test_the_computer_was_started_again() -> None:
    """No lock is recorded: then it was open as far as can be shown; after the restart it cannot be told."""
    life = Life()
    life.mount(10)
    life.restart(60)
    life.tick(500)
    assert in_short(said(life, 40)) == (Verdict.OPEN, Why.NO_END)
    assert in_short(said(life, 100)) == (Verdict.UNKNOWN, Why.RESTARTED)


def test_the_restart_of_another_computer() -> None:
    """Where two computers write one log, the other one's records end nothing."""
    life = Life()
    life.mount(10)
    life.restart(60)
    life.boot -= 1
    life.booted = -10
    life.record(115, "volume.open", pid=MOUNT)
    life.lock(130)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.OPEN, Why.MOUNTED)


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED, Outcome.REFUSED])
def test_open_for_a_command(outcome: Outcome) -> None:
    """A volume is open too while a command reads it; its end ends that, however it was."""
    life = Life()
    life.record(10, "volume.unlock", pid=COMMAND, read_only=1)
    life.record(60, "volume.export", outcome, pid=COMMAND)
    life.tick(500)
    assert in_short(said(life, 30)) == (Verdict.OPEN, Why.COMMAND)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


def test_the_end_of_another_command() -> None:
    """It ends nothing but its own."""
    life = Life()
    life.record(10, "volume.unlock", pid=COMMAND, read_only=1)
    life.record(20, "volume.cat", Outcome.REFUSED, pid=COMMAND + 1)
    life.record(30, "volume.integrity", Outcome.FAILED, pid=COMMAND)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.OPEN, Why.NO_END)


def test_a_refused_passphrase_opens_nothing() -> None:
    """Only what was opened counts."""
    life = evening()
    life.now = 60
    tail = life.frames.pop()
    life.record(70, "volume.unlock", Outcome.REFUSED, pid=COMMAND, read_only=0)
    life.frames.append(tail)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


def test_a_mount_whose_daemon_could_not_record() -> None:
    """That the command ended well says that it is mounted."""
    life = Life()
    life.record(10, "volume.unlock", pid=COMMAND, read_only=0)
    life.record(11, "volume.mount", pid=COMMAND, exit=0)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.OPEN, Why.NO_END)


def test_a_daemon_that_stopped_without_a_lock() -> None:
    """Its process is gone; that it was locked nobody has recorded."""
    life = Life()
    life.mount(10)
    life.record(60, "daemon.stop", Outcome.FAILED, pid=MOUNT)
    life.tick(500)
    assert in_short(said(life, 40)) == (Verdict.OPEN, Why.NO_END)
    assert in_short(said(life, 100)) == (Verdict.UNKNOWN, Why.RESTARTED)


def test_a_daemon_that_stopped_after_its_lock() -> None:
    """The lock decides."""
    life = Life()
    life.record(9, "volume.unlock", pid=MOUNT, read_only=0)
    life.record(9, "daemon.start", pid=MOUNT)  # In the foreground it is the command.
    life.record(10, "volume.mounted", pid=MOUNT)
    life.lock(60)
    life.record(61, "daemon.stop", pid=MOUNT)
    life.record(62, "volume.mount", pid=MOUNT, exit=0)
    life.tick(500)
    assert in_short(said(life, 40)) == (Verdict.OPEN, Why.MOUNTED)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


def test_keys_are_being_changed() -> None:
    """From its beginning to its end the keys are in memory."""
    life = Life()
    life.record(10, "key.add", Outcome.BEGUN)
    life.record(60, "key.add", Outcome.DONE)
    life.tick(500)
    assert in_short(said(life, 30)) == (Verdict.OPEN, Why.COMMAND)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


def test_something_else_is_told_of_keys_meanwhile() -> None:
    """A change of keys ends with its own record, not with the next one about a key."""
    life = Life()
    life.record(10, "key.rotate", Outcome.BEGUN)
    life.record(20, "key.break-glass", kind="recovery")
    life.record(60, "key.rotate", Outcome.FAILED)
    life.tick(500)
    assert in_short(said(life, 40)) == (Verdict.OPEN, Why.COMMAND)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED])
def test_everything_is_brought_under_new_keys(outcome: Outcome) -> None:
    """Without a mount too the volume is open for as long as that goes on, though its keys were changed long before."""
    life = Life()
    life.record(10, "key.rotate", Outcome.BEGUN)
    life.record(11, "key.rotate")
    life.record(11, "rotation.run", Outcome.BEGUN, epoch=2)
    life.record(30, "rotation.progress", epoch=2)
    life.record(60, "rotation.run", outcome, epoch=2)
    life.tick(500)
    assert in_short(said(life, 40)) == (Verdict.OPEN, Why.COMMAND)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.LOCKED)


def test_nothing_is_known_of_before() -> None:
    """No record before the loss, or none at all."""
    life = Life()
    life.tick(50)
    life.mount(100)
    life.lock(110)
    life.tick(500)
    assert in_short(said(life, 50)) == (Verdict.UNKNOWN, Why.LATER)
    empty = Life()
    empty.tick(500)
    assert in_short(said(empty, 50)) == (Verdict.UNKNOWN, Why.NOT_KNOWN)


def test_made_here_and_never_opened() -> None:
    """A new volume is locked."""
    life = Life()
    life.record(10, "volume.create")
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.LOCKED, Why.NEVER_OPENED)
    assert in_short(said(life, 5)) == (Verdict.UNKNOWN, Why.LATER)


def test_seen_here_after_the_loss() -> None:
    """A contradiction, unless it was found by then."""
    life = Life()
    life.mount(10)
    life.lock(60)
    life.mount(200)
    life.lock(210)
    life.tick(500)
    assert in_short(said(life, 100)) == (Verdict.UNKNOWN, Why.SEEN_AFTER)
    assert in_short(said(life, 100, found=300)) == (Verdict.UNKNOWN, Why.SEEN_AFTER)
    assert in_short(said(life, 100, found=190)) == (Verdict.LOCKED, Why.LOCKED)


def test_open_stays_open_and_the_contradiction_is_told() -> None:
    """What speaks against it is a note there."""
    life = Life()
    life.mount(10)
    life.lock(60)
    life.mount(200)
    life.tick(500)
    judgement = said(life, 30)
    assert in_short(judgement) == (Verdict.OPEN, Why.MOUNTED)
    assert Why.SEEN_AFTER in [note.why for note in judgement.notes]


def test_the_log_ends_before_the_loss() -> None:
    """Nobody knows what came after its last frame."""
    life = Life()
    life.mount(10)
    life.lock(60)
    assert in_short(said(life, 100)) == (Verdict.UNKNOWN, Why.LOG_SHORT)


@pytest.mark.parametrize(("wrong", "verdict"), [(3, Verdict.LOCKED), (4, Verdict.UNKNOWN), (5, Verdict.UNKNOWN)])
def test_something_is_wrong_with_the_log(wrong: int, verdict: Verdict) -> None:
    """From the record that decides to the first one after the loss nothing may be."""
    life = evening()
    state = LogState(wrong=(wrong,), sealed=life.whole().sealed)
    assert judge(life.line(), state, minute(100)).verdict is verdict


@pytest.mark.parametrize("sealed", [(), ((0, 4),), ((5, 9),), ((0, 3), (5, 5))])
def test_not_all_of_it_is_sealed(sealed: tuple[tuple[int, int], ...]) -> None:
    """Also where nothing is found wrong: what is not proved is not said."""
    judgement = judge(evening().line(), LogState(sealed=sealed), minute(100))
    assert in_short(judgement) == (Verdict.UNKNOWN, Why.LOG_WRONG)


@pytest.mark.parametrize(("when", "verdict"), [(5, Verdict.LOCKED), (70, Verdict.UNKNOWN), (200, Verdict.LOCKED)])
def test_the_log_says_that_it_has_a_hole(when: float, verdict: Verdict) -> None:
    """Between the lock and the loss something may have gone unrecorded."""
    life = Life()
    for minutes, what in sorted([(10, "mount"), (60, "lock"), (150, "tick"), (when, "hole")]):
        if what == "mount":
            life.mount(minutes)
        elif what == "lock":
            life.lock(minutes)
        elif what == "tick":
            life.tick(minutes)
        else:
            life.record(minutes, "log.cut-off", bytes=10)
    life.tick(500)
    judgement = said(life, 100)
    assert judgement.verdict is verdict
    assert (judgement.reasons[0].why is Why.LOG_GAP) is (verdict is Verdict.UNKNOWN)


def clock_set(lost: float, *, step: int, trusted: bool) -> Judgement:
    """The clock is wrong by ``step`` minutes from minute 5 on, and set right at minute 70."""
    life = Life()
    life.offset, life.clock = step * 60, Clock.UNSYNCHRONISED
    life.mount(10)
    life.lock(60)
    life.offset, life.clock = 0, Clock.SYNCHRONISED if trusted else Clock.UNSYNCHRONISED
    life.tick(70)
    life.tick(2000)
    return said(life, lost)


@pytest.mark.parametrize("step", [-40, 40])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_clock_was_set(step: int, trusted: bool) -> None:
    """By how much it was set is how far the times are doubted; the order of records narrows that down."""
    assert clock_set(30, step=step, trusted=trusted).verdict is not Verdict.LOCKED
    # By the clock of before, if that was the right one, it was locked at minute 20 or at minute 100.
    doubted = step > 0 and not trusted
    assert clock_set(75, step=step, trusted=trusted).verdict is (Verdict.UNKNOWN if doubted else Verdict.LOCKED)
    assert clock_set(200, step=step, trusted=trusted).verdict is Verdict.LOCKED


def test_memory_that_disagrees() -> None:
    """Remembered as open then, of which the log has nothing: one of them is wrong."""
    life = evening()
    assert in_short(said(life, 100, memory=Memory(is_open=True, at=at(120), opened=at(90)))) == (
        Verdict.UNKNOWN,
        Why.MEMORY_DISAGREES,
    )
    assert said(life, 100, memory=Memory(is_open=False, at=at(60), opened=at(10))).verdict is Verdict.LOCKED
    back = Memory(is_open=True, at=at(450), opened=at(400))
    assert said(life, 100, memory=back).verdict is Verdict.UNKNOWN
    assert said(life, 100, memory=back, found=390).verdict is Verdict.LOCKED


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (None, (Verdict.UNKNOWN, Why.NOT_KNOWN)),
        (Memory(is_open=False, at=at(60), opened=at(10)), (Verdict.LOCKED, Why.LOCKED)),
        (Memory(is_open=False, at=at(60), opened=at(10), reason="medium-gone"), (Verdict.OPEN, Why.PULLED)),
        (Memory(is_open=False, at=at(300), opened=at(290), reason="medium-gone"), (Verdict.OPEN, Why.PULLED)),
        (Memory(is_open=False, at=at(60), opened=at(10), reason="crash"), (Verdict.UNKNOWN, Why.RESTARTED)),
        (Memory(is_open=False, at=at(300), opened=at(10), reason="crash"), (Verdict.OPEN, Why.NO_END)),
        (Memory(is_open=False, at=at(100.5), opened=at(100.5)), (Verdict.OPEN, Why.MOUNTED)),
        (Memory(is_open=False, at=at(300), opened=at(10)), (Verdict.OPEN, Why.MOUNTED)),
        (Memory(is_open=False, at=at(300), opened=at(200)), (Verdict.UNKNOWN, Why.SEEN_AFTER)),
        (Memory(is_open=True, at=at(120), opened=at(10)), (Verdict.OPEN, Why.MOUNTED)),
        (Memory(is_open=True, at=at(90), opened=at(10)), (Verdict.OPEN, Why.NO_END)),
        (Memory(is_open=True, at=at(300), opened=at(200)), (Verdict.UNKNOWN, Why.SEEN_AFTER)),
    ],
)
def test_only_remembered(memory: Memory | None, expected: tuple[Verdict, Why]) -> None:
    """Where no log can be read, what is remembered decides, and never counts as more than that."""
    judgement = judge_without_log(memory, minute(100))
    assert in_short(judgement) == expected
    assert judgement.proof <= Proof.REMEMBERED
    assert judge_without_log(memory, minute(100), signed=True).proof <= Proof.SIGNED


def test_the_key_was_with_it() -> None:
    """Locked is not enough; and where nobody has looked it is not said."""
    locked = said(evening(), 100)
    assert with_keys(locked, beside=False, looked=True) == locked
    assert in_short(with_keys(locked, beside=True, looked=True)) == (Verdict.UNKNOWN, Why.KEY_BESIDE)
    assert in_short(with_keys(locked, beside=False, looked=False)) == (Verdict.UNKNOWN, Why.KEY_NOT_LOOKED)
    opened = said(evening(), 30)
    assert with_keys(opened, beside=True, looked=True).verdict is Verdict.OPEN


def session(started: float, ended: float | None, *, ours: bool = False, clean: bool = True) -> SessionSeen:
    """As the volume has it."""
    end = None if ended is None else at(ended)
    return SessionSeen(host="desk", is_ours=ours, started=at(started), ended=end, is_clean=clean)


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ([], (Verdict.LOCKED, Why.LOCKED)),
        ([session(10, 60, ours=True)], (Verdict.LOCKED, Why.LOCKED)),
        # The snapshot of our last unlock has no end of it yet; our log has.
        ([session(10, None, ours=True, clean=False)], (Verdict.LOCKED, Why.LOCKED)),
        ([session(-30, -20), session(10, 60, ours=True)], (Verdict.LOCKED, Why.LOCKED)),
        ([session(10, 60, ours=True), session(70, 80)], (Verdict.UNKNOWN, Why.ELSEWHERE)),
        ([session(10, 60, ours=True), session(70, 200)], (Verdict.OPEN, Why.OPEN_ELSEWHERE)),
        ([session(10, 60, ours=True), session(70, None, clean=False)], (Verdict.OPEN, Why.OPEN_ELSEWHERE)),
        # Our own log has nothing of it: it could not be written then.
        ([session(10, 60, ours=True), session(90, 110, ours=True)], (Verdict.OPEN, Why.MOUNTED)),
        ([session(10, 60, ours=True), session(150, 160)], (Verdict.UNKNOWN, Why.ELSEWHERE_AFTER)),
    ],
)
def test_sessions_that_the_volume_knows(sessions: list[SessionSeen], expected: tuple[Verdict, Why]) -> None:
    """Last used elsewhere, or open there at that time: what its log says nobody knows here."""
    assert in_short(with_sessions(said(evening(), 100), sessions, minute(100))) == expected


def test_sessions_after_it_was_found() -> None:
    """Another computer may use it then; that others have used it before is a note."""
    sessions = [session(-30, -20), session(10, 60, ours=True), session(150, 160)]
    judgement = with_sessions(said(evening(), 100), sessions, minute(100), found_at=at(140))
    assert in_short(judgement) == (Verdict.LOCKED, Why.LOCKED)
    assert [note.why for note in judgement.notes] == [Why.OTHER_HOSTS]


def test_several_volumes_on_one_medium() -> None:
    """The medium is as its worst volume; of none nothing is known."""
    assert worst([Verdict.LOCKED, Verdict.LOCKED]) is Verdict.LOCKED
    assert worst([Verdict.LOCKED, Verdict.UNKNOWN]) is Verdict.UNKNOWN
    assert worst([Verdict.UNKNOWN, Verdict.OPEN, Verdict.LOCKED]) is Verdict.OPEN
    assert worst([]) is Verdict.UNKNOWN
