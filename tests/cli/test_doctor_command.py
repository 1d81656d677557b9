"""``cloakfs doctor`` and what ``cloakfs status`` says of mounts that are in trouble, on real volumes and mounts."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encfs.cli import verifications
from encfs.errors import ExitCode
from encfs.format.key_file import encode_key_file
from encfs.format.slots import SlotKind
from encfs.host.verified import Verified, last_verified
from encfs.registers import volumes
from encfs.volume import Volume, read_config
from encfs.volume.scrub import Coverage
from tests.support.command import Made, run
from tests.support.mounting import MountedVolume, is_gone, wait_for

_COLOURS = {"green": ExitCode.OK, "amber": ExitCode.FAILURE, "red": ExitCode.USAGE}


def doctor(*volumes: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The whole object, and the checks of the first volume by code; the exit status is that of the light."""
    result = run("doctor", *volumes, "--json")
    found = result.json
    assert result.code == _COLOURS[found["light"]]
    every = [found, *found["volumes"], *found["shares"]]
    assert found["light"] == max((one["light"] for one in every), key=list(_COLOURS).index)
    return found, {check["code"]: check for check in found["volumes"][0]["checks"]} if found["volumes"] else {}


def test_a_locked_volume(volume: Made) -> None:
    """What can be seen without a passphrase; after a verify it is remembered; nothing in the volume is written."""
    before = {path: path.lstat().st_mtime_ns for path in volume.path.rglob("*")}
    found, checks = doctor(volume.path)
    assert {"swap", "core-dumps", "clock", "libraries"} <= {check["code"] for check in found["checks"]}
    assert found["volumes"][0]["volume"] == str(volume.path)
    assert {code: check["light"] for code, check in checks.items()} == {
        "config": "green",
        "recovery-key": "green",
        "kdf": "green",
        "keys-apart": "red",  # The recovery file of the fixture lies beside it.
        "free-space": checks["free-space"]["light"],
        "verified": "amber",
    }
    assert str(volume.recovery_file) in checks["keys-apart"]["found"]
    assert {path: path.lstat().st_mtime_ns for path in volume.path.rglob("*")} == before
    assert run("verify", volume.path, *volume.secret).code == ExitCode.OK
    assert doctor(volume.path)[1]["verified"]["light"] == "green"
    assert run("status", volume.path, "--quick", "--json").json["volumes"][0]["verified"]["wrong"] == 0


def test_the_page(volume: Made) -> None:
    """Sections with a name above, a remedy below what is not in order, and the sum at the end."""
    out = run("doctor", volume.path).out
    lines = out.splitlines()
    assert lines[0] == "This machine"
    assert str(volume.path) in lines
    assert f"-> cloakfs verify {volume.path}" in out
    assert lines[-1].startswith("RED: ")


def test_what_verify_remembers(volume: Made) -> None:
    """A part is no verification of the whole; damage stays told until all was read again and is well."""
    volume_id = read_config(os.fsencode(volume.path)).volume_id
    assert run("verify", volume.path, "letters", *volume.secret).code == ExitCode.OK
    assert last_verified(volume_id) is None
    lower = volume.lower(b"letters/long.bin")
    good = lower.read_bytes()
    lower.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    assert run("verify", volume.path, *volume.secret).code == ExitCode.FINDINGS
    assert doctor(volume.path)[1]["verified"]["light"] == "red"
    assert "things were wrong" in run("status", volume.path, "--quick").out.replace("thing was", "things were")
    lower.write_bytes(good)
    assert run("verify", volume.path, "letters", *volume.secret).code == ExitCode.OK
    assert doctor(volume.path)[1]["verified"]["light"] == "red"
    assert run("verify", volume.path, "--for", "1h", *volume.secret).code == ExitCode.OK
    remembered = last_verified(volume_id)
    assert remembered is not None
    assert remembered.wrong == 0
    assert doctor(volume.path)[1]["verified"]["light"] == "green"


def test_a_verification_in_several_goes(volume: Made) -> None:
    """What a go finds counts at once, that all is read only when it is; a go without a find takes nothing back."""
    path = str(volume.path)
    volume_id = read_config(os.fsencode(path)).volume_id
    part = Coverage(checked=1, files=3, never=2, oldest=None, listed=True)
    verifications.part(path, part, 0)
    assert last_verified(volume_id) == Verified(0, 0)
    verifications.part(path, part, 2)
    verifications.part(path, replace(part, never=0, oldest=1_700_000_000.5), 0)
    assert last_verified(volume_id) == Verified(1_700_000_000, 2)
    assert doctor(volume.path)[1]["verified"]["light"] == "red"
    verifications.part(path, replace(part, checked=3, never=0), 0)
    remembered = last_verified(volume_id)
    assert remembered is not None
    assert (remembered.wrong, remembered.at > 1_700_000_000) == (0, True)


def test_a_key_file_beside_the_volume(volume: Made, tmp_path: Path) -> None:
    """It is told with its path only where a slot opens with one, and its content is in no output."""
    volume.recovery_file.unlink()
    key = os.urandom(32)
    beside = tmp_path / "office.key"
    beside.write_bytes(encode_key_file(key))
    assert doctor(volume.path)[1]["keys-apart"]["light"] == "green"
    elsewhere = tmp_path / "with"
    Volume.create(os.fsencode(elsewhere), secret=b"four unrelated words here")
    arguments = ("--kind", "key-file", "--new-key-file", "/dev/shm/cloakfs-doctor.key", *volume.secret)
    try:
        assert run("key", "add", elsewhere, *arguments, "--label", "box").code == ExitCode.OK
    finally:
        Path("/dev/shm/cloakfs-doctor.key").unlink(missing_ok=True)
    assert SlotKind.KEY_FILE in [slot.kind for slot in read_config(os.fsencode(elsewhere)).slots]
    result = run("doctor", elsewhere)
    assert f"key file is on the medium of the volume, and is lost together with it: {beside}" in result.out
    assert beside.read_text().split()[2] not in result.out


def test_a_damaged_config(volume: Made) -> None:
    """One copy: amber, with the repair. Both: red. None: no volume, which is an error of the call."""
    copies = [volume.path / "cloakfs.volume", volume.path / "cloakfs.volume.bak"]
    copies[0].write_bytes(b"cloakfs-volume 1\nnonsense\n")
    assert doctor(volume.path)[1]["config"]["light"] == "amber"
    copies[1].write_bytes(b"cloakfs-volume 1\nnonsense\n")
    _, checks = doctor(volume.path)
    assert set(checks) == {"config"}
    assert checks["config"]["light"] == "red"
    for copy in copies:
        copy.unlink()
    result = run("doctor", volume.path)
    assert result.code == ExitCode.NOT_A_VOLUME
    assert result.out == ""


@pytest.mark.mount
def test_a_mount_in_trouble(mounted: MountedVolume) -> None:
    """Well, stopped, killed, locked: doctor and status tell each from the others, with what to do, and do not hang."""
    assert doctor(mounted.lower)[1]["mount"]["light"] == "green"
    os.kill(mounted.pid, signal.SIGSTOP)
    try:
        # At once, because each waits for an answer as long as it is willing to.
        with ThreadPoolExecutor() as crew:
            looking = crew.submit(doctor, mounted.lower)
            shown = crew.submit(run, "status", mounted.lower, "--quick").result()
            locking = crew.submit(run, "lock", mounted.lower).result()
            _, checks = looking.result()
        assert checks["mount"]["light"] == "amber"
        assert "does not answer" in checks["mount"]["found"]
        assert "does not answer" in shown.out
        assert (locking.code, "does not answer" in locking.err) == (ExitCode.NOT_MOUNTED, True)
    finally:
        os.kill(mounted.pid, signal.SIGCONT)
    mounted.kill_daemon()
    wait_for(lambda: is_gone(mounted.pid), "the daemon is gone")
    found, checks = doctor()
    assert str(mounted.lower) in [one["volume"] for one in found["volumes"]]
    _, checks = doctor(mounted.path)
    assert checks["mount"]["light"] == "red"
    assert checks["mount"]["remedy"].startswith(f"cloakfs lock {mounted.path} ")
    shown = run("status", mounted.lower, "--quick")
    assert f"NOT WORKING, but still mounted at {mounted.path}" in shown.out
    assert f"-> cloakfs lock {mounted.path}" in shown.out
    assert run("lock", mounted.path).code == ExitCode.OK
    assert "mount" not in doctor(mounted.lower)[1]


def test_volumes_that_are_not_there(host_memory: Path) -> None:
    """Sticks that lie elsewhere are named and not judged; of many, the first ones and how many more there are."""
    gone = [f"/media/anna/STICK{number}/encrypted" for number in range(7)]
    for path in gone:
        volumes.note_opened(os.urandom(16).hex(), path, 1)
    page = run("doctor").out
    assert page.count("not there now: /media/anna/STICK") == 5
    assert "2 more volumes" in page
    assert sorted(run("doctor", "--json").json["absent"]) == gone
