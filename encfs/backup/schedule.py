"""The systemd units that make the backups of a volume by themselves.

Owns: their text, their names, where they go. Must not know: systemd itself, the register of backups.

One pair for each volume: all its backups run one after the other. The timer is ``Persistent``: a run that was missed
because the computer was off is made up for soon after it starts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from encfs.errors import UsageError
from encfs.wording import printable

_TIME: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_VARIABLE: Final = "CLOAKFS_SYSTEMD_DIRECTORY"


@dataclass(frozen=True, slots=True)
class Units:
    """What is written: names and texts of both units."""

    service_name: str
    timer_name: str
    service: str
    timer: str


def time_of(text: str) -> str:
    """A time of day as ``HH:MM``. Raises: UsageError: it is none."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{printable(text)} is no time of day", hint="Give hours and minutes: 02:30")
    return f"{int(found[1]):02d}:{found[2]}"


def names(volume_id: str) -> tuple[str, str]:
    """Of the service and of the timer of a volume."""
    stem = f"cloakfs-backup-{volume_id[:12]}"
    return f"{stem}.service", f"{stem}.timer"


def directory() -> Path:
    """Where the units of this user go: those of root are the system's. Tests name another place.

    Raises:
        RuntimeError: this user has no home directory.
    """
    if chosen := os.environ.get(_VARIABLE):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"


def units(volume_id: str, volume: str, *, at: str, program: str, system: bool) -> Units:
    """Both units.

    Args:
        volume_id: hexadecimal.
        volume: its directory.
        at: ``HH:MM``, by the clock of the computer.
        program: the ``cloakfs`` command; absolute.
        system: units of root, which systemd can close in more tightly than those of a user.
    """
    service_name, timer_name = names(volume_id)
    comment = printable(volume)
    head = f"# The backups of {comment}, each day at {at}. Written by: cloakfs backup schedule\n"
    service = head + _SERVICE.format(
        volume=comment.replace("%", "%%"),
        quoted=_quoted(volume),
        program=_quoted(program),
        after=_SYSTEM_AFTER if system else "",
        shut=_SYSTEM_SHUT if system else "",
    )
    timer = head + _TIMER.format(volume=comment.replace("%", "%%"), at=at)
    return Units(service_name, timer_name, service, timer)


def _quoted(text: str) -> str:
    r"""A word of a command line in a unit (systemd.service(5)); bytes that are no text as ``\xNN``."""
    out = []
    for one in os.fsencode(text).decode("utf-8", "surrogateescape"):
        if "\udc80" <= one <= "\udcff":
            out.append(f"\\x{ord(one) - 0xDC00:02x}")
        elif one in '"\\':
            out.append("\\" + one)
        elif one in "%$":
            out.append(one * 2)
        elif one.isprintable():
            out.append(one)
        else:
            out.extend(f"\\x{byte:02x}" for byte in one.encode("utf-8"))
    return '"' + "".join(out) + '"'


_SERVICE: Final = """\
# When it fails the unit is failed (systemctl --failed), and "cloakfs status" and "cloakfs doctor" say so.

[Unit]
Description=Backup of {volume}
Documentation=man:cloakfs-backup-run(1)
{after}
[Service]
Type=oneshot
ExecStart={program} backup run {quoted}
# Work on the computer goes first.
Nice=10
IOSchedulingClass=idle
# A first run takes as long as it takes.
TimeoutStartSec=infinity
UMask=0077
LimitCORE=0
{shut}"""
_SYSTEM_AFTER: Final = """\
Wants=network-online.target
After=network-online.target
"""
_SYSTEM_SHUT: Final = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
"""
_TIMER: Final = """\
[Unit]
Description=Backup of {volume}, each day at {at}

[Timer]
OnCalendar=*-*-* {at}:00
# A run that was missed is made soon after the computer starts.
Persistent=true

[Install]
WantedBy=timers.target
"""
