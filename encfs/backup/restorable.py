"""The plain tree of a run, held against its manifest while it is restored.

Owns: which source restores what of which engine, which files of a sealed tree are not what was taken, what a run lacks.
Must not know: where it is restored to, the terminal.

Of ``restic`` the manifest has the plain files, so their bytes are held against it as they are read. Of ``copy`` it has
the sealed ones: those are read from the target and held against it first, because an older file of the same volume
opens too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from encfs.backup.as_taken import NOT_AS_TAKEN, CarefulSource, Contents, ManifestSource
from encfs.backup.engine import Engine, Steps
from encfs.backup.manifest import Manifest, content_key
from encfs.backup.plans import EngineKind
from encfs.errors import DataError, UnlockError
from encfs.format.backup import Item, ItemKind, Taken
from encfs.volume.source import WholeSource


@runtime_checkable
class SealedEngine(Engine, Protocol):
    """An engine that has the sealed tree."""

    def open_sealed(self, run: str) -> AbstractContextManager[Contents]:
        """The sealed files of a run, by their paths in its manifest. No key is needed."""
        ...


@runtime_checkable
class SealedPaths(Protocol):
    """The plain tree of a sealed one, which knows where it has what."""

    def plain_path(self, sealed: bytes) -> bytes:
        """The plain path of a lower one. Raises: OSError: nothing is there. DataError: its name is damaged."""
        ...

    def sealed_path(self, plain: bytes) -> bytes:
        """The inverse. Raises: OSError, DataError."""
        ...


@dataclass(frozen=True, slots=True)
class Gaps:
    """What of a run, or of the part that is restored, is not as it was at one moment.

    Attributes:
        missing: paths of what is not in the backup.
        older: of files that are as an earlier run took them.
        live: of files that were written to while they were read.
        unnamed: how many there are besides that are not in the backup, and whose names are not known.
    """

    missing: list[bytes] = field(default_factory=list, repr=False)
    older: list[bytes] = field(default_factory=list, repr=False)
    live: list[bytes] = field(default_factory=list, repr=False)
    unnamed: int = 0

    def of(self, taken: Taken) -> list[bytes]:
        """The list for one that is not whole."""
        return {Taken.MISSING: self.missing, Taken.OLDER: self.older, Taken.LIVE: self.live}[taken]


class HeldSource(CarefulSource):
    """The source of a restore.

    Args:
        source: to read from.
        engine: that has it.
        manifest: of the run.
        sealed: what knows where ``source`` has what, of a sealed tree.
    """

    def __init__(self, source: WholeSource, engine: Engine, manifest: Manifest, sealed: SealedPaths | None) -> None:
        super().__init__(source, engine.runs)
        self._engine = engine
        self._manifest = manifest
        self._sealed = sealed
        self._refused: set[bytes] = set()

    def read(self, path: bytes) -> Iterator[bytes]:
        if path in self._refused:
            raise DataError(NOT_AS_TAKEN)
        yield from super().read(path)

    def hold(self, files: Iterable[bytes], steps: Steps) -> None:
        """Before files of a sealed tree are restored: whether they lie on the target as they were taken.

        Args:
            files: their plain paths.
            steps: is told how far it is.

        Raises:
            BackupError, OSError: the target cannot be read.
        """
        if self._sealed is None:
            return  # Each is held against the manifest while it is read.
        wanted: dict[bytes, tuple[Item, list[bytes]]] = {}
        for path in files:
            item = self._item(self._sealed, path)
            if item is None:
                self._refused.add(path)
            else:
                wanted.setdefault(item.path, (item, []))[1].append(path)
        found = self._engine.verify(self._manifest.head.run, steps, only=[item for item, _ in wanted.values()])
        damaged = {item.digest for item in found.damaged}  # What has it in common is one file on the target.
        self._refused.update(path for item, paths in wanted.values() if item.digest in damaged for path in paths)

    def _item(self, sealed: SealedPaths, path: bytes) -> Item | None:
        """What the manifest says of a file; None: nothing that could be held against it."""
        try:
            item = self._manifest.by_path.get(sealed.sealed_path(path))
        except (OSError, DataError):
            return None
        return item if item is not None and item.kind is ItemKind.FILE and item.taken is not Taken.MISSING else None

    def gaps(self, paths: Sequence[bytes]) -> Gaps:
        """What of these paths, or of everything, is not in the run as it was at one moment."""
        found, unnamed = Gaps(), 0
        for item in self._manifest.not_whole():
            name = self._name_of(item)
            if name is None:
                unnamed += item.taken is Taken.MISSING
            elif not paths or any(name == path or name.startswith(path + b"/") for path in paths):
                found.of(item.taken).append(name)
        return replace(found, unnamed=unnamed)

    def _name_of(self, item: Item) -> bytes | None:
        if self._sealed is None:
            return item.path
        try:
            return self._sealed.plain_path(item.path)
        except (OSError, DataError):
            return None


@contextmanager
def opened(engine: Engine, manifest: Manifest, backup_key: bytes | None) -> Iterator[HeldSource]:
    """The plain tree of a run.

    Args:
        engine: that has it; its target is there.
        manifest: of the run.
        backup_key: its 32 bytes, for ``restic``.

    Raises:
        UnlockError: there is no key. BackupError, DataError, OSError.
    """
    with engine.open(manifest.head.run) as source:
        if manifest.head.engine == EngineKind.COPY:
            if not isinstance(source, WholeSource) or not isinstance(source, SealedPaths):
                raise AssertionError("internal error: a sealed tree that does not know where it has what")
            yield HeldSource(source, engine, manifest, source)
            return
        if backup_key is None:
            raise UnlockError("the backup cannot be compared without its own key", hint="Give it: --sheet")
        yield HeldSource(ManifestSource(source, manifest, content_key(backup_key)), engine, manifest, None)


@contextmanager
def opened_sealed(engine: SealedEngine, manifest: Manifest) -> Iterator[WholeSource]:
    """The sealed tree of a run, for putting the volume back as it was. Raises: BackupError, OSError."""
    with engine.open_sealed(manifest.head.run) as contents:
        yield CarefulSource(ManifestSource(contents, manifest, None), engine.runs)


def sealed_gaps(manifest: Manifest) -> Gaps:
    """What of a sealed tree is not as it was at one moment, by the sealed paths."""
    found = Gaps()
    for item in manifest.not_whole():
        found.of(item.taken).append(item.path)
    return found
