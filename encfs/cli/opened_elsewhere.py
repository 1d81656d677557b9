"""What is said when a volume was opened on another machine since this one used it last.

Owns: the words. Must not know: how that is known (``encfs/host/freshness.py``, FORMAT.md section 13).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from encfs.cli import output


def words(sessions: Sequence[Mapping[str, Any]]) -> str | None:
    """One sentence on the sessions (docs/json.md, ``elsewhere``, oldest first); None if there are none."""
    if not sessions:
        return None
    last = sessions[-1]
    how = {"clean": f"locked at {_time(last['ended'])}", "crashed": "never locked", "recovered": "not locked properly"}
    text = (
        f"opened on host {output.printable(last['host'])} (uid {last['uid']}) at {_time(last['started'])},"
        f" {how[last['state']]}, since this machine used it last"
    )
    before = len(sessions) - 1
    return f"{text}; and {output.plural(before, 'time')} before that" if before else text


def _time(seconds: int | None) -> str:
    return "an unknown time" if seconds is None else output.human_time(seconds)
