"""How the audit log of this user stands, for ``cloakfs doctor``.

Owns: what is looked at without opening a record. Must not know: whether anything in it was changed
(``reading.py``), how it is shown.
"""

from __future__ import annotations

from encfs.audit.home import home
from encfs.audit.log import STATE
from encfs.checks import Checked, Light
from encfs.errors import CloakfsError

_TITLE = "audit log"


def checks() -> list[Checked]:
    """One check; none where nothing was ever recorded."""
    try:
        with home() as here:
            if STATE not in here.store.list(here.dirfd):
                return []
            here.log().log_id()
            readable = here.auditor_key() is not None
    except CloakfsError as exc:
        return [_bad(str(exc), exc.hint)]
    except (OSError, RuntimeError) as exc:
        return [_bad(f"it cannot be read: {exc}", "")]
    if readable:
        return [
            Checked(
                code="audit-log",
                title=_TITLE,
                light=Light.AMBER,
                found="the key that reads it lies on this machine too: whoever breaks in knows what was recorded",
                remedy="cloakfs audit key --out FILE   on a medium that is kept elsewhere",
            )
        ]
    found = "it can be written here, and read only with the auditor's key"
    return [Checked(code="audit-log", title=_TITLE, light=Light.GREEN, found=found)]


def _bad(found: str, remedy: str) -> Checked:
    remedy = remedy or "keys of volumes cannot be changed until it can be written again"
    return Checked(code="audit-log", title=_TITLE, light=Light.RED, found=found, remedy=remedy)
