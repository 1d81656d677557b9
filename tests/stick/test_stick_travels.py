"""A stick that goes around: pulled out and put back, opened on another machine, read where nothing can be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from encfs.errors import ExitCode
from tests.media.pulling import save
from tests.stick.conftest import Inserted
from tests.support import blockdev, media
from tests.support.command import PASSPHRASE, run
from tests.support.evidence import record
from tests.support.limited_fs import limited
from tests.support.linux import error_of, needs_root
from tests.support.mounting import cloakfs, is_mounted
from tests.support.volumes import pattern

# A machine of its own as far as a session record tells: another host name, another memory.
ELSEWHERE = ("unshare", "--uts", "sh", "-c", 'hostname front-desk && exec "$@"', "sh")


@needs_root
def test_opened_on_another_machine(base: Path, making: tuple[str, ...], secret: tuple[str, str], state: Path):
    """THREAT_MODEL.md section 4: who opened the stick meanwhile is told by mount and status, once, also in JSON.

    A machine that sees the stick for the first time is told nothing; nor is anybody told of what was done here.
    """
    stick, at = base / "stick", base / "at"
    stick.mkdir()
    at.mkdir()
    assert run("stick", "create", stick, *making).code == 0
    log = ("--log", str(base / "log"))

    def used(prefix: tuple[str, ...] = (), env: dict[str, str] | None = None) -> tuple[dict[str, Any], str, str]:
        """Mount, write, ask, lock: what mount says as JSON, what it warns of, and what status says meanwhile."""
        environment = {**os.environ, **(env or {})}
        told = cloakfs("mount", str(stick), str(at), *secret, *log, "--json", prefix=prefix, env=environment)
        (at / "letter").write_bytes(os.urandom(10))
        status = cloakfs("status", str(stick), "--quick", prefix=prefix, env=environment).stdout
        cloakfs("lock", str(at), prefix=prefix, env=environment)
        return json_of(told.stdout)["mount"], told.stderr, status

    for _ in range(2):
        mount, warnings, status = used()
        assert (mount["elsewhere"], warnings) == ([], "")
        assert "opened on host" not in status
    other = {"CLOAKFS_STATE_DIRECTORY": str(base / "other state")}
    mount, warnings, _ = used(ELSEWHERE, other)
    assert (mount["elsewhere"], warnings) == ([], "")
    used(ELSEWHERE, other)
    locked = json_of(cloakfs("status", str(stick), "--quick", "--json").stdout)["volumes"][0]
    assert locked["elsewhere"] == []  # Sealed: without a passphrase nobody is told.
    mount, warnings, status = used()
    assert [(one["host"], one["uid"], one["state"]) for one in mount["elsewhere"]] == [("front-desk", 0, "clean")] * 2
    assert all(one["started"] <= one["ended"] for one in mount["elsewhere"])
    assert "opened on host front-desk" in warnings
    assert "1 time before that" in warnings
    assert "opened on host front-desk" in status
    mount, warnings, _ = used()
    assert (mount["elsewhere"], warnings) == ([], "")
    used(ELSEWHERE, other)
    asked = cloakfs("status", str(stick), "--quick", *secret)
    assert "opened on host front-desk" in asked.stdout
    assert not is_mounted(at)
    assert b"front-desk" not in b"".join(path.read_bytes() for path in stick.rglob("*") if path.is_file())
    assert state.exists()
    record("media", "opened on another machine meanwhile", note="mount and status say where and when")


def json_of(text: str) -> Any:
    """The one object of ``--json``."""
    return json.loads(text)


@pytest.mark.parametrize("kind", media.kinds("exfat"))
def test_pulled_and_put_back_without_a_lock(
    base: Path, inserted: Inserted, making: tuple[str, ...], secret: tuple[str, str], kind: str
):
    """docs/stick.md: mounting again is enough. The dead mount goes, what was saved is there, and all of it is told.

    As long as a program has a file open on the dead mount, that program is named instead.
    """
    lower = inserted(kind)
    at = base / "at"
    at.mkdir()
    assert run("stick", "create", lower.path, *making).code == 0
    mount = ("mount", lower.path, at, *secret, "--log", base / "log")
    assert run(*mount).code == 0
    save(at / "saved", pattern(100_000, "saved"))
    held = os.open(at / "saved", os.O_RDONLY)
    os.kill(lower.pid, 9)  # What stands for pulling it: from here on nothing below answers.
    subprocess.run(["umount", "-l", str(lower.path)], check=True)
    media.insert(lower)
    busy = run(*mount)
    assert (busy.code, f"process {os.getpid()} " in busy.err) == (ExitCode.BUSY, True), busy.err
    error_of(lambda: os.close(held))
    back = run(*mount)
    assert back.code == 0, back.err
    assert "pulled out while it was mounted" in back.err
    assert "because its medium went away" in back.out
    assert "Recovered: a crash came before" in back.out
    assert (at / "saved").read_bytes() == pattern(100_000, "saved")
    assert "recovered" in run("status", at, "--quick").out
    assert run("stick", "eject", at).code == 0
    record("media", "pulled, put back, mounted again at once", note="cleared, recovered and told by mount itself")


FAT = pytest.mark.skipif(
    os.geteuid() != 0 or not all(shutil.which(one) for one in ("mkfs.vfat", "mcopy", "grub-mount")),
    reason="needs root, dosfstools, mtools and grub-mount",
)


@FAT
def test_on_fat(base: Path, secret: tuple[str, str]):
    """docs/media.md: a volume that was copied to a real FAT opens there, with every name and symlink, for reading.

    FAT is written by mtools and read by grub-mount, a program that only reads: the error of a writable mount says so.
    """
    (base / "source").mkdir()
    image, fat, at = base / "fat image", base / "fat", base / "at"
    for directory in (fat, at):
        directory.mkdir()
    names = ["a", "A", "\u00e4", "n" * 160, "m" * 255, "con", "trailing.", "q?*:|<>"]
    with limited(base / "source", base / "limited", "symlinks", "links", "xattrs", "owners", "anycase") as lower:
        run("create", lower / "v", *secret, "--no-recovery", "--kdf-memory", "64M", "--kdf-passes", "3")
        assert run("mount", lower / "v", at, *secret, "--log", base / "log").code == 0
        for name in names:
            (at / name).write_bytes(name.encode())
        (at / "folder").mkdir()
        (at / "folder" / "scan").write_bytes(pattern(200_000, "scan"))
        (at / "link").symlink_to("folder/scan")
        assert run("lock", at).code == 0
        lowest = sorted(os.listdir(lower / "v"))
        with image.open("wb") as file:
            file.truncate(136 << 20)
        # Clusters of 2 KiB: mtools 4.0 ends with "No directory slots" when a long name needs more than one new cluster
        # of its folder. With 512 bytes that was 12 of 100 copies, by which names there were; now none of 150.
        subprocess.run(["mkfs.vfat", "-F", "32", "-s", "4", str(image)], check=True, capture_output=True)
        copy = ["mcopy", "-s", "-i", str(image), str(lower / "v"), "::/encrypted"]
        subprocess.run(copy, check=True, capture_output=True)
    subprocess.run(["grub-mount", str(image), str(fat)], check=True, capture_output=True)
    try:
        assert sorted(os.listdir(fat / "encrypted")) == lowest
        assert len({name.lower() for name in lowest}) == len(lowest)
        refused = run("mount", fat, at, *secret, "--log", base / "log")
        assert (refused.code, "--read-only" in refused.err) == (ExitCode.READ_ONLY, True), refused.err
        assert run("mount", fat, at, "--read-only", *secret, "--log", base / "log").code == 0
        assert sorted(os.listdir(at)) == sorted([*names, "folder", "link"])
        assert all((at / name).read_bytes() == name.encode() for name in names)
        assert (at / "link").read_bytes() == pattern(200_000, "scan")
        assert error_of(lambda: (at / "new").touch()) == "EROFS"
        assert run("lock", at).code == 0
        assert run("verify", fat, *secret).code == 0
    finally:
        blockdev.unmount(fat)
    assert PASSPHRASE.encode() not in image.read_bytes()
    record("limits", "a real FAT, for reading", cases=len(names), note="all names, symlinks and contents")
