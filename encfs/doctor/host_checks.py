"""What follows from the facts about this host: a light, a sentence and a remedy for each.

Owns: the codes and words of docs/doctor.md, "This machine". Must not know: where facts come from, how checks are shown.

A check that does not apply to this host is not there: it is not green.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Final

from encfs.checks import Checked, Light
from encfs.doctor.host_facts import Hibernation, HostFacts, Library
from encfs.format.audit import Clock
from encfs.memory.swap import Protection, Swap

_NO_DUMPS: Final = frozenset({"true", "false"})
"""Programs that throw away what they are given."""
_FORBID_HIBERNATION: Final = (
    "forbid it: write [Sleep] and AllowHibernation=no to /etc/systemd/sleep.conf.d/no-hibernation.conf; "
    "or encrypt the swap"
)


def host_checks(facts: HostFacts) -> list[Checked]:
    """All checks that apply, in the order in which they are shown."""
    looks: tuple[Callable[[HostFacts], Checked | list[Checked] | None], ...] = (
        _container,
        _mount_part,
        _fuse,
        _fusermount,
        _allow_other,
        _swap,
        _hibernation,
        _core_dumps,
        _clock,
        _libraries,
    )
    found: list[Checked] = []
    for look in looks:
        answer = look(facts)
        if isinstance(answer, list):
            found += answer
        elif answer is not None:
            found.append(answer)
    return found


def _container(facts: HostFacts) -> Checked | None:
    if not facts.container:
        return None
    return Checked(
        code="container",
        title="where this runs",
        light=Light.AMBER,
        found=f"in a container ({facts.container}): not all of the machine shows in here",
        remedy="run cloakfs doctor on the machine itself too",
    )


# -- FUSE --------------------------------------------------------------------------------------------------


def _has_mount_part(facts: HostFacts) -> bool:
    return all(library.version is not None for library in facts.libraries if library.name == "pyfuse3")


def _mount_part(facts: HostFacts) -> Checked | None:
    if _has_mount_part(facts):
        return None
    return Checked(
        code="pyfuse3",
        title="mounting",
        light=Light.AMBER,
        found="pyfuse3 is not installed: volumes can be made, read and verified here, but not mounted",
        remedy="to mount: pip install 'cloakfs[mount]'",
    )


def _fuse(facts: HostFacts) -> Checked | None:
    if not _has_mount_part(facts):
        return None
    light, found, remedy = {
        "": (Light.GREEN, "/dev/fuse can be used", ""),
        "missing": (
            Light.RED,
            "there is no /dev/fuse, so nothing can be mounted",
            "load the kernel module (modprobe fuse), or give the container the device",
        ),
        "forbidden": (
            Light.RED,
            "this user may not use /dev/fuse, so nothing can be mounted",
            "as root: chmod 666 /dev/fuse",
        ),
    }[facts.fuse_device]
    return Checked(code="fuse", title="FUSE", light=light, found=found, remedy=remedy)


def _fusermount(facts: HostFacts) -> Checked | None:
    if facts.is_root or not _has_mount_part(facts):
        return None  # root mounts by itself.
    remedy = ""
    if facts.fusermount is None:
        light, found, remedy = Light.RED, "it is not installed: only root can mount", "apt-get install fuse3"
    elif not facts.fusermount_has_rights:
        light, found = Light.RED, f"{facts.fusermount} has no right to mount: it is not set-user-id root"
        remedy = "as root: apt-get install --reinstall fuse3"
    else:
        light, found = Light.GREEN, f"{facts.fusermount} mounts for this user"
    return Checked(code="fusermount3", title="fusermount3", light=light, found=found, remedy=remedy)


def _allow_other(facts: HostFacts) -> Checked | None:
    if facts.is_root or not facts.has_samba:
        return None  # root may always; without a share nobody needs it.
    if facts.allows_others:
        light, found, remedy = Light.GREEN, "mounts of this user can be opened to others", ""
    else:
        light = Light.AMBER
        found = "Samba is installed, but a mount of this user cannot be opened to the users of a share"
        remedy = "mount as root, or add the line user_allow_other to /etc/fuse.conf"
    return Checked(code="allow-other", title="allow_other", light=light, found=found, remedy=remedy)


# -- what may write memory to a disk -----------------------------------------------------------------------------


def _swap(facts: HostFacts) -> list[Checked]:
    if not facts.swaps:
        return [_swap_check(Light.GREEN, "there is none")]
    return [_one_swap(swap) for swap in facts.swaps]


def _one_swap(swap: Swap) -> Checked:
    where = os.fsdecode(swap.path)
    match swap.protection:
        case Protection.MEMORY:
            return _swap_check(Light.GREEN, f"{where} is compressed memory, on no disk")
        case Protection.ENCRYPTED:
            return _swap_check(Light.GREEN, f"{where} is encrypted")
        case Protection.UNKNOWN:
            return _swap_check(
                Light.AMBER,
                f"whether {where} is encrypted cannot be seen from here",
                "look on the machine itself: lsblk -f",
            )
        case Protection.PLAIN:
            return _swap_check(
                Light.RED,
                f"{where} is not encrypted: what programs hold in memory may get onto the disk there",
                "encrypt it, use zram, or switch it off: swapoff -a, and take it out of /etc/fstab",
            )


def _swap_check(light: Light, found: str, remedy: str = "") -> Checked:
    return Checked(code="swap", title="swap", light=light, found=found, remedy=remedy)


def _hibernation(facts: HostFacts) -> Checked:
    light, found, remedy = {
        Hibernation.UNSEEN: (
            Light.AMBER,
            "whether this machine hibernates cannot be seen from here",
            "look on the machine itself: cat /sys/power/state",
        ),
        Hibernation.IMPOSSIBLE: (Light.GREEN, "this machine cannot hibernate", ""),
        Hibernation.FORBIDDEN: (Light.GREEN, "it is forbidden", ""),
        Hibernation.POSSIBLE: _hibernates_to([swap.protection for swap in facts.swaps]),
    }[facts.hibernation]
    return Checked(code="hibernation", title="hibernation", light=light, found=found, remedy=remedy)


def _hibernates_to(places: list[Protection]) -> tuple[Light, str, str]:
    """The kernel hibernates to swap on a disk; which one is chosen shows only when it does."""
    what = "it writes all memory, keys too, to swap"
    if Protection.PLAIN in places:
        return Light.RED, f"{what} that is not encrypted", _FORBID_HIBERNATION
    if Protection.UNKNOWN in places:
        return Light.AMBER, f"{what}; whether that is encrypted cannot be seen from here", _FORBID_HIBERNATION
    if Protection.ENCRYPTED in places:
        return Light.GREEN, "it writes to encrypted swap", ""
    return Light.GREEN, "there is no swap to hibernate to", ""


def _core_dumps(facts: HostFacts) -> Checked:
    light, found, remedy = _core_dumps_of(facts)
    return Checked(code="core-dumps", title="core dumps", light=light, found=found, remedy=remedy)


def _core_dumps_of(facts: HostFacts) -> tuple[Light, str, str]:
    """cloakfs leaves none by itself; this is about the programs that people work with."""
    dumps = facts.core_dumps
    if dumps.pattern is None:
        return (
            Light.AMBER,
            "what becomes of programs that crash cannot be seen from here",
            "look on the machine itself: cat /proc/sys/kernel/core_pattern",
        )
    if not dumps.pattern.startswith("|"):
        if dumps.limit == "0" or not dumps.pattern:
            return Light.GREEN, "programs that crash leave none", ""
        return (
            Light.AMBER,
            "a program that crashes with a document open leaves a core file, not encrypted",
            "ulimit -c 0, and for everybody: write * hard core 0 to /etc/security/limits.d/core.conf",
        )
    program = PurePath(dumps.pattern[1:].split()[0]).name if dumps.pattern[1:].split() else ""
    if program in _NO_DUMPS:
        return Light.GREEN, "programs that crash leave none", ""
    if program == "systemd-coredump":
        if not dumps.is_stored:
            return Light.GREEN, "systemd-coredump keeps none", ""
        if dumps.place in (Protection.ENCRYPTED, Protection.MEMORY):
            return Light.GREEN, "systemd-coredump keeps them on an encrypted disk", ""
        return (
            Light.AMBER,
            "systemd-coredump keeps the memory of programs that crash, on a disk that is not known to be encrypted",
            "write [Coredump] and Storage=none to /etc/systemd/coredump.conf.d/none.conf",
        )
    return (
        Light.AMBER,
        f"programs that crash hand their memory to {program}, which may keep it on the disk",
        "see what it keeps and where, or: sysctl kernel.core_pattern='|/bin/false'",
    )


# -- the rest -----------------------------------------------------------------------------------------------------


def _clock(facts: HostFacts) -> Checked:
    light, found, remedy = {
        Clock.SYNCHRONISED: (Light.GREEN, "it is kept right by a time service", ""),
        Clock.UNSYNCHRONISED: (
            Light.AMBER,
            "no time service keeps it right: dates of keys, sessions and checks may be wrong",
            "timedatectl set-ntp true (or install chrony); in a virtual machine or container look at its host",
        ),
        Clock.UNKNOWN: (
            Light.AMBER,
            "whether a time service keeps it right cannot be seen from here",
            "look on the machine itself: timedatectl",
        ),
    }[facts.clock]
    return Checked(code="clock", title="clock", light=light, found=found, remedy=remedy)


def _libraries(facts: HostFacts) -> list[Checked]:
    bad = [library for library in facts.libraries if _problem(library)]
    checks = [
        Checked(
            code="libraries",
            title="libraries",
            light=Light.AMBER,
            found=_problem(library),
            remedy=f"install it as cloakfs wants it: pip install '{library.name}{library.wanted}'",
        )
        for library in bad
    ]
    good = [
        f"{library.name} {library.version}" for library in facts.libraries if library.version and library not in bad
    ]
    if good:
        checks.append(Checked(code="libraries", title="libraries", light=Light.GREEN, found=", ".join(good)))
    return checks


def _problem(library: Library) -> str:
    """What is wrong with it, or nothing. A part that nobody asked for may be missing."""
    if library.version is None:
        return "" if library.is_optional else f"{library.name} is not installed"
    if all(_meets(library.version, one) for one in library.wanted.split(",") if one):
        return ""
    return f"{library.name} {library.version} is not what cloakfs was tested with ({library.wanted})"


def _meets(version: str, wanted: str) -> bool:
    """Of the operators that pyproject.toml uses; numbers are compared as numbers."""
    found = re.fullmatch(r"\s*(>=|<)\s*([0-9.]+)\s*", wanted)
    if found is None:
        return True
    have, limit = _numbers(version), _numbers(found[2])
    length = max(len(have), len(limit))
    one, other = (tuple(numbers + [0] * (length - len(numbers))) for numbers in (have, limit))
    return one >= other if found[1] == ">=" else one < other


def _numbers(version: str) -> list[int]:
    leading = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return [int(part) for part in leading[0].split(".")] if leading else []
