"""``cloakfs backup schedule``: the backups of a volume are made by themselves, each day.

Owns: the command, what is written where in which order. Must not know: the text of the units
(``encfs.backup.schedule``).
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from encfs.backup import plans, schedule
from encfs.backup.plans import Plan
from encfs.backup.schedule import Units
from encfs.cli import auditing, backup_finding, options, output, share_view
from encfs.errors import CloakfsError, ExitCode, UsageError
from encfs.format.audit_body import Outcome
from encfs.stick import programs
from encfs.units import VolumeId


@options.command(
    "schedule",
    example="""
cloakfs backup schedule /srv/practice.vault --at 02:30
cloakfs backup schedule /srv/practice.vault --at 02:30 --print
cloakfs backup schedule /srv/practice.vault --off""",
)
@click.argument("volume")
@click.option("--at", metavar="HH:MM", help="Each day at that time.")
@click.option("--off", is_flag=True, help="Not any more.")
@click.option("--print", "only_print", is_flag=True, help="Show the units, and write nothing.")
@options.json_option
def command(*, volume: str, at: str | None, off: bool, only_print: bool, as_json: bool) -> ExitCode:
    """Make all backups of VOLUME each day, with a timer of systemd; a run that was missed is made up for.

    For root the units are those of the system; for others those of the user, which run while that user is logged in,
    or always after "loginctl enable-linger". A backup with restic reads through the mount: it needs the volume to be
    mounted at that time.

    From then on a backup without a good run for 26 hours is overdue, and "cloakfs status" says so.
    """
    if (at is None) != off:
        raise UsageError("say when", hint="Give --at HH:MM, or --off.")
    mine = backup_finding.chosen(volume)
    if at is None:
        return _off(mine, as_json=as_json)
    time = schedule.time_of(at)
    made = schedule.units(
        mine[0].volume_id,
        mine[-1].volume,
        at=time,
        program=share_view.program(),
        system=os.geteuid() == 0,
    )
    if only_print:
        _print(made, as_json=as_json)
        return ExitCode.OK
    _require_systemd()
    folder = _folder()
    _write(folder, made)
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", made.timer_name)
    _note(mine, time)
    if as_json:
        output.print_json({"at": time, "units": [str(folder / name) for name in (made.service_name, made.timer_name)]})
        return ExitCode.OK
    output.say(f"Each day at {time}. Written, and the timer is on:")
    for name in (made.service_name, made.timer_name):
        output.say(f"  {output.printable(str(folder / name))}")
    if os.geteuid() != 0:
        output.say("It runs while you are logged in. To let it run always: loginctl enable-linger")
    output.say(f"Try it once now: {_shown('start', made.service_name)}")
    return ExitCode.OK


def _off(mine: list[Plan], *, as_json: bool) -> ExitCode:
    """The timer first: a schedule that is written down and has no timer would turn red, the other way nothing would."""
    service, timer = schedule.names(mine[0].volume_id)
    gone = take_away(mine[0].volume_id)
    _note(mine, "")
    if as_json:
        output.print_json({"at": None, "units": [str(path) for path in gone]})
    elif gone:
        output.say(f"The timer is off, and {timer} and {service} are gone. Backups are made by hand from now on.")
    else:
        output.say("There was no timer. Backups are made by hand.")
    return ExitCode.OK


def take_away(volume_id: str) -> list[Path]:
    """Stop the timer of a volume and remove its units; those that were there.

    Raises:
        OSError: they cannot be removed. CloakfsError: systemd does not stop the timer.
    """
    folder = schedule.directory()
    there = [path for name in schedule.names(volume_id) if (path := folder / name).exists()]
    if not there:
        return []
    if programs.find("systemctl") is not None:
        _systemctl("disable", "--now", schedule.names(volume_id)[1])
    for path in there:
        path.unlink()
    if programs.find("systemctl") is not None:
        _systemctl("daemon-reload")
    return there


def _note(mine: list[Plan], time: str) -> None:
    for plan in mine:
        if plan.schedule != time:
            plans.set_schedule(plan.id, time)
            volume_id = VolumeId(bytes.fromhex(plan.volume_id))
            auditing.tell("backup.schedule", Outcome.DONE, volume_id, plan=plan.id, at=time)


def _print(made: Units, *, as_json: bool) -> None:
    if as_json:
        shown: dict[str, Any] = {made.service_name: made.service, made.timer_name: made.timer}
        output.print_json({"units": shown})
        return
    for name, text in ((made.service_name, made.service), (made.timer_name, made.timer)):
        output.say(output.bold(f"# {name}"))
        output.say(text)


def _write(folder: Path, made: Units) -> None:
    """Both files; a name that is there was written by the same command. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((made.service_name, made.service), (made.timer_name, made.timer)):
        new = folder / f".{name}.new"
        new.write_bytes(os.fsencode(text))
        new.chmod(0o644)
        new.replace(folder / name)


def _folder() -> Path:
    try:
        return schedule.directory()
    except RuntimeError as exc:
        raise CloakfsError(f"{exc}", hint="A unit of a user lies in the home directory.") from exc


def _require_systemd() -> None:
    """Raises: CloakfsError: this system has none."""
    if programs.find("systemctl") is None:
        raise CloakfsError(
            "there is no systemd here, so there are no timers",
            hint="Use cron: 30 2 * * * cloakfs backup run   What the units would say: --print",
        )


def _systemctl(*words: str) -> None:
    """Raises: CloakfsError: systemd does not do it."""
    user = [] if os.geteuid() == 0 else ["--user"]
    done = programs.run("systemctl", *user, *words)
    if done.returncode:
        raise CloakfsError(
            f"systemctl {words[0]} failed: {output.printable(programs.complaint(done))}",
            hint=f"Nothing was written down. The same command again, when this works: {_shown(*words)}",
        )


def _shown(*words: str) -> str:
    return shlex.join(["systemctl", *([] if os.geteuid() == 0 else ["--user"]), *words])
