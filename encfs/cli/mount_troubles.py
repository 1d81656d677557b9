"""What is wrong with a mount, and what to do: for ``cloakfs status`` and ``cloakfs doctor``.

Owns: the words. Must not know: how the daemon is asked (``encfs.cli.targets``).
"""

from __future__ import annotations

import os
import shlex
from typing import Any

from encfs.checks import Checked, Light
from encfs.cli import mounts, output, targets


def checks(state: str, mount: dict[str, Any] | None) -> list[Checked]:
    """Of a mount that there is; one that is in order is green.

    Args:
        state: as in docs/json.md, ``status``.
        mount: what the daemon says, or only ``mountpoint`` where it does not answer; None for what is not mounted.
    """
    if mount is None:
        return []
    found = troubles(state, mount)
    if not found:
        where = f"mounted at {output.printable(mount['mountpoint'])}"
        found = [(Light.GREEN, f"{where}, and its daemon answers", "")]
    return [
        Checked(code="mount", title="mount", light=light, found=what, remedy=remedy) for light, what, remedy in found
    ]


def troubles(state: str, mount: dict[str, Any]) -> list[tuple[Light, str, str]]:
    """Each with what to do."""
    where = shlex.quote(output.printable(mount["mountpoint"]))
    if state == "dead":
        return [
            (
                Light.RED,
                f"its daemon died, and {where} answers nothing any more; what was saved is on the disk",
                f"cloakfs lock {where}   then mount again: that checks the volume",
            )
        ]
    if "pid" not in mount:
        return [_silent(mount["mountpoint"], where)]
    found = []
    if mount.get("medium") == "gone":
        remedy = f"cloakfs lock {where}   then put the medium back, and mount again: that checks the volume"
        found.append(
            (Light.RED, "its medium went away: the keys are dropped, and nothing can be read or saved", remedy)
        )
    if mount.get("rollback"):
        remedy = "if it is a restored backup, lock it and run: cloakfs accept VOLUME; if not, ask who put it back"
        found.append((Light.RED, f"older than this host has seen: {mount['rollback']}", remedy))
    if mount["integrity_events"]:
        events = output.plural(mount["integrity_events"], "thing was", "things were")
        found.append(
            (Light.RED, f"{events} read that cloakfs did not write so, and refused", f"cloakfs verify {where}")
        )
    recovery = mount.get("recovery")
    if recovery and recovery["failed"]:
        damaged = output.plural(recovery["failed"], "entry is", "entries are")
        found.append((Light.RED, f"after a crash {damaged} damaged", f"cloakfs verify {where}"))
    return found


def _silent(mountpoint: str, where: str) -> tuple[Light, str, str]:
    kernel = mounts.mount_at(mountpoint)
    if kernel is None or kernel.uid in (None, os.geteuid()):
        what = "its daemon does not answer: its disk is very slow or hangs, or the process is stopped"
        end = "find it with pgrep -af 'cloakfs mount', end it with kill -9, and then"
        return (Light.AMBER, what, f"wait a minute and look again; if it stays so: {end} cloakfs lock {where}")
    owner = targets.user_name(kernel.uid)
    return (
        Light.AMBER,
        f"it was mounted by {owner}, who alone can ask its daemon",
        f"as {owner}, or as root: cloakfs status",
    )
