"""``cloakfs lock``: the end of a mount.

Owns: waiting until the daemon is done and gone; clearing what a dead daemon left. Must not know: how the daemon
writes everything to the disk and drops its keys.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import click

from encfs import control
from encfs.cli import options, output, processes, progress, targets
from encfs.errors import CloakfsError, ExitCode, LowerIOError, MountBusyError, NotMountedError, UsageError

# The daemon has said that all is done; what is left is the end of a process.
_END_SECONDS: Final = 60.0


@options.command("lock", example="cloakfs lock ~/practice\ncloakfs lock --all")
@click.argument("target", metavar="[MOUNTPOINT|VOLUME]", required=False)
@click.option("--force", is_flag=True, help="Lock even while programs use the mount; their open files are cut off.")
@click.option("--all", "everything", is_flag=True, help="Lock everything of this user at once, with --force.")
@options.json_option
def command(*, target: str | None, force: bool, everything: bool, as_json: bool) -> ExitCode:
    """Unmount, wait until everything is on the disk, and drop the keys.

    When this returns, the daemon has ended and the volume is closed cleanly: the disk can be taken away. If programs
    still use the mount they are named and nothing changes (exit status 20), unless --force is given. Where the daemon
    has died, the mount point is cleared; the next mount then checks the volume.

    With --all everything that this user has mounted is locked at once, whoever uses it: for when there is no time.
    """
    if everything is (target is not None):
        raise UsageError("give either a mount point or volume, or --all")
    if target is None:
        return lock_everything(as_json=as_json)
    found = targets.find(target)
    if found.mountpoint is None:
        raise _not_mounted(target)
    if found.mounted is None:
        if not targets.is_dead(found.mountpoint):
            raise targets.not_reachable(found)
        clear(found.mountpoint, force=force)
        state, pid = "crashed", None
    else:
        with progress.activity("Locking: everything is being written to the disk"):
            state = lock_mounted(found.mounted, force=force)
        pid = found.mounted.pid
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


def lock_everything(*, as_json: bool) -> ExitCode:
    """Lock all that this user has mounted, all at once. What fails keeps nothing else from being locked.

    Returns:
        OK, also where nothing is mounted; else the code of the first failure.
    """
    found = targets.all_mounted()
    with progress.activity("Locking everything"), ThreadPoolExecutor(max_workers=max(1, len(found))) as crew:
        ends = list(crew.map(_end, found))
    failed = [(target, end) for target, end in zip(found, ends, strict=True) if isinstance(end, Exception)]
    if as_json:
        output.print_json({"mounts": [_ended_json(target, end) for target, end in zip(found, ends, strict=True)]})
    elif not found:
        output.say("Nothing is mounted.")
    for target, end in zip(found, ends, strict=True):
        where = output.printable(target.mountpoint or target.volume)
        if isinstance(end, Exception):
            output.warn(f"{where} is NOT locked: {end}")
        elif not as_json:
            output.say(f"Locked: {where}")
    if not failed:
        return ExitCode.OK
    first = failed[0][1]
    return first.exit_code if isinstance(first, CloakfsError) else ExitCode.FAILURE


def _end(target: targets.Target) -> str | Exception:
    """How the end of one mount went: its state, or why there is none."""
    try:
        if target.mounted is not None:
            return lock_mounted(target.mounted, force=True, panic=True)
        assert target.mountpoint is not None
        if not targets.is_dead(target.mountpoint):
            raise targets.not_reachable(target)
        clear(target.mountpoint, force=True)
    except (CloakfsError, OSError) as exc:
        return exc
    return "crashed"


def _ended_json(target: targets.Target, end: str | Exception) -> dict[str, object]:
    failed = isinstance(end, Exception)
    return {
        "volume": target.volume,
        "mountpoint": target.mountpoint,
        "state": None if failed else end,
        "error": str(end) if failed else None,
    }


def lock_mounted(mounted: control.Mounted, *, force: bool, panic: bool = False) -> str:
    """Ask a daemon to lock, and wait until it has ended. ``panic``: it is one of all, which is remembered.

    Returns:
        The state that it left: ``clean``.

    Raises:
        MountBusyError: programs use it, and ``force`` is false.
        NotMountedError, LowerIOError, CloakfsError.
    """
    try:
        # Taken before the request, so that it cannot name another process later.
        pidfd = os.pidfd_open(mounted.pid)
    except ProcessLookupError as exc:
        raise _not_mounted(mounted.mountpoint) from exc
    try:
        reply = control.ask(mounted.socket, {"verb": "lock", "force": force, "all": panic})
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


def clear(mountpoint: str, *, force: bool) -> None:
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
