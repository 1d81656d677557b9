"""Which swap whoever gets the disk could read: made-up machines, as the kernel describes them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from encfs.cli import swapping
from encfs.memory.swap import Protection, Swap, swaps

_HEAD = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


class Machine:
    """A directory with the parts of ``/proc`` and ``/sys`` that are looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[bytes, os.stat_result] = {}
        self.lines: list[str] = []
        (root / "sys/dev/block").mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mountinfo").write_text("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n")

    def device(self, name: str, number: tuple[int, int], *, below: tuple[str, ...] = (), **files: str) -> None:
        """A block device; ``files``: what is in its directory, two underscores for a slash; ``below``: its slaves."""
        directory = self.root / "sys/devices" / name
        directory.mkdir(parents=True)
        (self.root / f"sys/dev/block/{number[0]}:{number[1]}").symlink_to(directory)
        for file, text in files.items():
            path = directory / file.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n")
        for one in below:
            (directory / "slaves").mkdir(exist_ok=True)
            (directory / "slaves" / Path(one).name).symlink_to(self.root / "sys/devices" / one)
        self._know(f"/dev/{Path(name).name}", stat.S_IFBLK, 0, os.makedev(*number))

    def file(self, path: str, on: tuple[int, int]) -> None:
        """A file on the filesystem of a device."""
        self._know(path, stat.S_IFREG, os.makedev(*on), 0)

    def _know(self, path: str, mode: int, device: int, itself: int) -> None:
        extra = {"st_rdev": itself}
        self.known[path.encode()] = os.stat_result((mode, 1, device, 1, 0, 0, 0, 0, 0, 0), extra)

    def look(self, path: bytes) -> os.stat_result:
        """stat(2)."""
        if path not in self.known:
            raise FileNotFoundError(path)
        return self.known[path]

    def protection(self, path: str) -> Protection:
        """Of the machine's only swap, as ``/proc/swaps`` spells it."""
        (self.root / "proc/swaps").write_text(f"{_HEAD}{path}    partition\t1048572\t\t0\t\t-2\n")
        (found,) = swaps(self.root, self.look)
        return found.protection


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """With a disk, a partition, and dm-crypt on another."""
    made = Machine(tmp_path)
    made.device("sda", (8, 0))
    made.device("sda/sda1", (8, 1), partition="1")
    made.device("sda/sda2", (8, 2), partition="2")
    made.device("dm-0", (253, 0), below=("sda/sda2",), dm__uuid="CRYPT-LUKS2-0123456789-swap")
    return made


def test_no_swap(tmp_path: Path) -> None:
    """A kernel without swap has no such file, and one whose swap is off has an empty table."""
    assert swaps(tmp_path) == []
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/swaps").write_text(_HEAD)
    assert swaps(tmp_path) == []


def test_a_partition_is_plain_and_dm_crypt_is_not(machine: Machine) -> None:
    """Also with a random key, as cryptsetup's plain mode makes it."""
    assert machine.protection("/dev/sda1") is Protection.PLAIN
    assert machine.protection("/dev/dm-0") is Protection.ENCRYPTED
    machine.device("dm-1", (253, 1), below=("sda/sda1",), dm__uuid="CRYPT-PLAIN-swap")
    assert machine.protection("/dev/dm-1") is Protection.ENCRYPTED


def test_what_lies_below_counts(machine: Machine) -> None:
    """LVM on dm-crypt is encrypted; LVM over an encrypted and a plain disk is not."""
    machine.device("dm-2", (253, 2), below=("dm-0",), dm__uuid="LVM-abc")
    machine.device("dm-3", (253, 3), below=("dm-0", "sda/sda1"), dm__uuid="LVM-def")
    machine.device("md0", (9, 0), below=("dm-2",))
    assert machine.protection("/dev/dm-2") is Protection.ENCRYPTED
    assert machine.protection("/dev/dm-3") is Protection.PLAIN
    assert machine.protection("/dev/md0") is Protection.ENCRYPTED


def test_zram_is_memory_unless_it_writes_back(machine: Machine) -> None:
    """To a plain device it is as plain as that."""
    machine.device("zram0", (252, 0), backing_dev="none")
    machine.device("zram1", (252, 1), backing_dev="/dev/sda1")
    machine.device("zram2", (252, 2), backing_dev="/dev/dm-0")
    assert machine.protection("/dev/zram0") is Protection.MEMORY
    assert machine.protection("/dev/zram1") is Protection.PLAIN
    assert machine.protection("/dev/zram2") is Protection.ENCRYPTED


def test_a_file_is_what_its_filesystem_lies_on(machine: Machine) -> None:
    """Its name may have spaces; btrfs has numbers of its own, so the mount's source is looked at."""
    machine.file("/swap file", (8, 1))
    machine.file("/encrypted/swap", (253, 0))
    machine.file("/data/@/swap", (0, 44))
    with (machine.root / "proc/self/mountinfo").open("a") as table:
        table.write("30 21 0:40 / /data rw shared:1 - btrfs /dev/dm-0 rw\n31 21 0:41 / /dat rw - btrfs /dev/sda1 rw\n")
    assert machine.protection("/swap\\040file") is Protection.PLAIN
    assert machine.protection("/encrypted/swap") is Protection.ENCRYPTED
    assert machine.protection("/data/@/swap") is Protection.ENCRYPTED


def test_a_loop_device_is_what_its_file_lies_on(machine: Machine) -> None:
    """And two that lie on each other, which no machine has, do not keep us."""
    machine.file("/images/swap", (253, 0))
    machine.device("loop0", (7, 0), loop__backing_file="/images/swap")
    machine.file("/round", (7, 1))
    machine.device("loop1", (7, 1), loop__backing_file="/round")
    assert machine.protection("/dev/loop0") is Protection.ENCRYPTED
    assert machine.protection("/dev/loop1") is Protection.UNKNOWN


def test_what_cannot_be_seen_is_said_to_be_unknown(machine: Machine) -> None:
    """In a container the machine's swap is listed, but not its devices."""
    assert machine.protection("/dev/vdb") is Protection.UNKNOWN
    machine.file("/overlay/swap", (0, 99))
    (machine.root / "proc/self/mountinfo").write_text("21 1 0:99 / / rw - overlay overlay rw\n")
    assert machine.protection("/overlay/swap") is Protection.UNKNOWN


def test_only_swap_that_can_be_read_is_warned_about() -> None:
    """Each in one sentence, with what is at stake; all of it is in --json."""
    found = [Swap(b"/dev/" + one.encode(), one) for one in Protection]
    plain, unknown = sorted(swapping.warnings(found, locked=False), key=len)
    assert plain.startswith("swap on /dev/plain is not encrypted: ")
    assert plain.endswith("and so may the keys of the volume")
    assert unknown.startswith("whether swap on /dev/unknown is encrypted cannot be seen")
    assert all("hibernates" in text for text in swapping.warnings(found, locked=True))
    assert swapping.report(found)[0] == {"path": "/dev/memory", "protection": "memory"}
