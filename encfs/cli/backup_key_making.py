"""A key for a backup that is set up: made, tried, kept, and on a sheet of paper.

Owns: the order, and that there is no key without a sheet. Must not know: how keys are kept
(``encfs.backup.keys``), what a sheet looks like.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from encfs.backup import keys, slots
from encfs.backup.plans import EngineKind, Plan
from encfs.cli import backup_key, backup_sheets, progress, secret_files, terminal
from encfs.cli.secrets import SecretOptions
from encfs.errors import UsageError
from encfs.sheets import parts

_LOST = "Without its recovery sheet the backup is LOST together with this computer."


def place_of_sheet(given: str | None, plan: Plan) -> str:
    """Where the sheet goes; asked for if nobody has said.

    Raises:
        UsageError: nobody says; or it would lie on the target, where it opens what it lies beside.
        NotEmptyError: something is there. CloakfsError: a package for the pages is not installed.
    """
    parts.check()
    if given is None:
        terminal.require("a file for the recovery sheet of the backup", hint=f"Give --sheet FILE. {_LOST}")
        terminal.tell(f"This backup gets a key of its own. {_LOST}")
        given = terminal.ask("Write the sheet to which new PDF file? ").strip()
    if not given:
        raise UsageError("there is no key without a recovery sheet", hint=f"Nothing was written. {_LOST}")
    backup_sheets.check_place(given, plan)
    return given


def made(plan: Plan, sheet: str, secret: SecretOptions, undo: ExitStack) -> bytes:
    """A new key, on its sheet. What is left when something fails ``undo`` takes away.

    That of ``restic`` is kept on this computer, for the runs. That of ``copy`` is not: its slot is, and the key opens
    the volume together with that.

    Raises:
        UsageError: it opens the volume. UnlockError: the volume cannot be opened for a slot.
        OSError, CloakfsError: it cannot be kept, or the sheet not be written.
    """
    if plan.engine is EngineKind.RESTIC:
        undo.callback(keys.remove, plan.id)
        key = keys.make(plan.id)
        with progress.activity("Trying whether the key of the backup opens the volume"):
            keys.refuse_if_it_opens(key, os.fsencode(plan.volume))
    else:
        undo.callback(slots.remove, plan.id)
        key = backup_key.new_slot(plan, secret)
    secret_files.write_new(sheet, backup_sheets.pdf(plan, key))
    undo.callback(os.unlink, sheet)
    return key
