"""Taking files of a sealed tree to a target, none of them torn (FORMAT.md section 18).

Owns: passes, what is taken again, when a file has been there as it was copied. Must not know: manifests, what is
unchanged.

A file that is written to meanwhile is not copied whole: its header, its times or its size are others afterwards. Each
batch is flushed before, copied, flushed again and looked at; the flush brings to the disk what a mount still has of
what it wrote. What is another one then is taken again in the next pass.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from encfs.backup.copying.scanning import CONFIGS, Seen, Signature, SourceTree
from encfs.backup.copying.target import CopyTarget, Part
from encfs.backup.engine import Steps
from encfs.crypto.suite import CLOAKFS_1

PASSES: Final = 4
_BATCH_FILES: Final = 2000
_TOO_LARGE: Final = "it is larger than the medium takes in one file ({most})"
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
class Taking:
    """One run of it.

    Attributes:
        got: what was taken, by path.
        reasons: why something was not, by path.
        stored: sizes of what is on the target, by digest. What comes there is added.
        written: of that, what this run has written.
        given_up: paths of files with which it is of no use to try again.
    """

    source: SourceTree
    target: CopyTarget
    flush: Callable[[], None]
    config: bytes | None
    stored: dict[bytes, int]
    steps: Steps
    got: dict[bytes, Got] = field(default_factory=dict, repr=False)
    reasons: dict[bytes, str] = field(default_factory=dict, repr=False)
    written: dict[bytes, int] = field(default_factory=dict, repr=False)
    given_up: set[bytes] = field(default_factory=set, repr=False)
    _signatures: dict[Signature, Got] = field(default_factory=dict, repr=False)
    _read: int = 0

    def take(self, work: Iterable[Seen]) -> None:
        """One pass over these files.

        Raises:
            OSError, BackupError: the target cannot be written to. What was published by then stays.
        """
        for batch in _batches(work, self.target.batch):
            self._take(batch)

    def _take(self, batch: list[Seen]) -> None:
        pending: list[tuple[Got, Part]] = []
        self.flush()
        try:
            for seen in batch:
                self._begin(seen, pending)
            self.flush()
            self._settle(pending)
        finally:
            for _, part in pending:
                with suppress(OSError):  # The medium may be gone; the next run clears it.
                    part.drop()

    def _begin(self, seen: Seen, pending: list[tuple[Got, Part]]) -> None:
        self.reasons.pop(seen.path, None)
        if self.config is not None and seen.path in CONFIGS:
            part = self.target.part(len(self.config))
            pending.append((Got(seen, CLOAKFS_1.digest(self.config), len(self.config)), part))
            part.write(self.config)
            part.close()
            return
        most = self.target.most
        if most is not None and seen.size > most:
            self._give_up(seen.path, _TOO_LARGE.format(most=f"{most:,} bytes"))
            return
        try:
            with self._opened(seen.path) as (fd, before):
                same = self._signatures.get(before.signature)
                if same is not None:  # Another name of a file that was taken.
                    self.got[seen.path] = Got(before, same.digest, same.size)
                    return
                part = self.target.part(before.size)
                pending.append((Got(before, b"", 0), part))
                pending[-1] = (self._copy(before, _reading(self.source.pieces(fd)), part), part)
        except _GoneError:
            return  # The next look at the tree shows what became of it.
        except _SourceError as exc:
            self._give_up(seen.path, str(exc))
        except OSError as exc:
            if exc.errno != errno.EFBIG:
                raise
            self._give_up(seen.path, _TOO_LARGE.format(most="as the system says"))
        else:
            return
        if pending and pending[-1][0].seen.path == seen.path:
            pending.pop()[1].drop()

    def _give_up(self, path: bytes, reason: str) -> None:
        self.reasons[path] = reason
        self.given_up.add(path)

    @contextmanager
    def _opened(self, path: bytes) -> Iterator[tuple[int, Seen]]:
        """Raises: _GoneError, _SourceError: the volume's file cannot be opened. What else is raised is the target's."""
        with ExitStack() as stack:
            try:
                fd = stack.enter_context(self.source.opened(path))
                before = self.source.look_at(path, fd)
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise _GoneError from exc
            except OSError as exc:
                raise _SourceError(exc.strerror or "it cannot be read") from exc
            yield fd, before

    def _copy(self, before: Seen, pieces: Iterator[bytes], part: Part) -> Got:
        running, size = CLOAKFS_1.running_digest(), 0
        for piece in pieces:
            running.update(piece)
            part.write(piece)
            size += len(piece)
            self._read += len(piece)
            self.steps.done(self._read)
        part.close()
        return Got(before, running.digest(), size)

    def _settle(self, pending: list[tuple[Got, Part]]) -> None:
        """Those that are now as they were before they were copied become objects."""
        publish: dict[bytes, Part] = {}
        right: list[Got] = []
        while pending:
            got, part = pending.pop()
            if not self._is_same(got):
                self.reasons[got.seen.path] = _BUSY
                part.drop()
                continue
            right.append(got)
            if got.digest in publish or self.stored.get(got.digest) == got.size:
                part.drop()
            else:
                publish[got.digest] = part
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
            self.got[got.seen.path] = self._signatures[got.seen.signature] = got

    def _is_same(self, got: Got) -> bool:
        if self.config is not None and got.seen.path in CONFIGS:
            return True
        try:
            now = self.source.look(got.seen.path)
        except OSError:
            return False
        return now is not None and not now.trouble and now.signature == got.seen.signature and got.size == now.size


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


def _batches(work: Iterable[Seen], most: int) -> Iterator[list[Seen]]:
    batch: list[Seen] = []
    size = 0
    for seen in work:
        if batch and (size + seen.size > most or len(batch) >= _BATCH_FILES):
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
