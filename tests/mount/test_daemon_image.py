"""What the daemon of a mount has in memory, and what becomes of that when it dies."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from encfs.core.sources import KnownSecret
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from tests.mount.conftest import Maker
from tests.support.evidence import record
from tests.support.linux import needs_root
from tests.support.mounting import SECRET, MountedVolume, cloakfs, is_mounted, wait_for
from tests.support.process_image import can_be_locked, found_in, secrets_of, status_field
from tests.support.pty_session import PtySession

WRONG = "not the right one"


def mount_by_hand(volume: MountedVolume) -> None:
    """Type the passphrase, wrong the first time."""
    with PtySession("mount", str(volume.lower), str(volume.path), "--log", str(volume.log)) as session:
        session.answer("Passphrase of", WRONG)
        session.answer("Passphrase of", SECRET.decode())
        assert session.end() == 0
    volume.pid = status(volume)["pid"]


def status(volume: MountedVolume) -> dict:
    """What the daemon says of itself."""
    return json.loads(cloakfs("status", str(volume.lower), "--quick", "--json").stdout)["volumes"][0]["mount"]


@needs_root
def test_the_daemon_has_only_the_keys_it_works_with(make_volume: Maker) -> None:
    """As soon as the mount serves, passphrase, KEK, private key and root key are gone; nothing is dumped."""
    volume = make_volume(mount=False)
    mount_by_hand(volume)
    letter = volume.path / "letter"
    letter.write_bytes(b"a letter" * 2000)
    with letter.open("rb") as opened:
        os.fsync(opened.fileno())
        shutil.copytree(volume.lower, volume.base / "copy", symlinks=True)
        secrets = secrets_of(volume.base / "copy", KnownSecret.of(SlotKind.PASSPHRASE, SECRET), [b"letter"])
        assert found_in(volume.pid, secrets.opening | {"wrong passphrase": WRONG.encode()}) == []
        working = found_in(volume.pid, secrets.working)
    assert {"epoch key 0", "content key of b'letter'"} <= set(working)
    assert Path(f"/proc/{volume.pid}/coredump_filter").read_text() == "00000000\n"
    assert status(volume)["memory_locked"] is (status_field(volume.pid, "VmLck") > 0) is can_be_locked()
    record("memory", "daemon while it serves", cases=len(secrets.opening), note="nothing that opens the volume")


@needs_root
def test_nothing_is_left_of_a_long_passphrase_in_memory_that_is_free(make_volume: Maker) -> None:
    """One of a length that little else has, so that nothing overwrites it by chance, from another program."""
    base = make_volume(mount=False)
    passphrase = b"some passphrase of many words and more of them " * 6
    Volume.create(os.fsencode(base.base / "other"), secret=passphrase)
    base.secret_file.write_bytes(passphrase)
    cloakfs(
        "mount", str(base.base / "other"), str(base.path), "--log", str(base.log),
        "--passphrase-command", f"cat {base.secret_file}",
    )  # fmt: skip
    pid = json.loads(cloakfs("status", str(base.path), "--quick", "--json").stdout)["volumes"][0]["mount"]["pid"]
    found = found_in(pid, {"passphrase": passphrase, "its beginning": passphrase[:40], "its end": passphrase[-40:]})
    cloakfs("lock", str(base.path))
    assert found == []


def large_cores() -> None:
    """Cores as large as they may be, for what is started next."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def dumps_core(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Kill a child; whether the kernel says that it wrote a core."""
    process.send_signal(number)
    _, how = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(how)
    assert os.WTERMSIG(how) == number
    return os.WCOREDUMP(how)


def test_a_daemon_that_crashes_leaves_no_core(make_volume: Maker, tmp_path: Path) -> None:
    """Where any other program would leave one."""
    place = tmp_path / "place"
    place.mkdir()
    options = {"cwd": place, "preexec_fn": large_cores, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["sleep", "60"], **options) as other:
        if not dumps_core(other, signal.SIGSEGV):
            pytest.skip("no program leaves a core here")
    for core in place.iterdir():
        core.unlink()
    volume = make_volume(mount=False)
    command = [sys.executable, "-m", "encfs", "mount", str(volume.lower), str(volume.path), "--foreground"]
    with subprocess.Popen([*command, "--passphrase-file", str(volume.secret_file)], **options) as daemon:
        try:
            wait_for(lambda: is_mounted(volume.path), "the mount is there")
            assert dumps_core(daemon, signal.SIGSEGV) is False
        finally:
            if is_mounted(volume.path):
                volume.clear_dead_mount()
    assert list(place.iterdir()) == []
    record("memory", "daemon that crashes", cases=1, note="no core")


@needs_root
def test_a_command_that_waits_for_a_passphrase_leaves_no_core(tmp_path: Path) -> None:
    """Every command is protected before anybody can give it a secret."""
    Volume.create(os.fsencode(tmp_path / "volume"), secret=SECRET)
    with PtySession("cat", str(tmp_path / "volume"), "letter") as session:
        session.expect("Passphrase of")
        pid = session.process.pid
        assert Path(f"/proc/{pid}/coredump_filter").read_text() == "00000000\n"
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        session.process.send_signal(signal.SIGABRT)
        _, how = os.waitpid(pid, 0)
        session.process.returncode = -signal.SIGABRT
        assert os.WCOREDUMP(how) is False


_WITH_SWAP = """
set -eu
swaps=$1 volume=$2 mountpoint=$3; shift 3
mount --bind "$swaps" /proc/swaps
"$@" mount "$volume" "$mountpoint" --passphrase-file "$volume/../passphrase" --log "$volume/../daemon.log" >&2
"$@" status "$volume" --quick
"$@" status "$volume" --quick --json
"$@" lock "$mountpoint" >&2
"""


@needs_root
def test_swap_that_is_not_encrypted_is_said_at_mount_and_by_status(make_volume: Maker) -> None:
    """Where the kernel lists a device that cannot be looked at; in a namespace with a table of swap of its own."""
    volume = make_volume(mount=False)
    table = volume.base / "swaps"
    table.write_text("Filename\tType\tSize\tUsed\tPriority\n/dev/no-such-disk partition 1048572 0 -2\n")
    command = ["unshare", "--mount", "sh", "-c", _WITH_SWAP, "sh", str(table), str(volume.lower), str(volume.path)]
    done = subprocess.run([*command, sys.executable, "-m", "encfs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sentence = "whether swap on /dev/no-such-disk is encrypted cannot be seen from here"
    assert f"cloakfs: warning: {sentence}" in done.stderr
    *text, answer = done.stdout.splitlines()
    assert [line for line in text if line.startswith(f"ATTENTION: {sentence}")]
    assert json.loads(answer)["swap"] == [{"path": "/dev/no-such-disk", "protection": "unknown"}]
    assert volume.log.read_text().count("swap is not encrypted, or cannot be looked at: /dev/no-such-disk") == 1
