"""What this host is like, as far as it matters to a volume that is open on it.

Owns: every file of ``/proc``, ``/sys``, ``/run`` and ``/etc`` that ``cloakfs doctor`` reads, below a root that tests
choose. Must not know: what is good and what is bad (``host_checks.py``).

What cannot be read is a fact of its own, never taken for an answer.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from encfs.format.audit import Clock
from encfs.memory.swap import Protection, Swap, protection, swaps

_PROGRAMS: Final = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
_DUMPS: Final = b"/var/lib/systemd/coredump"
_HIBERNATE_TARGETS: Final = ("hibernate", "hybrid-sleep", "suspend-then-hibernate")
_UID_MAP_OF_THE_MACHINE: Final = ["0", "0", "4294967295"]


class Hibernation(Enum):
    """Whether this machine can write its memory to the disk and switch itself off."""

    UNSEEN = "unseen"
    IMPOSSIBLE = "impossible"
    FORBIDDEN = "forbidden"
    POSSIBLE = "possible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A package that cloakfs stands on. ``version``: None if it is not there; ``wanted``: such as ``>=50``."""

    name: str
    version: str | None
    wanted: str
    is_optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreDumps:
    """What becomes of the memory of a program that crashes.

    Attributes:
        pattern: ``/proc/sys/kernel/core_pattern``; None if it cannot be read.
        limit: how large a core file may be in the shell that called, in the kernel's words (``0``, ``unlimited``).
        is_stored: whether systemd-coredump keeps what it gets.
        place: of what systemd-coredump keeps.
    """

    pattern: str | None
    limit: str | None
    is_stored: bool
    place: Protection


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """All of it.

    Attributes:
        is_root: whether root asks.
        fuse_device: what is wrong with ``/dev/fuse``: ``missing``, ``forbidden``, or empty.
        fusermount: where fusermount3 is; None for nowhere.
        fusermount_has_rights: whether it may mount for an ordinary user.
        allows_others: whether ``/etc/fuse.conf`` lets ordinary users give others access to their mounts.
        has_samba: whether this host shares folders.
        container: what it runs in, in a word; empty if that does not show.
    """

    is_root: bool
    fuse_device: str
    fusermount: str | None
    fusermount_has_rights: bool
    allows_others: bool
    has_samba: bool
    swaps: Sequence[Swap]
    hibernation: Hibernation
    core_dumps: CoreDumps
    clock: Clock
    container: str
    libraries: Sequence[Library]


def look_at_host(
    root: Path = Path("/"),
    *,
    clock: Clock,
    libraries: Iterable[Library] = (),
    look: Callable[[bytes], os.stat_result] = os.stat,
    is_root: bool | None = None,
) -> HostFacts:
    """Look at everything.

    Args:
        root: what ``/proc`` and the others are in.
        clock: what the kernel says of the clock.
        libraries: what is installed; only the command line knows that.
        look: stat(2) of what swap and core dumps lie on.
        is_root: who asks; found out if not given.
    """
    fusermount = shutil.which("fusermount3", path=os.pathsep.join(str(root / place) for place in _PROGRAMS))
    return HostFacts(
        is_root=os.geteuid() == 0 if is_root is None else is_root,
        fuse_device=_fuse_device(root / "dev/fuse"),
        fusermount=fusermount,
        fusermount_has_rights=fusermount is not None and _may_mount(fusermount),
        allows_others=_has_line(root / "etc/fuse.conf", "user_allow_other"),
        has_samba=(root / "etc/samba/smb.conf").exists(),
        swaps=swaps(root, look),
        hibernation=_hibernation(root),
        core_dumps=_core_dumps(root, look),
        clock=clock,
        container=_container(root),
        libraries=tuple(libraries),
    )


# -- FUSE --------------------------------------------------------------------------------------------------


def _fuse_device(device: Path) -> str:
    if not device.exists():
        return "missing"
    return "" if os.access(device, os.R_OK | os.W_OK) else "forbidden"


def _may_mount(program: str) -> bool:
    """Set-user-id root, or with a capability of its own."""
    if os.stat(program).st_mode & stat.S_ISUID:
        return True
    try:
        return bool(os.getxattr(program, "security.capability"))
    except OSError:
        return False


def _has_line(path: Path, wanted: str) -> bool:
    return any(line.split("#")[0].strip() == wanted for line in _lines(path))


# -- what may write memory to a disk -----------------------------------------------------------------------------


def _hibernation(root: Path) -> Hibernation:
    states = _text(root / "sys/power/state")
    if states is None:
        return Hibernation.UNSEEN
    if "disk" not in states.split() or "[disabled]" in (_text(root / "sys/power/disk") or ""):
        return Hibernation.IMPOSSIBLE
    masked = all(_is_masked(root, f"{target}.target") for target in _HIBERNATE_TARGETS)
    allowed = _last_setting(root, "sleep", "AllowHibernation") or "yes"
    forbidden = masked or allowed.lower() in ("no", "false", "off", "0")
    return Hibernation.FORBIDDEN if forbidden else Hibernation.POSSIBLE


def _is_masked(root: Path, unit: str) -> bool:
    try:
        return os.readlink(root / "etc/systemd/system" / unit) == os.devnull
    except OSError:
        return False


def _core_dumps(root: Path, look: Callable[[bytes], os.stat_result]) -> CoreDumps:
    stored = (_last_setting(root, "coredump", "Storage") or "external").lower()
    return CoreDumps(
        pattern=_text(root / "proc/sys/kernel/core_pattern"),
        limit=_core_limit(root / f"proc/{os.getppid()}/limits"),
        is_stored=stored != "none",
        place=protection(_DUMPS, root, look),
    )


def _core_limit(limits: Path) -> str | None:
    """Of the caller: this process itself never leaves a core file (``encfs.memory.process``)."""
    for line in _lines(limits):
        if found := re.match(r"Max core file size\s+(\S+)", line):
            return found[1]
    return None


def _last_setting(root: Path, name: str, key: str) -> str | None:
    """A setting of systemd, from ``NAME.conf`` and what is in ``NAME.conf.d``; the last one counts."""
    dropins = {
        path.name: path
        for place in ("usr/lib", "usr/local/lib", "run", "etc")
        for path in (root / place / "systemd" / f"{name}.conf.d").glob("*.conf")
    }
    found = None
    for path in [root / "etc/systemd" / f"{name}.conf", *(dropins[one] for one in sorted(dropins))]:
        for line in _lines(path):
            left, equals, right = line.partition("=")
            if equals and left.strip() == key:
                found = right.strip()
    return found


# -- where this runs ----------------------------------------------------------------------------------------------


def _container(root: Path) -> str:
    """systemd's word for it, else what the makers of containers leave behind, else a user namespace."""
    named = (_text(root / "run/systemd/container") or "").strip()
    if named:
        return named
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    mapped = (_text(root / "proc/self/uid_map") or "").split()
    return "user namespace" if mapped and mapped != _UID_MAP_OF_THE_MACHINE else ""


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _lines(path: Path) -> list[str]:
    return (_text(path) or "").splitlines()
