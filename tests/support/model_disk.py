"""What a power cut can leave of a filesystem: the states of a disk between one sync and the next.

Owns: the crash model. Must not know: descriptors, errno (``model_store.py``), keys, what the bytes mean.

The model keeps to what THREAT_MODEL.md section 4 assumes, and takes the worst of ext4, xfs and btrfs otherwise:

- Names, modes, owners, link counts and attributes are metadata. They are journaled in order: any prefix of what was
  not synced may be on the disk. fsync of a file or directory, and syncfs, make all earlier metadata durable.
- fdatasync makes the data and the size of one file durable, and the metadata up to the file's own creation, without
  which the data could not be found (POSIX: "all data needed for a successful retrieval"); no later rename.
- A page (4 KiB, aligned) of data is written whole or not at all. Each page of each file is on the disk as it was at the
  last sync, or as after any write since, independently of all other pages, of metadata and of the size.
- The size of a file is on the disk as it was at the last sync or after any change since, before or after the data. A
  page that never reached the disk below the size reads as zero bytes. What a truncation cut off is not there when the
  size after it, or a later one, is; and is still there when it is not.
- Data that was written out (``Store.write_out``) is on the disk wherever a later change of metadata is.
- Times are not modelled.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace

PAGE = 4096
ROOT = 1
_ZEROS = bytes(PAGE)
_NO_PAGE = 1 << 52


@dataclass(slots=True)
class Content:
    """Bytes of one file: its size, and the pages that are not holes."""

    size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> Content:
        return Content(self.size, dict(self.pages))

    def read(self, offset: int, size: int) -> bytes:
        """As pread(2)."""
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        first, last = offset // PAGE, (end - 1) // PAGE
        run = b"".join(self.pages.get(page, _ZEROS) for page in range(first, last + 1))
        return run[offset - first * PAGE : end - first * PAGE]

    def resize(self, size: int) -> None:
        """As ftruncate(2)."""
        if size < self.size:
            kept, rest = divmod(size, PAGE)
            if rest and kept in self.pages:
                self.pages[kept] = self.pages[kept][:rest] + bytes(PAGE - rest)
            first_gone = kept + (rest > 0)
            self.pages = {page: data for page, data in self.pages.items() if page < first_gone}
        self.size = size

    def identity(self) -> Hashable:
        """Equal for equal bytes."""
        return self.size, frozenset((page, data) for page, data in self.pages.items() if data != _ZEROS)


@dataclass(frozen=True, slots=True)
class _Written:
    page: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Resized:
    size: int


_Space = tuple[int, dict[int, list[bytes]]]  # A size, and for each page what it may hold.


@dataclass(slots=True)
class File:
    """One file's bytes: as programs see them now, as they were synced, and what happened in between.

    ``written_out``: so many metadata changes were not yet on the disk when the first so many events were written out.
    """

    now: Content = field(default_factory=Content)
    synced: Content = field(default_factory=Content)
    events: list[_Written | _Resized] = field(default_factory=list)
    written_out: list[tuple[int, int]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        """As pwrite(2)."""
        end = offset + len(data)
        for page in range(offset // PAGE, (end + PAGE - 1) // PAGE):
            start = page * PAGE
            begin, stop = max(offset, start), min(end, start + PAGE)
            old = self.now.pages.get(page, _ZEROS)
            new = old[: begin - start] + data[begin - offset : stop - offset] + old[stop - start :]
            self.now.pages[page] = new
            self.events.append(_Written(page, new))
        if end > self.now.size:
            self.now.size = end
            self.events.append(_Resized(end))

    def resize(self, size: int) -> None:
        """As ftruncate(2)."""
        before, page = self.now.size, size // PAGE
        self.now.resize(size)
        if size < before and size % PAGE and page in self.now.pages:
            self.events.append(_Written(page, self.now.pages[page]))
        if size != before:
            self.events.append(_Resized(size))

    def sync(self) -> None:
        """All of it is on the disk."""
        if self.events:
            self.synced = self.now.copy()
            self.events = []
        self.written_out = []

    def after(self, steps: int) -> File:
        """The same file where so many changes of metadata are on the disk."""
        count = max((events for before, events in self.written_out if before < steps), default=0)
        if not count:
            return self
        synced = self.synced.copy()
        for event in self.events[:count]:
            if isinstance(event, _Resized):
                synced.resize(event.size)
            else:
                synced.pages[event.page] = event.data
        kept = [(before - steps, events - count) for before, events in self.written_out if before >= steps]
        return File(self.now, synced, self.events[count:], kept)

    def outcomes(self, limit: int, chance: random.Random) -> list[Content]:
        """What a crash can leave: all of it if that is at most ``limit``, else the usual suspects and random ones.

        The first is nothing of what was not synced, the last everything.
        """
        if not self.events:
            return [self.synced]
        spaces = [self._versions(cut) for cut in range(1 + sum(isinstance(one, _Resized) for one in self.events))]
        nothing, everything = self._build(spaces[0], _first), self._build(spaces[-1], _last)
        found = {nothing.identity(): nothing}
        for space in spaces:
            for choice in _choices([len(versions) for versions in space[1].values()], limit // len(spaces), chance):
                made = self._build(space, choice)
                found.setdefault(made.identity(), made)
        found.pop(everything.identity(), None)
        return [*found.values(), everything]

    def _versions(self, resizes: int) -> _Space:
        """With the size as after so many changes of it: that size, and for each page what it may hold."""
        size, done = self.synced.size, 0
        pages = {page: [data] for page, data in self.synced.pages.items()}
        reachable = _NO_PAGE  # What is written behind a cut that is not on the disk is not there either.
        for event in self.events:
            if isinstance(event, _Written):
                if event.page < reachable:
                    pages.setdefault(event.page, [_ZEROS]).append(event.data)
                continue
            done += 1
            whole, rest = divmod(event.size, PAGE)
            if done > resizes:
                reachable = min(reachable, whole + (rest > 0))
                continue
            size = event.size
            pages = {page: data for page, data in pages.items() if page < whole + (rest > 0)}
            if rest and whole in pages:
                pages[whole] = [data[:rest] + bytes(PAGE - rest) for data in pages[whole]]
        return size, pages

    @staticmethod
    def _build(space: _Space, choice: Callable[[int, int], int] | tuple[int, ...]) -> Content:
        size, pages = space
        picked = {}
        for number, (page, versions) in enumerate(pages.items()):
            at = choice(number, len(versions)) if callable(choice) else choice[number]
            picked[page] = versions[at]
        made = Content(max(size, (max(picked, default=-1) + 1) * PAGE), picked)
        made.resize(size)
        return made


def _first(_number: int, _count: int) -> int:
    return 0


def _last(_number: int, count: int) -> int:
    return count - 1


def _choices(counts: list[int], limit: int, chance: random.Random) -> Iterator[tuple[int, ...]]:
    """Index tuples below ``counts``: all if at most ``limit``, else single survivors and losses, prefixes, random."""
    total = 1
    for count in counts:
        total *= count
    if total <= limit:
        yield from itertools.product(*(range(count) for count in counts))
        return
    last = tuple(count - 1 for count in counts)
    for number in range(len(counts)):
        yield tuple(last[at] if at == number else 0 for at in range(len(counts)))
        yield tuple(0 if at == number else last[at] for at in range(len(counts)))
        yield tuple(last[at] if at <= number else 0 for at in range(len(counts)))
        yield tuple(0 if at <= number else last[at] for at in range(len(counts)))
    for _ in range(limit // 4):
        yield tuple(chance.randrange(count) for count in counts)


# -- metadata -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Meta:
    """What an inode is, without its bytes."""

    mode: int
    uid: int = 0
    gid: int = 0
    device: int = 0
    target: bytes = b""
    attributes: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class Names:
    """Inodes by number, and what each directory holds."""

    inodes: dict[int, Meta] = field(default_factory=dict)
    entries: dict[int, dict[bytes, int]] = field(default_factory=dict)

    def copy(self) -> Names:
        return Names(dict(self.inodes), {number: dict(inside) for number, inside in self.entries.items()})

    def add(self, number: int, meta: Meta, *, directory: bool) -> None:
        """A new inode, without a name yet."""
        self.inodes[number] = meta
        if directory:
            self.entries[number] = {}

    def change(self, number: int, **fields: object) -> None:
        """Other values for fields of :class:`Meta`."""
        self.inodes[number] = replace(self.inodes[number], **fields)  # type: ignore[arg-type]

    def put(self, directory: int, name: bytes, number: int) -> None:
        """An entry, new or replaced."""
        self.entries[directory][name] = number

    def drop(self, directory: int, name: bytes) -> None:
        """One entry less."""
        del self.entries[directory][name]


Step = Callable[[Names], None]


@dataclass(slots=True)
class Disk:
    """What lies on the medium after a crash, or at rest."""

    names: Names
    files: dict[int, Content]

    def identity(self) -> Hashable:
        """Equal for disks that hold the same, whatever lies in inodes that have no name."""
        inodes, seen, pending = [], set(), [ROOT]
        while pending:
            number = pending.pop()
            if number in seen:
                continue
            seen.add(number)
            inside = self.names.entries.get(number, {})
            pending.extend(inside.values())
            content = self.files.get(number)
            inodes.append(
                (number, self.names.inodes[number], frozenset(inside.items()), content and content.identity())
            )
        return frozenset(inodes)


class Medium:
    """A disk with a cache in front of it that forgets."""

    def __init__(self, disk: Disk) -> None:
        self._synced = disk.names
        self.names = disk.names.copy()
        self._steps: list[tuple[Step, int]] = []
        self.files = {number: File(content.copy(), content) for number, content in disk.files.items()}

    def do(self, *steps: Step, creates: int = 0) -> None:
        """One change of metadata, which is whole or not at all; ``creates``: the inode it makes findable."""

        def step(names: Names) -> None:
            for one in steps:
                one(names)

        step(self.names)
        self._steps.append((step, creates))

    def sync_names(self, upto: int | None = None) -> None:
        """All metadata changes, or the first ``upto``, are on the disk."""
        count = len(self._steps) if upto is None else upto
        if count:
            self._synced = self._synced.copy()
            for step, _ in self._steps[:count]:
                step(self._synced)
            del self._steps[:count]
            self.files = {number: file.after(count) for number, file in self.files.items()}

    def sync_data(self, number: int) -> None:
        """fdatasync: data, size, and what is needed to find them."""
        self.files[number].sync()
        made = [at for at, (_, creates) in enumerate(self._steps) if creates == number]
        if made:
            self.sync_names(made[0] + 1)

    def write_out(self, number: int) -> None:
        """What was written to a file goes before what happens to names from now on."""
        file = self.files[number]
        file.written_out.append((len(self._steps), len(file.events)))

    def sync(self) -> None:
        """syncfs."""
        self.sync_names()
        for file in self.files.values():
            file.sync()

    def at_rest(self) -> Disk:
        """What programs see now."""
        return Disk(self.names.copy(), {number: file.now.copy() for number, file in self.files.items()})

    def crashes(self, limit: int, chance: random.Random) -> Iterator[Disk]:
        """Each disk that a power cut now can leave; a choice of about ``limit`` for each prefix with more of them."""
        names = self._synced.copy()
        for count in range(len(self._steps) + 1):
            if count:
                self._steps[count - 1][0](names)
            files = {number: file.after(count) for number, file in self.files.items()}
            busy = {number: file.outcomes(limit, chance) for number, file in files.items() if file.events}
            synced = {number: file.synced for number, file in files.items()}
            for choice in _choices([len(found) for found in busy.values()], limit, chance):
                chosen = {number: found[at] for (number, found), at in zip(busy.items(), choice, strict=True)}
                yield Disk(names.copy(), synced | chosen)
