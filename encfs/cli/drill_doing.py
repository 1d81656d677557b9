"""A drill of a backup that is open: made, written down, told.

Owns: the order: the audit log knows that it begins, then the register has what it came to, then people are told. Must
not know: how a backup is found and opened, how files are restored (``encfs.backup.drilling``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from encfs.audit import journal
from encfs.backup import drills
from encfs.backup.drill_record import DrillOutcome
from encfs.backup.drilling import Wish
from encfs.backup.drills import Drill
from encfs.backup.engine import Engine
from encfs.backup.scratch import Scratch, room_in_memory
from encfs.backup.trial import About, Ended, hold
from encfs.cli import auditing, drill_view, output
from encfs.cli.backup_bar import StepsBar
from encfs.errors import ExitCode
from encfs.format.audit_body import Outcome
from encfs.memory.swap import swaps
from encfs.units import VolumeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A backup that can be read.

    Attributes:
        engine: its target is there.
        about: what is known of it.
        backup_key: its 32 bytes, for ``restic``.
    """

    engine: Engine
    about: About
    backup_key: bytes | None = field(default=None, repr=False)


def make(opened: Opened, wish: Wish, *, out: str | None, as_json: bool) -> ExitCode:
    """Make the drill.

    Args:
        opened: the backup.
        wish: what is to be restored.
        out: where its signed record goes; :func:`encfs.cli.drill_view.check_file` has found that free.
        as_json: tell it to a script.

    Returns:
        OK if it passed, FINDINGS if something is not as it was taken.

    Raises:
        CloakfsError, OSError: it was broken off, which is in the register; or the key is wrong, which is not.
    """
    volume_id = VolumeId(bytes.fromhex(opened.about.volume))
    full = int(wish.sample is None)
    auditing.tell("backup.drill", Outcome.BEGUN, volume_id, plan=opened.about.plan, full=full)
    try:
        with StepsBar("Trying the backup") as bar, Scratch(_room()) as scratch:
            ended = hold(opened.engine, opened.about, wish, backup_key=opened.backup_key, scratch=scratch, steps=bar)
        one = drills.note(ended.record)
    except BaseException as exc:
        auditing.tell("backup.drill", journal.outcome_of(exc), volume_id, plan=opened.about.plan, full=full)
        raise
    _tell_log(one, volume_id)
    if ended.failure is not None:
        raise ended.failure
    if out is not None:
        drill_view.write(one, out)
    _tell(one, ended, out, as_json=as_json)
    return ExitCode.OK if one.record.outcome is DrillOutcome.PASSED else ExitCode.FINDINGS


def _room() -> int:
    """Nothing, where what is in memory could be written to a disk as it is."""
    return 0 if any(swap.is_exposed for swap in swaps()) else room_in_memory()


def _tell_log(one: Drill, volume_id: VolumeId) -> None:
    record, found = one.record, one.record.found
    auditing.tell(
        "backup.drill",
        Outcome.DONE if record.outcome is DrillOutcome.PASSED else Outcome.FAILED,
        volume_id,
        plan=record.plan,
        drill=record.id,
        result=str(record.outcome),
        full=int(record.method.full),
        files=found.files,
        bytes=found.bytes,
        wrong=found.wrong,
    )


def _tell(one: Drill, ended: Ended, out: str | None, *, as_json: bool) -> None:
    if as_json:
        # Names of files are for the terminal: what scripts print is kept in logs.
        passed = one.record.outcome is DrillOutcome.PASSED
        output.print_json({"passed": passed, "drill": drill_view.row(one), "out": out})
        return
    drill_view.show(one, ended.came.wrong if ended.came else ())
    if out is not None:
        output.say(f"Written: {output.printable(out)}")
    if one.record.outcome is DrillOutcome.PASSED:
        output.say(f"A second person certifies it with: cloakfs backup certify {one.record.id} --by NAME")
    else:
        output.say(
            "Find out why (cloakfs backup verify), make another backup, and try that. What is done about it is written"
            f" down with: cloakfs backup certify {one.record.id} --action TEXT --owner NAME --due DATE"
        )
