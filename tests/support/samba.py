"""An smbd of a test's own: port, users, state and configuration in its directory; nothing of it stays."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encfs.share.definition import ShareSpec, definition, global_settings
from tests.support.mounting import is_gone, wait_for
from tests.support.programs import TIMEOUT, environment

# Accounts of one group that every Debian has. They can log in nowhere; here they are people with a password in a passdb
# of our own.
ANNA, BERT, STAFF = "sync", "_apt", "nogroup"
PASSWORD = "only-for-tests"
_TORTURE_SECONDS = 400.0

_GLOBAL = """\
[global]
    server role = standalone server
    workgroup = TEST
    netbios name = TEST
    interfaces = lo
    bind interfaces only = yes
    smb ports = {port}
    disable netbios = yes
    load printers = no
    printcap name = /dev/null
    private dir = {state}
    state directory = {state}
    lock directory = {state}
    cache directory = {state}
    pid directory = {state}
    ncalrpc dir = {state}/ncalrpc
    log file = {state}/smbd.log
    log level = 1
    max log size = 0
    passdb backend = tdbsam:{state}/passdb.tdb
    map to guest = never
"""


@dataclass
class Server:
    """A running smbd.

    Attributes:
        pid: of the process that listens.
    """

    base: Path
    port: int
    pid: int

    @property
    def conf(self) -> Path:
        """Its smb.conf."""
        return self.base / "smb.conf"

    @property
    def log(self) -> str:
        """What it has written so far."""
        return (self.base / "smbd.log").read_text(errors="replace")

    def client(self, share: str, *lines: str, user: str = ANNA, cwd: Path | None = None, check: bool = True) -> str:
        """Run commands of smbclient, one after the other, and return what it said, errors too."""
        command = ["smbclient", *self._options(user), f"//127.0.0.1/{share}", "-c", ";".join(lines)]
        result = subprocess.run(
            command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
        said = result.stdout + result.stderr
        assert not check or (result.returncode == 0 and "NT_STATUS" not in said), said
        return said

    def torture(self, share: str, test: str) -> str:
        """Run a test of smbtorture and return its report, in the form of subunit: of one that hangs, what is done."""
        command = [
            "smbtorture", f"//127.0.0.1/{share}", "-p", str(self.port), f"-U{ANNA}%{PASSWORD}", "-s", str(self.conf),
            "--client-protection=encrypt", "--format=subunit", test,
        ]  # fmt: skip
        with tempfile.TemporaryFile(dir=self.base) as report:
            try:
                subprocess.run(
                    command, env=environment(), stdin=subprocess.DEVNULL, stdout=report, stderr=report, cwd=self.base,
                    timeout=_TORTURE_SECONDS, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                pass  # Some wait for ever for what this server does not do, over a plain folder too.
            report.seek(0)
            return report.read().decode(errors="replace")

    def is_inside(self, path: Path) -> bool:
        """Whether one of its processes works in a directory; that of a client ends a moment after the client."""
        for pid in _of_session(self.pid):
            try:
                if Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(path):
                    return True
            except FileNotFoundError:
                continue
        return False

    def _options(self, user: str) -> Sequence[str]:
        return [
            "-p", str(self.port), f"-U{user}%{PASSWORD}", "-s", str(self.conf), "-m", "SMB3",
            "--client-protection=encrypt",
        ]  # fmt: skip


def share(spec: ShareSpec) -> str:
    """A share as a user gets it."""
    return definition(spec)


def bare_share(spec: ShareSpec, folder: Path) -> str:
    """The same share over a plain folder: what it takes to tell what cloakfs adds from what Samba does."""
    lines = definition(spec).splitlines(keepends=True)
    text = "".join(line for line in lines if not line.strip().startswith("root preexec"))
    return text.replace(f"path = {spec.folder}\n", f"path = {folder}\n")


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(base: Path, *shares: str) -> Iterator[Server]:
    """An smbd with these shares (:func:`share`) for Anna and Bert; when the block ends, so do all its processes."""
    base.mkdir()
    server = Server(base, free_port(), 0)
    own = _GLOBAL.format(port=server.port, state=base)
    server.conf.write_text("\n".join([global_settings(), own, *shares]))
    for user in (ANNA, BERT):
        subprocess.run(
            ["smbpasswd", "-c", str(server.conf), "-a", "-s", user], input=f"{PASSWORD}\n{PASSWORD}\n", text=True,
            check=True, capture_output=True,
        )  # fmt: skip
    # A session of its own: every process that it makes is in it, and can be found when it is over.
    process = subprocess.Popen(
        ["smbd", "--foreground", "--no-process-group", "-s", str(server.conf)],
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    server.pid = process.pid
    try:
        wait_for(lambda: process.poll() is not None or _answers(server.port), "smbd listens")
        assert process.poll() is None, server.log
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)
        left = _of_session(process.pid)
        for pid in left:
            _kill(pid)
        wait_for(lambda: all(is_gone(pid) for pid in left), "the processes of smbd end")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def _of_session(session: int) -> list[int]:
    found = subprocess.run(["pgrep", "-s", str(session)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
