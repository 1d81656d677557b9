"""Remotes of rclone for tests: a directory, and real servers on loopback, with passwords and TLS or SSH.

The config of rclone is a file of the test; that of whoever runs the tests is not looked at.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.mounting import wait_for

needs_rclone = pytest.mark.skipif(shutil.which("rclone") is None, reason="needs rclone")
PASSWORD = "a-secret-of-the-remote"


class Remotes:
    """A config of rclone, which is in force for the test."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base = base
        self.base.mkdir()
        self.config = base / "rclone.conf"
        self.config.touch()
        self.monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith("RCLONE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("RCLONE_CONFIG", str(self.config))

    def add(self, name: str, kind: str, **options: str) -> None:
        """A remote."""
        with self.config.open("a") as file:
            file.write(f"[{name}]\ntype = {kind}\n" + "".join(f"{key} = {value}\n" for key, value in options.items()))

    def directory(self, name: str = "nas") -> Path:
        """A remote that is a directory of this computer: that directory."""
        path = self.base / name
        path.mkdir()
        self.add(name, "alias", remote=str(path))
        return path

    @contextmanager
    def server(self, kind: str, name: str = "nas", *more: str) -> Iterator[Server]:
        """A remote that is a server, ``webdav`` over TLS or ``sftp``; it does not outlive the block."""
        server = Server(kind, self.base / f"served-{name}", self.base, more)
        self.monkeypatch.setenv("RCLONE_CA_CERT", str(server.authority.ca))
        words = {"user": "u", "pass": _obscured(PASSWORD)}
        if kind == "webdav":
            self.add(name, "webdav", url=f"https://127.0.0.1:{server.port}", vendor="other", **words)
        else:
            known = str(server.known_hosts)
            self.add(name, "sftp", host="127.0.0.1", port=str(server.port), known_hosts_file=known, **words)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Server:
    """``rclone serve`` of a directory."""

    def __init__(self, kind: str, path: Path, base: Path, more: tuple[str, ...]) -> None:
        self.path = path
        path.mkdir()
        self.authority = Authority(base)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = ["rclone", "serve", kind, str(path), "--addr", f"127.0.0.1:{self.port}", "--user", "u"]
        self._command += ["--pass", PASSWORD, "--config", "/dev/null", "--dir-cache-time", "0s", *more]
        if kind == "webdav":
            certified = self.authority.server("127.0.0.1")
            self._command += ["--cert", str(certified.certificate), "--key", str(certified.key)]
        else:
            key = base / f"host-key-{path.name}"
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
            subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
            self._command += ["--key", str(key)]
            self.known_hosts = base / f"known-hosts-{path.name}"
            public = key.with_name(f"{key.name}.pub").read_text(encoding="ascii")
            self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}", encoding="ascii")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        self._process = process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        wait_for(lambda: process.poll() is not None or self._answers(), "the server is there")
        assert process.poll() is None, "the server has ended"

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """The network is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def objects(self, path: str) -> list[Path]:
        """Files among the objects of a target on it, whole or not."""
        return [one for one in (self.path / path / "objects").rglob("*") if one.is_file()]


def _obscured(password: str) -> str:
    return subprocess.run(["rclone", "obscure", password], capture_output=True, text=True, check=True).stdout.strip()
