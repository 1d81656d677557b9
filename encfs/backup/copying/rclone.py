"""A remote of rclone that sealed trees are copied to (FORMAT.md section 18, "Target of `copy`").

Owns: ``runs/`` and ``objects/`` there, and what waits on this computer to go there. Must not know: what a run takes.

Many files go in one run of rclone, from a directory on this computer to which they were written first. Whether they are
right is known by reading them from the remote and by nothing that the remote says of them.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from encfs import runtime
from encfs.backup import markers, rclone
from encfs.backup.copying.piped import Piped
from encfs.backup.copying.target import PART_SUFFIX, Part, Reader, Stored
from encfs.backup.copying.waiting import WaitingPart, batches, hash_file, place_of, sync
from encfs.backup.manifest import Manifest
from encfs.backup.markers import MARKER, Marker
from encfs.backup.rclone import RcloneError, Trouble
from encfs.backup.targets import check_not_own_medium
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import BackupError, NotEmptyError, WrongMediumError
from encfs.store import caches
from encfs.wording import printable

_RUN_NAME: Final = re.compile(r"[0-9a-f]{32}")
_OBJECT_NAME: Final = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})")
_BATCH: Final = 256 << 20
# Of so few files each one is looked for; of more, whole directories are listed.
_FEW: Final = 200
_GONE: Final = "Look at the network and the other computer, and at the path: rclone lsd REMOTE:PATH"


class RcloneTarget:
    """Satisfies :class:`encfs.backup.copying.target.CopyTarget`.

    Args:
        remote: ``REMOTE:PATH``, as rclone takes it.
    """

    tree = False
    batch = _BATCH
    most: int | None = None

    def __init__(self, remote: str) -> None:
        self.remote = remote
        self._waiting: Path | None = None
        self._leads: rclone.Remote | None = None
        self._piped: Piped | None = None

    def _at(self, *names: str) -> str:
        """A place on the remote."""
        separator = "" if self.remote.endswith((":", "/")) else "/"
        return self.remote + separator + "/".join(names)

    # -- who works on it -----------------------------------------------------------------------------------------------

    @contextmanager
    def held(self, *, writing: bool) -> Iterator[None]:
        """See the protocol. Another computer that works on it is not noticed."""
        if self._waiting is not None:
            yield
            return
        if self._leads is None:
            self._leads = rclone.look_at(self.remote)
        base = runtime.private_directory(runtime.state_directory() / "backup-uploads")
        folder = runtime.private_directory(base / CLOAKFS_1.digest(self.remote.encode(errors="surrogateescape")).hex())
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if writing:
                self._lock(fd)
                for left in folder.iterdir():
                    shutil.rmtree(left)  # Of a run that was killed.
            with tempfile.TemporaryDirectory(dir=folder if writing else base) as waiting:
                self._waiting = Path(waiting)
                yield
        finally:
            piped, self._waiting, self._piped = self._piped, None, None
            if piped is not None:
                piped.close()
            os.close(fd)

    @staticmethod
    def _lock(fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BackupError("another run is at work on this target", hint="Wait until it has ended.") from exc

    @property
    def _room(self) -> Path:
        if self._waiting is None:
            raise AssertionError("internal error: a target is used that nobody holds")
        return self._waiting

    @property
    def _directories(self) -> tuple[str, ...]:
        return self._leads.directories if self._leads is not None else ()

    # -- whose it is ---------------------------------------------------------------------------------------------------

    def read_marker(self) -> Marker | None:
        """What it says of itself; None if it has no marker. Raises: BackupError: it is out of reach, or damaged."""
        with self.held(writing=False):
            data = self._get(MARKER)
        return None if data is None else markers.open_marker(data)

    def prepare(self, marker: Marker, *, volume: bytes, mountpoints: Iterable[bytes] = ()) -> None:
        """Make it a target: it is made, and gets its marker. Twice does no harm.

        Args:
            marker: what it gets.
            volume: the directory of the volume.
            mountpoints: where that is mounted.

        Raises:
            UsageError: it lies on the medium of the volume, or is sent to in clear text.
            NotEmptyError: something else is there. WrongMediumError: it is of another backup.
            BackupError, AuditError, OSError.
        """
        where = tuple(mountpoints)
        with self.held(writing=True):
            for directory in self._directories:
                check_not_own_medium(os.fsencode(directory), volume, where)
            data = self._get(MARKER)
            there = None if data is None else markers.open_marker(data)
            if there is None and self._has_anything():
                raise NotEmptyError(f"{printable(self.remote)} is not empty", hint="A backup wants a path of its own.")
            if there is not None and there != marker:
                raise WrongMediumError(
                    f"{printable(self.remote)} is the target of a backup already", hint="Take another path there."
                )
            self.write_marker(marker)

    def write_marker(self, marker: Marker) -> None:
        """Write its marker, anew if there is one. Raises: BackupError, AuditError, OSError."""
        with self.held(writing=True):
            self._put(MARKER, markers.pack_marker(marker))

    # -- manifests -----------------------------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        with self.held(writing=False):
            found = self._list("runs")
            if not found and self._get(MARKER) is None:
                raise BackupError(f"the target of the backup is gone: {printable(self.remote)}", hint=_GONE)
        return sorted(name for name in found if _RUN_NAME.fullmatch(name))

    def read_run(self, run: str) -> bytes:
        with self.held(writing=False):
            data = self._get(f"runs/{run}")
        if data is None:
            raise _missing(f"runs/{run}")
        return data

    def write_run(self, run: str, manifest: bytes) -> None:
        self._put(f"runs/{run}", manifest)

    def remove_run(self, run: str) -> None:
        with _Missing():
            rclone.call("deletefile", self._at("runs", run))

    # -- files ---------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        suffix = PART_SUFFIX.decode()
        for folder in ("", "runs/"):
            depth = () if folder else ("--max-depth", "1")
            for name in self._list(folder.rstrip("/"), *depth):
                if name.endswith(suffix):
                    with _Missing():
                        rclone.call("deletefile", self._at(folder + name))

    def objects(self) -> dict[bytes, int]:
        with self.held(writing=False):
            found = self._list("objects", "--recursive")
        named = ((_OBJECT_NAME.fullmatch(path), size) for path, size in found.items())
        return {bytes.fromhex(match[2]): size for match, size in named if match}

    def part(self, size: int) -> Part:
        del size
        return WaitingPart(self._room)

    def publish(self, parts: Mapping[bytes, Part]) -> None:
        if not parts:
            return
        with tempfile.TemporaryDirectory(dir=self._room) as top:
            for digest, part in parts.items():
                if not isinstance(part, WaitingPart):
                    raise AssertionError("internal error: a part of another target")  # noqa: TRY004
                place = Path(top, place_of(digest))
                place.parent.mkdir(exist_ok=True)
                part.path.rename(place)
            self._copy(top, self._at("objects"), parts)
        for directory in self._directories:
            sync(directory)

    def read_back(
        self, wanted: Collection[Stored], done: Callable[[int], None]
    ) -> Iterator[tuple[Stored, bytes | None]]:
        with self.held(writing=False):
            count = 0
            for some in batches(wanted, self.batch):
                alone = len(some) == 1 and some[0].size >= self.batch
                for one, digest, size in [self._hash(some[0])] if alone else self._fetch(some):
                    count += size
                    done(count)
                    yield one, digest

    def open(self, wanted: Stored) -> Reader:
        if self._waiting is None:
            raise AssertionError("internal error: a target is used that nobody holds")
        name = f"objects/{place_of(wanted.digest)}"
        self._forget([name])
        try:
            if self._piped is None:
                self._piped = Piped(self.remote)
            return self._piped.open(name)
        except OSError as exc:
            if self._piped is not None and not isinstance(exc, FileNotFoundError):
                self._piped.close()
                self._piped = None  # The next one is asked anew.
            self._check_there()
            raise

    def remove(self, digests: Iterable[bytes]) -> int:
        there = self.objects()
        wanted = [one for one in digests if one in there]
        if wanted:
            with self._names(wanted) as names:
                rclone.call("delete", *names, self._at("objects"))
        return sum(there[one] for one in wanted)

    # -- no tree -------------------------------------------------------------------------------------------------------

    def tree_run(self) -> str:
        return ""

    def tree_files(self) -> dict[bytes, int]:
        return {}

    def follow(
        self, now: Manifest, before: Manifest | None, doubted: Collection[bytes], done: Callable[[int], None]
    ) -> None:
        del now, before, doubted, done
        raise AssertionError("internal error: a remote has no tree")

    # -- by rclone -----------------------------------------------------------------------------------------------------

    def _get(self, name: str) -> bytes | None:
        """A small file; None if it is not there."""
        self._forget([name])
        with _Missing():
            return rclone.call("cat", self._at(name))
        return None

    def _put(self, name: str, data: bytes) -> None:
        """A small file, whole or not at all: under another name first, and read back before it has its own.

        Raises: BackupError: it is not what was written.
        """
        part = name + PART_SUFFIX.decode()
        with tempfile.NamedTemporaryFile(dir=self._room) as file:
            file.write(data)
            file.flush()
            rclone.call("copyto", "--ignore-times", file.name, self._at(part))
        if self._get(part) == data:
            rclone.call("moveto", "--ignore-times", self._at(part), self._at(name))
            for directory in self._directories:
                sync(directory)
            if self._get(name) == data:
                return
            with _Missing():
                rclone.call("deletefile", self._at(name))
        raise BackupError(
            "the remote does not give back what was written to it", hint="Take another remote, and tell us."
        )

    def _list(self, folder: str, *options: str) -> dict[str, int]:
        """Sizes of the files in a folder, by their paths; nothing if it is missing."""
        with _Missing():
            quick = ("--files-only", "--no-modtime", "--no-mimetype")
            found = json.loads(rclone.call("lsjson", *quick, *options, self._at(folder) if folder else self.remote))
            return {str(one["Path"]): int(one["Size"]) for one in found}
        return {}

    def _has_anything(self) -> bool:
        with _Missing():
            return bool(rclone.call("lsf", self.remote).strip())
        return False

    def _copy(self, source: str, target: str, digests: Collection[bytes]) -> None:
        """Objects, all in one run of rclone. One that is not at the source is left out, or is an error."""
        more = ("--no-traverse",) if len(digests) <= _FEW else ()
        with self._names(digests) as names:
            rclone.call("copy", "--ignore-times", "--no-update-modtime", *more, *names, source, target)

    @contextmanager
    def _names(self, digests: Iterable[bytes]) -> Iterator[list[str]]:
        """Options that name objects, below ``objects/``."""
        with tempfile.NamedTemporaryFile(dir=self._room) as file:
            file.write(b"".join(f"{place_of(one)}\n".encode() for one in digests))
            file.flush()
            yield ["--files-from-raw", file.name]

    def _fetch(self, wanted: Collection[Stored]) -> Iterator[tuple[Stored, bytes | None, int]]:
        """Download some, and hash what came. Raises: BackupError: nothing comes any more."""
        self._forget([f"objects/{place_of(one.digest)}" for one in wanted])
        with tempfile.TemporaryDirectory(dir=self._room) as top:
            try:
                self._copy(self._at("objects"), top, [one.digest for one in wanted])
            except RcloneError as exc:
                self._bear(exc)
            found = [(one, *hash_file(Path(top, place_of(one.digest)))) for one in wanted]
        yield from found

    def _hash(self, one: Stored) -> tuple[Stored, bytes | None, int]:
        """Download one that is large, and keep nothing of it."""
        self._forget([f"objects/{place_of(one.digest)}"])
        running, size = CLOAKFS_1.running_digest(), 0
        try:
            for piece in rclone.pieces("cat", self._at("objects", place_of(one.digest))):
                running.update(piece)
                size += len(piece)
        except RcloneError as exc:
            self._bear(exc)
            return one, None, size
        return one, running.digest(), size

    def _bear(self, exc: RcloneError) -> None:
        """After something could not be read: is it that, or the remote? Raises: BackupError: the remote."""
        if exc.trouble in rclone.HOPELESS:
            raise exc
        self._check_there()

    def _check_there(self) -> None:
        """Raises: BackupError: it is no target any more, or cannot be reached."""
        if self._get(MARKER) is None:
            raise BackupError(f"the target of the backup is gone: {printable(self.remote)}", hint=_GONE)

    def _forget(self, names: Iterable[str]) -> None:
        """Of a remote that is a directory of this computer: the next read asks the disk."""
        for directory in self._directories:
            for name in names:
                with suppress(FileNotFoundError, NotADirectoryError):
                    fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                    try:
                        caches.forget_file(fd)
                    finally:
                        os.close(fd)


def _missing(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


class _Missing:
    """What is not there is no failure: ``with _Missing():``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> bool:
        return isinstance(exc, RcloneError) and exc.trouble is Trouble.NOT_FOUND
