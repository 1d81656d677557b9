"""``cloakfs backup key``: the key of a backup: its sheet, on the screen, typed in on another computer, renewed.

Owns: the command, and which of it makes sense for which backup. Must not know: how keys are kept
(``encfs.backup.keys``, ``encfs.backup.slots``), what a sheet looks like.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import click

from encfs.audit import journal
from encfs.backup import keys, plans, slots
from encfs.backup.plans import EngineKind, KeyKind, Plan
from encfs.cli import (
    auditing,
    backup_sheets,
    key_making,
    options,
    output,
    recovery_key,
    secret_files,
    targets,
    terminal,
)
from encfs.cli.backup_secret import backup_key
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.cli.unlocking import config_of
from encfs.crypto import rng
from encfs.errors import ExitCode, UsageError
from encfs.format.audit_body import Outcome
from encfs.format.limits import RECOVERY_KEY_SIZE
from encfs.memory import leftovers
from encfs.sheets import parts
from encfs.units import VolumeId

Fits = Callable[[Plan, bytes], None]
"""Tries whether a key opens a backup. Raises: BackupError: it does not, or the backup is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """One of four things. ``typed_from``: a file in place of what is typed; ``secret``: opens the volume."""

    sheet: str | None
    show: bool
    bring: bool
    refresh: bool
    typed_from: str | None
    secret: SecretOptions = field(repr=False)

    @property
    def name(self) -> str:
        """For the audit log."""
        return "sheet" if self.sheet is not None else "show" if self.show else "import" if self.bring else "refresh"


def command(fits: Fits | None = None) -> click.Command:
    """The command, for a group that knows how backups are opened; without ``fits`` a key that is typed is not tried."""

    @options.command(
        "key",
        example="""
cloakfs backup key ~/practice.vault --sheet /media/stick/sheet.pdf
cloakfs backup key ~/practice.vault --target /media/anna/BACKUP --show
cloakfs backup key ~/practice.vault --import""",
    )
    @click.argument("volume")
    @click.option("--target", metavar="TARGET", help="Which backup, where a volume has several.")
    @click.option("--sheet", metavar="FILE", help="Write its recovery sheet to a new PDF file.")
    @click.option("--show", is_flag=True, help="Show it on the screen, to be copied by hand.")
    @click.option(
        "--import", "bring", is_flag=True, help="Type it from its sheet, where this computer does not have it."
    )
    @click.option("--refresh", is_flag=True, help="After a change of the volume's keys: make it open new copies.")
    @click.option("--backup-key-file", metavar="FILE", help="For --import: read the backup key from a file.")
    @options.json_option
    @secret_options
    def key(
        *,
        volume: str,
        target: str | None,
        sheet: str | None,
        show: bool,
        bring: bool,
        refresh: bool,
        backup_key_file: str | None,
        as_json: bool,
        secret: SecretOptions,
    ) -> ExitCode:
        """The key of a backup of VOLUME: another sheet of it, or what there is to do about it.

        The key of a backup by restic is kept on this computer, for the runs that nobody watches. It opens the backup
        and nothing else. --sheet and --show give it to you once more; --import takes it from its sheet on a computer
        that does not have it, as after a fire.

        That of a backup with --backup-slot is nowhere but on its sheet. A run does not need it. After "cloakfs key
        rotate" the copies need a new slot for it: --refresh makes that, with what opens the volume; the sheet stays as
        it is. --import makes it on another computer, with the sheet and what opens the volume.
        """
        if [sheet is not None, show, bring, refresh].count(True) != 1:
            raise UsageError("say what is to be done", hint="Give one of --sheet FILE, --show, --import, --refresh.")
        if backup_key_file is not None and not bring:
            raise UsageError("--backup-key-file goes with --import", hint="Leave it out.")
        wish = _Wish(sheet=sheet, show=show, bring=bring, refresh=refresh, typed_from=backup_key_file, secret=secret)
        plan = _plan(targets.find(volume).volume, target)
        volume_id = VolumeId(bytes.fromhex(plan.volume_id))
        try:
            told = _do(plan, wish, fits)
        except BaseException as exc:
            auditing.tell("backup.key", journal.outcome_of(exc), volume_id, plan=plan.id, what=wish.name)
            raise
        finally:
            leftovers.overwrite()
        auditing.tell("backup.key", Outcome.DONE, volume_id, plan=plan.id, what=wish.name)
        if as_json:
            output.print_json(
                {"plan": plan.id, "volume": plan.volume, "target": plan.target, "done": wish.name, "sheet": sheet}
            )
        else:
            for line in told:
                output.say(line)
        return ExitCode.OK

    return key


def _plan(path: str, target: str | None) -> Plan:
    """The backup, with the volume where it is now.

    Raises:
        UsageError: there is no such backup, or it has no key of its own. ConfigError, RegisterError, OSError.
    """
    of_volume = plans.plans_of(config_of(path).volume_id)
    found = [one for one in of_volume if one.key is KeyKind.OWN and target in (None, one.target)]
    if len(found) == 1:
        return replace(found[0], volume=path)
    there = ", ".join(output.printable(one.target) for one in of_volume)
    if found:
        raise UsageError("this volume has several backups", hint=f"Say which one with --target: {there}")
    raise UsageError(
        "there is no such backup, or it has no key of its own",
        hint=f"What opens the volume opens a backup by copy without --backup-slot. There are: {there or 'none'}",
    )


def _do(plan: Plan, wish: _Wish, fits: Fits | None) -> list[str]:
    """What is told of it."""
    if wish.refresh:
        return _refresh(plan, wish.secret)
    if wish.bring:
        return _bring(plan, wish, fits)
    if plan.engine is EngineKind.COPY:
        raise UsageError(
            "the key of this backup is on its sheet, and nowhere else",
            hint="Is the sheet lost, end this backup and set up another one: cloakfs backup end, then backup init.",
        )
    if wish.sheet is None:
        terminal.require("somebody who copies the key by hand", hint="Give --sheet FILE.")
        recovery_key.show_backup(keys.read(plan.id), plan.target)
        return ["The key was shown. Whoever has it and the backup can read everything in it."]
    parts.check()
    backup_sheets.check_place(wish.sheet, plan)
    secret_files.write_new(wish.sheet, backup_sheets.pdf(plan, keys.read(plan.id)))
    return [
        f"The recovery sheet is in {output.printable(wish.sheet)}.",
        "Print it, then delete it: it is as good as its paper.",
    ]


def new_slot(plan: Plan, secret: SecretOptions) -> bytes:
    """A new key for copies that open with nothing else, and the slot for it; for whoever sets such a backup up.

    Returns:
        32 bytes for the sheet. They are kept nowhere (FORMAT.md section 18).

    Raises:
        UnlockError, ConfigError, UsageError, VolumeInUseError, MemoryShortError, OSError: no slot is made.
    """
    key = rng.random_bytes(RECOVERY_KEY_SIZE)
    _make_slot(plan, key, secret)
    return key


def _make_slot(plan: Plan, key: bytes, secret: SecretOptions) -> None:
    keys.refuse_if_it_opens(key, os.fsencode(plan.volume))
    with key_making.opened(plan.volume, secret) as opened:
        slots.make(plan.id, opened, key)


def _refresh(plan: Plan, secret: SecretOptions) -> list[str]:
    if plan.engine is not EngineKind.COPY:
        raise UsageError("the key of this backup does not depend on the volume's", hint="There is nothing to do.")
    with key_making.opened(plan.volume, secret) as opened:
        changed = slots.refresh(plan.id, opened)
    if not changed:
        return ["It was as it has to be: the sheet of this backup opens new copies."]
    return ["The sheet of this backup opens new copies again. Make a run: cloakfs backup run"]


def _bring(plan: Plan, wish: _Wish, fits: Fits | None) -> list[str]:
    """Raises: UsageError: it is mistyped, opens the volume, or another one is kept. BackupError: it does not fit."""
    key = _typed(wish)
    if plan.engine is EngineKind.COPY:
        _make_slot(plan, key, wish.secret)
        return ["New copies open with this key. It is not kept here: keep its sheet."]
    keys.refuse_if_it_opens(key, os.fsencode(plan.volume))
    if fits is not None:
        fits(plan, key)
    keys.keep(plan.id, key)
    tried = "" if fits is not None else " It was not tried yet: cloakfs backup verify"
    return [f"The key is kept on this computer from now on.{tried}"]


def _typed(wish: _Wish) -> bytes:
    secret = SecretOptions(recovery=wish.typed_from is None, recovery_file=wish.typed_from)
    return backup_key(secret, option="--backup-key-file")
