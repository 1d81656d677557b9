"""Backups with restic over sftp, against a real sshd on loopback (FORMAT.md 18)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from encfs.backup.restic_engine import ResticEngine
from encfs.backup.restic_sftp import command
from encfs.backup.restic_words import ResticError, Trouble
from encfs.errors import UsageError
from tests.support.restic_backups import KEY, PLAN, VOLUME, Told, Yard, anything, flip, paths
from tests.support.sshd import Sshd, sshd

pytestmark = [pytest.mark.mount, pytest.mark.programs]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One for all of the module; a test that kills it starts it again."""
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def far(yard: Yard, server: Sshd) -> ResticEngine:
    """A backup of the yard into a repository on the server, in which nothing is yet."""
    there = server.home / "restic"
    if there.exists():
        there.rename(server.home / f"restic-{len(list(server.home.iterdir()))}")
    yard.repository.rename(there)
    yard.repository = there
    return _engine(yard, server)


def _engine(yard: Yard, server: Sshd) -> ResticEngine:
    return ResticEngine(PLAN, VOLUME, os.fsencode(yard.top), server.location("restic"), KEY, ssh=server.words)


def test_a_run_over_sftp(yard: Yard, far: ResticEngine) -> None:
    """Made, read back, found again, verified, opened and taken away over sftp."""
    (yard.top / "letter").write_bytes(b"dear colleague")
    (yard.top / "picture").write_bytes(os.urandom(300_000))
    first = far.run(anything, Told())
    assert (first.new_files, first.verified) == (2, 300_014)
    (yard.top / "letter").write_bytes(b"dear Colleague")
    second = far.run(anything, Told())
    assert [head.run for head in far.runs()] == [first.manifest.head.run, second.manifest.head.run]
    with far.open(first.manifest.head.run) as source:
        assert b"".join(source.read(b"letter")) == b"dear colleague"
    assert far.prune([second.manifest.head.run], Told()) == 0
    assert far.verify(second.manifest.head.run, Told()).damaged == ()


@pytest.mark.slow
def test_damage_far_away(yard: Yard, far: ResticEngine) -> None:
    """A bit, and a pack that is gone: verify names the files, and does not wait for what is not there."""
    (yard.top / "old").write_bytes(os.urandom(200_000))
    far.run(anything, Told())
    (old, *_) = yard.packs()
    (yard.top / "new").write_bytes(os.urandom(100_000))
    run = far.run(anything, Told()).manifest.head.run
    flip(old, 1000)
    assert paths(far.verify(run, Told()).damaged) == [b"old"]
    old.unlink()
    checked = far.verify(run, Told())
    assert (paths(checked.damaged), checked.bytes) == ([b"old"], 100_000)


def test_init_over_sftp(server: Sshd, tmp_path: Path) -> None:
    """A repository is made there, and not twice."""
    engine = ResticEngine(PLAN, VOLUME, None, server.location("made"), KEY, ssh=server.words)
    engine.init()
    assert (server.home / "made" / "config").is_file()
    assert engine.runs() == []
    with pytest.raises(ResticError) as caught:
        engine.init()
    assert caught.value.trouble is Trouble.THERE


def test_the_network_goes(yard: Yard, server: Sshd, far: ResticEngine) -> None:
    """A connection that is lost in the middle ends the run with a clear error; the next one is made and is whole."""
    (yard.top / "a").write_bytes(os.urandom(40_000_000))

    def cut(phase: str) -> None:
        if phase == "copying":
            server.kill()

    try:
        with pytest.raises(ResticError) as caught:
            far.run(anything, Told(cut))
        assert caught.value.trouble is Trouble.NETWORK
        with pytest.raises(ResticError) as caught:
            far.runs()
        assert caught.value.trouble is Trouble.NETWORK
    finally:
        server.start()
    assert far.runs() == []
    made = far.run(anything, Told())
    assert made.verified == 40_000_000


def test_another_computer_answers(yard: Yard, server: Sshd, far: ResticEngine) -> None:
    """A server with another key than before gets nothing."""
    (yard.top / "a").write_bytes(b"a")
    known = (server.base / "host_key.pub").read_text()
    server.know((server.base / "user_key.pub").read_text())
    try:
        with pytest.raises(ResticError) as caught:
            far.run(anything, Told())
    finally:
        server.know(known)
    assert caught.value.trouble is Trouble.HOST_KEY
    assert far.runs() == []


def test_a_key_that_is_not_let_in(server: Sshd, far: ResticEngine) -> None:
    """Nobody is asked for a password: it is refused, and said how to try."""
    allowed = server.base / "authorized_keys"
    known = allowed.read_bytes()
    allowed.write_bytes(b"")
    try:
        with pytest.raises(ResticError) as caught:
            far.runs()
    finally:
        allowed.write_bytes(known)
    assert caught.value.trouble is Trouble.REFUSED


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("sftp:backup-host:/a b", ["-s", "backup-host", "sftp"]),
        ("sftp:me@backup-host:a", ["-l", "me", "-s", "backup-host", "sftp"]),
        ("sftp://me@backup-host:2222//a", ["-l", "me", "-p", "2222", "-s", "backup-host", "sftp"]),
        ("sftp://backup-host/a", ["-s", "backup-host", "sftp"]),
    ],
)
def test_how_ssh_is_called(location: str, words: list[str]) -> None:
    """User, host and port come from the target, and nothing of it is an option of ssh."""
    found = command(location, ["ssh", "-4"])
    assert found[:4] == ["ssh", "-4", "-o", "BatchMode=yes"]
    assert found[-len(words) :] == words


@pytest.mark.parametrize("location", ["sftp:", "sftp:-oProxyCommand=x:/a", "sftp:me@:a", "sftp://h:x/a", "sftp:-l@h:a"])
def test_what_is_no_target(location: str) -> None:
    """A host that ssh would take for an option is refused."""
    with pytest.raises(UsageError):
        command(location, ["ssh"])
