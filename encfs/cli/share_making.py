"""Making a share and taking it away, for ``cloakfs share``.

Owns: the order: what can be refused is refused before anybody is asked, and smb.conf comes last, so that nothing is
served before all guards are there. Must not know: the texts of the files (``encfs/share``).
"""

from __future__ import annotations

import grp
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from encfs.cli import mounts, output, share_folder, share_view, targets, terminal
from encfs.cli.media import same_medium
from encfs.cli.secrets import SecretOptions, require_source
from encfs.cli.unlocking import config_of
from encfs.errors import CloakfsError, MountBusyError, MountpointError, NotEmptyError, UsageError
from encfs.share import changes as files
from encfs.share import mountpoint, plan
from encfs.share.changes import Change
from encfs.share.definition import FOLDER, ShareSpec
from encfs.share.places import places
from encfs.share.settings import SambaError, configuration

_MOUNTPOINTS: Final = "/srv/cloakfs"


@dataclass(slots=True)
class Made:
    """What was done.

    Attributes:
        changed: paths that were written, made or removed.
        next_steps: commands for the user.
        remarks: what could not be done and does not stop the rest.
    """

    changed: list[str] = field(default_factory=list)
    next_steps: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def spec_of(volume: str, name: str, where: str | None, group: str | None, passphrase_file: str | None) -> ShareSpec:
    """The share that the options describe; what they do not say is as it was made before, or the default.

    Raises:
        CloakfsError: there is no such volume or group, or a path cannot be used.
    """
    config_of(volume)
    old = plan.of_name(name, places())
    if old is not None and os.path.realpath(volume) != old.volume:
        raise UsageError(
            f"there is a share {name} already, of {output.printable(old.volume)}",
            hint=f"Choose another name, or take that one away: cloakfs share remove {name}",
        )
    if old is not None and where is not None and os.path.realpath(where) != old.mountpoint:
        raise UsageError(
            f"the share {name} has the mount point {output.printable(old.mountpoint)}",
            hint=f"To have another one, take it away first: cloakfs share remove {name}",
        )
    spec = ShareSpec(
        name=name,
        volume=os.path.realpath(volume),
        mountpoint=old.mountpoint if old else os.path.realpath(where or f"{_MOUNTPOINTS}/{name}"),
        group=group or (old.group if old else name),
        passphrase_file=os.path.realpath(passphrase_file)
        if passphrase_file
        else (old.passphrase_file if old else None),
    )
    _gid(spec)
    _check_apart(spec)
    if spec.passphrase_file is not None and same_medium(spec.passphrase_file, spec.volume):
        raise UsageError(
            f"{output.printable(spec.passphrase_file)} lies on the same medium as the volume: who takes one has both",
            hint="Keep it on another disk or a stick. Without --passphrase-file a person types it after each start.",
        )
    return spec


def make(spec: ShareSpec, *, yes: bool, quiet: bool) -> Made:
    """Show what a share needs, ask, and do it; nothing of it if there is nothing to do.

    Raises:
        CloakfsError, OSError: with the reason. EOFError: no consent. Then no file of Samba or systemd has changed.
    """
    _require_write("init")
    needed = plan.to_make(spec, places(), share_view.program())
    target = _target(spec)
    with_folder = _lacks_folder(spec, target, needed)
    with_mountpoint = _lacks_mountpoint(spec)
    made = Made()
    if needed or with_folder or with_mountpoint:
        if not quiet:
            _announce(spec, needed, with_folder=with_folder, with_mountpoint=with_mountpoint)
        _consent("Do all this?", yes=yes)
        _carry_out(spec, needed, target, made, with_folder=with_folder, with_mountpoint=with_mountpoint)
    made.next_steps = _next_steps(spec, needed)
    return made


def unmake(spec: ShareSpec, *, yes: bool, quiet: bool) -> Made:
    """Show what goes with a share, ask, and do it.

    Raises:
        MountBusyError: it is mounted. CloakfsError, OSError: with the reason. EOFError: no consent.
    """
    if any(mount.mountpoint == spec.mountpoint for mount in mounts.all_mounts()):
        raise MountBusyError(
            f"the volume is mounted at {output.printable(spec.mountpoint)}",
            hint=f"Stop it first: systemctl stop {spec.unit}   (or: cloakfs lock {shlex.quote(spec.mountpoint)})",
        )
    _require_write("remove")
    here = places()
    needed = plan.to_remove(spec, here)
    if not quiet:
        share_view.show(needed)
        output.say(f"  {output.printable(spec.mountpoint)}, the empty mount point, is removed")
        output.say()
    _consent(f"Remove the share {spec.name}?", yes=yes)
    files.apply(needed)
    made = Made(changed=[str(one.path) for one in needed])
    link = here.wanted(spec.unit)
    if link.is_symlink():
        link.unlink()
        made.changed.append(str(link))
    if here.shares.is_dir() and not any(here.shares.iterdir()):
        here.shares.rmdir()
    _remove_mountpoint(spec, made)
    made.next_steps = ["systemctl daemon-reload", "smbcontrol smbd reload-config"]
    return made


def tell(spec: ShareSpec, made: Made) -> None:
    """Say what was done, and how it goes on."""
    if made.changed:
        output.say(f"The share {spec.name} is set up.")
    else:
        output.say(f"The share {spec.name} is set up already; nothing was changed.")
    tell_next(made)
    output.say(f"Each person who uses it: adduser NAME {spec.group}; smbpasswd -a NAME")


def tell_next(made: Made) -> None:
    """What could not be done, and the commands that make the rest so."""
    for remark in made.remarks:
        output.warn(remark)
    output.say("Next:")
    for step in made.next_steps:
        output.say(f"  {step}")


# -- before anything is done -------------------------------------------------------------------------------------------


def _require_write(verb: str) -> None:
    """Raises: UsageError: this user may not change what Samba and systemd read."""
    conf = places().smb_conf
    if conf.exists() and not os.access(conf.parent, os.W_OK):
        raise UsageError(
            f"{output.printable(str(conf.parent))} can be changed by root only",
            hint=f"Run it as root: sudo cloakfs share {verb} ...",
        )


def _gid(spec: ShareSpec) -> int:
    try:
        return grp.getgrnam(spec.group).gr_gid
    except KeyError:
        raise UsageError(
            f"there is no group {spec.group!r}, whose members may use the share",
            hint=f"Make it with: addgroup {spec.group}   Or name another one: --group GROUP",
        ) from None


def _check_apart(spec: ShareSpec) -> None:
    """Raises: MountpointError: one lies in the other."""
    volume, where = spec.volume, spec.mountpoint
    if os.path.commonpath([volume, where]) in (volume, where):
        raise MountpointError(
            "the mount point and the volume lie in one another", hint="Give another one: --mountpoint DIR"
        )


def _target(spec: ShareSpec) -> targets.Target:
    """Raises: MountpointError: the volume is mounted somewhere else, where the share would not find it."""
    target = targets.find(spec.volume)
    if target.mountpoint not in (None, spec.mountpoint):
        where = output.printable(target.mountpoint or "")
        raise MountpointError(
            f"the volume is mounted at {where}, not at {output.printable(spec.mountpoint)}",
            hint=f"Lock it first: cloakfs lock {shlex.quote(where)}   Or share it from there: --mountpoint",
        )
    return target


def _lacks_folder(spec: ShareSpec, target: targets.Target, needed: Sequence[Change]) -> bool:
    """Whether the folder has to be made. Of a locked volume it is known only that the share was once made with it."""
    there = share_folder.exists(target)
    if there is None:
        definition = places().share(spec.name)
        return any(one.path == definition and one.old is None for one in needed)
    return not there


def _lacks_mountpoint(spec: ShareSpec) -> bool:
    """Whether the mount point is missing, or could be immutable and is not.

    Raises:
        NotEmptyError: there is something in it, unencrypted. OSError: it cannot be looked at.
    """
    covered = any(mount.mountpoint == spec.mountpoint for mount in mounts.all_mounts())
    try:
        bare = mountpoint.look(spec.mountpoint, covered=covered)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    if bare.entries:
        raise NotEmptyError(
            f"{output.printable(spec.mountpoint)}: there is something in the mount point itself, unencrypted",
            hint="Move it away, best into the volume, or give another one: --mountpoint DIR",
        )
    return bare.immutable is False and os.geteuid() == 0


def _announce(spec: ShareSpec, needed: Sequence[Change], *, with_folder: bool, with_mountpoint: bool) -> None:
    output.say(f"This makes {output.printable(spec.folder)} a share for the members of the group {spec.group}:")
    output.say()
    if with_folder:
        output.say(
            f"  in the volume: the folder {FOLDER}, for the group {spec.group}; its top directory lets them pass"
        )
    if with_mountpoint:
        output.say(f"  {output.printable(spec.mountpoint)}: the mount point, immutable (chattr +i)")
    if with_folder or with_mountpoint:
        output.say()
    share_view.show(needed)


def _consent(question: str, *, yes: bool) -> None:
    """Raises: UsageError: there is nobody to ask. EOFError: no consent; nothing is changed."""
    if yes:
        return
    terminal.require("your consent", hint="In scripts give --yes.")
    if terminal.ask(f'{question} Type "yes": ').strip().lower() != "yes":
        raise EOFError


# -- doing it ----------------------------------------------------------------------------------------------------------


def _carry_out(
    spec: ShareSpec,
    needed: Sequence[Change],
    target: targets.Target,
    made: Made,
    *,
    with_folder: bool,
    with_mountpoint: bool,
) -> None:
    """First what may fail because of a passphrase, then the guards, then what makes Samba serve it."""
    if with_folder:
        secret = SecretOptions(passphrase_file=spec.passphrase_file)
        if target.mountpoint is None:
            require_source(secret)
        share_folder.make(target, _gid(spec), secret)
        made.changed.append(spec.folder)
    if with_mountpoint:
        _make_mountpoint(spec, made)
    files.apply(needed)
    try:
        configuration(places().smb_conf)
    except SambaError as exc:
        files.undo(needed)
        raise CloakfsError(
            f"Samba does not take it, so its files are as they were: {exc}",
            hint="Install it whole: apt install samba smbclient samba-vfs-modules",
        ) from exc
    made.changed += [str(one.path) for one in needed]


def _make_mountpoint(spec: ShareSpec, made: Made) -> None:
    os.makedirs(spec.mountpoint, mode=0o755, exist_ok=True)
    covered = any(mount.mountpoint == spec.mountpoint for mount in mounts.all_mounts())
    if not mountpoint.set_immutable(spec.mountpoint, on=True, covered=covered):
        made.remarks.append(
            f"{output.printable(spec.mountpoint)} cannot be made immutable here; the other guards hold"
            " (the shared folder exists only in the volume, and smbd asks before it lets anybody in)"
        )
    made.changed.append(spec.mountpoint)


def _remove_mountpoint(spec: ShareSpec, made: Made) -> None:
    """Take the mount point away, if nothing is in it."""
    try:
        mountpoint.set_immutable(spec.mountpoint, on=False, covered=False)
        os.rmdir(spec.mountpoint)
    except OSError as exc:
        made.remarks.append(f"the mount point {output.printable(spec.mountpoint)} stays: {exc.strerror}")
        return
    made.changed.append(spec.mountpoint)


def _next_steps(spec: ShareSpec, needed: Sequence[Change]) -> list[str]:
    check = f"cloakfs share check {spec.name}"
    if not needed:
        return [check]
    reload = ["systemctl daemon-reload"] if any(one.path.suffix == ".service" for one in needed) else []
    start = "enable --now" if spec.passphrase_file is not None else "start"
    return [*reload, f"systemctl {start} {spec.unit}", "systemctl restart smbd", check]
