"""``cloakfs doctor`` on made-up machines: files below a scratch root, as the kernel and Debian write them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from encfs.checks import Checked, Light
from encfs.doctor.host_checks import host_checks
from encfs.doctor.host_facts import Library, look_at_host
from encfs.format.audit import Clock

DOCS = Path(__file__).resolve().parents[2] / "docs"
_PYFUSE3 = Library(name="pyfuse3", version="3.5.0", wanted=">=3.5,<4", is_optional=True)


class Machine:
    """A good machine: FUSE, encrypted swap, no core files, a clock that is set. Tests spoil it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.libraries = [_PYFUSE3]
        self.clock = Clock.SYNCHRONISED
        self.is_root = False
        self.write("dev/fuse", "")
        self.write("usr/bin/fusermount3", "").chmod(0o4755)
        self.write("proc/swaps", "Filename Type Size Used Priority\n/dev/dm-0 partition 1 0 -2\n")
        self.write("proc/self/mountinfo", "21 1 253:0 / / rw - ext4 /dev/dm-0 rw\n")
        self.write("proc/self/uid_map", "         0          0 4294967295\n")
        self.write("proc/sys/kernel/core_pattern", "core\n")
        self.limits("0")
        self.write("sys/power/state", "freeze mem disk\n")
        self.write("sys/power/disk", "[platform] shutdown\n")
        self.device("dm-0", (253, 0), "CRYPT-LUKS2-0123")
        self.device("sda2", (8, 2), "")

    def write(self, path: str, text: str) -> Path:
        """A file, with the directories above it."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def limits(self, core: str) -> None:
        """Of the shell that called."""
        line = f"Max core file size        {core}                    unlimited            bytes     \n"
        self.write(f"proc/{os.getppid()}/limits", "Limit  Soft Limit  Hard Limit  Units\n" + line)

    def device(self, name: str, number: tuple[int, int], uuid: str) -> None:
        """A block device, of device-mapper if it has a uuid."""
        self.write(f"sys/devices/{name}/size", "1\n")
        if uuid:
            self.write(f"sys/devices/{name}/dm/uuid", uuid)
        link = self.root / "sys/dev/block" / f"{number[0]}:{number[1]}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.root / "sys/devices" / name)

    def swap_on(self, name: str) -> None:
        """The only swap."""
        self.write("proc/swaps", f"Filename Type Size Used Priority\n/dev/{name} partition 1 0 -2\n")

    def look(self, path: bytes) -> os.stat_result:
        """stat(2) of the devices, and of a directory on the encrypted disk."""
        numbers = {b"/dev/dm-0": os.makedev(253, 0), b"/dev/sda2": os.makedev(8, 2)}
        if path in numbers:
            return os.stat_result((stat.S_IFBLK, 1, 0, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": numbers[path]})
        if path == b"/var/lib/systemd/coredump":
            device = os.makedev(253, 0) if (self.root / "dumps-are-encrypted").exists() else os.makedev(8, 2)
            return os.stat_result((stat.S_IFDIR, 1, device, 1, 0, 0, 0, 0, 0, 0))
        raise FileNotFoundError(path)

    def checks(self) -> list[Checked]:
        """All of them."""
        facts = look_at_host(
            self.root,
            libraries=self.libraries,
            look=self.look,
            clock=self.clock,
            is_root=self.is_root,
        )
        return host_checks(facts)

    def check(self, code: str) -> Checked:
        """The one with this code."""
        (found,) = [check for check in self.checks() if check.code == code]
        return found

    def light(self, code: str) -> Light | None:
        """Of the check with this code; None if it does not apply."""
        found = [check.light for check in self.checks() if check.code == code]
        return max(found) if found else None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A good one."""
    return Machine(tmp_path)


def test_a_good_machine_is_green(machine: Machine) -> None:
    """Every check that applies is there once; what does not apply is left out, not green."""
    codes = [check.code for check in machine.checks()]
    assert codes == ["fuse", "fusermount3", "swap", "hibernation", "core-dumps", "clock", "libraries"]
    assert {check.light for check in machine.checks()} == {Light.GREEN}
    assert all(not check.remedy for check in machine.checks())


def test_fuse(machine: Machine) -> None:
    """A missing device and a missing or powerless fusermount3 are red; root needs no fusermount3."""
    (machine.root / "usr/bin/fusermount3").chmod(0o755)
    assert machine.light("fusermount3") is Light.RED
    assert "set-user-id" in machine.check("fusermount3").found
    (machine.root / "usr/bin/fusermount3").unlink()
    assert machine.check("fusermount3").remedy == "apt-get install fuse3"
    machine.is_root = True
    assert machine.light("fusermount3") is None
    (machine.root / "dev/fuse").unlink()
    assert machine.light("fuse") is Light.RED


def test_without_pyfuse3_nothing_is_said_of_mounting(machine: Machine) -> None:
    """A machine that only reads and verifies is no broken one."""
    machine.libraries = [Library(name="pyfuse3", version=None, wanted=">=3.5", is_optional=True)]
    assert machine.light("pyfuse3") is Light.AMBER
    assert machine.light("fuse") is None
    assert machine.light("fusermount3") is None
    assert machine.light("libraries") is None


def test_allow_other(machine: Machine) -> None:
    """It matters where there is Samba, to users who are not root; a comment does not switch it on."""
    assert machine.light("allow-other") is None
    machine.write("etc/samba/smb.conf", "[global]\n")
    machine.write("etc/fuse.conf", "# user_allow_other\n")
    assert machine.light("allow-other") is Light.AMBER
    machine.write("etc/fuse.conf", "mount_max = 10\nuser_allow_other  # for the share\n")
    assert machine.light("allow-other") is Light.GREEN
    machine.is_root = True
    assert machine.light("allow-other") is None


def test_swap(machine: Machine) -> None:
    """Plain is red, what cannot be seen is amber, none at all is green."""
    machine.swap_on("sda2")
    assert machine.light("swap") is Light.RED
    assert "/dev/sda2" in machine.check("swap").found
    machine.swap_on("vdb")
    assert machine.light("swap") is Light.AMBER
    (machine.root / "proc/swaps").unlink()
    assert machine.check("swap").found == "there is none"


@pytest.mark.parametrize(("swap", "light"), [("dm-0", Light.GREEN), ("vdb", Light.AMBER), ("sda2", Light.RED)], ids=str)
def test_hibernation_is_as_good_as_the_swap(machine: Machine, swap: str, light: Light) -> None:
    """It writes the keys there; a kernel or an administrator that forbids it makes it green whatever the swap."""
    machine.swap_on(swap)
    assert machine.light("hibernation") is light
    machine.write("etc/systemd/sleep.conf.d/no.conf", "[Sleep]\nAllowHibernation = no\n")
    assert machine.check("hibernation").found == "it is forbidden"


def test_hibernation_that_cannot_be(machine: Machine) -> None:
    """The kernel says so in two files; masked targets count when all three are; without /sys nothing is known."""
    machine.swap_on("sda2")
    targets = machine.root / "etc/systemd/system"
    targets.mkdir(parents=True)
    for name in ("hibernate", "hybrid-sleep"):
        (targets / f"{name}.target").symlink_to("/dev/null")
    assert machine.light("hibernation") is Light.RED
    (targets / "suspend-then-hibernate.target").symlink_to("/dev/null")
    assert machine.light("hibernation") is Light.GREEN
    machine.write("sys/power/disk", "[disabled]\n")
    assert machine.check("hibernation").found == "this machine cannot hibernate"
    (machine.root / "sys/power/state").unlink()
    assert machine.light("hibernation") is Light.AMBER


def test_core_files(machine: Machine) -> None:
    """What counts is the limit of the shell that called; without /proc it cannot be seen."""
    machine.limits("unlimited")
    assert machine.light("core-dumps") is Light.AMBER
    machine.write("proc/sys/kernel/core_pattern", "|/bin/false\n")
    assert machine.light("core-dumps") is Light.GREEN
    machine.write("proc/sys/kernel/core_pattern", "|/usr/share/apport/apport %p\n")
    assert "apport" in machine.check("core-dumps").found
    (machine.root / "proc/sys/kernel/core_pattern").unlink()
    assert machine.light("core-dumps") is Light.AMBER


def test_systemd_coredump(machine: Machine) -> None:
    """Fine if it keeps nothing, or on an encrypted disk; the drop-in with the last name wins."""
    machine.write("proc/sys/kernel/core_pattern", "|/usr/lib/systemd/systemd-coredump %P %u\n")
    assert machine.light("core-dumps") is Light.AMBER
    machine.write("dumps-are-encrypted", "")
    assert machine.light("core-dumps") is Light.GREEN
    (machine.root / "dumps-are-encrypted").unlink()
    machine.write("etc/systemd/coredump.conf.d/20-none.conf", "[Coredump]\nStorage=none\n")
    assert machine.light("core-dumps") is Light.GREEN
    machine.write("usr/lib/systemd/coredump.conf.d/30-back.conf", "Storage=external\n")
    assert machine.light("core-dumps") is Light.AMBER


def test_clock(machine: Machine) -> None:
    """Nobody sets it, or nobody can tell: amber, in different words."""
    machine.clock = Clock.UNSYNCHRONISED
    alone = machine.check("clock")
    machine.clock = Clock.UNKNOWN
    unseen = machine.check("clock")
    assert (alone.light, unseen.light) == (Light.AMBER, Light.AMBER)
    assert alone.found != unseen.found


@pytest.mark.parametrize(
    ("place", "text", "name"),
    [
        ("run/systemd/container", "lxc\n", "lxc"),
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("proc/self/uid_map", "         0     100000      65536\n", "user namespace"),
    ],
    ids=lambda value: str(value).split("/")[0],
)
def test_container(machine: Machine, place: str, text: str, name: str) -> None:
    """In one, it is said that not all can be seen."""
    machine.write(place, text)
    check = machine.check("container")
    assert check.light is Light.AMBER
    assert f"({name})" in check.found


def _library(version: str | None, wanted: str, **more: Any) -> Library:
    return Library(name="some", version=version, wanted=wanted, **{"is_optional": False, **more})


@pytest.mark.parametrize(
    ("library", "light"),
    [
        (_library("50.0.2", ">=50"), Light.GREEN),
        (_library("50", ">=50.0.0"), Light.GREEN),
        (_library("49.9", ">=50"), Light.AMBER),
        (_library("9.10", ">=9.9"), Light.GREEN),
        (_library("4.0", ">=3.5,<4"), Light.AMBER),
        (_library("3.9.1rc1", ">=3.5,<4"), Light.GREEN),
        (_library(None, ">=1"), Light.AMBER),
        (_library(None, ">=1", is_optional=True), None),
    ],
)
def test_libraries(machine: Machine, library: Library, light: Light | None) -> None:
    """Versions are compared as numbers; an optional part that is not installed is not mentioned."""
    machine.libraries = [library]
    assert machine.light("libraries") is light


def test_every_code_is_explained() -> None:
    """docs/doctor.md has a line for each code that the source has, and for no other."""
    source = DOCS.parent / "encfs"
    of_cli = ("looked_at", "incident_view", "mount_troubles", "policy_view")
    places = [
        *(source / "doctor").glob("*.py"),
        source / "audit" / "health.py",
        *(source / "registers").glob("*.py"),
        *(source / "backup").glob("*.py"),
        *(source / "cli" / f"{name}.py" for name in of_cli),
    ]
    codes = {
        word.split('"')[1]
        for path in places
        for word in path.read_text().split("Checked(")[1:]
        for word in [word.partition("code=")[2]]
        if word.startswith('"')
    }
    documented = {
        line.split("`")[1] for line in (DOCS / "doctor.md").read_text().splitlines() if line.startswith("| `")
    }
    assert codes == documented
