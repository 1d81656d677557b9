"""How the audit log of this user stands, for ``cloakfs doctor``.

Owns: what is looked at without opening a record. Must not know: whether anything in it was changed
(``reading.py``), how it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from encfs.audit.anchor_notes import LastAnchor, PlaceKind, last_anchors
from encfs.audit.home import home
from encfs.audit.log import STATE
from encfs.checks import Checked, Light
from encfs.errors import CloakfsError
from encfs.wording import human_duration, printable

_TITLE: Final = "audit log"
_ANCHOR_DAYS: Final = 14
_DAY: Final = 86_400


def checks() -> list[Checked]:
    """Two checks; none where nothing was ever recorded."""
    try:
        with home() as here:
            if STATE not in here.store.list(here.dirfd):
                return []
            here.log().log_id()
            readable = here.auditor_key() is not None
            anchored = last_anchors(here)
    except CloakfsError as exc:
        return [_bad(str(exc), exc.hint)]
    except (OSError, RuntimeError) as exc:
        return [_bad(f"it cannot be read: {exc}", "")]
    return [_key_of(readable=readable), _anchored(anchored, time.time())]


def _key_of(*, readable: bool) -> Checked:
    if readable:
        return Checked(
            code="audit-log",
            title=_TITLE,
            light=Light.AMBER,
            found="the key that reads it lies on this machine too: whoever breaks in knows what was recorded",
            remedy="cloakfs audit key --out FILE   on a medium that is kept elsewhere",
        )
    found = "it can be written here, and read only with the auditor's key"
    return Checked(code="audit-log", title=_TITLE, light=Light.GREEN, found=found)


def _anchored(anchors: Mapping[PlaceKind, LastAnchor], now: float) -> Checked:
    # The last place: a timestamp is on a line in a file, and not a place of its own.
    made = [(last, kind) for kind, last in anchors.items() if kind is not PlaceKind.TIMESTAMP]
    if not made:
        light, found = Light.AMBER, "nothing is known elsewhere of it: one that was cut off or put back looks right"
    else:
        last, kind = max(made, key=lambda each: each[0].at)
        where = "a file" if kind is PlaceKind.FILE else f"syslog at {printable(last.host)}"
        age = now - last.at
        light = Light.GREEN if 0 <= age <= _ANCHOR_DAYS * _DAY else Light.AMBER
        found = f"it was anchored {human_duration(age)} ago, to {where}"
        if age < 0:
            found = f"it was anchored at a time that has not come yet, to {where}: a clock was wrong"
    remedy = "" if light is Light.GREEN else "cloakfs audit anchor FILE   on another medium, once a week"
    return Checked(code="audit-anchor", title="anchor of the audit log", light=light, found=found, remedy=remedy)


def _bad(found: str, remedy: str) -> Checked:
    remedy = remedy or "keys of volumes cannot be changed until it can be written again"
    return Checked(code="audit-log", title=_TITLE, light=Light.RED, found=found, remedy=remedy)
