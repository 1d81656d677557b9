"""Recovery sheets of backups: what is on them, and where they may lie.

Owns: both. Must not know: what a page looks like, how the key is kept.
"""

from __future__ import annotations

import os
import time
from datetime import date

from encfs.backup.plans import Plan
from encfs.cli import media, output, secret_files
from encfs.errors import UsageError
from encfs.sheets.sheets import backup_sheet
from encfs.units import VolumeId


def pdf(plan: Plan, key: bytes) -> bytes:
    """The page with the key of a backup, made today.

    Args:
        plan: the backup.
        key: its key, 32 bytes.

    Raises:
        UsageError: a name has letters that cannot be printed, or is too long.
        CloakfsError: a package is not installed.
    """
    return backup_sheet(
        key,
        volume=os.path.basename(os.path.realpath(plan.volume)),
        volume_id=VolumeId(bytes.fromhex(plan.volume_id)),
        target=plan.target,
        plan=plan.id,
        day=date(*time.localtime()[:3]),
    )


def check_place(sheet: str, plan: Plan) -> None:
    """Whether a sheet may be written there.

    Raises:
        NotEmptyError: something is there.
        UsageError: it is on the medium of the backup, or nothing can be written there.
    """
    secret_files.check_free(sheet)
    folder = os.path.dirname(os.path.abspath(sheet))
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{output.printable(sheet)}: nothing can be written there", hint="Choose another place.")
    if os.path.isabs(plan.target) and _is_beside(folder, plan.target):
        raise UsageError(
            f"{output.printable(sheet)}: this is on the medium of the backup, and would be lost or stolen with it",
            hint="Choose a place on another stick or disk.",
        )


def _is_beside(folder: str, target: str) -> bool:
    try:
        return media.same_medium(folder, target)
    except FileNotFoundError:
        return False  # The medium of the backup is elsewhere now.
