"""Backups in their simplest form, for what only reads them: a tree of files, and manifests beside it.

``TreeBackup`` satisfies :class:`encfs.backup.engine.Engine` for reading. A plain tree has keyed digests, as ``restic``
has; a sealed one is a volume, as the newest run of ``copy`` is.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from encfs.audit.home import host_signer
from encfs.backup.engine import Steps, Verified
from encfs.backup.manifest import Manifest, RunHead, content_key, keyed_digest, open_manifest, seal_manifest
from encfs.crypto.signing import Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import BackupError
from encfs.format.backup import Item, ItemKind
from encfs.format.slots import SlotKind
from encfs.volume import Volume
from encfs.volume.paths import Entry
from encfs.volume.source import Listing, Source, VolumeSource

PLAN = "0b" * 16
VOLUME = "0c" * 16
KEY = bytes(range(64, 96))
_CHUNK = 1 << 20


class FolderSource:
    """A directory of plain files."""

    def __init__(self, top: Path) -> None:
        self._top = os.fsencode(top)

    def _at(self, path: bytes) -> bytes:
        return os.path.join(self._top, path) if path else self._top

    def stat(self, path: bytes, *, follow: bool = False) -> Entry:
        info = os.stat(self._at(path), follow_symlinks=follow)
        return Entry(
            name=os.path.basename(path),
            mode=info.st_mode,
            size=info.st_size,
            mtime_ns=info.st_mtime_ns,
            uid=info.st_uid,
            gid=info.st_gid,
            links=info.st_nlink,
            inode=info.st_ino,
        )

    def list(self, path: bytes) -> Listing:
        names = sorted(os.listdir(self._at(path)))
        return Listing([self.stat(os.path.join(path, name) if path else name) for name in names], 0)

    def read_link(self, path: bytes) -> bytes:
        return os.readlink(self._at(path))

    def read(self, path: bytes) -> Iterator[bytes]:
        with open(self._at(path), "rb") as file:
            while piece := file.read(_CHUNK):
                yield piece

    def attributes(self, path: bytes) -> Mapping[str, bytes]:
        return attributes_of(self._at(path))


def attributes_of(path: bytes) -> dict[str, bytes]:
    """Extended attributes that a user may set, and ACLs."""
    names = os.listxattr(path, follow_symlinks=False)
    kinds = ("user.", "system.posix_acl_")
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names if name.startswith(kinds)}


class TreeBackup:
    """A backup of one run: ``base/tree``, ``base/runs/ID``.

    Args:
        sealed: the tree is a volume, which ``secret`` (a recovery key) opens.
    """

    def __init__(self, base: Path, *, sealed: bool = False, secret: bytes = b"") -> None:
        self.base = base
        self.sealed = sealed
        self.secret = secret
        self.volume = VOLUME

    @property
    def tree(self) -> Path:
        return self.base / "tree"

    def take(self, *, at: float | None = None, signer: Signer | None = None, host: str = "source") -> str:
        """Write the manifest of what is in the tree now; the id of the run. ``at``: seconds since 1970."""
        moment = time.time() if at is None else at
        run = f"{int(moment * 1000):016x}{os.urandom(8).hex()}"
        head = RunHead(
            plan=PLAN,
            run=run,
            volume=self.volume,
            engine="copy" if self.sealed else "restic",
            label="",
            snapshot="",
            checkpoint="",
            mounted=False,
            previous="",
        )
        items = tuple(sorted(self._items(), key=lambda one: one.path))
        sealed = seal_manifest(Manifest(head, items), signer or host_signer(), made_at=int(moment), host=host)
        (self.base / "runs").mkdir(exist_ok=True)
        (self.base / "runs" / run).write_bytes(sealed)
        return run

    def _items(self) -> Iterator[Item]:
        top = os.fsencode(self.tree)
        yield self._item(b"")
        for folder, folders, names in os.walk(top):
            for name in (*folders, *names):
                yield self._item(os.path.relpath(os.path.join(folder, name), top))

    def _item(self, path: bytes) -> Item:
        at = os.path.join(os.fsencode(self.tree), path) if path else os.fsencode(self.tree)
        info = os.lstat(at)
        kinds = {stat.S_IFREG: ItemKind.FILE, stat.S_IFDIR: ItemKind.DIRECTORY, stat.S_IFLNK: ItemKind.SYMLINK}
        kind = kinds.get(stat.S_IFMT(info.st_mode), ItemKind.OTHER)
        item = Item(
            path=path,
            kind=ItemKind.OTHER if kind is ItemKind.FILE else kind,
            mode=info.st_mode,
            uid=info.st_uid,
            gid=info.st_gid,
            mtime_ns=info.st_mtime_ns,
            links=0 if info.st_nlink == 1 or kind is ItemKind.DIRECTORY else info.st_ino,
            device=info.st_rdev,
        )
        if kind is ItemKind.SYMLINK:
            return replace(item, target=os.readlink(at))
        item = replace(item, attributes=attributes_of(at))
        return replace(item, kind=kind, size=info.st_size, digest=self._digest(at)) if kind is ItemKind.FILE else item

    def _digest(self, at: bytes) -> bytes:
        digest = CLOAKFS_1.digest(Path(os.fsdecode(at)).read_bytes())
        return digest if self.sealed else keyed_digest(content_key(KEY), digest)

    # -- as an engine --------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunHead]:
        if not self.base.exists():
            raise BackupError("the target is gone")
        return [self.manifest(name).head for name in sorted(os.listdir(self.base / "runs"))]

    def manifest(self, run: str) -> Manifest:
        return open_manifest((self.base / "runs" / run).read_bytes())

    def verify(self, run: str, steps: Steps, only: Iterable[Item] | None = None) -> Verified:
        del steps
        files = [one for one in only or self.manifest(run).items if one.kind is ItemKind.FILE]
        damaged = tuple(one for one in files if not self._is_right(one))
        return Verified(files=len(files), bytes=sum(one.size for one in files), damaged=damaged)

    def _is_right(self, item: Item) -> bool:
        try:
            return self._digest(os.path.join(os.fsencode(self.tree), item.path)) == item.digest
        except OSError:
            return False

    @contextmanager
    def open(self, run: str) -> Iterator[Source]:
        del run
        if not self.sealed:
            yield FolderSource(self.tree)
            return
        with Volume.unlock(os.fsencode(self.tree), self.secret, SlotKind.RECOVERY, read_only=True) as volume:
            yield VolumeSource(volume)

    @contextmanager
    def open_sealed(self, run: str) -> Iterator[FolderSource]:
        del run
        yield FolderSource(self.tree)

    def run(self, *_: object) -> NoReturn:
        raise AssertionError("this one is only for reading")

    def prune(self, *_: object) -> NoReturn:
        raise AssertionError("this one is only for reading")


class Silent:
    """Nobody is told."""

    def phase(self, name: str, total: int) -> None:
        pass

    def done(self, count: int) -> None:
        pass
