"""Putting a whole volume back from its sealed copy, as it was: no key is needed, and what opened it opens it.

Owns: the order: beside its place under a name that says it is unfinished, held against the manifest, read back, and
only then under its own name. Must not know: what is in the volume, the terminal.
"""

from __future__ import annotations

import os
import shutil
import stat
from typing import Final

from encfs.backup import unfinished
from encfs.backup.manifest import Manifest
from encfs.backup.restorable import SealedEngine, opened_sealed
from encfs.backup.restoring import Restore, Restored, Watcher
from encfs.backup.unfinished import Begun
from encfs.errors import BackupError, NotEmptyError, UsageError
from encfs.format.backup import Taken
from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_NAME
from encfs.store.atomic import sync_directory
from encfs.volume.skeleton import open_root

UNFINISHED: Final = b".restoring"


def check_place(to: bytes) -> None:
    """Whether a volume can be put there: nothing is there, or an empty directory.

    Raises:
        UsageError, NotEmptyError. OSError.
    """
    if os.path.ismount(to):
        raise UsageError("this is the top of a medium, and the volume needs a name on it", hint="Give a name below it.")
    if os.path.lexists(to) and not (os.path.isdir(to) and not os.path.islink(to) and not os.listdir(to)):
        raise NotEmptyError(
            "there is something already where the volume shall be",
            hint="Give the name of a new directory; nothing is ever overwritten.",
        )
    if not os.path.isdir(os.path.dirname(os.path.abspath(to))):
        raise UsageError("there is no directory above it", hint="Make it first.")


def put_back(engine: SealedEngine, manifest: Manifest, to: bytes, watcher: Watcher) -> Restored:
    """The volume of a run, as a new directory.

    What an earlier try has left beside ``to`` is gone on with. Files that are damaged in the backup are listed, and the
    rest is there: ``verify`` of the volume names them.

    Args:
        engine: that has it; its target is there.
        manifest: of the run.
        to: its place, which :func:`check_place` has found free.
        watcher: is told how far it is.

    Raises:
        BackupError: neither copy of its config is good, or the target is gone. NotEmptyError: something is there now.
        OSError. In every case nothing is at ``to``; what is finished stays beside it for the next try.
    """
    work = os.path.abspath(to) + UNFINISHED
    key = unfinished.of_place(work)
    if os.path.lexists(work) and unfinished.begun(key) is None:
        # It may be anybody's: what is not of this run would be taken away in it.
        raise NotEmptyError(
            'there is something already by that name with ".restoring" behind it, which no restore here has begun',
            hint="Move it away, or give another name.",
        )
    unfinished.note(key, Begun(manifest.head.plan, manifest.head.run))
    _clear_others(work, manifest)
    with opened_sealed(engine, manifest) as source:
        done = Restore(source, (), work, watcher).run(replace=True, own=True)
    if not any(os.path.lexists(os.path.join(work, name)) for name in (CONFIG_NAME, CONFIG_BAK_NAME)):
        raise BackupError(
            "the config of the volume is damaged in this backup, so nothing opens what is restored",
            hint="Restore an older run (--as-of), or from another target.",
        )
    _publish(work, os.path.abspath(to))
    unfinished.done(key)
    return done


def _clear_others(work: bytes, manifest: Manifest) -> None:
    """What an earlier try has left of another run: it would be in the volume as well."""
    wanted = {item.path for item in manifest.items if item.taken is not Taken.MISSING}
    for folder, folders, names in os.walk(work, topdown=True):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            if os.path.relpath(path, work) in wanted:
                continue
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
                folders.remove(name)
            else:
                os.unlink(path)


def _publish(work: bytes, to: bytes) -> None:
    """Raises: NotEmptyError: there is something now. OSError."""
    try:
        os.rename(work, to)
    except OSError as exc:
        if os.path.lexists(to):
            raise NotEmptyError(
                "there is something where the volume shall be, which was not there before",
                hint="Nothing was overwritten. Move it away, and try again.",
            ) from exc
        raise
    store, fd = open_root(os.path.dirname(to))
    try:
        sync_directory(store, fd)
    finally:
        store.close(fd)
