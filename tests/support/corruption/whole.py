"""Old copies that are put back: files, symlinks, attributes, the whole volume (THREAT_MODEL.md, attacker A4)."""

from __future__ import annotations

import os
import shutil

from tests.support.corruption.attack import RECORD, Effect, Hit, Outcome, Target, attack, retarget
from tests.support.corruption.regions import XATTR

OLD_STATE = "Old state"


@attack("file-older", Outcome.FRESHNESS, "file-rollback", limit=OLD_STATE, checkpoint="file-rollback", needs=("old",))
def file_older(target: Target) -> list[Hit]:
    """A file is replaced by its older self."""
    shutil.copyfile(target.older(target.file), target.file)
    return [Hit(target.file, Effect.OLD, remembered="file-rollback")]


@attack(
    "file-deleted-put-back",
    Outcome.FRESHNESS,
    "file-rollback",
    limit=OLD_STATE,
    checkpoint="file-replayed",
    needs=("old",),
)
def file_deleted_put_back(target: Target) -> list[Hit]:
    """A file that was deleted is put back."""
    shutil.copyfile(target.older(target.file), target.file)
    return [Hit(target.file, Effect.OLD, remembered="file-rollback")]


@attack("file-header-older", Outcome.EIO, "cell-damaged", checkpoint="file-replayed", needs=("old",))
def file_header_older(target: Target) -> list[Hit]:
    """A file that was emptied and written again gets its older header."""
    with target.file.open("r+b") as file:
        file.write(target.older(target.file).read_bytes()[:512])
    cells = frozenset(range(target.cells()))
    return [Hit(target.file, Effect.CELLS, "cell-damaged", cells, remembered="file-rollback")]


@attack("symlink-older", Outcome.CHECKPOINT, limit=OLD_STATE, checkpoint="symlink-replayed", needs=("old",))
def symlink_older(target: Target) -> list[Hit]:
    """A symlink is replaced by one that was there under the same name before."""
    retarget(target.file, os.readlink(target.older(target.file)))
    return [Hit(target.file, Effect.OLD)]


@attack("xattr-older", Outcome.LIMIT, limit=OLD_STATE, needs=("old",))
def xattr_older(target: Target) -> list[Hit]:
    """The sealed attributes of an object are replaced by their older selves."""
    os.setxattr(target.file, XATTR, os.getxattr(target.older(target.file), XATTR))
    return [Hit(target.file, Effect.OLD)]


@attack("record-older", Outcome.EIO, "directory-moved", needs=("other", "old"))
def record_older(target: Target) -> list[Hit]:
    """A directory that was renamed gets the record from before."""
    shutil.copyfile(target.older(target.second) / RECORD, target.file / RECORD)
    return [Hit(target.file, Effect.WHOLE, "directory-moved")]


@attack("volume-older", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=OLD_STATE, needs=("old",))
def volume_older(target: Target) -> list[Hit]:
    """The whole volume is replaced by its older self."""
    assert target.old is not None
    for path in target.volume.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(target.old, target.volume, symlinks=True, dirs_exist_ok=True)
    return [Hit(target.volume, Effect.OLD)]
