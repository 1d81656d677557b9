"""Which backups somebody means.

Owns: VOLUME and ``--target`` of the commands below ``cloakfs backup``. Must not know: what is done with them.
"""

from __future__ import annotations

import os

from encfs.backup import plans as register
from encfs.backup import targets as backup_targets
from encfs.backup.plans import Plan
from encfs.cli import output, targets
from encfs.cli.unlocking import config_of
from encfs.errors import CloakfsError, UsageError

NONE_YET = "Set one up: cloakfs backup init VOLUME TARGET"


def chosen(volume: str | None, target: str | None = None) -> list[Plan]:
    """The backups of a volume, or all of them; one of a volume by its target.

    Raises:
        UsageError: there is none. RegisterError: the register is damaged. OSError, RuntimeError.
    """
    known = register.plans()
    if volume is None:
        found = known
    else:
        volume_id, path = _volume(volume)
        found = [one for one in known if volume_id in (None, one.volume_id) and (volume_id or one.volume == path)]
    if not found:
        what = "no backup is set up" if volume is None else f"{output.printable(volume)}: no backup of it is set up"
        raise UsageError(what, hint=NONE_YET)
    if target is None:
        return found
    named = [one for one in found if one.target in (target, _spelled(target))]
    if not named:
        there = ", ".join(output.printable(one.target) for one in found)
        raise UsageError(f"{output.printable(target)}: no backup goes there", hint=f"There are: {there}")
    return named


def the_one(volume: str, target: str | None) -> Plan:
    """The only backup that is meant. Raises: as :func:`chosen`; UsageError: there are several."""
    found = chosen(volume, target)
    if len(found) > 1:
        there = ", ".join(output.printable(one.target) for one in found)
        raise UsageError("this volume has several backups", hint=f"Say which one with --target: {there}")
    return found[0]


def _spelled(target: str) -> str:
    try:
        return backup_targets.parse(target).text
    except UsageError:
        return target


def _volume(text: str) -> tuple[str | None, str]:
    """The id of a volume, None if it cannot be read now; and its path."""
    path = targets.find(text).volume
    try:
        return config_of(path).volume_id.hex(), path
    except (CloakfsError, OSError):
        return None, os.path.abspath(path)
