"""Key files and recovery sheets that lie on the medium of a volume, where they are lost or stolen together with it.

Owns: where they are looked for and how they are recognised. Must not know: which volume they open, what is in them:
of a file no more is kept than what kind it is.

A disk may hold millions of files, so the search is bounded, and says so when it ended early.
"""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_NAME

ENTRIES_MAX: Final = 20_000
_READ_MAX: Final = 2_000
_KEY_FILE: Final = re.compile(rb"cloakfs-key-file [0-9]{1,9} ")
_KEY_FILE_SIZES: Final = range(60, 121)
_RECOVERY: Final = re.compile(rb"(?:^|\n)[ \t]*(?:[0-9A-Za-z]{5}[- ]){12}[0-9A-Za-z]{5}[ \t]*\r?(?:\n|$)")
# The 33 words of a share (``encfs/sheets``), without a sentence around them.
_SHARE: Final = re.compile(rb"(?:^|\n)(?:[a-z]{4,8}\s+){32}[a-z]{4,8}\s*$")
_TEXT_SIZES: Final = range(65, 1025)
# What fpdf2 writes at the end of a sheet of ``encfs/sheets``.
_SHEET: Final = re.compile(rb"/Title \((Recovery key|Share [0-9]{1,2} of [0-9]{1,2})\)")
_SHEET_SIZES: Final = range(10_000, 1_000_000)
_SHEET_END: Final = 4096
# An identity that pyrage or OpenSSH wrote.
_LOST_AND_FOUND: Final = b"lost+found"
_AGE_IDENTITY: Final = re.compile(rb"(?:^|\n)AGE-SECRET-KEY-1[0-9A-Z]{20}")


class Kind(StrEnum):
    """What a file is, in words that follow "a"."""

    KEY_FILE = "key file"
    RECOVERY = "recovery key"
    RECOVERY_SHEET = "sheet with a recovery key"
    SHARE = "share of a recovery key"
    SHARE_SHEET = "sheet with a share"
    IDENTITY = "age identity"


@dataclass(frozen=True, slots=True)
class Secret:
    """A file that opens a volume, or helps to."""

    path: bytes
    kind: Kind


@dataclass(frozen=True, slots=True)
class Search:
    """What was found. ``complete``: whether all of the medium was looked at that is in reach of this user."""

    secrets: tuple[Secret, ...]
    looked_at: int
    complete: bool


def search(
    starts: Iterable[bytes], device: int, *, mounts: Container[bytes] = (), entries_max: int = ENTRIES_MAX
) -> Search:
    """Look below each of ``starts``, nearest first, on the filesystem ``device`` only.

    Volumes are not entered: what is in them is sealed, and there may be much of it.

    Args:
        starts: directories.
        device: ``st_dev`` of the filesystem.
        mounts: where something is mounted. These are not even asked what they are: one that hangs would keep us.
        entries_max: where the search ends.
    """
    found: list[Secret] = []
    count = reads = 0
    complete = True
    for path, info in _files(starts, device, mounts):
        count += 1
        if count > entries_max or reads > _READ_MAX:
            complete = False
            break
        if info is None:
            # A directory that this user may not read. That of mkfs.ext4 is root's, and nobody puts a key there.
            complete = complete and os.path.basename(path) == _LOST_AND_FOUND
        elif stat.S_ISREG(info.st_mode) and _may_be_one(path, info.st_size):
            reads += 1
            kind = _kind(path, info.st_size)
            if kind is not None:
                found.append(Secret(path, kind))
    return Search(tuple(sorted(found, key=lambda secret: secret.path)), min(count, entries_max), complete)


def _files(
    starts: Iterable[bytes], device: int, mounts: Container[bytes]
) -> Iterator[tuple[bytes, os.stat_result | None]]:
    """Every entry, breadth first; with None for a directory that cannot be listed."""
    seen: set[bytes] = set()
    for start in starts:
        pending = deque([start])
        while pending:
            directory = pending.popleft()
            if directory in seen:
                continue
            seen.add(directory)
            try:
                entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
            except OSError:
                yield directory, None
                continue
            if any(entry.name in (CONFIG_NAME, CONFIG_BAK_NAME) for entry in entries):
                continue
            for entry in entries:
                if entry.path in mounts:
                    continue
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # It went away meanwhile.
                if info.st_dev != device:
                    continue
                if stat.S_ISDIR(info.st_mode):
                    pending.append(entry.path)
                yield entry.path, info


def _may_be_one(path: bytes, size: int) -> bool:
    return size in _TEXT_SIZES or size in _KEY_FILE_SIZES or (path.endswith(b".pdf") and size in _SHEET_SIZES)


def _kind(path: bytes, size: int) -> Kind | None:
    try:
        # Not blocking: the name may have become one of a fifo meanwhile.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not path.endswith(b".pdf"):
            return _kind_of_text(os.pread(fd, _TEXT_SIZES.stop, 0))
        title = _SHEET.search(os.pread(fd, _SHEET_END, max(0, size - _SHEET_END)))
    except OSError:
        return None
    finally:
        os.close(fd)
    if title is None:
        return None
    return Kind.RECOVERY_SHEET if title[1].startswith(b"Recovery") else Kind.SHARE_SHEET


def _kind_of_text(content: bytes) -> Kind | None:
    if _KEY_FILE.match(content):
        return Kind.KEY_FILE
    if _AGE_IDENTITY.search(content):
        return Kind.IDENTITY
    if _SHARE.search(content):
        return Kind.SHARE
    return Kind.RECOVERY if _RECOVERY.search(content) else None
