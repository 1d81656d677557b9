"""Where in a volume's directory its config lies: its two copies, and whatever else holds the keys or a piece of them.

Owns: the search, without any key (FORMAT.md sections 2 to 4). Must not know: what is done with what it finds.

Sealed files are told by their magic and not searched: nothing in them can be a config. What is packed or compressed is
not looked into.
"""

from __future__ import annotations

import os
import re
import stat as stat_module
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from encfs.core import config as core_config
from encfs.errors import ConfigError, FormatError
from encfs.format import base64url
from encfs.format.config import Config
from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_MAX, CONFIG_NAME, TEMP_PREFIX
from encfs.store.base import Store
from encfs.units import VolumeId

CONFIG_FILE_MAX: Final = CONFIG_MAX + 1024
SEARCHED_MAX: Final = 64 << 20
"""Foreign files that are longer are counted, and not searched."""
_CHUNK: Final = 1 << 20
SEALED: Final = re.compile(rb"CLK[FDSM]\x01")
"""How a sealed file begins (FORMAT.md sections 6 and 12)."""
_FIRST_LINE: Final = b"cloakfs-volume "
_ID_FIELD: Final = re.compile(rb'"volume_id":"([A-Za-z0-9_-]{22})"')
# A page of 4096 bytes that is all that is left of a config holds some of these, wherever it begins.
_MARK: Final = 24
_STRIDE: Final = 192

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class KeyCopy:
    """A file that holds the config, or a piece of it.

    Attributes:
        path: from the volume's directory.
        size: in bytes.
        config: it is a config and nothing else; if not, something else is in it too, as in an archive.
        links: how many names it has; where they are is not known. Overwriting it overwrites them all.
    """

    path: bytes = field(repr=False)
    size: int
    config: bool
    links: int = 1

    @property
    def is_main(self) -> bool:
        """Whether it is one of the two that every volume has."""
        return self.path in (CONFIG_NAME, CONFIG_BAK_NAME)


@dataclass(slots=True)
class Survey:
    """What lies in a volume's directory.

    Attributes:
        copies: what holds keys, the two copies of the config last.
        sealed, sealed_bytes: files that are sealed, which nothing opens without the config.
        foreign: files that are neither sealed nor the config: not encrypted by cloakfs.
        unsearched: what could not be searched: directories and files that cannot be read, other filesystems that are
            mounted inside, foreign files that are too long.
    """

    copies: list[KeyCopy] = field(default_factory=list)
    sealed: int = 0
    sealed_bytes: int = 0
    foreign: int = 0
    unsearched: int = 0


class Marks:
    """By what a config of one volume, and a piece of it, is known.

    Args:
        volume_id: of the volume; None if nothing tells it.
        raws: its configs, as far as they can be read: pieces are known by what is secret in these.
    """

    def __init__(self, volume_id: VolumeId | None, raws: Sequence[bytes] = ()) -> None:
        found = set() if volume_id is None else {b'"volume_id":"%b"' % base64url.encode(volume_id)}
        for raw in raws:
            try:
                found.update(_marks_of(core_config.read_copy(raw)))
            except ConfigError:
                continue
        self._marks = sorted(found, reverse=True)
        self.overlap = max(map(len, self._marks), default=1) - 1

    def found_in(self, data: bytes) -> bool:
        """Whether any of it is there."""
        return any(mark in data for mark in self._marks)


def volume_id_in(raw: bytes) -> VolumeId | None:
    """The id that a config, which may be damaged, has in it."""
    try:
        return core_config.read_copy(raw).volume_id
    except ConfigError:
        pass
    texts = set(_ID_FIELD.findall(raw))
    try:
        return VolumeId(base64url.decode(texts.pop())) if len(texts) == 1 else None
    except FormatError:
        return None


def _marks_of(config: Config) -> Iterator[bytes]:
    secrets = [config.metadata, *(epoch.wrap for epoch in config.epochs)]
    for slot in config.slots:
        secrets += [slot.esk, slot.erk, slot.auth]
    for secret in secrets:
        text = base64url.encode(secret)
        for at in range(0, len(text) - _MARK + 1, _STRIDE):
            yield text[at : at + _MARK]


def survey(store: Store, root_fd: int, marks: Marks, progress: Progress = lambda _: None) -> Survey:
    """Look at everything in the directory of a volume.

    Raises:
        OSError: the directory itself cannot be read.
    """
    found, seen = Survey(), 0
    device = store.fstat(root_fd).st_dev
    pending: list[tuple[bytes, ...]] = [()]
    while pending:
        parts = pending.pop()
        try:
            with OpenDirectory(store, root_fd, parts) as dirfd:
                for name in sorted(store.list(dirfd)):
                    if _look(store, dirfd, (*parts, name), device, marks, found):
                        pending.append((*parts, name))
                    seen += 1
                    progress(seen)
        except OSError:
            if not parts:
                raise
            found.unsearched += 1
    found.copies.sort(key=lambda copy: (copy.path == CONFIG_NAME, copy.path == CONFIG_BAK_NAME, copy.path))
    return found


class OpenDirectory:
    """A directory below the volume's own, open for the length of a ``with`` statement. Symlinks are not followed.

    Raises:
        OSError: there is none, or it cannot be opened.
    """

    def __init__(self, store: Store, root_fd: int, parts: Sequence[bytes]) -> None:
        self._store = store
        fd = store.open_directory(root_fd, b".")
        for part in parts:
            try:
                inner = store.open_directory(fd, part)
            finally:
                store.close(fd)
            fd = inner
        self.fd = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        self._store.close(self.fd)


def _look(store: Store, dirfd: int, parts: tuple[bytes, ...], device: int, marks: Marks, found: Survey) -> bool:
    """Note what an entry is; whether it is a directory to go into."""
    try:
        info = store.stat(dirfd, parts[-1])
        if stat_module.S_ISDIR(info.st_mode) and info.st_dev == device:
            return True
        if stat_module.S_ISDIR(info.st_mode):
            found.unsearched += 1
        elif stat_module.S_ISREG(info.st_mode):
            _look_at_file(store, dirfd, parts, info, marks, found)
    except FileNotFoundError:
        pass  # It went away since it was listed.
    except OSError:
        found.unsearched += 1
    return False


def _look_at_file(
    store: Store, dirfd: int, parts: tuple[bytes, ...], info: os.stat_result, marks: Marks, found: Survey
) -> None:
    path, size = b"/".join(parts), info.st_size
    if path in (CONFIG_NAME, CONFIG_BAK_NAME):
        found.copies.append(KeyCopy(path, size, config=True, links=info.st_nlink))
        return
    if not size:
        return
    fd = store.open(dirfd, parts[-1], os.O_RDONLY)
    try:
        head = store.pread(fd, len(_FIRST_LINE), 0)
        if SEALED.match(head):
            found.sealed += 1
            found.sealed_bytes += size
            return
        unfinished = len(parts) == 1 and path.startswith(TEMP_PREFIX)
        if unfinished or holds_keys(store, fd, size, marks):
            config = unfinished or (head == _FIRST_LINE and size <= CONFIG_FILE_MAX)
            found.copies.append(KeyCopy(path, size, config=config, links=info.st_nlink))
            return
        found.foreign += 1
        found.unsearched += size > SEARCHED_MAX
    finally:
        store.close(fd)


def holds_keys(store: Store, fd: int, size: int, marks: Marks) -> bool:
    """Whether the config or a piece of it is in an open file. Raises: OSError."""
    at, tail = 0, b""
    while at < min(size, SEARCHED_MAX):
        piece = store.pread(fd, _CHUNK, at)
        if not piece:
            return False
        if marks.found_in(tail + piece):
            return True
        tail = piece[-marks.overlap :]
        at += len(piece)
    return False
