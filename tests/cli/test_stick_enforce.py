"""``cloakfs stick enforce``: what it writes, what udev and systemd make of it, and the judgement of real loop devices.

There is no running udev or systemd here: ``udevadm test`` goes through the rule for a loop device that stands for the
stick, ``systemd-analyze`` reads the unit, and the unit's command runs for real. That systemd starts it is not tried.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from encfs.cli import stick_enforce
from encfs.errors import ExitCode, LowerIOError
from encfs.stick import enforce
from encfs.volume import Volume
from tests.support.blockdev import needs_filesystem
from tests.support.command import PASSPHRASE, run
from tests.support.linux import error_of
from tests.support.mounting import wait_for
from tests.support.pty_session import PtySession

Device = Callable[[], str]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> enforce.Places:
    """Directories instead of those of this machine."""
    made = enforce.Places(tmp_path / "rules.d", tmp_path / "system")
    monkeypatch.setattr(stick_enforce, "PLACES", made)
    return made


def enforcing(*arguments: str) -> Result:
    """The command in this process, where it finds the directories of the test."""
    return CliRunner().invoke(stick_enforce.command, arguments, standalone_mode=False)


def test_write_and_remove(places: enforce.Places) -> None:
    """Both files come and go; a second time there is nothing to do; a changed file is put right."""
    first = json.loads(enforcing("--yes", "--json").stdout)
    assert first["changed"] == [str(places.rule), str(places.unit)]
    texts = places.rule.read_text(), places.unit.read_text()
    assert json.loads(enforcing("--json").stdout)["changed"] == []
    places.rule.write_text("# somebody was here\n")
    assert json.loads(enforcing("--yes", "--json").stdout)["changed"] == [str(places.rule)]
    assert (places.rule.read_text(), places.unit.read_text()) == texts
    assert "can be written to again" in enforcing("--remove", "--yes").stdout
    assert not places.rule.exists()
    assert not places.unit.exists()
    assert "nothing of it is there" in enforcing("--remove").stdout


def test_nothing_is_written_without_an_answer(places: enforce.Places) -> None:
    """Without a terminal it asks for --yes; with one both files are shown, and only the word itself does it."""
    assert enforcing().exception is not None
    assert not places.rules.exists()
    script = (
        "from pathlib import Path; from encfs.cli import main, stick_enforce; from encfs.stick import enforce\n"
        f"stick_enforce.PLACES = enforce.Places(Path({str(places.rules)!r}), Path({str(places.units)!r}))\n"
        "main.main()"
    )
    for answer, code in (("yes", ExitCode.USAGE), ("enforce", ExitCode.OK)):
        with PtySession("stick", "enforce", program=(sys.executable, "-c", script)) as session:
            shown = session.expect("to do this: ")
            assert f"Write {places.rule}:" in shown
            assert "ExecStart=" in shown
            session.send(answer + "\n")
            assert session.end() == code
        assert places.rule.exists() is (code == ExitCode.OK)


def test_judging_goes_alone() -> None:
    """It writes no files."""
    assert run("stick", "enforce", "--judge", "/dev/null", "--remove").code == ExitCode.USAGE
    assert run("stick", "enforce", "--judge", "/dev/null").code == ExitCode.LOWER_IO


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say; what it starts is an option that exists."""
    program = tmp_path / "cloakfs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "cloakfs-stick@.service"
    unit.write_text(enforce.files(enforce.Places(), str(program))[enforce.Places().unit])
    (command,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert shlex.split(command.removeprefix("ExecStart="))[1:] == ["stick", "enforce", "--judge", "/dev/%I"]
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "--recursive-errors=no", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- with a loop device for the stick -----------------------------------------------------------------------------


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Device]:
    """Makes loop devices with ext4; they are gone after the test."""
    made: list[str] = []

    def make(*, formatted: bool = True) -> str:
        image = tmp_path / f"stick{len(made)}.img"
        with image.open("wb") as file:
            file.truncate(8 << 20)
        if formatted:
            subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        attached = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=True)
        made.append(attached.stdout.strip())
        return made[-1]

    yield make
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    left = [line.split(" ")[4] for line in table if str(tmp_path) in line]
    for point in left:
        subprocess.run(["umount", "-l", point], check=False)
    for device in made:
        # The flag outlives the image: the next one at this device would be read-only.
        enforce.set_read_only(device, read_only=False)
        subprocess.run(["losetup", "-d", device], check=True)
    assert left == []


def is_read_only(device: str) -> bool:
    """What the kernel says."""
    return subprocess.run(["blockdev", "--getro", device], capture_output=True, text=True, check=True).stdout == "1\n"


def mounted(device: str, at: Path, *options: str) -> None:
    """Mount it."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, device, str(at)], check=True, capture_output=True)


def taken_off(device: str, at: Path) -> None:
    """Take it off, until it is let go: whoever starts in a namespace of their own has a copy of it for a moment."""
    subprocess.run(["umount", str(at)], check=True)
    wait_for(lambda: error_of(lambda: os.close(os.open(device, os.O_RDONLY | os.O_EXCL))) is None, "nobody has it")


def judged(device: str, tmp_path: Path) -> str:
    """What the command of the unit says."""
    program = tmp_path / "cloakfs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m encfs "$@"\n')
    program.chmod(0o755)
    unit = enforce.files(enforce.Places(), str(program))[enforce.Places().unit]
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    command = shlex.split(line.removeprefix("ExecStart=").replace("%I", device.removeprefix("/dev/")))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.mount
@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=needs_filesystem("ext4"))])
def test_a_plain_stick_stays_read_only(stick: Device, tmp_path: Path, kind: str) -> None:
    """Whatever somebody mounts it with: nothing gets onto it, not even by root. It says why, and what to do."""
    del kind
    device = stick()
    said = judged(device, tmp_path)
    assert f"{device} is not encrypted" in said
    assert f"cloakfs stick create {device}" in said
    assert is_read_only(device)
    image = (tmp_path / "stick0.img").read_bytes()
    mounted(device, tmp_path / "at")
    try:
        with pytest.raises(OSError, match="Read-only file system"):
            (tmp_path / "at/letter.txt").write_text("Dear colleague\n")
    finally:
        taken_off(device, tmp_path / "at")
    with pytest.raises(PermissionError), Path(device).open("r+b", buffering=0) as raw:
        raw.write(b"x" * 4096)
    assert (tmp_path / "stick0.img").read_bytes() == image


@pytest.mark.mount
@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=needs_filesystem("ext4"))])
def test_an_encrypted_stick_can_be_written_to(stick: Device, tmp_path: Path, kind: str) -> None:
    """Also where a desktop was quicker and has mounted it read-only, and where it was pulled out before."""
    del kind
    device = stick()
    mounted(device, tmp_path / "at")
    (tmp_path / "at/encrypted").mkdir()
    Volume.create(os.fsencode(tmp_path / "at/encrypted/practice"), secret=PASSPHRASE.encode())
    taken_off(device, tmp_path / "at")
    enforce.set_read_only(device, read_only=True)
    mounted(device, tmp_path / "at")
    try:
        assert "holds a cloakfs volume" in judged(device, tmp_path)
        assert not is_read_only(device)
        (tmp_path / "at/beside").write_text("x")
    finally:
        taken_off(device, tmp_path / "at")


@pytest.mark.mount
@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=needs_filesystem("ext4"))])
def test_what_only_looks_like_a_volume(stick: Device, tmp_path: Path, kind: str) -> None:
    """A link with the name of a config, an empty file, a config too deep: read-only. So is what cannot be looked at."""
    del kind
    device = stick()
    mounted(device, tmp_path / "at")
    (tmp_path / "at/cloakfs.volume").symlink_to("/etc/hostname")
    (tmp_path / "at/a/b/c").mkdir(parents=True)
    (tmp_path / "at/a/cloakfs.volume").touch()
    (tmp_path / "at/a/b/c/cloakfs.volume").write_text("cloakfs-volume 1\n")
    taken_off(device, tmp_path / "at")
    assert not enforce.judge(device)
    assert is_read_only(device)
    garbage = stick(formatted=False)
    with pytest.raises(LowerIOError, match="stays read-only"):
        enforce.judge(garbage)
    assert is_read_only(garbage)


_UDEV_TEST = """
set -eu
mkdir -p /run/udev "$1/dev"
mount -t tmpfs tmpfs /run/udev
mount -t tmpfs tmpfs "$1/dev"
cp -a /dev/null "/dev/$2" "$1/dev"
mount --move "$1/dev" /dev
mkdir /run/udev/rules.d
cp "$1/rule" /run/udev/rules.d/70-cloakfs-stick.rules
exec udevadm test --action="$3" "/sys/class/block/$2" 2>&1
"""


def through_udev(rule: str, device: str, tmp_path: Path, action: str = "add") -> str:
    """What ``udevadm test`` says, with its own rules and ours, in places of its own."""
    (tmp_path / "rule").write_text(rule)
    arguments = [str(tmp_path), Path(device).name, action]
    command = ["unshare", "--mount", "bash", "-c", _UDEV_TEST, "bash", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.mount
@pytest.mark.skipif(shutil.which("udevadm") is None or os.geteuid() != 0, reason="needs udevadm, and root")
@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=needs_filesystem("ext4"))])
def test_udev_goes_through_the_rule(stick: Device, tmp_path: Path, kind: str) -> None:
    """A removable filesystem is closed and its unit wanted, on add only; a fixed, a blank and a mounted one is not."""
    del kind
    device, blank = stick(), stick(formatted=False)
    unit = f"SYSTEMD_WANTS=cloakfs-stick@{Path(device).name}.service"
    rule = enforce.files(enforce.Places(), "/usr/bin/cloakfs")[enforce.Places().rule]
    told = through_udev(rule, device, tmp_path)
    assert "ID_FS_USAGE=filesystem" in told
    assert "Invalid" not in told
    assert unit not in told
    # A loop device is not removable; for this one line it counts as such.
    stands_for_a_stick = rule.replace('ATTR{removable}=="1"', 'ATTR{removable}=="0"')
    assert stands_for_a_stick != rule
    told = through_udev(stands_for_a_stick, device, tmp_path)
    assert unit in told
    assert f"blockdev --setro {device}'" in told.splitlines()[-2] + told.splitlines()[-1]
    assert unit not in through_udev(stands_for_a_stick, device, tmp_path, "change")
    assert "SYSTEMD_WANTS=cloakfs" not in through_udev(stands_for_a_stick, blank, tmp_path)
    mounted(device, tmp_path / "at")
    try:
        assert unit not in through_udev(stands_for_a_stick, device, tmp_path)
    finally:
        taken_off(device, tmp_path / "at")
