"""The chain of the audit log, and every way of tampering with it (FORMAT.md section 16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from encfs.core.audit import FIRST, LogEnd, epochs_passed, mac_of, next_head, next_key, open_state, seal_state
from encfs.core.audit_verify import ClockStep, LogVerifier, Problem, Trouble
from encfs.crypto import kem
from encfs.crypto.signing import Signer
from encfs.crypto.suite import CLOAKFS_1 as SUITE
from encfs.errors import FormatError
from encfs.format import limits
from encfs.format.audit import AuditKind, AuditState, CheckpointReason, Clock, Moment, parse_audit_frame
from encfs.format.audit_body import AuditBody, Outcome
from encfs.units import VolumeId

AUDITOR, AUDITOR_PUBLIC = kem.generate()
SIGNER = Signer.generate()
VOLUME = VolumeId(b"v" * 16)
MINUTE = 60_000
BODY = AuditBody(
    action="volume.unlock", outcome=Outcome.DONE, uid=1000, slot=b"slot0001", detail={"kind": "passphrase"}
)


def moment(minutes: float, boot: int = 1, wall: float | None = None) -> Moment:
    """So long after the host was started; ``wall`` in minutes, where the clock says something else."""
    wall_ms = 1_800_000_000_000 + int((minutes if wall is None else wall) * MINUTE)
    return Moment(boot_id=bytes([boot]) * 16, wall_ms=wall_ms, mono_ms=int(minutes * MINUTE), clock=Clock.SYNCHRONISED)


def beginning() -> AuditState:
    """A log without a frame."""
    return AuditState(
        log_id=b"l" * 16,
        segment=1,
        size=0,
        seq=0,
        head=FIRST,
        epoch=0,
        key=b"k" * 32,
        frames=0,
        began=moment(0),
    )


def head(end: LogEnd, at: Moment) -> bytes:
    """Of the segment that the state names."""
    return end.begin_segment(at, auditor=AUDITOR_PUBLIC, signer=SIGNER.public.raw)


def log() -> tuple[list[bytes], LogEnd]:
    """Two hours: a record each five minutes, a checkpoint each half hour. Frame by frame."""
    end = LogEnd(SUITE, beginning())
    frames = [head(end, moment(0))]
    for step in range(1, 25):
        at = moment(5 * step)
        if data := end.catch_up(at):
            frames.append(data)
        frames.append(end.record(at, VOLUME, replace(BODY, object=str(step))))
        if step % 6 == 0:
            frames.append(end.checkpoint(at, CheckpointReason.HOUR, SIGNER))
    return frames, end


def verified(frames: Sequence[bytes], *, auditor: bytes | None = AUDITOR, anchors: dict[int, bytes] | None = None):
    """The verifier that has taken them all."""
    verifier = LogVerifier(SUITE, auditor, anchors)
    verifier.begin_segment(1)
    for data in frames:
        verifier.take(data)
    verifier.finish()
    return verifier


def kinds(frames: Sequence[bytes]) -> list[AuditKind]:
    """Of each frame."""
    return [parse_audit_frame(data)[0].kind for data in frames]


def where(frames: Sequence[bytes], kind: AuditKind, nth: int = 0) -> int:
    """Which frame is the nth of a kind."""
    return [i for i, each in enumerate(kinds(frames)) if each is kind][nth]


def test_a_whole_log_is_intact_and_sealed() -> None:
    """Every frame is proved by the auditor's key; signatures vouch up to the last checkpoint, also without it."""
    frames, end = log()
    last = len(frames) - 1
    found = verified(frames)
    assert (found.problems, found.clock_steps, found.frames) == ([], [], len(frames))
    assert found.sealed.pieces == [(0, last)]
    assert found.intact.pieces == [(0, where(frames, AuditKind.CHECKPOINT, -1))]
    assert end.state.seq == len(frames)
    assert end.state.epoch == 8
    without = verified(frames, auditor=None)
    assert (without.problems, without.sealed.pieces) == ([], [])
    assert without.intact.pieces == found.intact.pieces


def test_bodies_are_read_with_the_auditor_s_key_only() -> None:
    """Action, actor and object of each record; nobody else sees them, nor their words in the bytes."""
    frames, _ = log()
    verifier = LogVerifier(SUITE, AUDITOR)
    verifier.begin_segment(1)
    taken = [verifier.take(data) for data in frames]
    bodies = [each.body for each in taken if each is not None and each.body is not None]
    assert bodies == [replace(BODY, object=str(step)) for step in range(1, 25)]
    assert {each.volume_id for each in taken if each is not None and each.body is not None} == {VOLUME}
    assert b"unlock" not in b"".join(frames)
    other = LogVerifier(SUITE)
    other.begin_segment(1)
    assert all(each is not None and each.body is None for each in map(other.take, frames))


def test_the_host_keeps_no_key_of_an_earlier_epoch() -> None:
    """From the state no MAC and no body before its epoch can be made: the key goes one way."""
    _, end = log()
    assert end.state.key == next_key(SUITE, b"k" * 32, 8)
    state = seal_state(SUITE, end.state)
    assert not any(next_key(SUITE, b"k" * 32, epoch) in state for epoch in range(8))


def _edited(frames: list[bytes]) -> tuple[list[bytes], int]:
    at = where(frames, AuditKind.RECORD, 10)
    data = bytearray(frames[at])
    data[70] ^= 1
    return [*frames[:at], bytes(data), *frames[at + 1 :]], at


def _time_edited(frames: list[bytes]) -> tuple[list[bytes], int]:
    at = where(frames, AuditKind.RECORD, 10)
    frame, mac = parse_audit_frame(frames[at])
    changed = replace(frame, at=replace(frame.at, wall_ms=frame.at.wall_ms + 500))
    return [*frames[:at], changed.pack() + mac, *frames[at + 1 :]], at


def _mac_edited(frames: list[bytes]) -> tuple[list[bytes], int]:
    at = where(frames, AuditKind.RECORD, 10)
    return [*frames[:at], frames[at][:-1] + bytes([frames[at][-1] ^ 1]), *frames[at + 1 :]], at


def _dropped(frames: list[bytes]) -> tuple[list[bytes], int]:
    at = where(frames, AuditKind.RECORD, 10)
    return [*frames[:at], *frames[at + 1 :]], at


def _swapped(frames: list[bytes]) -> tuple[list[bytes], int]:
    at = where(frames, AuditKind.RECORD, 10)
    return [*frames[:at], frames[at + 1], frames[at], *frames[at + 2 :]], at


def _twice(frames: list[bytes]) -> tuple[list[bytes], int]:
    at = where(frames, AuditKind.RECORD, 10)
    return [*frames[: at + 1], frames[at], *frames[at + 1 :]], at


@pytest.mark.parametrize(
    ("attack", "trouble"),
    [
        (_edited, Trouble.EDITED),
        (_time_edited, Trouble.EDITED),
        (_mac_edited, Trouble.EDITED),
        (_dropped, Trouble.GAP),
        (_swapped, Trouble.GAP),
        (_twice, Trouble.ORDER),
    ],
)
def test_a_change_in_the_middle(attack: Callable[[list[bytes]], tuple[list[bytes], int]], trouble: Trouble) -> None:
    """It is found at its place; what lies before is proved, and what lies behind the next signed checkpoint."""
    frames, at = attack(log()[0])
    found = verified(frames)
    assert found.problems[0] == Problem(trouble, 1, parse_audit_frame(log()[0][at])[0].seq)
    assert found.sealed.pieces[0] == (0, at - 1) or trouble is Trouble.ORDER
    assert len(found.intact.pieces) == 2
    last = parse_audit_frame(frames[-1])[0].seq
    assert found.sealed.pieces[-1][1] == last


@pytest.mark.parametrize("attack", [_edited, _time_edited])
def test_signatures_alone_show_a_change(attack: Callable[[list[bytes]], tuple[list[bytes], int]]) -> None:
    """Without the auditor's key it is known between which checkpoints it lies."""
    frames, _ = attack(log()[0])
    found = verified(frames, auditor=None)
    assert [problem.trouble for problem in found.problems] == [Trouble.EDITED]
    assert len(found.intact.pieces) == 2


def test_cut_off_and_gone_on_with_a_later_key() -> None:
    """CVE-2023-31438 of journald: the end of the epoch cannot be made again, so an epoch is missing."""
    frames, end = log()
    cut = where(frames, AuditKind.EPOCH_END, 3) - 1
    head_there = FIRST
    for data in frames[:cut]:
        head_there = next_head(SUITE, head_there, parse_audit_frame(data)[0])
    thief = LogEnd(SUITE, replace(end.state, seq=cut, head=head_there))
    forged = [*frames[:cut], thief.record(moment(130), VOLUME, BODY)]
    found = verified(forged)
    assert [problem.trouble for problem in found.problems] == [Trouble.EPOCH]


def test_cut_off_and_the_end_of_the_epoch_made_with_a_later_key() -> None:
    """The same by somebody who knows that rule: the MAC of that frame is not right."""
    frames, end = log()
    cut = where(frames, AuditKind.EPOCH_END, 3) - 1
    head_there = FIRST
    for data in frames[:cut]:
        head_there = next_head(SUITE, head_there, parse_audit_frame(data)[0])
    epoch = parse_audit_frame(frames[cut - 1])[0].epoch
    thief = LogEnd(SUITE, replace(end.state, seq=cut, head=head_there, epoch=epoch, frames=2, began=moment(50)))
    forged = [*frames[:cut], thief.catch_up(moment(70)), thief.record(moment(71), VOLUME, BODY)]
    assert Problem(Trouble.EDITED, 1, cut) in verified(forged).problems


def test_sealed_anew_with_the_present_key() -> None:
    """CVE-2023-31439 of journald: an old record, changed, with a right MAC under the key of now."""
    frames, end = log()
    at = where(frames, AuditKind.RECORD, 4)
    previous = FIRST
    for data in frames[:at]:
        previous = next_head(SUITE, previous, parse_audit_frame(data)[0])
    frame, _ = parse_audit_frame(frames[at])
    for epoch in (frame.epoch, end.state.epoch):
        changed = replace(frame, epoch=epoch, content=frame.content[:-1] + b"\0")
        forged = changed.pack() + mac_of(SUITE, end.state.key, next_head(SUITE, previous, changed))
        found = verified([*frames[:at], forged, *frames[at + 1 :]])
        assert found.problems[0].seq == at
        assert found.problems[0].trouble in {Trouble.EDITED, Trouble.EPOCH}


def test_cut_off_at_the_end_is_told_by_what_was_kept_elsewhere() -> None:
    """A log that ends early is whole by itself; an anchor beyond its end is not in it."""
    frames, end = log()
    anchor = {end.state.seq - 1: end.state.head}
    assert verified(frames, anchors=anchor).anchored == end.state.seq - 1
    found = verified(frames[:-3], anchors=anchor)
    assert [problem.trouble for problem in found.problems] == [Trouble.FORKED]
    assert found.anchored is None


def test_an_older_log_that_went_on_is_told_by_what_was_kept_elsewhere() -> None:
    """Log and state of yesterday are put back together: all MACs are right, and the anchor is not in the chain."""
    frames, end = log()
    seq = len(frames) - 5
    middle = FIRST
    for data in frames[:seq]:
        middle = next_head(SUITE, middle, parse_audit_frame(data)[0])
    older = LogEnd(SUITE, replace(end.state, seq=seq, head=middle, epoch=parse_audit_frame(frames[seq - 1])[0].epoch))
    older.state = replace(older.state, key=next_key(SUITE, b"k" * 32, older.state.epoch))
    forked = [*frames[:seq], *(older.record(moment(119), VOLUME, BODY) for _ in range(9))]
    assert verified(forked).problems == []
    anchors = {end.state.seq - 1: end.state.head}
    assert [each.trouble for each in verified(forked, anchors=anchors).problems] == [Trouble.FORKED]


def test_a_checkpoint_of_somebody_else() -> None:
    """Signed with another key: found, and what it would have vouched for is not intact."""
    frames, end = log()
    forged = end.checkpoint(moment(121), CheckpointReason.ASKED, Signer.generate())
    found = verified([*frames, forged])
    assert found.problems == [Problem(Trouble.SIGNATURE, 1, len(frames))]
    assert found.intact.pieces == [(0, where(frames, AuditKind.CHECKPOINT, -1))]


def test_a_segment_that_somebody_made_for_the_auditor() -> None:
    """Without the key of the epoch: another key is sealed there, which does not follow from the one before."""
    frames, end = log()
    thief = LogEnd(SUITE, replace(end.state, segment=2, size=0, key=b"t" * 32))
    verifier = verified(frames)
    verifier.begin_segment(2)
    verifier.take(head(thief, moment(121)))
    assert Problem(Trouble.FOREIGN, 2, len(frames)) in verifier.problems


def test_segments_go_on() -> None:
    """The chain, the epochs and the keys lead from one to the next; whoever has only the second can read it."""
    frames, end = log()
    end.state = replace(end.state, segment=2, size=0)
    second = [head(end, moment(121)), end.record(moment(122), VOLUME, BODY)]
    second.append(end.checkpoint(moment(122), CheckpointReason.LOCK, SIGNER))
    verifier = LogVerifier(SUITE, AUDITOR)
    for number, some in ((1, frames), (2, second)):
        verifier.begin_segment(number)
        for data in some:
            verifier.take(data)
    assert verifier.problems == []
    assert verifier.intact.pieces == [(0, end.state.seq - 1)]
    pruned = LogVerifier(SUITE, AUDITOR)
    pruned.begin_segment(2)
    assert [taken.body for taken in map(pruned.take, second) if taken is not None and taken.body] == [BODY]
    pruned.finish()
    assert pruned.problems == [Problem(Trouble.GAP, 2, 0)]
    assert pruned.intact.pieces == [(len(frames), end.state.seq - 1)]


def test_another_auditor_reads_nothing() -> None:
    """The key of another practice: told, and no body is opened."""
    frames, _ = log()
    found = verified(frames, auditor=kem.generate()[0])
    assert found.problems[0].trouble is Trouble.FOREIGN
    assert found.sealed.pieces == []


def test_bytes_that_are_no_frame() -> None:
    """They are a finding and no exception; a segment that begins later is followed again."""
    frames, _ = log()
    found = verified([*frames[:5], b"", b"\xff" * 100, frames[5][:-1]])
    assert [problem.trouble for problem in found.problems] == [Trouble.DAMAGED] * 3


def test_clock_steps() -> None:
    """A wall clock that was set is told with how far; one that is nudged is not, nor a restart."""
    end = LogEnd(SUITE, beginning())
    frames = [head(end, moment(0))]
    frames.append(end.record(moment(1, wall=1.01), VOLUME, BODY))
    frames.append(end.record(moment(2, wall=-58), VOLUME, BODY))
    frames.append(end.record(moment(3, wall=-57), VOLUME, BODY))
    later = moment(1, boot=2, wall=600)
    frames.append(end.catch_up(later))
    frames.append(end.record(moment(2, boot=2, wall=-600), VOLUME, BODY))
    assert verified(frames).clock_steps == [ClockStep(2, -60 * MINUTE - 600), ClockStep(5, -1201 * MINUTE)]


@pytest.mark.parametrize(
    ("at", "frames", "passed"),
    [
        (moment(14.99), 3, 0),
        (moment(15), 3, 1),
        (moment(61), 3, 4),
        (moment(1), limits.AUDIT_EPOCH_FRAMES, 1),
        (moment(1, boot=2, wall=5), 3, 1),
        (moment(1, boot=2, wall=31), 3, 2),
        (moment(1, boot=2, wall=-99), 3, 1),
        (moment(20, wall=-99), 3, 1),
        (moment(1, boot=2, wall=10**9), 3, limits.AUDIT_EPOCHS_SKIPPED_MAX),
    ],
)
def test_epochs_pass(at: Moment, frames: int, passed: int) -> None:
    """By the time since the host was started, by the number of frames, and by the wall clock only after a restart."""
    assert epochs_passed(replace(beginning(), frames=frames), at) == passed


def test_empty_epochs_count() -> None:
    """A night without a frame: one frame says how many epochs were empty, and the key has gone on by as many."""
    end = LogEnd(SUITE, beginning())
    frames = [head(end, moment(0)), end.catch_up(moment(600)), end.record(moment(601), VOLUME, BODY)]
    assert end.state.epoch == 40
    found = verified(frames)
    assert (found.problems, found.sealed.pieces) == ([], [(0, 2)])


def test_the_state_is_one_sector_and_shows_damage() -> None:
    """512 bytes that come back as they were; any other byte in them is refused."""
    _, end = log()
    data = seal_state(SUITE, end.state)
    assert len(data) == limits.AUDIT_STATE_SIZE
    opened = open_state(SUITE, data)
    assert replace(opened, began=end.state.began) == end.state
    for at in range(0, len(data), 7):
        with pytest.raises(FormatError):
            open_state(SUITE, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
