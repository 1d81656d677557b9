"""``cloakfs share``: set up, looked at and taken away, with a real mount and an /etc of the test's own."""

from __future__ import annotations

import grp
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from encfs.share import definition, mountpoint
from encfs.share.definition import ShareSpec
from tests.support.command import Result, run
from tests.support.mounting import SECRET, MountedVolume, is_mounted
from tests.support.pty_session import PtySession

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes shares"),
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse"),
    pytest.mark.skipif(shutil.which("testparm") is None, reason="no Samba"),
]
GROUP = "nogroup"


@dataclass
class Office:
    """A server: a locked volume, an /etc, and what the commands are run with."""

    volume: MountedVolume
    etc: Path

    @property
    def spec(self) -> ShareSpec:
        """The share that :meth:`init` makes."""
        return ShareSpec(name="practice", volume=str(self.volume.lower), mountpoint=str(self.volume.path), group=GROUP)

    @property
    def env(self) -> dict[str, str]:
        """What leads the command to this /etc."""
        return {"CLOAKFS_SHARE_ETC": str(self.etc)}

    def share(self, *arguments: str) -> Result:
        """Run ``cloakfs share``."""
        return run("share", *arguments, env=self.env)

    def init(self, *more: str) -> Result:
        """Run ``cloakfs share init`` for the volume, which is mounted so that no passphrase is asked for."""
        return self.share(
            "init", str(self.volume.lower), "practice", "--mountpoint", str(self.volume.path), "--group", GROUP, *more
        )

    def files(self) -> dict[str, bytes]:
        """Everything in /etc."""
        return {str(path.relative_to(self.etc)): path.read_bytes() for path in self.etc.rglob("*") if path.is_file()}

    def lights(self) -> dict[str, str]:
        """The light of each check. smbd does not run here, so that cannot be green."""
        found = self.share("check", "practice", "--json")
        assert found.code == {"green": 0, "amber": 1, "red": 2}[found.json["light"]]
        lights = {check["code"]: check["light"] for check in found.json["checks"]}
        assert lights.pop("smbd", "amber") == "amber"
        return lights


@pytest.fixture
def office() -> Iterator[Office]:
    """A server of the test's own; afterwards no mount, no process, no finding, and nothing immutable."""
    base = Path(tempfile.mkdtemp(prefix="cloakfs-share-")).resolve()
    base.chmod(0o755)
    etc = base / "etc"
    (etc / "samba").mkdir(parents=True)
    # A port that nobody listens at: what Samba this machine may run is not asked.
    (etc / "samba/smb.conf").write_text("[global]\n  workgroup = PRACTICE\n  smb ports = 1\n")
    made = Office(MountedVolume(base, options=("--allow-other",)), etc)
    try:
        yield made
        made.volume.finish()
    finally:
        if is_mounted(made.volume.path):
            run("lock", made.volume.path, "--force")
        assert not is_mounted(made.volume.path), "a mount was left behind"
        if made.volume.path.exists():
            mountpoint.set_immutable(str(made.volume.path), on=False, covered=False)
        shutil.rmtree(base)


def can_be_immutable(path: Path) -> bool:
    """Whether the filesystem below has the flag."""
    return mountpoint.look(str(path), covered=is_mounted(path)).immutable is not None


def test_a_share_is_shown_made_checked_and_taken_away(office: Office) -> None:
    """Nothing is written before consent, all after, nothing twice; green but for smbd; removed; the log tells."""
    before = office.files()
    refused = office.init()
    assert (refused.code, office.files()) == (2, before)
    assert all(text in refused.out for text in ("+[practice]", "+ExecStart=", "+include = ", "chattr +i"))
    assert "--yes" in refused.err

    office.volume.mount()
    made = office.init("--yes", "--json")
    folder = office.volume.path / "Share"
    assert made.code == 0
    assert made.json["folder"] == str(folder)
    assert set(made.json["changed"]) >= {str(folder), str(office.etc / "samba/smb.conf")}
    assert made.json["next"][-1] == "cloakfs share check practice"
    info = folder.stat()
    assert (info.st_mode & 0o7777, info.st_gid) == (0o2770, grp.getgrnam(GROUP).gr_gid)
    again = office.init("--yes", "--json")
    assert (again.code, again.json["changed"]) == (0, [])

    lights = office.lights()
    assert {light for code, light in lights.items() if code != "bare"} == {"green"}
    assert {"encryption", "ciphers", "protocol", "guest", "offline", "oplocks", "guard"} <= set(lights)
    assert {"guard-works", "dos-attributes", "acls", "free-space", "mount", "bare"} <= set(lights)
    assert lights["bare"] == ("green" if can_be_immutable(office.volume.path) else "amber")
    assert os.listdir(folder) == []

    busy = office.share("remove", "practice", "--yes")
    assert (busy.code, "systemctl stop" in busy.err) == (20, True)
    office.volume.lock()
    unasked = office.share("remove", "practice")
    assert (unasked.code, "is removed" in unasked.out) == (2, True)
    assert office.share("remove", "practice", "--yes").code == 0
    assert office.files() == before
    assert not office.volume.path.exists()
    assert office.share("check", "practice").code == 26
    told = [(one["action"], one["outcome"]) for one in run("audit", "show", "--json").json["records"]]
    assert {("volume.share", "refused"), ("volume.share", "done"), ("volume.unshare", "done")} <= set(told)
    assert ("volume.unshare", "failed") in told or ("volume.unshare", "refused") in told
    assert "volume.share-check" in dict(told)
    office.volume.path.mkdir()
    office.volume.mount()
    assert folder.is_dir()


def test_what_cannot_be_a_share_is_refused_before_anything_is_written(office: Office, tmp_path: Path) -> None:
    """No such group, a passphrase beside the volume, plain files in the mount point, a mount elsewhere, a bad name."""
    before = office.files()
    where = ("--mountpoint", str(office.volume.path))
    lower = str(office.volume.lower)

    def refused(*arguments: str) -> tuple[int, str]:
        result = office.share("init", *arguments, "--yes")
        assert office.files() == before
        return result.code, result.err

    code, said = refused(lower, "practice", *where)
    assert (code, "addgroup practice" in said) == (2, True)
    code, said = refused(lower, "a/b", *where, "--group", GROUP)
    assert code == 2
    code, said = refused(
        lower, "practice", *where, "--group", GROUP, "--passphrase-file", str(office.volume.secret_file)
    )
    assert (code, "same medium" in said) == (2, True)
    code, said = refused(lower, "practice", "--mountpoint", lower + "/mnt", "--group", GROUP)
    assert code == 19
    code, said = refused(str(tmp_path), "practice", *where, "--group", GROUP)
    assert code == 15
    leak = office.volume.path / "leak"
    leak.write_text("plain")
    code, said = refused(lower, "practice", *where, "--group", GROUP)
    assert (code, "unencrypted" in said) == (17, True)
    leak.unlink()
    office.volume.mount()
    code, said = refused(lower, "practice", "--mountpoint", str(tmp_path / "mnt"), "--group", GROUP)
    assert (code, "cloakfs lock" in said) == (19, True)
    office.volume.lock()
    code, said = refused(lower, "practice", *where, "--group", GROUP)
    assert (code, "passphrase" in said) == (2, True), "there is nobody to type it"


def test_a_daemon_that_died_leaves_no_way_in(office: Office) -> None:
    """kill -9: the guard refuses, the bare directory stays empty for root too, the check is red. So while it closes."""
    office.volume.mount()
    assert office.init("--yes").code == 0
    guard = ["/bin/sh", "-c", office.spec.guard]
    assert subprocess.run(guard, check=False).returncode == 0
    closing = office.volume.base / "closing"
    while_closing = definition.guard(office.spec.mountpoint, office.spec.folder, str(closing))
    assert subprocess.run(["/bin/sh", "-c", while_closing], check=False).returncode == 0
    closing.touch()
    assert subprocess.run(["/bin/sh", "-c", while_closing], check=False).returncode != 0
    office.volume.kill_daemon()
    assert subprocess.run(guard, check=False).returncode != 0
    lights = office.lights()
    assert (lights["mount"], lights["guard-works"]) == ("red", "green")
    office.volume.clear_dead_mount()
    assert subprocess.run(guard, check=False).returncode != 0
    lights = office.lights()
    assert (lights["mount"], lights["guard-works"]) == ("amber", "green")
    if can_be_immutable(office.volume.path):
        with pytest.raises(PermissionError):
            (office.volume.path / "Share").mkdir()
    assert os.listdir(office.volume.path) == []
    office.volume.mount()
    assert subprocess.run(guard, check=False).returncode == 0
    assert office.lights()["mount"] == "green"


@pytest.mark.slow
def test_a_daemon_that_hangs_is_not_waited_for_without_end(office: Office) -> None:
    """SIGSTOP: the guard refuses after ten seconds, and the check, which sees that, asks nothing more of the mount."""
    office.volume.mount()
    assert office.init("--yes").code == 0
    os.kill(office.volume.pid, signal.SIGSTOP)
    try:
        assert subprocess.run(["/bin/sh", "-c", office.spec.guard], check=False).returncode != 0
        lights = office.lights()
    finally:
        os.kill(office.volume.pid, signal.SIGCONT)
    assert lights["guard-works"] == "amber"
    assert "acls" not in lights


@pytest.mark.parametrize(
    ("setting", "instead", "code"),
    [
        ("server smb encrypt = required", "server smb encrypt = desired", "encryption"),
        ("guest ok = no", "guest ok = yes", "guest"),
        ("valid users = +nogroup", "", "guest"),
        ("csc policy = disable", "", "offline"),
        ("kernel oplocks = no", "kernel oplocks = yes", "oplocks"),
        ("posix locking = no", "", "durable"),
        ("map archive = no", "", "dos-attributes-kept"),
        ("vfs objects = acl_xattr streams_xattr", "vfs objects = streams_xattr xattr_tdb", "acls-kept"),
        ("wide links = no", "wide links = yes", "links"),
        ("root preexec close = yes", "", "guard"),
        ("strict sync = yes", "strict sync = no", "sync"),
    ],
)
def test_a_setting_that_is_not_in_force_is_red(shared_office: Office, setting: str, instead: str, code: str) -> None:
    """Each single setting that was changed by hand is found, by what Samba makes of it; init puts it right."""
    path = shared_office.etc / "samba/cloakfs/practice.conf"
    good = path.read_text()
    assert good.count(f"    {setting}\n") == 1
    path.write_text(good.replace(f"    {setting}\n", f"    {instead}\n" if instead else ""))
    lights = shared_office.lights()
    assert (lights[code], lights["files"]) == ("red", "amber")
    assert {light for other, light in lights.items() if other not in (code, "files", "log", "mount")} == {"green"}
    shown = shared_office.init("--yes")
    assert (shown.code, path.read_text()) == (0, good)
    assert f"+    {setting}" in shown.out


def test_a_setting_for_all_shares_that_is_overruled_is_red(shared_office: Office) -> None:
    """What smb.conf says after our line wins, and is seen: old dialects, other ciphers; so is that the line is gone."""
    conf = shared_office.etc / "samba/smb.conf"
    good = conf.read_text()
    conf.write_text(
        good
        + "[global]\nserver min protocol = SMB2_02\n"
        + "server smb3 encryption algorithms = AES-128-CCM, AES-128-GCM\n"
    )
    lights = shared_office.lights()
    assert (lights["protocol"], lights["ciphers"]) == ("red", "red")
    conf.write_text(good.partition("\n# Encrypted shares")[0])
    lights = shared_office.lights()
    assert (lights["share"], lights["files"]) == ("red", "amber")
    assert shared_office.init("--yes").code == 0
    assert conf.read_text() == good


@pytest.fixture(scope="module")
def shared_office() -> Iterator[Office]:
    """A server whose share is set up and locked, for tests that change its files and put them right."""
    with tempfile.TemporaryDirectory(prefix="cloakfs-share-") as name:
        base = Path(name).resolve()
        base.chmod(0o755)
        (base / "etc/samba").mkdir(parents=True)
        (base / "etc/samba/smb.conf").write_text("[global]\n  smb ports = 1\n")
        made = Office(MountedVolume(base, options=("--allow-other",)), base / "etc")
        made.volume.mount()
        try:
            assert made.init("--yes").code == 0
            made.volume.lock()
            yield made
            made.volume.finish()
        finally:
            if is_mounted(made.volume.path):
                run("lock", made.volume.path, "--force")
            mountpoint.set_immutable(str(made.volume.path), on=False, covered=False)


def test_a_person_consents_and_types_the_passphrase(office: Office) -> None:
    """On a terminal it asks; who says no has changed nothing. The volume is unlocked only to make the folder."""
    words = [str(office.volume.lower), "practice", "--mountpoint", str(office.volume.path), "--group", GROUP]
    before = office.files()
    with PtySession("share", "init", *words, env=office.env) as terminal:
        terminal.answer('Type "yes": ', "no")
        assert terminal.end() == 130
    assert office.files() == before
    with PtySession("share", "init", *words, env=office.env) as terminal:
        terminal.answer('Type "yes": ', "yes")
        terminal.answer("Passphrase of", SECRET.decode())
        assert terminal.end() == 0
    office.volume.mount()
    assert (office.volume.path / "Share").stat().st_mode & 0o7777 == 0o2770
    assert office.volume.path.stat().st_mode & 0o111 == 0o111
    assert office.lights()["acls"] == "green"


def test_without_root_it_says_what_it_cannot_see(office: Office) -> None:
    """An ordinary user gets amber for what only root sees, and no red for it."""
    office.volume.mount()
    assert office.init("--yes").code == 0
    command = [sys.executable, "-m", "encfs", "share", "check", "practice"]
    done = subprocess.run(
        ["setpriv", "--reuid=nobody", "--regid=daemon", "--clear-groups", *command],
        capture_output=True, text=True, check=False, cwd="/",
        env={**os.environ, **office.env, "CLOAKFS_STATE_DIRECTORY": str(_for_anybody(office)), "HOME": "/nonexistent"},
    )  # fmt: skip
    if "Permission denied" in done.stderr:
        pytest.skip("other users may not run this checkout")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BAD" not in done.stdout
    assert "without root" in done.stdout


def _for_anybody(office: Office) -> Path:
    path = office.volume.base / "state"
    path.mkdir()
    path.chmod(0o1777)
    return path


def test_doctor_looks_at_shares(office: Office) -> None:
    """``cloakfs doctor`` has each share with the lights of ``share check``; without a share there is none."""
    assert run("doctor", office.volume.lower, "--json", env=office.env).json["shares"] == []
    office.volume.mount()
    assert office.init("--yes").code == 0
    (found,) = run("doctor", office.volume.lower, "--json", env=office.env).json["shares"]
    assert found["share"] == "practice"
    shown = {check["code"]: check["light"] for check in found["checks"]}
    assert shown.pop("smbd", "amber") == "amber"
    assert shown == office.lights()
    office.volume.lock()
    assert office.share("remove", "practice", "--yes").code == 0
