"""Taking files of a sealed tree to a target, none of them torn (FORMAT.md section 18).

Owns: what is taken again, when a file has been there as it was copied. Must not know: manifests, what is unchanged.

A file that is written to meanwhile is not copied whole: its header, its times or its size are others afterwards. Each
batch is flushed before, copied, flushed again and looked at; the flush brings to the disk what a mount still has of
what it wrote. What is another one then is taken again in the next pass. A record is no longer than its header, is
written by one write, and was read whole when it was looked at.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from encfs.backup.copying.scanning import CONFIGS, Seen, Signature, SourceTree
from encfs.backup.copying.target import CopyTarget, Part
from encfs.backup.engine import Steps
from encfs.crypto.suite import CLOAKFS_1
from encfs.format.backup import ItemKind

PASSES: Final = (400, 40, 1, 1)
"""How many files are copied between two flushes, in each pass: fewer of those that do not hold still."""
_REMEMBERED: Final = 256 << 20
_TOO_LARGE: Final = "it is larger than the medium takes in one file{most}"
_BUSY: Final = "it was written to all the time"


@dataclass(frozen=True, slots=True)
class Got:
    """A file that was there as it was copied: at one moment of the run.

    Attributes:
        seen: as it was then.
        digest, size: of what was copied.
    """

    seen: Seen
    digest: bytes
    size: int


@dataclass(slots=True)
class _Pending:
    """A file that was copied, if it is still as it was: then ``fd`` shows it the same.

    Attributes:
        held_still: when it was opened it was as it had been right after the flush.
    """

    got: Got
    part: Part
    fd: int | None
    held_still: bool = True


@dataclass(slots=True)
class Taking:
    """One run of it.

    Attributes:
        config: what the backup has in place of the volume's config; None: that.
        stored: sizes of what is on the target, by digest. What comes there is added.
        got: what was taken, by path; by_signature: and by what it looked like, wherever it is now.
        reasons: why something was not, by path.
        written: of what is stored, what this run has written.
        given_up: paths of files with which it is of no use to try again.
        remember: is called now and then, when much of it has become objects.
    """

    source: SourceTree
    target: CopyTarget
    flush: Callable[[], None]
    config: bytes | None
    stored: dict[bytes, int]
    steps: Steps
    got: dict[bytes, Got] = field(default_factory=dict, repr=False)
    by_signature: dict[Signature, Got] = field(default_factory=dict, repr=False)
    reasons: dict[bytes, str] = field(default_factory=dict, repr=False)
    written: dict[bytes, int] = field(default_factory=dict, repr=False)
    given_up: set[bytes] = field(default_factory=set, repr=False)
    remember: Callable[[], None] = lambda: None
    _read: int = 0
    _remembered: int = 0

    def take(self, work: Iterable[Seen], at_once: int) -> None:
        """One pass over these files, so many of them between two flushes. One was made just before.

        Raises:
            OSError, BackupError: the target cannot be written to. What was published by then stays.
        """
        for batch in _batches(work, self.target.batch, at_once):
            pending: list[_Pending] = []
            try:
                for seen in batch:
                    # One that does not hold still is looked at right after the flush, not only when all others were.
                    fresh = self._look(seen) if at_once == 1 else seen
                    if fresh is not None:
                        self._begin(fresh, pending)
                self.flush()
                self._settle(pending)
            finally:
                for one in pending:
                    with suppress(OSError):  # The medium may be gone; the next run clears it.
                        self._drop(one)

    # -- copying -------------------------------------------------------------------------------------------------------

    def _look(self, seen: Seen) -> Seen | None:
        with suppress(OSError):
            now = self.source.look(seen.path)
            return now if now is not None and now.kind is ItemKind.FILE and not now.trouble else None
        return None

    def _begin(self, seen: Seen, pending: list[_Pending]) -> None:
        self.reasons.pop(seen.path, None)
        own = self.config if seen.path in CONFIGS else None
        content = own if own is not None else seen.content
        if content is not None:
            got = Got(seen, CLOAKFS_1.digest(content), len(content))
            pending.append(_Pending(got, self.target.part(len(content)), None))
            pending[-1].part.write(content)
            pending[-1].part.close()
            return
        most = self.target.most
        if most is not None and seen.size > most:
            self._give_up(seen.path, _TOO_LARGE.format(most=f" ({most:,} bytes)"))
            return
        count = len(pending)
        try:
            self._copy(seen, pending)
        except _GoneError:
            return  # The next look at the tree shows what became of it.
        except _SourceError as exc:
            self._give_up(seen.path, str(exc))
        except OSError as exc:
            if exc.errno != errno.EFBIG:
                raise
            self._give_up(seen.path, _TOO_LARGE.format(most=""))
        for one in pending[count:]:
            if not one.got.digest:
                pending.remove(one)
                self._drop(one)

    def _copy(self, seen: Seen, pending: list[_Pending]) -> None:
        """Raises: _GoneError, _SourceError: the volume's file cannot be read. Another OSError is the target's."""
        fd, before = self._open(seen.path)
        same = self.by_signature.get(before.signature)
        if same is not None:  # Another name of a file that was taken.
            self.source.close_file(fd)
            self.got[seen.path] = Got(before, same.digest, same.size)
            return
        try:
            part = self.target.part(before.size)
        except BaseException:
            self.source.close_file(fd)
            raise
        one = _Pending(Got(before, b"", 0), part, fd, before.signature == seen.signature)
        pending.append(one)
        running, size = CLOAKFS_1.running_digest(), 0
        for piece in _reading(self.source.pieces(fd)):
            running.update(piece)
            part.write(piece)
            size += len(piece)
            self._read += len(piece)
            self.steps.done(self._read)
        part.close()
        one.got = Got(before, running.digest(), size)

    def _open(self, path: bytes) -> tuple[int, Seen]:
        fd = None
        try:
            fd = self.source.open(path)
            return fd, self.source.look_at(path, fd)
        except OSError as exc:
            if fd is not None:
                self.source.close_file(fd)
            if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                raise _GoneError from exc
            raise _SourceError(exc.strerror or "it cannot be read") from exc

    def _give_up(self, path: bytes, reason: str) -> None:
        self.reasons[path] = reason
        self.given_up.add(path)

    def _drop(self, one: _Pending) -> None:
        self._let_go(one)
        one.part.drop()

    def _let_go(self, one: _Pending) -> None:
        fd, one.fd = one.fd, None
        if fd is not None:
            self.source.close_file(fd)

    # -- what counts ---------------------------------------------------------------------------------------------------

    def _settle(self, pending: list[_Pending]) -> None:
        """Those that are now as they were before they were copied become objects."""
        publish: dict[bytes, Part] = {}
        right: list[Got] = []
        while pending:
            one = pending.pop()
            got, same = one.got, self._is_same(one)
            self._let_go(one)
            if not same:
                self.reasons[got.seen.path] = _BUSY
                one.part.drop()
                continue
            right.append(got)
            if got.digest in publish or self.stored.get(got.digest) == got.size:
                one.part.drop()
            else:
                publish[got.digest] = one.part
        try:
            self.target.publish(publish)
        except BaseException:
            for part in publish.values():
                with suppress(OSError):
                    part.drop()
            raise
        for got in right:
            if got.digest in publish:
                self.written[got.digest] = self.stored[got.digest] = got.size
            self.got[got.seen.path] = got
            if self.config is None or got.seen.path not in CONFIGS:
                self.by_signature[got.seen.signature] = got

    def _is_same(self, one: _Pending) -> bool:
        if one.fd is None:
            return True
        before = one.got.seen
        try:
            now = self.source.look_at(before.path, one.fd)
        except OSError:
            return False
        if now.links == 0 and one.held_still:
            # It was replaced, as by a program that saves another file under its name: that changes its ctime alone.
            now = replace(now, ctime_ns=before.ctime_ns)
        return now.signature == before.signature and one.got.size == now.size


class _GoneError(Exception):
    """The volume's file is not there any more."""


class _SourceError(Exception):
    """The volume's own file cannot be read; the text says why."""


def _reading(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Around what reads the source, so that it is not taken for a failure of the target."""
    try:
        yield from pieces
    except OSError as exc:
        raise _SourceError(exc.strerror or "it cannot be read") from exc


def _batches(work: Iterable[Seen], most: int, at_once: int) -> Iterator[list[Seen]]:
    batch: list[Seen] = []
    size = 0
    for seen in work:
        if batch and (size + seen.size > most or len(batch) >= at_once):
            yield batch
            batch, size = [], 0
        batch.append(seen)
        size += seen.size
    if batch:
        yield batch


def hashed(source: SourceTree, work: Iterable[Seen], steps: Steps) -> Mapping[bytes, Got]:
    """Read files only to know what they are; those that are written to meanwhile, or cannot be read, are left out."""
    found, count = {}, 0
    for seen in work:
        running, size = CLOAKFS_1.running_digest(), 0
        with suppress(OSError), source.opened(seen.path) as fd:
            before = source.look_at(seen.path, fd)
            for piece in source.pieces(fd):
                running.update(piece)
                size += len(piece)
                count += len(piece)
                steps.done(count)
            if source.look_at(seen.path, fd).signature == before.signature == seen.signature:
                found[seen.path] = Got(seen, running.digest(), size)
    return found
