"""``cloakfs share`` with a real smbd: what init writes is served, what check says is so for clients."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.share import mountpoint
from encfs.share.definition import ShareSpec
from encfs.share.units import unit
from tests.support.command import Result, run
from tests.support.media import clear_away
from tests.support.mounting import MountedVolume, wait_for
from tests.support.programs import finish
from tests.support.samba import ANNA, PASSWORD, STAFF, Server, serving

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes shares"),
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse"),
    pytest.mark.skipif(shutil.which("smbd") is None or shutil.which("smbclient") is None, reason="no Samba"),
]
NAME = "practice"


@pytest.fixture
def place() -> Iterator[Path]:
    """A new directory that every user may enter; pytest's own are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="cloakfs-share-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def _reload(server: Server) -> None:
    """Let smbd read its configuration anew, as ``systemctl reload smbd`` does."""
    os.kill(server.pid, signal.SIGHUP)


def _lights(result: Result) -> dict[str, str]:
    return {check["code"]: check["light"] for check in result.json["checks"]}


def _close_like_the_unit(server: Server, volume: MountedVolume, base: str) -> None:
    """What the service does before it locks: a client that is in is let go, so that nothing keeps the mount busy."""
    spec = ShareSpec(name=NAME, volume=str(volume.lower), mountpoint=str(volume.path), group=STAFF)
    lines = [line for line in unit(spec, "/cloakfs").splitlines() if line.startswith("ExecStop=")]
    (line,) = [line for line in lines if "smbcontrol" in line]
    program, *arguments = shlex.split(line.removeprefix("ExecStop=-"))
    client = subprocess.Popen(
        ["smbclient", f"//127.0.0.1/{NAME}", "-p", str(server.port), f"-U{ANNA}%{PASSWORD}", "-s", str(server.conf)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=base, bufsize=0,
    )  # fmt: skip
    assert client.stdin is not None
    try:
        client.stdin.write(b"ls\n")
        wait_for(lambda: server.is_inside(volume.path), "a client is in")
        subprocess.run([program, f"--configfile={server.conf}", *arguments], check=True)
        wait_for(lambda: not server.is_inside(volume.path), "smbd has let it go")
    finally:
        client.stdin.close()
        client.kill()
        client.wait()


def test_check_is_green_for_what_init_made_and_red_for_what_smbd_lets_through(place: Path) -> None:
    """Init into the smb.conf of a running smbd: members work, the check is green. A guest is seen, and old dialects."""
    volume = MountedVolume(place, options=("--allow-other",))
    etc = place / "etc"
    (etc / "samba").mkdir(parents=True)
    (etc / "samba/smb.conf").symlink_to(place / "smb/smb.conf")

    def share(*arguments: str) -> Result:
        return run("share", *arguments, env={"CLOAKFS_SHARE_ETC": str(etc)})

    def check() -> dict[str, str]:
        return _lights(share("check", NAME, "--json"))

    try:
        volume.mount()
        with serving(place / "smb") as server:
            where = ("--mountpoint", str(volume.path), "--group", STAFF)
            assert share("init", str(volume.lower), NAME, *where, "--yes").code == 0
            _reload(server)
            wait_for(lambda: "NT_STATUS" not in server.client(NAME, "ls", check=False), "smbd serves the share")
            server.client(NAME, f"put {place}/passphrase letter.txt", "ls")
            done = share("check", NAME, "--json")
            assert (done.code, set(_lights(done).values())) == (0, {"green"})
            assert {"smbd-protocol", "smbd-guest", "smbd-log", "clients"} <= set(_lights(done))

            good = server.conf.read_text()
            loose = "[global]\nserver min protocol = SMB2_02\nserver smb encrypt = desired\nmap to guest = bad user\n"
            loose += "guest account = root\n"
            loose += f"log level = 2\n[{NAME}]\nguest ok = yes\nserver smb encrypt = desired\nvalid users =\n"
            server.conf.write_text(good + loose)
            _reload(server)
            wait_for(lambda: check()["smbd-guest"] == "red", "smbd lets a guest in")
            lights = check()
            assert (lights["smbd-protocol"], lights["smbd-log"]) == ("red", "amber")
            assert (lights["guest"], lights["encryption"], lights["files"]) == ("red", "red", "red")

            server.conf.write_text(good)
            _reload(server)
            wait_for(lambda: set(check().values()) == {"green"}, "smbd is strict again")
            _close_like_the_unit(server, volume, str(place))
            volume.kill_daemon()
            lights = check()
            assert (lights["mount"], lights["guard-works"], lights["smbd-guest"]) == ("red", "green", "green")
            assert "NT_STATUS_ACCESS_DENIED" in server.client(NAME, "ls", check=False)
            volume.clear_dead_mount()
            assert "NT_STATUS_ACCESS_DENIED" in server.client(NAME, "put /dev/null leak", check=False)
            assert os.listdir(volume.path) == []
            volume.mount()
            wait_for(lambda: "letter.txt" in server.client(NAME, "ls", check=False), "the share is back")
            wait_for(lambda: not server.is_inside(volume.path), "smbd leaves the mount")
        finish(volume)
    finally:
        clear_away(volume)
        mountpoint.set_immutable(str(volume.path), on=False, covered=False)
