"""Which run of a backup is meant.

Owns: that question. Must not know: engines, how a time was spelled.
"""

from __future__ import annotations

from collections.abc import Sequence

from encfs.backup.manifest import RunHead
from encfs.errors import BackupError, UsageError
from encfs.wording import human_time

_HINT = "See which there are: cloakfs backup list"


def choose(heads: Sequence[RunHead], *, run: str = "", until_ms: int | None = None) -> RunHead:
    """The newest run; or the one with an id, or the newest one of a time.

    Args:
        heads: all complete runs of a target, the oldest first.
        run: an id or how it begins, if no other one begins so.
        until_ms: no run that began later than this, milliseconds since 1970.

    Raises:
        BackupError: there is none, or none that old. UsageError: there is no such run, or several.
    """
    if not heads:
        raise BackupError(
            "there is no complete backup on this target",
            hint="If there was one: is this the right medium?",
        )
    if run:
        found = [head for head in heads if head.run.startswith(run.lower())]
        if len(found) != 1:
            raise UsageError(f"there is {'more than one' if found else 'no'} run that begins so", hint=_HINT)
        return found[0]
    if until_ms is None:
        return heads[-1]
    before = [head for head in heads if int(head.run[:16], 16) <= until_ms]
    if not before:
        oldest = human_time(heads[0].made_at)
        raise BackupError(f"there is no backup that old on this target: the oldest is of {oldest}", hint=_HINT)
    return before[-1]
