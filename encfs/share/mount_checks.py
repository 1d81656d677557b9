"""Checks of the mount behind a share, and of the bare directory below it.

Owns: trying the guards, and storing an attribute and an ACL for real. Must not know: Samba's configuration.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Final

from encfs.checks import Checked, Light
from encfs.share import mountpoint
from encfs.share.definition import FOLDER, ShareSpec, guard
from encfs.share.view import MountState, MountView

_GUARD_SECONDS: Final = 30.0
# What smbd stores for a hidden file, by its length; a security descriptor may have kilobytes.
_DOS: Final = ("user.DOSATTRIB", b"0x22\0\0\3\0\3\0\0\0\x11\0\0\0\x22\0\0\0\0\0\0\0")
_NTACL: Final = ("security.NTACL", bytes(range(256)) * 8)
_POSIX_ACL: Final = "system.posix_acl_access"
_SLACK: Final = 64 << 20
"""Bytes: what others may write between two looks at the free space."""


def run(spec: ShareSpec, view: MountView) -> Iterator[Checked]:
    """The mount, what it stores, the guards without it."""
    yield _mount(spec, view)
    # First the guard: it waits for a daemon that hangs only so long, and nothing else here would come back.
    lets_in = _succeeds(spec.guard)
    if view.state is MountState.LIVE and lets_in:
        yield from _stored(spec)
        yield _space(spec)
    yield _guard(spec, view, lets_in=lets_in)
    yield _bare(spec, covered=view.state is not MountState.BARE)


def _mount(spec: ShareSpec, view: MountView) -> Checked:
    light, found, remedy = {
        MountState.BARE: (
            Light.AMBER,
            f"nothing is mounted at {spec.mountpoint}, so nobody gets in",
            f"unlock it: systemctl start {spec.unit}",
        ),
        MountState.FOREIGN: (
            Light.RED,
            f"what is mounted at {spec.mountpoint} is not {spec.volume}",
            f"unmount it, then: systemctl start {spec.unit}",
        ),
        MountState.DEAD: (
            Light.RED,
            "the daemon has died, and nobody gets in",
            f"{spec.clear}; then: systemctl restart {spec.unit}",
        ),
        MountState.LIVE: (Light.GREEN, f"{spec.volume} at {spec.mountpoint}, and its daemon answers", ""),
    }[view.state]
    if view.state is MountState.LIVE and not view.allow_other:
        light, found = Light.RED, "only who mounted it gets in, because it was mounted without --allow-other"
        remedy = f"{spec.clear}; then: systemctl start {spec.unit}"
    return Checked(code="mount", title="mount", light=light, found=found, remedy=remedy)


# -- what is stored ------------------------------------------------------------------------------------------------


def _stored(spec: ShareSpec) -> Iterator[Checked]:
    """A scratch file on the mount keeps what Windows sets."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".cloakfs-check-", dir=spec.folder) as scratch:
            yield _attribute("dos-attributes", "DOS attributes stored", scratch.name, [_DOS])
            yield _attribute("acls", "ACLs stored", scratch.name, [_NTACL, (_POSIX_ACL, _acl())])
    except OSError as exc:
        yield Checked(
            code="folder",
            title="shared folder",
            light=Light.RED if exc.errno == errno.ENOENT else Light.AMBER,
            found=f"nothing can be written to {spec.folder}: {exc.strerror}",
            remedy=spec.again if exc.errno == errno.ENOENT else "check it as root; a read-only mount takes nothing",
        )


def _attribute(code: str, title: str, path: str, values: list[tuple[str, bytes]]) -> Checked:
    lost = []
    name = ""
    try:
        for name, value in values:
            os.setxattr(path, name, value)
            if os.getxattr(path, name) != value:
                lost.append(name)
    except OSError as exc:
        light = Light.AMBER if exc.errno == errno.EPERM else Light.RED
        found, remedy = f"{name} cannot be stored: {exc.strerror}", "check it as root"
        if light is Light.RED:
            remedy = "the disk below must keep extended attributes (docs/media.md): ext4, xfs or btrfs"
        return Checked(code=code, title=title, light=light, found=found, remedy=remedy)
    return Checked(
        code=code,
        title=title,
        light=Light.RED if lost else Light.GREEN,
        found=f"{', '.join(lost)} came back different" if lost else "written to a scratch file, and read back the same",
        remedy="cloakfs verify says what is wrong with the volume",
    )


def _acl() -> bytes:
    """An ACL with one named user, in the kernel's form (acl(5), ``linux/posix_acl_xattr.h``)."""
    entries = [(0x01, 6, -1), (0x02, 4, 0), (0x04, 4, -1), (0x10, 4, -1), (0x20, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def _space(spec: ShareSpec) -> Checked:
    """Windows sees how much really fits."""
    above, below = os.statvfs(spec.folder), os.statvfs(spec.volume)
    free, true = above.f_bavail * above.f_frsize, below.f_bavail * below.f_frsize
    size, true_size = above.f_blocks * above.f_frsize, below.f_blocks * below.f_frsize
    good = size == true_size and abs(free - true) <= _SLACK
    return Checked(
        code="free-space",
        title="free space",
        light=Light.GREEN if good else Light.RED,
        found=f"{free >> 20:,} MiB, as on the disk below"
        if good
        else f"clients see {free >> 20:,} MiB, and the disk has {true >> 20:,} MiB",
        remedy="this is a mistake in cloakfs: report it",
    )


# -- the guards ----------------------------------------------------------------------------------------------------


def _guard(spec: ShareSpec, view: MountView, *, lets_in: bool) -> Checked:
    """The guard refuses a bare directory, and says yes exactly where the mount is alive."""
    with tempfile.TemporaryDirectory(prefix="cloakfs-bare-") as bare:
        os.mkdir(f"{bare}/{FOLDER}")
        refuses = not _succeeds(guard(bare, f"{bare}/{FOLDER}", spec.closing))
    alive = view.state is MountState.LIVE
    if not refuses or (lets_in and not alive):
        light, found = Light.RED, "it lets clients in where nothing is mounted"
    elif alive and not lets_in:
        light, found = (
            Light.AMBER,
            "it refuses everybody: the mount is being locked, or its daemon hangs",
        )
    else:
        now = "lets clients in" if alive else "refuses everybody"
        light, found = Light.GREEN, f"it refuses a bare directory, and {now} now"
    remedy = f"if it stays so: systemctl restart {spec.unit}"
    return Checked(code="guard-works", title="guard, tried", light=light, found=found, remedy=remedy)


def _succeeds(command: str) -> bool:
    """Whether smbd would let a client in: it runs the command with a shell, as root."""
    try:
        return subprocess.run(["/bin/sh", "-c", command], check=False, timeout=_GUARD_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _bare(spec: ShareSpec, *, covered: bool) -> Checked:
    """Below the mount there is nothing, and nothing can be put there."""
    title = "bare mount point"
    try:
        bare = mountpoint.look(spec.mountpoint, covered=covered)
    except OSError as exc:
        seen = exc.errno == errno.ENOENT
        return Checked(
            code="bare",
            title=title,
            light=Light.RED if seen else Light.AMBER,
            found="it does not exist" if seen else "what is below the mount cannot be seen without root",
            remedy=spec.again if seen else "check it as root",
        )
    if bare.entries:
        light = Light.RED
        found = f"below the mount lies something unencrypted: {bare.entries} in {spec.mountpoint} itself"
        remedy = f"systemctl stop {spec.unit}; move away what is in {spec.mountpoint}, if it is secret with shred -u"
    elif bare.immutable is None:
        light, found, remedy = (
            Light.AMBER,
            "empty, but its filesystem cannot make it immutable",
            "use ext4, xfs or btrfs",
        )
    elif not bare.immutable:
        light, found, remedy = Light.AMBER, "empty, but not immutable", spec.again
    else:
        light, found, remedy = Light.GREEN, "empty and immutable: not even root can write there", ""
    return Checked(code="bare", title=title, light=light, found=found, remedy=remedy)
