"""A state machine over use, crashes, older copies and accept, against a model: an alarm if and only if truly older.

The model of FORMAT.md section 13 keeps no database: it knows for each file id the highest generation that was on the
disk at the end of a session, and for each session how far it had come.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from encfs.core import frames
from encfs.errors import RollbackError, VolumeRollbackError
from encfs.format.header import FileHeader
from encfs.format.session import SessionState
from encfs.units import FileId, SessionId
from encfs.volume import Volume
from tests.support.evidence import record
from tests.support.host import Host
from tests.support.volumes import LowerVolume, own_ring, pattern, read

NAMES = st.sampled_from([b"a", b"b", b"c"])
OPS = st.lists(st.tuples(st.sampled_from(["write", "sync", "empty", "rename", "remove"]), NAMES, NAMES), max_size=4)


class Aging(RuleBasedStateMachine):
    """One host, one volume, and somebody who keeps copies."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.base = Path(tempfile.mkdtemp(prefix="cloakfs-aging-", dir=memory))
        self.lower = LowerVolume(self.base / "volume")
        with self.lower.unlock(read_only=True) as volume:
            self.ring = own_ring(volume.ctx.ring)
        self.host = Host(self.base / "state")
        self.copies: list[Path] = []
        self.known: dict[FileId, int] = {}
        self.deleted: dict[FileId, int] = {}
        self.sessions: dict[SessionId, bool] = {}  # Whether it has ended.
        self.count = 0

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    # -- the model -----------------------------------------------------------------------------------------

    def headers(self, path: Path) -> dict[str, FileHeader]:
        """The headers of the lower files of a tree."""
        files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith("cloakfs.")]
        return {file.name: frames.open_header(self.ring, file.read_bytes()[:512]) for file in files}

    def records(self, path: Path) -> dict[SessionId, bool]:
        """The session records of a tree: whether each has ended."""
        files = [file for file in (path / "cloakfs.s").iterdir() if file.name != "lock"]
        records = [frames.open_session(self.ring, file.read_bytes()) for file in files]
        return {one.session: one.state is not SessionState.OPEN for one in records}

    def is_older(self, path: Path) -> bool:
        """Whether the host has seen a later state of the whole volume. Runs stay below what pruning keeps."""
        there = self.records(path)
        return any(session not in there or (ended and not there[session]) for session, ended in self.sessions.items())

    def is_older_file(self, header: FileHeader) -> bool:
        """Whether the host has seen a later state of one file."""
        fid = header.fid
        return header.generation < self.known.get(fid, 0) or header.generation <= self.deleted.get(fid, -1)

    def learn(self, gone: dict[FileId, int]) -> None:
        """A session has ended well: what there is now is known, and what it deleted."""
        for header in self.headers(self.lower.path).values():
            self.known[header.fid] = max(header.generation, self.known.get(header.fid, 0))
        self.deleted.update(gone)
        self.sessions.update(self.records(self.lower.path))

    # -- use ------------------------------------------------------------------------------------------------

    def work(self, volume: Volume, ops: list[tuple[str, bytes, bytes]]) -> None:
        """What a program does."""
        for kind, name, other in ops:
            self.count += 1
            there = volume.tree.find(volume.tree.root, name) is not None
            if kind == "write":
                volume.write_file(name, pattern(4000, self.count))
            elif kind == "sync":
                with volume.open(name, writable=True, create=True) as file:
                    file.write(0, b"%d" % self.count)
                    file.sync()
            elif kind == "empty":
                volume.write_file(name, b"")
            elif there and kind == "rename":
                volume.rename(name, other)
            elif there and kind == "remove":
                volume.remove(name)
        for entry in volume.list_directory(b""):
            read(volume, entry.name)

    @initialize()
    def begin(self) -> None:
        self.use([("write", b"a", b"a"), ("write", b"b", b"b")])

    @rule(ops=OPS)
    def use(self, ops: list[tuple[str, bytes, bytes]]) -> None:
        """A session that ends well."""
        before = {header.fid: header.generation for header in self.headers(self.lower.path).values()}
        with self.host.unlocked(self.lower) as volume:
            assert volume.rollback is None
            last = {header.fid: header.generation for header in self.headers(self.lower.path).values()}
            self.work(volume, ops)
            assert volume.ctx.events == 0
        now = {header.fid for header in self.headers(self.lower.path).values()}
        self.learn({fid: max(last.get(fid, 0), generation) for fid, generation in before.items() if fid not in now})

    @rule(ops=OPS)
    def crash(self, ops: list[tuple[str, bytes, bytes]]) -> None:
        """A session whose process is killed. What it synced is known; the rest when the next one has recovered it."""

        def killed(volume: Volume) -> None:
            self.learn({})  # Unlocking has recovered what was there, and made it durable.
            memory = volume.memory
            assert memory is not None
            synced = memory.synced

            def note(fid: FileId, generation: int) -> None:
                synced(fid, generation)
                self.known[fid] = max(generation, self.known.get(fid, 0))

            memory.synced = note  # type: ignore[method-assign]
            self.work(volume, ops)
            memory.flush()

        self.host.crash(self.lower, killed)

    @precondition(lambda self: len(self.copies) < 4)
    @rule()
    def copy(self) -> None:
        """Somebody keeps a copy."""
        path = self.base / f"copy-{len(self.copies)}"
        shutil.copytree(self.lower.path, path)
        self.copies.append(path)

    # -- old state ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.copies)
    @rule(data=st.data(), accept=st.booleans())
    def put_back_all(self, data: st.DataObject, *, accept: bool) -> None:
        """The whole volume as it was: alarm iff older; then it goes on, accepted or with the present one again."""
        old = data.draw(st.sampled_from(self.copies))
        expected = self.is_older(old)
        present = self.base / "present"
        self.lower.path.rename(present)
        shutil.copytree(old, self.lower.path)
        assert self.refused() == expected
        if expected and accept:
            shutil.rmtree(present)
            self.accept()
            return
        if not expected:
            self.sessions.update(self.records(old))  # To look at it is to have seen it.
        shutil.rmtree(self.lower.path)
        present.rename(self.lower.path)
        if self.is_older(self.lower.path):
            assert self.refused()
            self.accept()

    def accept(self) -> None:
        """What lies there now is what the host remembers."""
        self.host.accept(self.lower)
        for header in self.headers(self.lower.path).values():
            if self.is_older_file(header):
                self.known[header.fid] = header.generation
                self.deleted.pop(header.fid, None)
        self.sessions = self.records(self.lower.path)

    def refused(self) -> bool:
        """Whether the host calls the volume older, told by a reader so that nothing changes, and by a writer."""
        with self.host.unlocked(self.lower, read_only=True) as volume:
            older = volume.rollback is not None
        if older:
            try:
                with self.host.unlocked(self.lower):
                    raise AssertionError("a writer was let in")
            except VolumeRollbackError:
                pass  # As it should be.
        return older

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def put_back_file(self, data: st.DataObject) -> None:
        """One file as it was, in its old place: alarm iff older. Then the present one is there again."""
        old = data.draw(st.sampled_from(self.copies))
        headers = self.headers(old)
        if not headers:
            return
        name = data.draw(st.sampled_from(sorted(headers)))
        target = self.lower.path / name
        present = target.read_bytes() if target.exists() else None
        shutil.copy2(old / name, target)
        with self.host.unlocked(self.lower, read_only=True) as volume:
            assert volume.rollback is None
            try:
                read(volume, headers[name].name)
                older = False
            except RollbackError:
                older = True
        assert older == self.is_older_file(headers[name])
        target.unlink() if present is None else target.write_bytes(present)

    @invariant()
    def nothing_is_older_now(self) -> None:
        """What lies there without anybody's doing is never called older."""
        with self.host.unlocked(self.lower, read_only=True) as volume:
            assert volume.rollback is None
            for entry in volume.list_directory(b""):
                read(volume, entry.name)


def profile(examples: int, steps: int) -> settings:
    """Unlocking writes to a disk: fewer examples than usual."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=checks, deadline=None)


class TestAging(Aging.TestCase):  # type: ignore[name-defined, misc]
    """FORMAT.md section 13: an alarm if and only if the file or the volume is older than what the host has seen."""

    settings = profile(12, 10)

    def runTest(self) -> None:  # noqa: N802 - hypothesis' name
        """FORMAT.md section 13: the model and the host agree at each step."""
        super().runTest()
        record("freshness", "use, crash, copy back, accept against a model", cases=12, note="alarm iff older")


@pytest.mark.slow
class TestAgingLonger(Aging.TestCase):  # type: ignore[name-defined, misc]
    """FORMAT.md section 13: the same with more examples, each longer; still fewer sessions than pruning keeps."""

    settings = profile(150, 14)
