"""Hosts that remember volumes: each has a state directory of its own, and a clock and a name if need be."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encfs.format.slots import SlotKind
from encfs.host.freshness import HostFreshness
from encfs.volume import Volume, sessions
from encfs.volume.older import older_files
from tests.support.volumes import RECOVERY_KEY, LowerVolume


class Host:
    """A machine on which volumes are unlocked by the library as a command does it, with the memory in ``state``.

    ``skew_ms`` is added to its clock; ``name`` is its host name (None: the true one).
    """

    def __init__(self, state: Path, *, skew_ms: int = 0, name: str | None = None) -> None:
        self.state = state
        self.skew_ms = skew_ms
        self.name = name

    @contextmanager
    def here(self) -> Iterator[None]:
        """What is done in the block is done on this host."""
        before = os.environ.get("CLOAKFS_STATE_DIRECTORY")
        clock, hostname = sessions._now_ms, sessions.socket.gethostname
        os.environ["CLOAKFS_STATE_DIRECTORY"] = str(self.state)
        sessions._now_ms = lambda: clock() + self.skew_ms
        if self.name is not None:
            sessions.socket.gethostname = lambda: self.name
        try:
            yield
        finally:
            sessions._now_ms, sessions.socket.gethostname = clock, hostname
            if before is None:
                del os.environ["CLOAKFS_STATE_DIRECTORY"]
            else:
                os.environ["CLOAKFS_STATE_DIRECTORY"] = before

    def unlock_here(self, path: Path, **options: Any) -> Volume:
        """Unlock with this host's memory; the caller is in :meth:`here`."""
        return Volume.unlock(
            os.fsencode(path), RECOVERY_KEY, SlotKind.RECOVERY, freshness=HostFreshness(), mountpoint=b"/m", **options
        )

    @contextmanager
    def unlocked(self, lower: LowerVolume | Path, **options: Any) -> Iterator[Volume]:
        """A volume that is unlocked on this host for the time of the block."""
        path = lower.path if isinstance(lower, LowerVolume) else lower
        with self.here(), self.unlock_here(path, **options) as volume:
            yield volume

    def crash(self, lower: LowerVolume | Path, work: Any) -> None:
        """Unlock, do ``work``, and die without closing anything: what was written stays, the session stays OPEN."""
        path = lower.path if isinstance(lower, LowerVolume) else lower
        with self.here():
            volume = self.unlock_here(path)
            work(volume)
            abandon(volume)

    def accept(self, lower: LowerVolume | Path) -> int:
        """``cloakfs accept`` of the whole volume as it lies there; how many files were older."""
        with self.unlocked(lower, read_only=True) as volume:
            memory = volume.memory
            assert isinstance(memory, HostFreshness)
            older = list(older_files(volume, memory))
            whole = (volume.config.seq, volume.config_digest, volume.sessions.records())
            rows = [(file.header.fid, file.header.generation) for file in older]
            assert memory.accept(rows, whole, login="tester", reason="a test", what="all")
            return len(older)

    def database(self) -> Path:
        """The one memory file."""
        (found,) = (self.state / "volumes").glob("*.sqlite")
        return found

    def rows(self, sql: str) -> list[Any]:
        """What a query finds in the memory."""
        connection = sqlite3.connect(self.database())
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def copy(self, state: Path) -> Host:
        """A host that knows just the same; also in the middle of this one's work."""
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(self.state, state)
        return Host(state, skew_ms=self.skew_ms, name=self.name)


def abandon(volume: Volume) -> None:
    """The process of an open volume dies: descriptors are closed, and nothing else happens."""
    for node in volume.tree.open_nodes():
        if node.file is not None:
            node.file.close(discard=True)
            node.file = None
    volume._abandon()
