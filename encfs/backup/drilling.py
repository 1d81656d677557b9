"""A drill: a sample of a backup, or all of it, restored into scratch and held against the manifest.

Owns: what counts as right, what is measured. Must not know: which files are picked, how a drill is written down, the
terminal.

Each file is restored for itself, read back from scratch, compared and destroyed: so all of a backup needs no more room
than its largest file. Of ``copy`` the manifest has the sealed tree: what was picked is read back from the medium and
held against it, then opened and restored in plain.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from encfs.backup.drill_record import FoundIn, Method
from encfs.backup.engine import Engine, Steps
from encfs.backup.manifest import Manifest, keyed_digest
from encfs.backup.picking import files_of, pick
from encfs.backup.plans import EngineKind
from encfs.backup.scratch import Scratch
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import BackupError, DataError
from encfs.format.backup import Item, ItemKind, Taken
from encfs.volume.paths import Entry
from encfs.volume.source import Source


@runtime_checkable
class SealedSource(Source, Protocol):
    """The plain tree of a sealed one, which knows where it has what."""

    def plain_path(self, sealed: bytes) -> bytes:
        """The plain path of a lower one. Raises: OSError: nothing is there. DataError: its name is damaged."""
        ...


@runtime_checkable
class AttributeSource(Source, Protocol):
    """One that has extended attributes too."""

    def attributes(self, path: bytes) -> Mapping[str, bytes]:
        """Those of a file or directory, by name, with ACLs. Raises: OSError, DataError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be restored: so many files, picked by a seed; None: everything."""

    sample: int | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What it came to.

    Attributes:
        method: which files were restored.
        found: what of it is right and what is not.
        ms: restoring alone.
        estimate: seconds for all of the run.
        scratch: where it went.
        wrong: what is not right, for whoever may see names.
        why: why it failed as a whole; else empty.
    """

    method: Method
    found: FoundIn
    ms: int
    estimate: int
    scratch: str
    wrong: tuple[bytes, ...] = field(repr=False)
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether all is as it was taken."""
        return not self.why and not self.found.wrong


class Trial:
    """One drill of one run.

    Args:
        engine: of the backup; its target is there.
        manifest: of the run.
        key: K_manifest (:func:`encfs.backup.manifest.content_key`), for a run whose digests are keyed.
        scratch: where it is restored to.
        steps: is told how far it is.
    """

    def __init__(
        self, engine: Engine, manifest: Manifest, *, key: bytes | None, scratch: Scratch, steps: Steps
    ) -> None:
        self._engine = engine
        self._manifest = manifest
        self._sealed = manifest.head.engine == EngineKind.COPY
        self._key = key
        self._scratch = scratch
        self._steps = steps
        self._tag_failures: set[bytes] = set()
        self._missing: set[bytes] = set()
        self._extra: set[bytes] = set()
        self._mismatches: set[bytes] = set()
        self._metadata: set[bytes] = set()
        self._damaged: frozenset[bytes] = frozenset()
        self._files = self._bytes = self._read = self._ns = 0

    def run(self, wish: Wish) -> Came:
        """Restore and compare.

        Raises:
            BackupError, OSError: it cannot be gone on with: the target is gone, or there is no room in scratch.
            UnlockError: the key does not open it.
        """
        files = files_of(self._manifest)
        full = wish.sample is None
        picked = files if wish.sample is None else pick(files, wish.sample, wish.seed)
        run = self._manifest.head.run
        if self._sealed:
            self._damaged = self._read_back(run, None if full else picked)
        self._steps.phase("restoring", sum(one.size for one in picked))
        why = ""
        try:
            with self._engine.open(run) as source:
                self._restore(source, picked, full=full)
        except DataError as exc:
            why = f"it cannot be opened: {exc}"
        # What did not even open is told as that; what opened and is not what was taken, as that.
        self._mismatches |= self._damaged - self._tag_failures - self._missing
        if self._missing or self._tag_failures or self._mismatches:
            self._engine.runs()  # Raises where it is not files that are bad, but the target that is gone.
        return self._came(Method(full=full, seed=wish.seed, population=len(files), picked=len(picked)), why)

    def _read_back(self, run: str, only: Sequence[Item] | None) -> frozenset[bytes]:
        """Sealed paths of those that are not what the manifest says."""
        return frozenset(one.path for one in self._engine.verify(run, self._steps, only).damaged)

    def _restore(self, source: Source, picked: Sequence[Item], *, full: bool) -> None:
        places = _Places(source, sealed=self._sealed)
        for item in picked:
            self._file(source, places, item)
        if not self._sealed:
            self._others(source, picked, full=full)
        if full:
            self._look_for_more(source, places)

    def _file(self, source: Source, places: _Places, item: Item) -> None:
        try:
            with _reading():
                path = places.plain(item.path)
                entry = source.stat(path)
            if stat.S_ISREG(entry.mode) and self._is_right(item, *self._contents(source, path, entry.size)):
                self._files += 1
                self._bytes += entry.size
                if not self._sealed:
                    self._compare_metadata(source, item, path, entry)
            else:
                self._mismatches.add(item.path)
        except _DamagedError:
            self._tag_failures.add(item.path)
        except _MissingError:
            self._missing.add(item.path)
        self._read += item.size
        self._steps.done(self._read)

    def _contents(self, source: Source, path: bytes, size: int) -> tuple[bytes, int]:
        """SHA-256 of what is in scratch after the file was restored, and its size.

        Raises:
            _DamagedError, _MissingError: it cannot be read. BackupError: there is no room in scratch.
        """
        running, count, written = CLOAKFS_1.running_digest(), 0, 0
        with _in_scratch(), self._scratch.file(size) as kept:
            began = time.monotonic_ns()
            for piece in _pieces(source, path):
                kept.write(piece)
                written += len(piece)
                if written > size:
                    break  # There is no room for more than it says, and it is not what was taken.
            self._ns += time.monotonic_ns() - began
            for piece in kept.read():
                running.update(piece)
                count += len(piece)
        return running.digest(), count

    def _is_right(self, item: Item, digest: bytes, size: int) -> bool:
        """Of a sealed file its tags have shown what it is, and reading it back that it is the one of the manifest."""
        if self._sealed:
            return item.path not in self._damaged
        if self._key is None:
            raise AssertionError("internal error: a backup with keyed digests is compared without its key")
        return size == item.size and keyed_digest(self._key, digest) == item.digest

    # -- what is no file -----------------------------------------------------------------------------------------------

    def _others(self, source: Source, picked: Sequence[Item], *, full: bool) -> None:
        """Folders, links and nodes: all of them, or the folders that lead to what was picked."""
        above = {path for item in picked for path in _folders_of(item.path)}
        for item in self._manifest.items:
            if item.kind is ItemKind.FILE or item.taken is Taken.MISSING or not (full or item.path in above):
                continue
            if not item.path:
                continue  # The top is what the backup is shown at, which has a mode and a time of its own.
            try:
                with _reading():
                    entry = source.stat(item.path)
                self._compare_metadata(source, item, item.path, entry)
            except _DamagedError:
                self._tag_failures.add(item.path)
            except _MissingError:
                self._missing.add(item.path)

    def _compare_metadata(self, source: Source, item: Item, path: bytes, entry: Entry) -> None:
        with _reading():
            same = (entry.mode, entry.uid, entry.gid) == (item.mode, item.uid, item.gid)
            same = same and entry.mtime_ns == item.mtime_ns
            if item.kind is ItemKind.SYMLINK:
                same = same and source.read_link(path) == item.target
            elif isinstance(source, AttributeSource) and item.kind in (ItemKind.FILE, ItemKind.DIRECTORY):
                found = {_name(name): value for name, value in source.attributes(path).items()}
                same = same and found == dict(item.attributes)
        if not same:
            self._metadata.add(item.path)

    def _look_for_more(self, source: Source, places: _Places) -> None:
        """What is there and was never taken."""
        taken = {item.path for item in self._manifest.items}
        if self._sealed:
            taken = {path for path in map(places.known, files_of(self._manifest)) if path is not None}
        pending = [b""]
        while pending:
            folder = pending.pop()
            try:
                with _reading():
                    listing = source.list(folder)
            except (_DamagedError, _MissingError):
                self._tag_failures.add(folder)
                continue
            for entry in listing.entries:
                path = folder + b"/" + entry.name if folder else entry.name
                if stat.S_ISDIR(entry.mode):
                    pending.append(path)
                if path not in taken and (stat.S_ISREG(entry.mode) or not self._sealed):
                    self._extra.add(path)

    # -- what it came to -----------------------------------------------------------------------------------------------

    def _came(self, method: Method, why: str) -> Came:
        found = FoundIn(
            files=self._files,
            bytes=self._bytes,
            tag_failures=len(self._tag_failures),
            missing=len(self._missing),
            extra=len(self._extra) if method.full else None,
            mismatches=len(self._mismatches),
            metadata=len(self._metadata),
        )
        wrong = sorted(self._tag_failures | self._missing | self._extra | self._mismatches | self._metadata)
        ms = self._ns // 1_000_000
        return Came(
            method=method,
            found=found,
            ms=ms,
            estimate=self._estimate(method, ms),
            scratch=self._scratch.used,
            wrong=tuple(wrong),
            why=why,
        )

    def _estimate(self, method: Method, ms: int) -> int:
        """Seconds for everything: small files cost by their number, large ones by their bytes; the worse counts."""
        if method.full or not method.picked:
            return ms // 1000
        by_number = ms * method.population // method.picked
        by_bytes = ms * sum(one.size for one in files_of(self._manifest)) // max(1, self._read)
        return max(by_number, by_bytes) // 1000


class _Places:
    """Where a source has what the manifest names."""

    def __init__(self, source: Source, *, sealed: bool) -> None:
        self._sealed = source if sealed and isinstance(source, SealedSource) else None
        if sealed and self._sealed is None:
            raise AssertionError("internal error: a sealed backup is opened by something that cannot find a file in it")
        self._plain: dict[bytes, bytes] = {}

    def plain(self, path: bytes) -> bytes:
        """The plain path. Raises: OSError, DataError."""
        if self._sealed is None:
            return path
        found = self._plain[path] = self._sealed.plain_path(path)
        return found

    def known(self, item: Item) -> bytes | None:
        """Of one that was found before; None for one that was not."""
        return self._plain.get(item.path)


class _DamagedError(Exception):
    """What is read from the backup does not authenticate."""


class _MissingError(Exception):
    """It is not there, or cannot be read."""


@contextmanager
def _reading() -> Iterator[None]:
    """Around what reads from the backup and from nothing else."""
    try:
        yield
    except DataError as exc:
        raise _DamagedError from exc
    except OSError as exc:
        raise _MissingError from exc


@contextmanager
def _in_scratch() -> Iterator[None]:
    """Around what else can fail while a file is restored."""
    try:
        yield
    except (OSError, DataError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise BackupError(
            f"what the trial restores cannot be kept for it: {why}",
            hint="Make room in the temporary directory (TMPDIR names another one), or take a smaller sample.",
        ) from exc


def _pieces(source: Source, path: bytes) -> Iterator[bytes]:
    with _reading():
        yield from source.read(path)


def _folders_of(path: bytes) -> Iterator[bytes]:
    """All that lead to it, the top first."""
    yield b""
    for position, byte in enumerate(path):
        if byte == ord("/"):
            yield path[:position]


def _name(attribute: bytes | str) -> str:
    return attribute if isinstance(attribute, str) else attribute.decode("utf-8", "surrogateescape")
