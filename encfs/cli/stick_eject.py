"""``cloakfs stick eject``: lock, write, unmount, and say "safe to remove" only when it is.

Owns: which medium is meant, the order, what is said. Must not know: how a medium is let go
(``encfs/stick/release.py``).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from encfs import control, runtime
from encfs.cli import cmd_lock, doctor_facts, mounts, options, output, processes, progress, seeing, targets
from encfs.cli.mounts import KernelMount
from encfs.cli.recording import telling
from encfs.errors import CloakfsError, ExitCode, LowerIOError, MountBusyError, NotMountedError, UsageError
from encfs.stick import devices, layout, release
from encfs.stick.devices import Device
from encfs.units import VolumeId
from encfs.volume import read_config

_NOT_SAFE = "It is NOT safe to remove yet."


@dataclass(frozen=True, slots=True)
class _Medium:
    """A disk, and all that is mounted from it.

    Attributes:
        disk: the whole of it.
        mounts: its filesystems, in the order in which they were mounted.
        volumes: mounts of cloakfs whose volume lies there.
    """

    disk: Device
    mounts: Sequence[KernelMount]
    volumes: Sequence[KernelMount]


@dataclass(slots=True)
class _Done:
    """What was done so far."""

    locked: list[str] = field(default_factory=list)
    volumes: list[VolumeId] = field(default_factory=list)
    unmounted: list[str] = field(default_factory=list)
    powered_off: bool = False
    lost: LowerIOError | None = None


@options.command(
    "eject",
    example="""
cloakfs stick eject /media/anna/STICK
cloakfs stick eject ~/stick""",
)
@click.argument("which", metavar="DIRECTORY|NAME")
@options.json_option
def command(*, which: str, as_json: bool) -> ExitCode:
    """Lock what is open on a stick, write everything, unmount it, and say when it is safe to remove.

    DIRECTORY is where the stick is mounted, the volume on it, or where that is mounted. NAME is what the desktop calls
    the stick, or its device, such as sdb1. With several partitions all of them are unmounted. If a program still uses
    something on it, it is named and the stick stays (exit status 20).
    """
    done = _Done()
    with telling("stick.eject") as told:
        try:
            medium = _find(which)
            with progress.activity("Writing everything to the stick"), _not_safe():
                _let_go(medium, done)
        finally:
            told.volumes = done.volumes
            told.detail |= {"locked": len(done.locked), "unmounted": len(done.unmounted)}
    if as_json:
        output.print_json(
            {
                "device": medium.disk.path,
                "locked": done.locked,
                "unmounted": done.unmounted,
                "powered_off": done.powered_off,
                "safe": True,
            }
        )
        return ExitCode.OK
    for volume in done.locked:
        output.say(f"Locked {output.printable(volume)}.")
    for where in done.unmounted:
        output.say(f"Unmounted {output.printable(where)}.")
    output.say(output.bold(f"Safe to remove: {output.printable(medium.disk.model or medium.disk.name)}"))
    return ExitCode.OK


def _let_go(medium: _Medium, done: _Done) -> None:
    """All of it; then it is safe to remove."""
    _look(medium)
    _lock(medium, done)
    _unmount(medium, done)
    # Partitions first: what is written to one of them is not in the cache of the disk.
    known = False not in {release.flush(one) for one in reversed(list(medium.disk.all()))}
    if done.lost is not None:
        raise done.lost
    done.powered_off = release.power_off(medium.disk.path)
    if not known and not done.powered_off:
        raise CloakfsError(
            "the stick is unmounted, but this user cannot see whether everybody has let go of it",
            hint=f"Ask as root: sudo cloakfs stick eject {output.printable(medium.disk.name)}",
        )


@contextmanager
def _not_safe() -> Iterator[None]:
    """Every failure says first what counts."""
    try:
        yield
    except CloakfsError as exc:
        exc.hint = f"{_NOT_SAFE} {exc.hint}".rstrip()
        raise


# -- which medium --------------------------------------------------------------------------------------------------


def _find(which: str) -> _Medium:
    """The medium that a user names. Nothing on it is touched: it may hang.

    Raises:
        NotMountedError: there is no such mount or device.
        UsageError: it is nothing that can be taken out.
    """
    table = mounts.all_mounts()
    path = _device_path(which, table)
    try:
        device = devices.look(path)
        disk = devices.disk_of(device)
    except OSError as exc:
        raise NotMountedError(
            f"{path} is not there: {os.strerror(exc.errno or 0)}",
            hint="If it was pulled out: cloakfs lock MOUNTPOINT   Then put it back and mount it; it is checked then.",
        ) from exc
    if disk.kind not in ("disk", "loop"):
        raise UsageError(
            f"{path} is no stick, but made of something else ({disk.kind})",
            hint="Lock what is on it: cloakfs lock MOUNTPOINT   Then take it off with the program that made it.",
        )
    if devices.holds_system(disk):
        raise UsageError(
            f"{output.printable(which)} is on the disk that this machine runs from, which cannot be taken out",
            hint="To lock a volume: cloakfs lock MOUNTPOINT",
        )
    nodes = list(disk.all())
    numbers, paths = {_hex(one.number) for one in nodes}, {one.path for one in nodes} | {device.path}
    own = [one for one in table if one.device in numbers or os.path.realpath(one.source) in paths]
    tops = [one.mountpoint for one in own]
    # What the daemon says counts: not every path can be a source in the kernel's table.
    places = {target.mountpoint: target.volume for target in targets.all_mounted()}
    mounted = [one for one in table if one.fstype == mounts.FSTYPE]
    volumes = [one for one in mounted if mounts.lies_in(places.get(one.mountpoint, one.source), tops)]
    return _Medium(disk, own, volumes)


def _device_path(which: str, table: Sequence[KernelMount]) -> str:
    """The node of the device behind what a user names."""
    path = os.path.abspath(which)
    if path.startswith("/dev/") and not os.path.isdir(path):
        return path
    if not any(one.mountpoint == path for one in table):
        if "/" not in which and not os.path.lexists(which):
            return _device_by_name(which, table)
        path = os.path.realpath(path)
    kernel = mounts.holding(path, table)
    if kernel is None or not (os.path.lexists(path) or kernel.mountpoint != "/"):
        raise _unknown(which)
    return mounts.node_of(kernel)


def _device_by_name(name: str, table: Sequence[KernelMount]) -> str:
    named = {one.source: one for one in table if os.path.basename(one.mountpoint) == name}
    if len(named) > 1:
        raise UsageError(f"there is more than one {output.printable(name)}", hint="Give the whole directory.")
    if named:
        only = next(iter(named.values()))
        return mounts.node_of(mounts.holding(only.mountpoint, table) or only)
    if not os.path.exists(f"/dev/{name}"):
        raise _unknown(name)
    return f"/dev/{name}"


def _unknown(which: str) -> NotMountedError:
    return NotMountedError(f"{output.printable(which)}: no such stick is here", hint="See what is there: lsblk")


def _hex(number: str) -> str:
    """``major:minor`` as in :class:`KernelMount`."""
    major, _, minor = number.partition(":")
    return f"{int(major):02x}:{int(minor):02x}"


# -- letting go ------------------------------------------------------------------------------------------------------


def _look(medium: _Medium) -> None:
    """Whether what opens a volume leaves the house together with it: for the day on which the stick is lost."""
    places = {targets.find(kernel.mountpoint).volume for kernel in medium.volumes}
    own = {layout.volume_at(kernel.mountpoint) for kernel in medium.mounts}
    for volume in sorted(places | {path for path in own if doctor_facts.is_volume(path)}):
        seeing.look(volume)


def _lock(medium: _Medium, done: _Done) -> None:
    for kernel in medium.volumes:
        target = targets.find(kernel.mountpoint)
        mounted = target.mounted or _daemon_for_root(kernel)
        if mounted is not None:
            done.volumes.append(VolumeId(bytes.fromhex(mounted.status["volume_id"])))
        try:
            if mounted is not None:
                cmd_lock.lock_mounted(mounted, force=False)
            elif targets.is_dead(kernel.mountpoint):
                cmd_lock.clear(kernel.mountpoint, force=False)
            else:
                raise targets.not_reachable(target)
        except OSError as exc:
            raise MountBusyError(f"{output.printable(kernel.mountpoint)} cannot be unmounted: {exc.strerror}") from exc
        except LowerIOError as exc:
            done.lost = exc  # The mount is off all the same, and so shall be the rest.
        done.locked.append(target.volume)


def _daemon_for_root(kernel: KernelMount) -> control.Mounted | None:
    """The daemon of another user's mount, which answers to root."""
    if os.geteuid() != 0 or not kernel.uid:
        return None
    try:
        volume_id = read_config(os.fsencode(kernel.source)).volume_id
        sockets = runtime.sockets_of_user(volume_id, kernel.uid, pwd.getpwuid(kernel.uid).pw_dir)
    except (CloakfsError, OSError, KeyError):
        return None
    for path in sockets:
        try:
            mounted = control.Mounted(path, control.status(path))
        except CloakfsError:
            continue
        if mounted.mountpoint == kernel.mountpoint:
            return mounted
    return None


def _unmount(medium: _Medium, done: _Done) -> None:
    for kernel in reversed(medium.mounts):
        if done.lost is None:
            release.sync(kernel.mountpoint)
        try:
            release.unmount(kernel.mountpoint, kernel.source)
        except MountBusyError as exc:
            raise processes.busy(kernel.mountpoint, hint="End them, and eject it again.") from exc
        done.unmounted.append(kernel.mountpoint)
    left = [one for one in mounts.all_mounts() if one in medium.mounts]
    if left:
        raise MountBusyError(
            f"{left[0].mountpoint} is still mounted", hint="Somebody mounted it again: eject it again."
        )
