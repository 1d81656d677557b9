"""What the parts of ``encfs/share`` are told of this host, and how a change of files is shown.

Owns: the view of a mount point, the checks of one share, the path of the command in a unit, the layout of a difference.
Must not know: what a share needs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from encfs.checks import Checked
from encfs.cli import media, mounts, output, targets
from encfs.errors import CloakfsError
from encfs.share import checks, plan
from encfs.share.changes import Change
from encfs.share.definition import ShareSpec
from encfs.share.places import places
from encfs.share.view import MountState, MountView


def mount_view(spec: ShareSpec) -> MountView:
    """What is at the mount point of a share now."""
    here = [mount for mount in mounts.all_mounts() if mount.mountpoint == spec.mountpoint]
    if not here:
        return MountView(MountState.BARE)
    top = here[-1]
    if top.fstype != mounts.FSTYPE or os.path.realpath(top.source) != os.path.realpath(spec.volume):
        return MountView(MountState.FOREIGN)
    if targets.is_dead(spec.mountpoint):
        return MountView(MountState.DEAD)
    return MountView(MountState.LIVE, allow_other=top.allow_other)


def checks_of(name: str) -> list[Checked]:
    """All checks of a share that cloakfs made here.

    Raises:
        NotFoundError: there is no such share. OSError: its files cannot be read.
    """
    here = places()
    spec = plan.known(name, here)
    look = checks.Look(
        spec=spec, places=here, mount=mount_view(spec), program=program(), on_one_medium=media.same_medium
    )
    return checks.run(look)


def program() -> str:
    """The ``cloakfs`` command, for a unit.

    Raises:
        CloakfsError: it is not installed as a command.
    """
    beside = Path(sys.executable).with_name("cloakfs")
    found = shutil.which("cloakfs") or (str(beside) if beside.exists() else None)
    if found is None:
        raise CloakfsError(
            "cloakfs is not installed as a command, so systemd could not run it",
            hint="Install it, or link it: ln -s .../tools/cloakfs /usr/local/bin/cloakfs",
        )
    return os.path.abspath(found)


def show(changes: Sequence[Change]) -> None:
    """Every line that would be written or changed, and every file that would go."""
    for change in changes:
        if change.new is None:
            output.say(f"  {output.printable(str(change.path))} is removed")
            continue
        for line in change.lines():
            is_head = line.startswith(("+++", "---"))
            colour = "" if is_head else {"+": "green", "-": "red"}.get(line[:1], "")
            text = output.printable(line)
            output.say("  " + (output.coloured(text, colour) if colour else text))
        output.say()
