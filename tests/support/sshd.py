"""A real sshd on loopback, with keys of its own that nobody else has, for whatever goes over sftp."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.mounting import wait_for

HOST = "backup-host"


class Sshd:
    """One that runs.

    Attributes:
        base: the directory with its keys.
        words: how a command line of ssh begins that can reach it.
        home: a directory for what is stored there.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.home = base / "home"
        self.home.mkdir()
        self.words = ("ssh", "-F", str(base / "ssh_config"))
        self._port = _free_port()
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / name], check=True)
        (base / "authorized_keys").write_bytes((base / "user_key.pub").read_bytes())
        self.know((base / "host_key.pub").read_text())
        self._write("sshd_config", self._server())
        self._write("ssh_config", self._client())
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def location(self, name: str) -> str:
        """Of a directory there, as a target is given."""
        return f"sftp:{HOST}:{self.home / name}"

    def know(self, public: str) -> None:
        """Which key the client expects of it."""
        (self.base / "known_hosts").write_text(f"[127.0.0.1]:{self._port} {public}")

    def start(self) -> None:
        """Begin to answer."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = [shutil.which("sshd", path="/usr/sbin") or "sshd", "-D", "-e", "-f", str(self.base / "sshd_config")]
        with (self.base / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._answers, "sshd answers")

    def kill(self) -> None:
        """As when the network goes: it and all connections are gone."""
        if self._process is None:
            return
        for pid in [self._process.pid, *_below(self._process.pid)]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self._port)) == 0

    def _write(self, name: str, options: dict[str, object]) -> None:
        (self.base / name).write_text("".join(f"{option} {value}\n" for option, value in options.items()))

    def _server(self) -> dict[str, object]:
        return {
            "ListenAddress": "127.0.0.1",
            "Port": self._port,
            "HostKey": self.base / "host_key",
            "AuthorizedKeysFile": self.base / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "Subsystem": "sftp internal-sftp",
        }

    def _client(self) -> dict[str, object]:
        return {
            "Host": HOST,
            "HostName": "127.0.0.1",
            "Port": self._port,
            "IdentityFile": self.base / "user_key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.base / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }


@contextmanager
def sshd(base: Path) -> Iterator[Sshd]:
    """One in a directory of its own; nothing of it runs behind this."""
    if shutil.which("sshd", path="/usr/sbin") is None:
        pytest.skip("no sshd")
    one = Sshd(base)
    try:
        yield one
    finally:
        one.kill()


def _below(parent: int) -> list[int]:
    """All processes that it and they have begun."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                above = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(above, []).append(int(entry.name))
    found, pending = [], [parent]
    while pending:
        more = parents.get(pending.pop(), [])
        found += more
        pending += more
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
