"""Attacks on where things are: swapped, moved, copied, of another kind, of another volume (FORMAT.md 7 to 9)."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

from tests.support.corruption.attack import (
    RECORD,
    Effect,
    Hit,
    Outcome,
    Target,
    attack,
    retarget,
    spoilt,
    swap,
)

DELETED = "That an attribute, a file or a whole directory still exists"
HARD_LINKS = "Hard-linked files."
NODES = "Named pipes, sockets and device nodes"


@attack("files-swap", Outcome.EIO, "file-moved", "entry-damaged", needs=("other",))
def files_swap(target: Target) -> list[Hit]:
    """Two files change places, in one directory or in two."""
    swap(target.file, target.second)
    return [spoilt(target.file, "moved"), spoilt(target.second, "moved")]


@attack("file-copy-over", Outcome.EIO, "file-moved", "entry-damaged", needs=("other",))
def file_copy_over(target: Target) -> list[Hit]:
    """A file is copied over another one."""
    shutil.copyfile(target.second, target.file)
    return [spoilt(target.file, "moved")]


@attack("file-link-over", Outcome.EIO, "file-moved", "entry-damaged", needs=("other",))
def file_link_over(target: Target) -> list[Hit]:
    """A file is replaced by a hard link to another one."""
    target.file.unlink()
    target.file.hardlink_to(target.second)
    return [spoilt(target.file, "moved")]


@attack("file-rename-over", Outcome.EIO, "file-moved", "entry-damaged", needs=("other",))
def file_rename_over(target: Target) -> list[Hit]:
    """A file is renamed over another one."""
    target.second.rename(target.file)
    return [spoilt(target.file, "moved"), Hit(target.second, Effect.GONE)]


@attack(
    "file-move-away",
    Outcome.NOT_SHOWN,
    "foreign",
    "entry-damaged",
    limit=DELETED,
    checkpoint="file-deleted",
    needs=("other",),
)
def file_move_away(target: Target) -> list[Hit]:
    """A file is moved, name and all, to another directory."""
    new = target.second / target.file.name
    target.file.rename(new)
    return [Hit(target.file, Effect.GONE), _stranger(new)]


@attack("file-copy-elsewhere", Outcome.NOT_SHOWN, "foreign", "entry-damaged", needs=("other",))
def file_copy_elsewhere(target: Target) -> list[Hit]:
    """A file is copied, name and all, to another directory."""
    new = target.second / target.file.name
    shutil.copyfile(target.file, new)
    return [_stranger(new)]


def _stranger(path: Path) -> Hit:
    """An entry with a name of another directory: foreign, or where the text is in its header, damaged."""
    return Hit(path, Effect.NONE, "entry-damaged" if path.name.startswith("~") else "foreign")


@attack("file-add-garbage", Outcome.NOT_SHOWN, "foreign", needs=("other",))
def file_add_garbage(target: Target) -> list[Hit]:
    """A file with a made-up name in the alphabet of names is put into a directory."""
    name = base64.urlsafe_b64encode(target.random_bytes(32)).decode().rstrip("=")
    path = target.second / name
    path.write_bytes(target.random_bytes(5000))
    return [_stranger(path)]


@attack("file-twin", Outcome.NOT_SHOWN, "foreign")
def file_twin(target: Target) -> list[Hit]:
    """Beside a file a copy of it is put under the same name with the ending of a symlink."""
    twin = target.file.with_name(target.file.name + ".l")
    shutil.copyfile(target.file, twin)
    return [Hit(twin, Effect.NONE, "foreign")]


@attack("file-as-symlink", Outcome.EIO, "file-damaged")
def file_as_symlink(target: Target) -> list[Hit]:
    """A file gets the ending of a symlink, or a symlink kept in a file loses it."""
    name = target.file.name
    new = target.file.with_name(name.removesuffix(".l") if name.endswith(".l") else name + ".l")
    target.file.rename(new)
    return [Hit(target.file, Effect.WHOLE, "file-damaged")]


@attack("file-to-symlink", Outcome.EIO, "symlink-damaged", needs=("other",))
def file_to_symlink(target: Target) -> list[Hit]:
    """A file is replaced by a lower symlink that leads to another file of the volume."""
    retarget(target.file, os.path.relpath(target.second, target.file.parent))
    return [Hit(target.file, Effect.WHOLE, "symlink-damaged")]


@attack("file-to-directory", Outcome.EIO, "directory-size")
def file_to_directory(target: Target) -> list[Hit]:
    """A file is replaced by an empty directory."""
    target.file.unlink()
    target.file.mkdir()
    return [Hit(target.file, Effect.WHOLE, "directory-size")]


@attack("directory-to-file", Outcome.EIO, "file-moved", needs=("other",))
def directory_to_file(target: Target) -> list[Hit]:
    """A directory is replaced by a file."""
    shutil.rmtree(target.file)
    shutil.copyfile(target.second, target.file)
    return [Hit(target.file, Effect.WHOLE, "file-moved")]


@attack("file-to-pipe", Outcome.CHECKPOINT, limit=NODES, checkpoint="node-replaced")
def file_to_pipe(target: Target) -> list[Hit]:
    """A file is replaced by a named pipe."""
    target.file.unlink()
    os.mkfifo(target.file)
    return [Hit(target.file, Effect.OLD)]


@attack("file-delete", Outcome.CHECKPOINT, limit=DELETED, checkpoint="file-deleted")
def file_delete(target: Target) -> list[Hit]:
    """A file, a symlink or a whole directory is deleted."""
    if target.file.is_dir() and not target.file.is_symlink():
        shutil.rmtree(target.file)
    else:
        target.file.unlink()
    return [Hit(target.file, Effect.GONE)]


@attack("hard-links-swap", Outcome.CHECKPOINT, limit=HARD_LINKS, checkpoint="file-replayed", needs=("other",))
def hard_links_swap(target: Target) -> list[Hit]:
    """A name of one file with several names changes places with a name of another such file."""
    swap(target.file, target.second)
    return [Hit(target.file, Effect.OLD), Hit(target.second, Effect.OLD)]


# -- directories ------------------------------------------------------------------------------------------------


@attack("directories-swap", Outcome.EIO, "directory-moved", "entry-damaged", needs=("other",))
def directories_swap(target: Target) -> list[Hit]:
    """Two directories change places."""
    swap(target.file, target.second)
    return [spoilt(target.file, "moved"), spoilt(target.second, "moved")]


@attack("directory-copy-over", Outcome.EIO, "directory-moved", "entry-damaged", needs=("other",))
def directory_copy_over(target: Target) -> list[Hit]:
    """A directory is replaced by a copy of another one."""
    shutil.rmtree(target.file)
    shutil.copytree(target.second, target.file, symlinks=True)
    return [spoilt(target.file, "moved")]


@attack(
    "directory-move-away",
    Outcome.NOT_SHOWN,
    "foreign",
    "entry-damaged",
    limit=DELETED,
    checkpoint="directory-deleted",
    needs=("other",),
)
def directory_move_away(target: Target) -> list[Hit]:
    """A directory is moved, name and all, into another one."""
    new = target.second / target.file.name
    target.file.rename(new)
    return [Hit(target.file, Effect.GONE), _stranger(new)]


@attack("directory-copy-elsewhere", Outcome.NOT_SHOWN, "foreign", "entry-damaged", needs=("other",))
def directory_copy_elsewhere(target: Target) -> list[Hit]:
    """A directory is copied, name and all, into another one."""
    new = target.second / target.file.name
    shutil.copytree(target.file, new, symlinks=True)
    return [_stranger(new)]


@attack("records-swap", Outcome.EIO, "directory-moved", "entry-damaged", needs=("other",))
def records_swap(target: Target) -> list[Hit]:
    """Two directories swap their records."""
    swap(target.file / RECORD, target.second / RECORD)
    return [spoilt(target.file, "moved"), spoilt(target.second, "moved")]


# -- symlinks ---------------------------------------------------------------------------------------------------


@attack("symlinks-swap", Outcome.EIO, "symlink-moved", needs=("other",))
def symlinks_swap(target: Target) -> list[Hit]:
    """Two symlinks change places."""
    swap(target.file, target.second)
    return [spoilt(target.file, "moved"), spoilt(target.second, "moved")]


@attack("symlink-copy-over", Outcome.EIO, "symlink-moved", needs=("other",))
def symlink_copy_over(target: Target) -> list[Hit]:
    """A symlink gets the sealed target of another one."""
    retarget(target.file, os.readlink(target.second))
    return [spoilt(target.file, "moved")]


# -- another volume ---------------------------------------------------------------------------------------------


@attack("file-of-another-volume", Outcome.EIO, "file-damaged", "entry-damaged", needs=("other", "old"))
def file_of_another_volume(target: Target) -> list[Hit]:
    """A file is replaced by a file of another volume."""
    shutil.copyfile(target.second, target.file)
    return [spoilt(target.file)]


@attack("symlink-of-another-volume", Outcome.EIO, "symlink-damaged", needs=("other", "old"))
def symlink_of_another_volume(target: Target) -> list[Hit]:
    """A symlink is replaced by a symlink of another volume."""
    retarget(target.file, os.readlink(target.second))
    return [spoilt(target.file)]


@attack("directory-of-another-volume", Outcome.EIO, "directory-damaged", "entry-damaged", needs=("other", "old"))
def directory_of_another_volume(target: Target) -> list[Hit]:
    """A directory is replaced by a directory of another volume."""
    shutil.rmtree(target.file)
    shutil.copytree(target.second, target.file, symlinks=True)
    return [spoilt(target.file)]


@attack("file-added-from-another-volume", Outcome.NOT_SHOWN, "foreign", "entry-damaged", needs=("other", "old"))
def file_added_from_another_volume(target: Target) -> list[Hit]:
    """A file of another volume is put, name and all, into a directory."""
    new = target.file / target.second.name
    shutil.copyfile(target.second, new)
    return [_stranger(new)]
