"""Wheels that lie beside the reader: which of them this Python can use, and whether they are the right ones.

Owns: tags of wheels (PEP 425, 600, 656), the list of the wheels that a reader was built for. Must not know: how they
are imported.

A wheel is code. The reader unpacks only what has one of the digests that it was built with, which are those of
``requirements.lock``: so whoever knows the reader's own digest knows all that runs.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

REQUIRED: Final = ("cryptography", "cffi", "argon2-cffi", "argon2-cffi-bindings")
OPTIONAL: Final = ("shamir-mnemonic",)
"""For volumes that are opened with shares."""

DOWNLOAD_TAGS: Final[Mapping[tuple[str, str], Sequence[str]]] = {
    ("win", "amd64"): ("win_amd64",),
    ("macosx", "arm64"): ("macosx_11_0_arm64",),
    ("manylinux", "x86_64"): ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
    ("manylinux", "aarch64"): ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
}
"""For which systems there are wheels of all packages, and by which tags pip finds them.

Not of cryptography 50: Windows on ARM (where Python for x64 runs as well) and Macs with an Intel processor.
"""

_OLD_NAMES: Final = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_LINUX: Final = re.compile(r"(manylinux|musllinux)_(\d+)_(\d+)_(.+)")
_OLD_LINUX: Final = re.compile(r"(manylinux1|manylinux2010|manylinux2014)_(.+)")
_MAC: Final = re.compile(r"macosx_(\d+)_(\d+)_(.+)")


@dataclass(frozen=True, slots=True)
class Pins:
    """One package: its version, and the SHA-256 of each file of it, in hex."""

    version: str
    digests: frozenset[str]


@dataclass(frozen=True, slots=True)
class Host:
    """What decides which wheels fit.

    Attributes:
        minor: of Python 3.
        threads: whether it is a build without the global lock, which takes wheels of its own.
        system: ``win``, ``macosx``, ``manylinux`` (glibc) or ``musllinux``.
        version: of macOS or of the C library.
        machine: as tags spell it, such as ``amd64`` on Windows and ``x86_64`` elsewhere.
    """

    minor: int
    threads: bool
    system: str
    version: tuple[int, int]
    machine: str

    @property
    def text(self) -> str:
        """For a person who looks for wheels."""
        return f"Python 3.{self.minor}{' without the global lock' if self.threads else ''}, {self.platform}"

    @property
    def platform(self) -> str:
        """As a tag has it; on Windows the only one that fits."""
        if self.system == "win":
            return "win32" if self.machine == "x86" else f"win_{self.machine}"
        return f"{self.system}_{self.version[0]}_{self.version[1]}_{self.machine}"

    @property
    def download_tags(self) -> Sequence[str]:
        """What ``pip download --platform`` is to be given, as often as there are tags."""
        return DOWNLOAD_TAGS.get((self.system, self.machine), (self.platform,))


def this_host() -> Host:
    """The one that this runs on."""
    name = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    threads = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if name.startswith("win"):
        return Host(sys.version_info.minor, threads, "win", (0, 0), "x86" if name == "win32" else name[4:])
    if sys.platform == "darwin":
        return Host(sys.version_info.minor, threads, "macosx", _pair(platform.mac_ver()[0]), platform.machine())
    library, version = platform.libc_ver()
    system = "manylinux" if library == "glibc" else "musllinux"
    found = _pair(version) if library == "glibc" else (1, 2)  # What all wheels for musl are made for by now.
    return Host(sys.version_info.minor, threads, system, found, platform.machine())


def _pair(version: str) -> tuple[int, int]:
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor) if minor.isdecimal() else 0) if major.isdecimal() else (0, 0)


def read_pins(text: str) -> dict[str, Pins]:
    """The list in a reader: one line for each package, its name, version and digests."""
    rows = [line.split() for line in text.splitlines()]
    return {name: Pins(version, frozenset(digests)) for name, version, *digests in rows}


def fits(filename: str, host: Host) -> bool:
    """Whether a wheel is for this host, by its name."""
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) < 5:
        return False
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    return any(_fits_python(python, abi, host) for python in pythons for abi in abis) and any(
        _fits_platform(one, host) for one in platforms
    )


def _fits_python(python: str, abi: str, host: Host) -> bool:
    if abi == "none":
        return python in ("py3", f"py3{host.minor}", f"cp3{host.minor}")
    if abi == "abi3":
        return not host.threads and python.startswith("cp3") and int(python[3:] or 0) <= host.minor
    return python == f"cp3{host.minor}" and abi == f"cp3{host.minor}{'t' if host.threads else ''}"


def _fits_platform(tag: str, host: Host) -> bool:
    if tag == "any" or (host.system == "win" and tag == host.platform):
        return True
    if mac := _MAC.fullmatch(tag):
        same = host.system == "macosx" and mac[3] in (host.machine, "universal2")
        return same and (int(mac[1]), int(mac[2])) <= host.version
    if old := _OLD_LINUX.fullmatch(tag):
        return (host.system, host.machine) == ("manylinux", old[2]) and _OLD_NAMES[old[1]] <= host.version
    if linux := _LINUX.fullmatch(tag):
        same = (host.system, host.machine) == (linux[1], linux[4])
        return same and (int(linux[2]), int(linux[3])) <= host.version
    return False


@dataclass(frozen=True, slots=True)
class Found:
    """What lies beside the reader.

    Attributes:
        wheels: those to use, by package.
        refused: files that fit by their name, and are not what the reader was built for.
    """

    wheels: Mapping[str, str]
    refused: Sequence[str]

    @property
    def missing(self) -> list[str]:
        """Packages without which nothing goes."""
        return [name for name in REQUIRED if name not in self.wheels]


def find(folders: Sequence[str], pins: Mapping[str, Pins], host: Host) -> Found:
    """Look for the wheels of all packages.

    Raises:
        OSError: a wheel cannot be read.
    """
    wheels: dict[str, str] = {}
    refused = []
    for folder in folders:
        for filename in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            name = filename.partition("-")[0].lower().replace("_", "-")
            if name not in pins or name in wheels or not fits(filename, host):
                continue
            path = os.path.join(folder, filename)
            if _digest(path) in pins[name].digests:
                wheels[name] = path
            else:
                refused.append(path)
    return Found(wheels, refused)


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
