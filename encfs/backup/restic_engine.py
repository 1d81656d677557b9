"""Backups of a mounted volume in a repository of restic (FORMAT.md section 18, "Target of restic").

Owns: what a complete run is in a repository, the order in which one is made, which are there, taking them away. Must
not know: the terminal, plans, where the key comes from.

A run is complete with its second snapshot, the manifest. Snapshots of a run that was broken off are no run; nothing is
taken away before :meth:`ResticEngine.prune`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from encfs import runtime
from encfs.audit.home import host_signer
from encfs.backup.digest_cache import DigestCache
from encfs.backup.engine import Guard, Made, Steps, Verified
from encfs.backup.manifest import Manifest, RunHead, content_key, open_head, open_manifest, seal_manifest
from encfs.backup.plain_tree import PlainTree
from encfs.backup.restic import Restic, ended, raise_if_failed, snapshot_in
from encfs.backup.restic_mount import SILENCE, Mounted, Remounting, mounted
from encfs.backup.restic_run import ResticRun, tags
from encfs.backup.restic_source import ResticSource, is_right
from encfs.crypto import rng
from encfs.errors import BackupError, DataError
from encfs.format.backup import Item, ItemKind, Taken
from encfs.store import caches

_NAME: Final = "manifest"
_HEAD_MAX: Final = 1 << 16
_FOLDER: Final = "backup-restic"


class ResticEngine:
    """Satisfies :class:`encfs.backup.engine.Engine`.

    Args:
        plan_id: hexadecimal.
        volume_id: hexadecimal.
        mountpoint: where the volume is mounted; None for one that is only read from.
        repository: a directory, or ``sftp:USER@HOST:PATH``.
        key: the backup key, 32 bytes.
        label: of the medium, or empty.
        flush: brings to the mount what programs wrote (:func:`encfs.backup.flushing.flusher`).
        ssh: see :class:`encfs.backup.restic.Restic`.
        silence: seconds for which restic may say nothing while it is read from.
    """

    def __init__(
        self,
        plan_id: str,
        volume_id: str,
        mountpoint: bytes | None,
        repository: str,
        key: bytes,
        *,
        label: str = "",
        flush: Callable[[], None] | None = None,
        ssh: Sequence[str] | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._plan = plan_id
        self._volume = volume_id
        self._mountpoint = mountpoint
        self._label = label
        self._flush = flush or (lambda: None)
        self._silence = silence
        self._key = content_key(key)
        top = runtime.private_directory(runtime.state_directory() / _FOLDER)
        self._place = runtime.private_directory(top / plan_id)
        self._restic = Restic(repository, key, self._place / "cache", ssh=ssh)

    def init(self) -> None:
        """Make the repository at the target. Raises: ResticError: there is one already, or it cannot be made."""
        self._restic.init()

    # -- what is there -------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunHead]:
        """Complete ones, the oldest first. One whose manifest is damaged is none. Raises: BackupError, OSError."""
        with self._manifests() as found:
            return [head for head in found.heads.values() if head is not None]

    @contextmanager
    def _manifests(self) -> Iterator[_Manifests]:
        """Those of all runs. Raises: ResticError, OSError."""
        choice = ("--tag", "cloakfs,manifest")
        with mounted(self._restic, self._place, *choice, silence=self._silence) as mount:
            yield _Manifests(mount)

    def manifest(self, run: str) -> Manifest:
        """That of a run. Raises: DataError: it is damaged, or not there. ResticError."""
        listed = self._restic.snapshots(f"run={run}", "manifest")
        if not listed:
            raise DataError("there is no such run in the repository")
        found = open_manifest(self._dump(listed[-1].id))
        if found.head.run != run:
            raise DataError("the manifest of a run is that of another one")
        return found

    def _dump(self, snapshot: str) -> bytes:
        """The file of a snapshot that has a single one. Raises: ResticError."""
        with ended(self._restic.start("dump", snapshot, f"/{_NAME}", "--no-lock", cached=False)) as running:
            content = b"".join(running.pieces())
            raise_if_failed(running, running.wait())
        return content

    # -- a run ---------------------------------------------------------------------------------------------------------

    def run(self, guard: Guard, steps: Steps) -> Made:
        """See :meth:`encfs.backup.engine.Engine.run`."""
        if self._mountpoint is None:
            raise AssertionError("internal error: a backup that is only read from is asked for a run")
        with self._alone():
            tree = PlainTree(self._mountpoint)
            steps.phase("looking", 0)
            with self._manifests() as found:
                previous = found.newest()
            run = _next_id(previous)
            one = ResticRun(
                self._restic,
                tree,
                key=self._key,
                cache=DigestCache(self._place / "digests", self._key),
                previous=previous,
                parent=previous.head.snapshot if previous else "",
                run=run,
                flush=self._flush,
                opened=self._opened,
                steps=steps,
            )
            took = one.make(guard)
            # That all is there to which the snapshot points, also what earlier runs wrote.
            self._restic.call("check", "--with-cache", "--no-lock")
            head = RunHead(
                plan=self._plan,
                run=run,
                volume=self._volume,
                engine="restic",
                label=self._label,
                snapshot=took.snapshot,
                checkpoint="",
                mounted=True,
                previous=previous.head.run if previous else "",
            )
            manifest = self._complete(Manifest(head, took.items))
            with suppress(OSError):  # The run is complete; without this the next one reads everything.
                one.remember()
        return Made(
            manifest=manifest,
            change=took.change,
            new_files=took.new_files,
            new_bytes=took.new_bytes,
            verified=took.verified,
        )

    def _complete(self, manifest: Manifest) -> Manifest:
        """Write the manifest, and read it back: from then on there is a run."""
        content = seal_manifest(manifest, host_signer(), made_at=int(time.time()), host=socket.gethostname())
        arguments = ("backup", "--json", "--stdin", "--stdin-filename", _NAME, *tags(manifest.head.run, "manifest"))
        snapshot = snapshot_in(self._restic.call(*arguments, stdin=content))
        self._forget_pages()
        if self._dump(snapshot) != content:
            raise BackupError(
                "the target does not give back what was written to it",
                hint="Its medium or its connection is failing. Replace it, and begin another backup there.",
            )
        return open_manifest(content)

    # -- reading -------------------------------------------------------------------------------------------------------

    def verify(self, run: str, steps: Steps, only: Iterable[Item] | None = None) -> Verified:
        """See :meth:`encfs.backup.engine.Engine.verify`."""
        manifest = self.manifest(run)
        asked = manifest.items if only is None else only
        wanted = [one for one in asked if one.kind is ItemKind.FILE and one.taken is not Taken.MISSING]
        steps.phase("reading back", sum(one.size for one in wanted))
        damaged: list[Item] = []
        read = done = 0
        with self._opened(manifest.head.snapshot, manifest) as source:
            for item in wanted:
                if is_right(source, item, self._key):
                    read += item.size
                else:
                    damaged.append(item)
                done += item.size
                steps.done(done)
        return Verified(files=len(wanted), bytes=read, damaged=tuple(damaged))

    @contextmanager
    def open(self, run: str) -> Iterator[ResticSource]:
        """The plain tree of a run, as restic has it, with attributes and device numbers. Raises: DataError."""
        manifest = self.manifest(run)
        with self._opened(manifest.head.snapshot, manifest) as source:
            yield source

    @contextmanager
    def _opened(self, snapshot: str, manifest: Manifest | None = None) -> Iterator[ResticSource]:
        """A snapshot, past all caches of this computer."""
        self._forget_pages()
        with Remounting(self._restic, self._place, silence=self._silence) as mounts:
            yield ResticSource(mounts, snapshot, manifest)

    def _forget_pages(self) -> None:
        """So that what is read next comes from the medium. Raises: OSError."""
        if self._restic.directory is not None:
            caches.forget(self._restic.directory)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Raises: BackupError: another process writes to a target of this backup."""
        fd = os.open(self._place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as exc:
            raise BackupError("this backup is being made just now", hint="Wait until that run has ended.") from exc
        finally:
            os.close(fd)

    # -- taking away ---------------------------------------------------------------------------------------------------

    def prune(self, keep: Sequence[str], steps: Steps) -> int:
        """See :meth:`encfs.backup.engine.Engine.prune`. A run whose manifest cannot be read stays: it may be wanted."""
        with self._alone():
            steps.phase("clearing", 0)
            stay = self._staying(set(keep))
            away = [one.id for one in self._restic.snapshots() if one.id not in stay]
            if not away:
                return 0
            before = self._size()
            self._restic.call("forget", *away)
            self._restic.call("prune")
            return max(0, before - self._size())

    def _staying(self, keep: set[str]) -> set[str]:
        """Ids of the snapshots that stay."""
        listed = self._restic.snapshots()
        with self._manifests() as found:
            heads = found.heads
        runs = {head.run: head for head in heads.values() if head is not None}
        if not keep <= runs.keys():
            raise BackupError("a run that is to be kept is not in the repository", hint="Nothing was taken away.")
        unreadable = {one.run for one in listed if one.id in heads and heads[one.id] is None}
        stay = {runs[run].snapshot for run in keep}
        stay |= {snapshot for snapshot, head in heads.items() if head is not None and head.run in keep}
        return stay | {one.id for one in listed if one.run in unreadable or not one.run}

    def _size(self) -> int:
        """Bytes of the repository, 0 if it lies elsewhere."""
        top, size = self._restic.directory, 0
        for folder, _, names in os.walk(top) if top is not None else ():
            size += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        return size


class _Manifests:
    """Those in a repository that is mounted.

    Attributes:
        heads: by the id of their snapshots, in the order of their runs; None for a manifest that cannot be read.
    """

    def __init__(self, mount: Mounted) -> None:
        self._mount = mount
        with mount.reading():
            names = os.listdir(mount.top) if os.path.isdir(mount.top) else []
        mount.check()
        heads = {name.decode(): self._head(name) for name in names}
        self.heads = dict(sorted(heads.items(), key=lambda one: one[1].run if one[1] is not None else ""))

    def newest(self) -> Manifest | None:
        """That of the newest run that can be read; None if there is none. Raises: ResticError."""
        for snapshot, head in reversed(self.heads.items()):
            if head is not None:
                with suppress(OSError, DataError):
                    return open_manifest(self._content(snapshot.encode(), -1))
        return None

    def _head(self, snapshot: bytes) -> RunHead | None:
        try:
            return open_head(self._content(snapshot, _HEAD_MAX).partition(b"\n")[0] + b"\n")[0]
        except (OSError, DataError):
            return None

    def _content(self, snapshot: bytes, size: int) -> bytes:
        path = os.path.join(self._mount.top, snapshot, _NAME.encode())
        with self._mount.reading(), open(path, "rb", buffering=0) as file:
            return file.read(size)


def _next_id(previous: Manifest | None) -> str:
    """Greater than that of each run before, whatever the clock says."""
    now = time.time_ns() // 1_000_000
    last = int(previous.head.run[:16], 16) if previous is not None else 0
    return f"{max(now, last + 1):016x}{rng.random_bytes(8).hex()}"
