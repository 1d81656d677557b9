"""``cloakfs restore``: what is in a backup comes back.

Owns: the options, and what they mean. Must not know: how a backup is found and opened (that is given to
:func:`command`), what a restore is (``encfs.cli.restore_doing``).
"""

from __future__ import annotations

import os

import click

from encfs.backup.drill_record import People
from encfs.cli import calibration, options, periods, restore_doing, restore_place, restore_volume, targets
from encfs.cli.backup_drill import Asked, Opener
from encfs.cli.backup_secret import backup_key
from encfs.cli.restore_doing import Request
from encfs.cli.restore_place import Answers, Into
from encfs.cli.restore_volume import NewVolume
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.errors import ExitCode, UsageError


def command(open_backup: Opener) -> click.Command:
    """The command, for a program that knows how backups are opened."""

    @options.command(
        "restore",
        example="""
cloakfs restore ~/practice.vault letters/2026/mueller.odt
cloakfs restore ~/practice.vault letters --as-of 2026-11-20 --to ~/practice/restored
cloakfs restore --from /media/anna/BACKUP --sheet --new-volume ~/practice.vault""",
    )
    @click.argument("names", nargs=-1, metavar="[VOLUME] [PATH]...")
    @click.option("--from", "bare", metavar="TARGET", help="A backup of which this computer need not know anything.")
    @click.option("--target", metavar="TARGET", help="Which one, where a volume has several.")
    @click.option("--run", default="", metavar="ID", help="The run with this id (cloakfs backup list), not the newest.")
    @click.option("--as-of", metavar="TIME", help="As it was then: the newest backup up to 2026-11-20, or 30d (ago).")
    @click.option("--to", metavar="DIR", help="Where it goes; by itself into VOLUME, where that is mounted.")
    @click.option("--new-volume", metavar="DIR", help="Make a volume of it.")
    @click.option("--new-keys", is_flag=True, help="Give that volume new keys, also if it could be put back as it was.")
    @click.option("--new-passphrase-file", metavar="FILE", help="Read its passphrase from a file.")
    @click.option("--allow-weak", is_flag=True, help="Take that passphrase even if it is easy to guess.")
    @click.option("--recovery-out", metavar="FILE", help="Write its recovery key to a new file; show and ask nothing.")
    @click.option("--no-recovery", is_flag=True, help="Make no recovery key for it.")
    @calibration.kdf_options
    @click.option("--sheet", is_flag=True, help="Open the backup with its recovery sheet alone, which is typed in.")
    @click.option("--keep", is_flag=True, help="Leave files that are there as they are, and do not ask.")
    @click.option("--yes", is_flag=True, help="Replace files that are there with another content, and do not ask.")
    @click.option("--plain", is_flag=True, help="Let it go to a disk where it is not encrypted, and do not ask.")
    @options.json_option
    @secret_options
    def restore(
        *,
        names: tuple[str, ...],
        bare: str | None,
        target: str | None,
        run: str,
        as_of: str | None,
        to: str | None,
        new_volume: str | None,
        new_keys: bool,
        new_passphrase_file: str | None,
        allow_weak: bool,
        recovery_out: str | None,
        no_recovery: bool,
        memory_kib: int | None,
        passes: int | None,
        sheet: bool,
        keep: bool,
        yes: bool,
        plain: bool,
        as_json: bool,
        secret: SecretOptions,
    ) -> ExitCode:
        """Bring back what a backup of VOLUME has at each PATH, or all of it, as of the newest run or an earlier time.

        It goes under the same paths into VOLUME, where that is mounted, or into the directory of --to. Files that are
        there already are replaced only if you type yes. With --new-volume it becomes a new volume: of a sealed copy the
        very same one, which opens with what opened it; of any other one with a passphrase and recovery key of its own.

        All is compared with what was taken, and read back. What could not be restored is listed, the rest is there. If
        it is broken off, run it again: it goes on. With --from and --sheet nothing else is needed on this computer.

        The exit status is 0 if all is there, 3 if something is damaged, missing, or stayed as it was.
        """
        volume, paths = _named(names, bare, target)
        answers = Answers(yes=yes, keep=keep, plain=plain)
        wishes = restore_volume.wishes_of(
            passphrase_file=new_passphrase_file,
            allow_weak=allow_weak,
            recovery_out=recovery_out,
            no_recovery=no_recovery,
            cost=(memory_kib, passes),
        )
        own_keys = new_keys or new_passphrase_file is not None or recovery_out is not None or no_recovery
        if new_volume is None and own_keys:
            raise UsageError("options for the keys of a new volume go with one", hint="Add --new-volume DIR.")
        if run and as_of is not None:
            raise UsageError("--run and --as-of both say which run", hint="Give only one.")
        new = None if new_volume is None else NewVolume(path=new_volume, wishes=wishes, own_keys=own_keys)
        request = Request(
            paths=_insides(paths, volume),
            run=run,
            until_ms=None if as_of is None else periods.period(None, as_of).until_ms,
            to=_place(to, new, volume, answers),
            new=new,
            answers=answers,
            as_json=as_json,
        )
        asked = Asked(
            volume=volume,
            bare=bare,
            target=target,
            sheet_key=backup_key(secret) if sheet else None,
            secret=secret,
            people=People(login=targets.user_name(os.getuid()), uid=os.getuid(), name=""),
        )
        with open_backup(asked) as opened:
            return restore_doing.make(opened, request)

    return restore


def _named(names: tuple[str, ...], bare: str | None, target: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The volume, and the paths in it. Raises: UsageError: it is not said which backup."""
    if bare is not None:
        if target is not None:
            raise UsageError("--target goes with a volume", hint="Give --from TARGET alone.")
        return None, names
    if not names:
        raise UsageError("say which backup", hint="Give VOLUME, or --from TARGET.")
    return names[0], names[1:]


def _insides(paths: tuple[str, ...], volume: str | None) -> tuple[bytes, ...]:
    found = tuple(_inside(path, volume) for path in paths)
    return () if b"" in found else found


def _inside(path: str, volume: str | None) -> bytes:
    """A path in the volume, also if it was given with the mount point in front. ``/``: everything."""
    mountpoint = None if volume is None else targets.find(volume).mountpoint
    if mountpoint is not None and os.path.abspath(path).startswith(mountpoint.rstrip("/") + "/"):
        path = os.path.relpath(os.path.abspath(path), mountpoint)
    inside = os.path.normpath(path.strip("/")) if path.strip("/") else ""
    return b"" if inside == "." else os.fsencode(inside)


def _place(to: str | None, new: NewVolume | None, volume: str | None, answers: Answers) -> tuple[str, Into] | None:
    """Raises: UsageError: it is not said, or must not be there. EOFError: the answer was no."""
    if new is not None:
        if to is not None:
            raise UsageError("--to and --new-volume both say where it goes", hint="Give only one.")
        return None
    if to is None:
        mountpoint = None if volume is None else targets.find(volume).mountpoint
        if mountpoint is None:
            raise UsageError(
                "say where it is to go" if volume is None else "the volume is not mounted, so say where it is to go",
                hint="Mount a volume and give --to with a directory in it, or give --new-volume DIR.",
            )
        to = mountpoint
    return to, restore_place.check_directory(to, answers)
