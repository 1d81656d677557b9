"""Removable media that are not encrypted cannot be written to: the udev rule, the unit, and what judges one medium.

Owns: the text of both files, what counts as encrypted, how a device is made read-only. Must not know: who asks, keys.

udev makes every filesystem on a removable device read-only in the kernel, before anybody can mount it; then the unit
looks at it and gives it free if it holds a volume. So a program that fails, or is too slow, leaves it read-only. Media
that the kernel decrypts (LUKS) or that hold no filesystem yet are left alone.

It keeps people from copying documents to a stick by mistake. It keeps nobody from it who is root, or who puts a file
with the name and first line of a config on a stick; and beside a volume anything can be written.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from encfs.errors import CloakfsError, LowerIOError
from encfs.format.limits import CONFIG_NAME
from encfs.stick import programs

_BLKROSET: Final = 0x125D
_FIRST_LINE: Final = b"cloakfs-volume "
_DEPTH: Final = 2
_ENTRIES_MAX: Final = 1000
# A journal that was not closed would have to be written to before it is read.
_LOOK_OPTIONS: Final = {"ext3": ",noload", "ext4": ",noload", "xfs": ",norecovery"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the two files go."""

    rules: Path = Path("/etc/udev/rules.d")
    units: Path = Path("/etc/systemd/system")

    @property
    def rule(self) -> Path:
        """After the rules of udev that find out what is on a device (60), before those of desktops (80)."""
        return self.rules / "70-cloakfs-stick.rules"

    @property
    def unit(self) -> Path:
        return self.units / "cloakfs-stick@.service"


def files(places: Places, program: str) -> dict[Path, str]:
    """The files and their contents. ``program``: absolute path of the command."""
    return {places.rule: _rule(), places.unit: _unit(program)}


def _rule() -> str:
    blockdev = programs.find("blockdev") or "/usr/sbin/blockdev"
    findmnt = programs.find("findmnt") or "/usr/bin/findmnt"
    return f"""\
# Written by "cloakfs stick enforce"; "cloakfs stick enforce --remove" takes it away.
# Removable media that are not encrypted can be read here, but not written to.
ACTION=="add", GOTO="cloakfs_stick_begin"
# A card that is put into a reader which stays.
ACTION=="change", ENV{{DISK_MEDIA_CHANGE}}=="1", GOTO="cloakfs_stick_begin"
GOTO="cloakfs_stick_end"

LABEL="cloakfs_stick_begin"
SUBSYSTEM!="block", GOTO="cloakfs_stick_end"
# Nothing, or what the kernel decrypts (LUKS), is no filesystem.
ENV{{ID_FS_USAGE}}!="filesystem", GOTO="cloakfs_stick_end"
ATTR{{removable}}=="1", GOTO="cloakfs_stick_removable"
SUBSYSTEMS=="usb|mmc|ieee1394", GOTO="cloakfs_stick_removable"
GOTO="cloakfs_stick_end"

LABEL="cloakfs_stick_removable"
# What is mounted already is this machine's own, such as a system that started from a stick.
PROGRAM=="{findmnt} --noheadings --source $devnode", GOTO="cloakfs_stick_end"
RUN+="{blockdev} --setro $devnode"
TAG+="systemd", ENV{{SYSTEMD_WANTS}}+="cloakfs-stick@$kernel.service"

LABEL="cloakfs_stick_end"
"""


def _unit(program: str) -> str:
    return f"""\
# Written by "cloakfs stick enforce"; "cloakfs stick enforce --remove" takes it away.
# udev starts it for a removable medium with a filesystem, which is read-only by then.

[Unit]
Description=Let the removable medium %I be written to if it is encrypted
BindsTo=dev-%i.device
After=dev-%i.device

[Service]
Type=oneshot
ExecStart={program} stick enforce --judge /dev/%I
TimeoutStartSec=60
"""


# -- one medium -------------------------------------------------------------------------------------------------


def judge(device: str) -> bool:
    """Make a device read-only, look at it, and let it be written to if it holds a volume.

    Returns:
        Whether it may be written to now.

    Raises:
        LowerIOError: it cannot be looked at; it is read-only then.
        CloakfsError: a program is missing.
    """
    set_read_only(device, read_only=True)
    with _looked_into(device) as top:
        encrypted = holds_volume(top)
    if encrypted:
        set_read_only(device, read_only=False)
        _let_mounts_write(device)
    return encrypted


def holds_volume(top: str) -> bool:
    """Whether there is a volume in a directory or a little below it. Of many entries only the first are looked at."""
    pending = [(top, 0)]
    seen = 0
    while pending:
        directory, depth = pending.pop(0)
        if _begins_like_a_config(os.path.join(directory, os.fsdecode(CONFIG_NAME))):
            return True
        if depth == _DEPTH:
            continue
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _ENTRIES_MAX:
                        return False
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, depth + 1))
        except OSError:
            continue
    return False


def _begins_like_a_config(path: str) -> bool:
    """No link and no fifo: the medium may be anybody's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.pread(fd, len(_FIRST_LINE), 0) == _FIRST_LINE
    except OSError:
        return False
    finally:
        os.close(fd)


def set_read_only(device: str, *, read_only: bool) -> None:
    """The flag of the kernel, which every mount obeys.

    Raises:
        LowerIOError: there is no such device, or this is not root.
    """
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(fd, _BLKROSET, struct.pack("i", read_only))
        finally:
            os.close(fd)
    except OSError as exc:
        raise LowerIOError(
            f"{device} cannot be made {'read-only' if read_only else 'writable'}: {exc.strerror}",
            hint="Is it a block device, and is this root?",
        ) from exc


@contextmanager
def _looked_into(device: str) -> Iterator[str]:
    """The device, mounted where nobody else gets in."""
    with tempfile.TemporaryDirectory(prefix="cloakfs-look-") as top:
        kind = programs.run("blkid", "-p", "-o", "value", "-s", "TYPE", device).stdout.strip()
        options = "ro,nosuid,nodev,noexec,nosymfollow" + _LOOK_OPTIONS.get(kind, "")
        done = programs.run("mount", "-o", options, device, top)
        if done.returncode != 0:
            raise LowerIOError(
                f"{device} cannot be looked at, so it stays read-only: {programs.complaint(done)}",
                hint="Is there a driver for its filesystem?",
            )
        try:
            yield top
        finally:
            done = programs.run("umount", top)
            if done.returncode != 0:
                programs.run("umount", "-l", top)


def _let_mounts_write(device: str) -> None:
    """Whoever was quicker than we are has mounted it read-only."""
    number = os.stat(device).st_rdev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[2] == wanted:
            point = fields[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
            programs.run("mount", "-o", "remount,rw", point)


def reload() -> list[str]:
    """Let udev and systemd read their files again; what could not be told."""
    problems = []
    for program, *arguments in (("udevadm", "control", "--reload"), ("systemctl", "daemon-reload")):
        try:
            done = programs.run(program, *arguments)
        except CloakfsError as exc:
            problems.append(str(exc))
            continue
        if done.returncode != 0:
            problems.append(f"{program} {' '.join(arguments)}: {programs.complaint(done)}")
    return problems
