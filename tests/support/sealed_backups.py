"""Backups of a sealed tree for tests: a volume, a target, and what is said about a run.

Owns: making them, and what must hold of a target whatever happened to it. Must not know: what a test does meanwhile.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from encfs.backup.copying.directory import DirectoryTarget
from encfs.backup.copying.engine import CopyEngine
from encfs.backup.copying.sealed_run import SealedRun
from encfs.backup.copying.target import CopyTarget
from encfs.backup.engine import Change, Made
from encfs.backup.manifest import Manifest
from encfs.format.backup import ItemKind, Taken
from encfs.format.slots import SlotKind
from encfs.volume import Volume, read_config
from tests.support.tree_backups import Silent
from tests.support.volumes import RECOVERY_KEY, LowerVolume

PLAN = "0b" * 16


def allow(change: Change) -> None:
    """A guard that lets everything pass."""
    del change


def with_recovery_key(sealed: SealedRun) -> Volume:
    """How a run of a volume for tests is unlocked."""
    return sealed.unlock(RECOVERY_KEY, SlotKind.RECOVERY)


class Sealed:
    """A volume and a target for it, both below ``base``."""

    def __init__(self, base: Path) -> None:
        self.volume = LowerVolume(base / "volume")
        self.target = base / "target"
        self.target.mkdir()

    def write(self, files: dict[bytes, bytes]) -> None:
        """Files of the volume, new or replaced."""
        with self.volume.unlock() as volume:
            for path, content in files.items():
                volume.write_file(path, content)

    @property
    def volume_id(self) -> str:
        """Hexadecimal."""
        return read_config(os.fsencode(self.volume.path)).volume_id.hex()

    def engine(
        self,
        *,
        target: Path | CopyTarget | None = None,
        label: str = "",
        flush: Callable[[], None] | None = None,
        config: Callable[[], bytes] | None = None,
        known: Path | None = None,
    ) -> CopyEngine:
        """As it would be opened for a run; ``known``: where the id of the volume is read."""
        where = target or self.target
        return CopyEngine(
            PLAN,
            read_config(os.fsencode(known or self.volume.path)).volume_id.hex(),
            os.fsencode(self.volume.path),
            DirectoryTarget(os.fsencode(where)) if isinstance(where, Path) else where,
            label=label,
            flush=flush,
            config=config,
            unlock=with_recovery_key,
        )

    def run(self) -> Made:
        """A run that nothing stops."""
        return self.engine().run(allow, Silent())


def contents(engine: CopyEngine, run: str) -> dict[bytes, bytes]:
    """All files of a run, in plain."""
    found: dict[bytes, bytes] = {}
    with engine.open(run) as source:
        pending = [b""]
        while pending:
            folder = pending.pop()
            for entry in source.list(folder).entries:
                path = folder + b"/" + entry.name if folder else entry.name
                if entry.mode & 0o170000 == 0o040000:
                    pending.append(path)
                elif entry.mode & 0o170000 == 0o100000:
                    found[path] = b"".join(source.read(path))
    return found


def tree_is(target: Path, manifest: Manifest) -> None:
    """``volume/`` of a target has exactly what a run took, byte for byte, and says so."""
    assert (target / "volume.run").read_text() == manifest.head.run
    top = os.fsencode(target / "volume")
    there = {}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            there[os.path.relpath(path, top)] = path
    listed = [item for item in manifest.items if item.taken is not Taken.MISSING or item.kind is ItemKind.DIRECTORY]
    wanted = {item.path: item for item in listed if item.path}
    assert set(there) == set(wanted)
    for path, item in wanted.items():
        if item.kind is ItemKind.FILE:
            assert hashlib.sha256(Path(os.fsdecode(there[path])).read_bytes()).digest() == item.digest
        elif item.kind is ItemKind.SYMLINK:
            assert os.readlink(there[path]) == item.target


def nothing_torn(target: Path) -> None:
    """Whatever has its name among the objects is what its name says."""
    for path in (target / "objects").glob("??/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
