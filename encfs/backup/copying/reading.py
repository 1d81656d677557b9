"""Runs that are on a target: which there are, reading them back, opening them (FORMAT.md section 18).

Owns: what of an engine only reads. Must not know: how a run is made, how a volume is unlocked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from encfs.backup.copying import cache, troubles
from encfs.backup.copying.locating import Locator, files_in
from encfs.backup.copying.scanning import CONFIGS
from encfs.backup.copying.sealed_run import RunStore, SealedRun, Unlock
from encfs.backup.copying.target import CopyTarget, Reader, Stored
from encfs.backup.engine import Steps, Verified
from encfs.backup.manifest import Manifest, RunHead, open_head, open_manifest
from encfs.errors import BackupError, DataError, FormatError, NewerFormatError
from encfs.format.backup import Item
from encfs.volume.source import Source, VolumeSource

ENGINE: Final = "copy"
_PIECE: Final = 1 << 20
_DAMAGED: Final = (DataError, NewerFormatError)


class RunReader:
    """What there is of one backup on one target.

    Args:
        plan_id, volume_id: hexadecimal.
        target: where it is.
        label: of the medium, or empty.
        remembers: what is found to be damaged is remembered here, so that the next run takes it again.
        unlock: opens a run, for :meth:`open`.
    """

    def __init__(
        self,
        plan_id: str,
        volume_id: str,
        target: CopyTarget,
        *,
        label: str,
        remembers: bool,
        unlock: Unlock | None,
    ) -> None:
        self._plan_id = plan_id
        self._volume_id = volume_id
        self._target = target
        self._label = label
        self._remembers = remembers
        self._unlock = unlock

    # -- what there is -------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunHead]:
        """See the protocol. A run whose manifest is damaged is not among them: :meth:`damaged_runs`."""
        return self._heads()[0]

    def damaged_runs(self) -> list[str]:
        """Ids of runs whose manifest cannot be used. Raises: OSError, BackupError."""
        return self._heads()[1]

    def _heads(self) -> tuple[list[RunHead], list[str]]:
        heads, damaged = [], []
        for run in self._target.runs():
            try:
                head = open_head(self._target.read_run(run))[0]
                _check_head(head, run)
            except (*_DAMAGED, OSError):
                damaged.append(run)
            else:
                heads.append(head)
        if damaged:
            self._target.runs()  # Raises where it is not they that are bad, but the target that is gone.
        return heads, damaged

    def manifest(self, run: str) -> Manifest:
        try:
            found = open_manifest(self._target.read_run(run))
        except FileNotFoundError as exc:
            self._target.runs()
            raise BackupError("there is no such run on this target", hint="See: cloakfs backup list") from exc
        _check_head(found.head, run)
        return found

    def _readable(self, run: str) -> Manifest | None:
        """That of a run; None if it is gone or damaged."""
        try:
            return self.manifest(run) if run else None
        except (*_DAMAGED, BackupError, OSError):
            self._target.runs()
            return None

    def _newest(self) -> Manifest | None:
        for run in reversed(self._target.runs()):
            found = self._readable(run)
            if found is not None:
                return found
        return None

    def verify(self, run: str, steps: Steps, only: Iterable[Item] | None = None) -> Verified:
        """See the protocol. What is damaged is remembered, so that the next run takes it again."""
        with troubles.of_target(), self._target.held(writing=False):
            manifest = self.manifest(run)
            locator = self._locator(manifest)
            wanted: dict[Stored, Item] = {}
            chosen = files_in(manifest.items if only is None else only)
            for item in chosen:
                wanted |= dict.fromkeys(locator.copies(run, item), item)
            steps.phase("reading back", sum(one.size for one in wanted))
            found = self._target.read_back(wanted.keys(), steps.done)
            bad = [one for one, digest in found if digest != one.digest]
        self._remember(bad)
        damaged = {wanted[one].path: wanted[one] for one in bad}
        return Verified(
            files=len(chosen),
            bytes=sum(one.size for one in wanted if one not in set(bad)),
            damaged=tuple(damaged.values()),
        )

    def _remember(self, bad: list[Stored]) -> None:
        if not self._remembers:
            return
        with suppress(OSError, RuntimeError):  # It was found and is told; that it is taken again costs a verify.
            remembered = cache.load(self._plan_id, self._volume_id)
            known = remembered.damaged.get(self._label, [])
            if set(bad) - set(known):
                remembered.damaged[self._label] = list(dict.fromkeys([*known, *bad]))
                remembered.save()

    def _locator(self, manifest: Manifest) -> Locator:
        """With the runs that the tree may be."""
        if not self._target.tree:
            return Locator.on(self._target, [])
        said = self._readable(self._target.tree_run())
        if said is not None:
            return Locator.on(self._target, [said])
        newest = self._newest() or manifest
        before = self._readable(newest.head.previous)
        return Locator.on(self._target, [newest, before] if before is not None else [newest])

    @contextmanager
    def open(self, run: str) -> Iterator[Source]:
        """See the protocol; a :class:`encfs.volume.source.VolumeSource`. Raises: as the ``unlock`` that was given."""
        if self._unlock is None:
            raise AssertionError("internal error: a sealed run is opened without a way to unlock it")
        folder = tempfile.mkdtemp(prefix="cloakfs-run-")
        try:
            with self._target.held(writing=False):
                manifest = self.manifest(run)
                locator = self._locator(manifest)

                def opener(item: Item) -> Reader:
                    return self._target.open(locator.find(item))

                for item in files_in(manifest.items):
                    if item.path in CONFIGS:
                        _copy(opener(item), os.path.join(os.fsencode(folder), item.path))
                sealed = SealedRun(run, os.fsencode(folder), RunStore(manifest, opener))
                with self._unlock(sealed) as volume:
                    yield VolumeSource(volume)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def open_sealed(self, run: str) -> Iterator[SealedContents]:
        """The sealed files of a run; no key is needed. Raises: OSError, BackupError, DataError."""
        with self._target.held(writing=False):
            manifest = self.manifest(run)
            locator = self._locator(manifest)
            yield SealedContents(manifest, lambda item: self._target.open(locator.find(item)))


class SealedContents:
    """What the files of a run contain, as they lie on the target; nothing is held against the manifest here.

    Args:
        manifest: of the run.
        opener: opens a file of it. Raises: OSError.
    """

    def __init__(self, manifest: Manifest, opener: Callable[[Item], Reader]) -> None:
        self._manifest = manifest
        self._opener = opener

    def read(self, path: bytes) -> Iterator[bytes]:
        """One, by its path in the manifest, in pieces of up to 1 MiB. Raises: OSError."""
        reader, offset = self._opener(self._manifest.by_path[path]), 0
        try:
            while piece := reader.pread(_PIECE, offset):
                yield piece
                offset += len(piece)
        finally:
            reader.close()


def _check_head(head: RunHead, run: str) -> None:
    """Raises: FormatError: it is the manifest of something else."""
    if head.run != run or head.engine != ENGINE:
        raise FormatError("the manifest of a backup is that of another run")


def _copy(reader: Reader, to: bytes) -> None:
    try:
        with open(to, "xb") as file:
            offset = 0
            while piece := reader.pread(1 << 16, offset):
                file.write(piece)
                offset += len(piece)
    finally:
        reader.close()
