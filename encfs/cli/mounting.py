"""Mounting, for ``cloakfs mount`` and for mount(8).

Owns: the order: what can be checked without a passphrase is checked before one is asked for. Must not know: how
the call was spelled, what the daemon does.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from errno import EIO, ENODEV, ENOTCONN, ENXIO, ESTALE
from types import ModuleType
from typing import Any, Final

from encfs import control, runtime
from encfs.cli import break_glass, crashes, last_locks, mounts, output, presences, seeing, swapping, targets
from encfs.cli.auditing import RecordedLocks, file_log
from encfs.cli.cmd_lock import lock_mounted
from encfs.cli.main import default_signals
from encfs.cli.secrets import SecretOptions, require_source
from encfs.cli.unlocking import config_of, unlock
from encfs.core.policy import idle_seconds
from encfs.errors import CloakfsError, LowerIOError, MountpointError, NoFuseError, VolumeInUseError
from encfs.format.policy import Policy
from encfs.locking import IdleRule
from encfs.memory import process
from encfs.memory.swap import swaps
from encfs.stick import layout
from encfs.units import VolumeId

# What a mount answers when the medium below it is gone.
_LOST: Final = (EIO, ENODEV, ENOTCONN, ENXIO, ESTALE)
_FUSE_HINT: Final = (
    "On Debian: apt-get install fuse3 libfuse3-dev pkg-config gcc python3-dev,\n"
    "  then, in the checkout: pip install '.[mount]'\n"
    "  Without FUSE a volume can still be read: cloakfs cat, cloakfs export."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRequest:
    """What shall be mounted where and how.

    Attributes:
        log: a file's path, or "syslog".
        idle: when it locks because nobody uses it; None for never.
        kernel_options: of mount(8), such as ``noatime``.
    """

    volume: str
    mountpoint: str
    secret: SecretOptions
    read_only: bool = False
    allow_other: bool = False
    foreground: bool = False
    log: str = "syslog"
    idle: IdleRule | None = None
    kernel_options: tuple[str, ...] = ()


def mount(request: MountRequest) -> dict[str, Any]:
    """Mount; comes back when the mount answers, or in the foreground when it is gone again.

    Returns:
        What the daemon says about itself, and ``last_lock``: how the mount before ended (docs/json.md). Nothing in the
        foreground.

    Raises:
        CloakfsError, OSError: with the reason; then nothing is mounted.
    """
    request = replace(request, volume=layout.volume_at(request.volume))
    volume, mountpoint = os.path.realpath(request.volume), os.path.realpath(request.mountpoint)
    config = config_of(request.volume)
    _check_apart(volume, mountpoint)
    daemon = load_daemon()
    options = daemon.MountOptions(
        volume=volume,
        mountpoint=mountpoint,
        read_only=request.read_only,
        allow_other=request.allow_other,
        kernel_options=request.kernel_options,
        log=request.log if request.log == "syslog" else os.path.abspath(request.log),
        idle=request.idle,
    )
    _clear_pulled(config.volume_id)
    _check_free(volume)
    _check_alive(mountpoint)
    daemon.check_mountpoint(options)
    _check_log(options.log)
    require_source(request.secret)
    last = last_locks.of(config.volume_id)
    opened = unlock(request.volume, request.secret, read_only=request.read_only, mountpoint=mountpoint)
    try:
        if opened.ctx.read_only and not request.read_only:
            output.warn("a newer cloakfs wrote this volume; this version can only read it")
        for warning in swapping.warnings(swaps(), locked=process.is_locked()):
            output.warn(warning)
        if request.foreground:
            if because := last_locks.words(last):
                output.remark(f"It was locked at {because}.")
            output.remark(f"Mounting at {output.printable(mountpoint)}. Ctrl-C locks it, or: cloakfs lock")
            for text in break_glass.texts(volume, break_glass.uses(config)):
                output.remark(f"ATTENTION: {text}")
        default_signals()
    except BaseException:
        opened.close()
        raise
    # From here on the volume belongs to the daemon, which closes it also when mounting fails.
    assert opened.slot is not None
    presence = presences.for_mount(
        volume, opened.config, opened.slot, mountpoint=mountpoint, read_only=opened.ctx.read_only
    )
    files = file_log(opened.config, opened.slot.id)
    locks = RecordedLocks(presence, config.volume_id, opened.slot.id, files)
    options = replace(options, idle=_idle(opened.config.policy, request.idle))
    seeing.look(request.volume, entries_max=seeing.AT_A_MOUNT)
    daemon.start(opened, options, foreground=request.foreground, locks=locks)
    if request.foreground:
        return {}
    status: dict[str, Any] = control.status(runtime.socket_path(config.volume_id))
    return {**status, "last_lock": last}


def _idle(policy: Policy, asked: IdleRule | None) -> IdleRule | None:
    """When the mount locks because nobody uses it: as asked, but no later than the policy of the volume says."""
    seconds = idle_seconds(policy, None if asked is None else asked.seconds)
    if seconds is None:
        return None
    return IdleRule(seconds) if asked is None else replace(asked, seconds=seconds)


def tell(status: dict[str, Any]) -> None:
    """Say in plain words what was mounted, and what a crash had left."""
    where = output.printable(status["mountpoint"])
    access = ", read-only" if status["read_only"] else ""
    output.say(f"Mounted {output.printable(status['volume'])} at {where}{access}.")
    if because := last_locks.words(status["last_lock"]):
        output.say(f"It was locked at {because}.")
    recovery = status.get("recovery")
    if recovery:
        kept = "" if recovery["failed"] else " What programs had saved (fsync) is all there."
        output.say(f"Recovered: {crashes.recovery_text(recovery)}.{kept}")
    for text in break_glass.texts(status["volume"], break_glass_uses(status)):
        output.say(f"ATTENTION: {text}")
    output.say(f"Lock it with: cloakfs lock {where}")


def break_glass_uses(status: dict[str, Any]) -> list[dict[str, Any]]:
    """The keys in reserve that opened the volume of a mount here and are to be renewed."""
    return break_glass.uses(config_of(status["volume"]))


def _check_apart(volume: str, mountpoint: str) -> None:
    """Raises: MountpointError: one lies in the other, so that the mount would hide the volume or fill it."""
    if mountpoint == volume:
        raise MountpointError(
            "volume and mount point are the same directory", hint="Mount at an empty directory somewhere else."
        )
    if mountpoint.startswith(volume.rstrip("/") + "/"):
        raise MountpointError("the mount point lies inside the volume directory", hint="Choose one outside of it.")
    if volume.startswith(mountpoint.rstrip("/") + "/"):
        raise MountpointError("the volume lies inside the mount point", hint="The mount would hide it. Choose another.")


def load_daemon() -> ModuleType:
    """The part that needs pyfuse3, which is not installed everywhere.

    Raises:
        NoFuseError: it is missing, or the FUSE library is.
    """
    try:
        from encfs.fuse import daemon  # noqa: PLC0415 - no other command may need FUSE
    except ImportError as exc:
        missing = exc.name or str(exc)
        raise NoFuseError(f"mounting needs FUSE, and a part of it is missing ({missing})", hint=_FUSE_HINT) from exc
    return daemon


def _check_alive(mountpoint: str) -> None:
    """Raises: MountpointError: a daemon has died and left its mount there."""
    if mounts.mount_at(mountpoint) is not None and targets.is_dead(mountpoint):
        where = output.printable(mountpoint)
        raise MountpointError(
            f"{where}: a mount is stuck here, because its daemon died", hint=f"Clear it with: cloakfs lock {where}"
        )


def _check_log(log: str) -> None:
    """Raises: OSError: the log cannot be written, which a daemon could tell nobody."""
    if log != "syslog":
        with open(log, "ab"):
            pass


def _clear_pulled(volume_id: VolumeId) -> None:
    """Take off what is left of a mount whose medium was pulled out; the medium is back, perhaps in another place.

    Its keys are dropped and nothing of it can be saved any more, so nobody needs to be asked.

    Raises:
        MountBusyError: programs still have files open there.
    """
    path = runtime.socket_path(volume_id)
    try:
        mounted = control.Mounted(path, control.status(path))
    except CloakfsError:
        return
    if mounted.status.get("medium") != "gone" and targets.failure_of(mounted.mountpoint) not in _LOST:
        return
    where = output.printable(mounted.mountpoint)
    try:
        lock_mounted(mounted, force=False)
    except LowerIOError:
        output.warn(f"the medium was pulled out while it was mounted at {where}; what is left of that mount is cleared")


def _check_free(volume: str) -> None:
    """Raises: VolumeInUseError: a daemon of this host serves the volume, so no passphrase needs to be asked for."""
    mounted = targets.find(volume).mounted
    if mounted is not None:
        where = output.printable(mounted.mountpoint)
        raise VolumeInUseError(
            f"{output.printable(volume)}: already mounted at {where} on host {socket.gethostname()}"
            f" by process {mounted.pid}",
            hint=f"Lock it there first: cloakfs lock {where}",
        )
