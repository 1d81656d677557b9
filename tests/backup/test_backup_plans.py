"""The register ``backups``: what may follow what, and how each backup stands after it (FORMAT.md 17, "Register")."""

from __future__ import annotations

from dataclasses import replace

import pytest

from encfs.backup import plans
from encfs.backup.plans import Checked, EngineKind, Keep, KeyKind, Place, Plan, Result, Run
from encfs.errors import RegisterError, UsageError
from encfs.registers.ledger import Ledger
from encfs.units import VolumeId
from tests.cli.test_audit_command import recorded

NEW = Plan(
    id="0a" * 16,
    volume_id="0b" * 16,
    volume="/srv/p\udcff 100%.vault",
    engine=EngineKind.COPY,
    target="/media/anna/BACKUP",
    place=Place.ONSITE,
    key=KeyKind.VOLUME,
    keep=Keep(daily=3, weekly=2, monthly=1),
    guard=40,
    since=0,
    labels=("Blue 1",),
)
RUN = Run(
    id="01" * 16,
    label="Blue 1",
    result=Result.DONE,
    begun=10,
    ended=20,
    files=3,
    bytes=400,
    new_files=2,
    new_bytes=300,
    changed=1,
    removed=1,
    before=2,
    not_whole=0,
    verified=300,
    manifest="ab" * 32,
)


def test_what_is_written_is_what_is_read() -> None:
    """A plan with all that can be said of it, its media, schedule, runs and checks, in their order."""
    plans.add(NEW)
    plans.add_medium(NEW.id, "Blue 2")
    plans.set_schedule(NEW.id, "02:30")
    failed = Run(id="", label="", result=Result.FAILED, begun=30, ended=31, why="the target is gone")
    plans.note_run(NEW.id, RUN)
    plans.note_run(NEW.id, failed)
    plans.note_checked(NEW.id, Checked(at=0, label="Blue 1", run=RUN.id, bytes=400, why=""))
    (found,) = plans.plans()
    since, (checked,) = found.since, found.checks
    assert since > 1_000_000_000
    assert checked.at >= since
    expected = replace(
        NEW,
        since=since,
        labels=("Blue 1", "Blue 2"),
        schedule="02:30",
        runs=(RUN, failed),
        checks=(Checked(at=checked.at, label="Blue 1", run=RUN.id, bytes=400, why=""),),
    )
    assert found == expected
    assert plans.plan(NEW.id) == found
    assert plans.plans_of(VolumeId(bytes.fromhex(NEW.volume_id))) == [found]
    assert plans.plans_of(VolumeId(bytes(16))) == []
    assert "patient" not in repr(found)


def test_the_last_good_run() -> None:
    """Not one that failed or was held; of a label where one is asked for; what was partly taken counts."""
    partly = replace(RUN, id="02" * 16, label="Blue 2", result=Result.PARTLY)
    held = replace(RUN, id="", label="Blue 1", result=Result.GUARD)
    one = replace(NEW, runs=(RUN, partly, held))
    assert one.last_good() == partly
    assert one.last_good("Blue 1") == RUN
    assert one.last_good("Blue 3") is None
    assert replace(NEW, runs=(held,)).last_good() is None


def test_an_end() -> None:
    """It is among the plans no more, and nothing can follow; the same target can be set up anew."""
    plans.add(NEW)
    plans.end(NEW.id, "the stick is worn out")
    assert plans.plans() == []
    for after in (
        lambda: plans.note_run(NEW.id, RUN),
        lambda: plans.add_medium(NEW.id, "Blue 9"),
        lambda: plans.end(NEW.id, "again"),
        lambda: plans.plan(NEW.id),
    ):
        with pytest.raises(UsageError, match="no such backup"):
            after()
    plans.add(replace(NEW, id="0c" * 16))
    assert [one.id for one in plans.plans()] == ["0c" * 16]


def test_what_is_refused() -> None:
    """The same volume to the same target, a label twice in whatever case, no reason; nothing of it is written."""
    plans.add(NEW)
    before = Ledger(plans.NAME).entries()
    with pytest.raises(UsageError, match="backed up there already"):
        plans.add(replace(NEW, id="0c" * 16))
    with pytest.raises(UsageError, match="takes turns there already"):
        plans.add_medium(NEW.id, "BLUE 1")
    for wrong in (
        lambda: plans.add_medium(NEW.id, ""),
        lambda: plans.add_medium(NEW.id, "two\nlines"),
        lambda: plans.end(NEW.id, " "),
        lambda: plans.add(replace(NEW, id="0d" * 16, target="/x", labels=(" x",))),
    ):
        with pytest.raises(UsageError):
            wrong()
    assert Ledger(plans.NAME).entries() == before
    plans.add(replace(NEW, id="0c" * 16, target="/media/other"))


def test_each_change_is_in_the_audit_log() -> None:
    """With the volume, what was done, and where it stands in the register; no path, no label."""
    plans.add(NEW)
    plans.note_run(NEW.id, RUN)
    told = [(one["action"], one["object"], one["detail"]["seq"]) for one in recorded()]
    assert told == [("register.backups", "plan", 0), ("register.backups", "run", 1)]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("run", {"plan": "0f" * 16}),
        ("medium", {"plan": NEW.id}),
        ("medium", {"plan": NEW.id, "label": "x", "more": 1}),
        ("schedule", {"plan": NEW.id, "at": 5}),
        ("something", {"plan": NEW.id}),
        ("run", {"plan": NEW.id, "run": "", "label": "", "result": "perhaps", "manifest": "", "why": ""}),
    ],
)
def test_entries_that_cannot_be(kind: str, data: dict[str, object]) -> None:
    """A signed entry that does not fit is damage: nothing is read, and nothing added."""
    plans.add(NEW)
    Ledger(plans.NAME).append(kind, data)
    with pytest.raises(RegisterError, match=r'register "backups".*entry 1'):
        plans.plans()
    with pytest.raises(RegisterError):
        plans.add(replace(NEW, id="0c" * 16, target="/x"))


def test_a_byte_changed_in_the_register() -> None:
    """Every line of it is signed: as with any register."""
    from encfs import runtime

    plans.add(NEW)
    path = runtime.state_directory() / "registers" / plans.NAME
    data = bytearray(path.read_bytes())
    data[data.index(b"BACKUP")] ^= 1
    path.write_bytes(data)
    with pytest.raises(RegisterError):
        plans.plans()
