"""``cloakfs lock``: the end of a mount.

Owns: waiting until the daemon is done and gone; clearing what a dead daemon left. Must not know: how the daemon
writes everything to the disk and drops its keys.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import Final

import click

from encfs.cli import control, options, output, processes, progress, targets
from encfs.errors import CloakfsError, ExitCode, LowerIOError, MountBusyError, NotMountedError

# The daemon has said that all is done; what is left is the end of a process.
_END_SECONDS: Final = 60.0


@options.command("lock", example="cloakfs lock ~/practice")
@click.argument("target", metavar="MOUNTPOINT|VOLUME")
@click.option("--force", is_flag=True, help="Lock even while programs use the mount; their open files are cut off.")
@options.json_option
def command(*, target: str, force: bool, as_json: bool) -> ExitCode:
    """Unmount, wait until everything is on the disk, and drop the keys.

    When this returns, the daemon has ended and the volume is closed cleanly: the disk can be taken away. If programs
    still use the mount they are named and nothing changes (exit status 20), unless --force is given. Where the daemon
    has died, the mount point is cleared; the next mount then checks the volume.
    """
    found = targets.find(target)
    if found.mountpoint is None:
        raise _not_mounted(target)
    if found.mounted is None:
        if not targets.is_dead(found.mountpoint):
            raise targets.not_reachable(found)
        _clear(found.mountpoint, force=force)
        state, pid = "crashed", None
    else:
        state, pid = _lock(found.mounted, force=force), found.mounted.pid
    if as_json:
        output.print_json(
            {"volume": found.volume, "mountpoint": found.mountpoint, "state": state, "forced": force, "pid": pid}
        )
    elif state == "crashed":
        output.say(f"The daemon of {output.printable(found.mountpoint)} had died; the mount point is free again.")
        output.say("The next mount checks the volume and repairs what the crash left.")
    elif state == "clean":
        output.say(f"Locked. Everything is on the disk: {output.printable(found.volume)}")
    else:
        output.say(f"Locked: {output.printable(found.volume)} ({state}).")
    return ExitCode.OK


def _not_mounted(text: str) -> NotMountedError:
    return NotMountedError(f"{output.printable(text)} is not mounted here", hint="See what is: cloakfs status")


def _lock(mounted: control.Mounted, *, force: bool) -> str:
    try:
        # Taken before the request, so that it cannot name another process later.
        pidfd = os.pidfd_open(mounted.pid)
    except ProcessLookupError as exc:
        raise _not_mounted(mounted.mountpoint) from exc
    try:
        with progress.activity("Locking: everything is being written to the disk"):
            reply = control.ask(mounted.socket, {"verb": "lock", "force": force})
            ended = control.wait_for_end(pidfd, _END_SECONDS)
    except MountBusyError as exc:
        raise processes.busy(mounted.mountpoint) from exc
    except LowerIOError:
        control.wait_for_end(pidfd, _END_SECONDS)  # The mount is off all the same.
        raise
    finally:
        os.close(pidfd)
    if not ended:
        raise CloakfsError(f"everything is written, but process {mounted.pid} does not end", hint="Look into its log.")
    return str(reply.get("state", "clean"))


def _clear(mountpoint: str, *, force: bool) -> None:
    """Take the rest of a mount away whose daemon is dead."""
    if os.geteuid() == 0 or shutil.which("fusermount3") is None:
        program = ["umount", *(["-l"] if force else [])]
    else:
        program = ["fusermount3", "-u", *(["-z"] if force else [])]
    done = subprocess.run([*program, "--", mountpoint], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    busy = processes.busy(mountpoint)
    if busy.details["processes"]:
        raise busy
    raise OSError(errno.EBUSY, done.stderr.strip() or "it cannot be unmounted", mountpoint)
