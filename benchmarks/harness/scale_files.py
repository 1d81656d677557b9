"""More files in a volume, more entries in a directory, more programs at once: what each operation costs.

Owns: the trees, and what is done in them. Must not know: how anything is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness.interrupts import checkpoint
from benchmarks.harness.peers import Site
from benchmarks.harness.scaling import Act, Operation, Plan, Point, Series, cool, dice
from benchmarks.harness.workloads.forked import at_once
from benchmarks.harness.workloads.steps import WrongBytesError
from encfs.bench.transfer import write_file
from encfs.crypto import rng

_SIZE = 100
_IN_A_FOLDER = 100
_PAGE = 4096
_FOLDERS_LISTED = 5

FILES = Series(
    "files",
    "A volume with more files",
    "files in the volume",
    (
        Operation("mount", "mount it, without key derivation", "ms", 1e3),
        Operation("create", "create, write 100 bytes, close"),
        Operation("look_up", "look up one, cold"),
        Operation("read", "open, read, close one, cold"),
        Operation("list", "list a directory with stat, per entry, cold"),
        Operation("walk", "walk everything with stat, per entry, cold"),
        Operation("rename", "rename"),
        Operation("unlink", "unlink"),
    ),
)
ENTRIES = Series(
    "entries",
    "A directory with more entries",
    "entries in the directory",
    (
        # Before anything is created: a directory of one entry is looked at with one entry.
        Operation("look_up", "look up one, cold"),
        Operation("miss", "look up a name that is not there, cold"),
        Operation("list", "list it with stat, per entry, cold"),
        Operation("create", "create one more, write 100 bytes, close"),
        Operation("rename", "rename inside"),
        Operation("unlink", "unlink"),
    ),
)
CLIENTS = Series(
    "clients",
    "More programs at once",
    "programs",
    (
        Operation("create", "create, write 100 bytes, close"),
        Operation("stat", "look up, cold"),
        Operation("read", "read 4 KiB at random, cold"),
        Operation("mix", "these three mixed, cold", shared=True),
    ),
)


def _note(name: str) -> bytes:
    """The content of a small file."""
    return (name.encode() * _SIZE)[:_SIZE]


def _write(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, _note(path.rpartition("/")[2]))
    finally:
        os.close(fd)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, _PAGE)
    finally:
        os.close(fd)


def _require(right: bool) -> None:  # noqa: FBT001 - it is all it is told
    if not right:
        raise WrongBytesError("something else came back than was written")


def _each(function: Callable[[str], object], values: Sequence[str]) -> tuple[float, list[object]]:
    """Seconds of one call, and what all of them gave."""
    started = time.perf_counter()
    found = [function(value) for value in values]
    return (time.perf_counter() - started) / len(values), found


def _list(folder: str) -> list[int]:
    return [entry.stat(follow_symlinks=False).st_size for entry in os.scandir(folder)]


class _Changes:
    """Files that a repetition makes, renames, and removes again: so many ``in_each`` of its folders."""

    def __init__(self, folders: Callable[[int], Sequence[str]], in_each: int, cooled: Callable[[], None]) -> None:
        self._cooled = cooled
        self._folders = folders
        self._in_each = in_each
        self.acts: dict[str, Act] = {"create": self._create, "rename": self._rename, "unlink": self._unlink}

    def _paths(self, number: int, word: str) -> list[str]:
        return [f"{folder}/{word} {number} {n}" for folder in self._folders(number) for n in range(self._in_each)]

    def _create(self, number: int) -> float:
        for folder in self._folders(number):
            os.makedirs(folder, exist_ok=True)
        return _each(_write, self._paths(number, "made"))[0]

    def _rename(self, number: int) -> float:
        pairs = dict(zip(self._paths(number, "made"), self._paths(number, "kept"), strict=True))
        return _each(lambda made: os.rename(made, pairs[made]), list(pairs))[0]

    def _unlink(self, number: int) -> float:
        made, kept = self._paths(number, "made"), self._paths(number, "kept")
        self._cooled()
        _require([_read(path) for path in kept] == [_note(path.rpartition("/")[2]) for path in made])
        return _each(os.unlink, kept)[0]


# -- files in a volume ---------------------------------------------------------------------------------


class _Filled:
    """A volume with so many files, in folders of 100."""

    def __init__(self, top: Path, count: int, samples: int) -> None:
        self._site: Site | None = None
        self._top = str(top)
        self._count = count
        self._samples = samples
        changes = _Changes(lambda number: [f"{self._top}/changes {number}"], samples, self._cooled)
        more = {"look_up": self._look_up, "read": self._read, "list": self._list, "walk": self._walk}
        self.acts: dict[str, Act] = {**changes.acts, **more}

    def measured_on(self, site: Site) -> None:
        """Where it is mounted from now on."""
        self._site = site

    def _cooled(self) -> None:
        assert self._site is not None
        cool(self._site)

    def _folder(self, n: int) -> str:
        return f"{self._top}/folder {n // _IN_A_FOLDER}"

    def fill(self) -> None:
        for n in range(self._count):
            checkpoint()
            if n % _IN_A_FOLDER == 0:
                os.mkdir(self._folder(n))
            _write(f"{self._folder(n)}/file {n}")

    def _chosen(self, number: int) -> list[int]:
        return dice("files", number).sample(range(self._count), min(self._count, self._samples))

    def _paths(self, number: int) -> list[str]:
        return [f"{self._folder(n)}/file {n}" for n in self._chosen(number)]

    def _look_up(self, number: int) -> float:
        self._cooled()
        seconds, found = _each(lambda path: os.lstat(path).st_size, self._paths(number))
        _require(found == [_SIZE] * len(found))
        return seconds

    def _read(self, number: int) -> float:
        self._cooled()
        seconds, found = _each(_read, self._paths(number))
        _require(found == [_note(f"file {n}") for n in self._chosen(number)])
        return seconds

    def _list(self, number: int) -> float:
        chosen = {self._folder(n) for n in self._chosen(number)}
        folders = sorted(chosen)[:_FOLDERS_LISTED]
        self._cooled()
        started = time.perf_counter()
        sizes = [size for folder in folders for size in _list(folder)]
        elapsed = time.perf_counter() - started
        _require(sizes == [_SIZE] * min(self._count, len(folders) * _IN_A_FOLDER))
        return elapsed / len(sizes)

    def _walk(self, number: int) -> float:
        del number
        self._cooled()
        started = time.perf_counter()
        folders = [entry.path for entry in os.scandir(self._top) if entry.name.startswith("folder")]
        sizes = []
        for folder in folders:
            checkpoint()
            sizes += _list(folder)
        elapsed = time.perf_counter() - started
        _require(sizes == [_SIZE] * self._count)
        return elapsed / len(sizes)


def files(plan: Plan, stack: ExitStack) -> Iterator[Point]:
    """A volume of its own for each number, filled, taken off and mounted again."""
    for count in plan.amounts.files:
        home = stack.enter_context(plan.peer.home(plan.base / f"{count}"))
        filled = _Filled(home / "mnt", count, plan.amounts.samples)
        with plan.peer.serving(home):
            filled.fill()
        mounts = []
        for _ in range(plan.repetitions - 1):
            checkpoint()
            with plan.peer.serving(home) as site:
                mounts.append(site.mount_seconds)
        site = stack.enter_context(plan.peer.serving(home))
        filled.measured_on(site)
        yield Point(count, site, filled.acts, {"mount": [*mounts, site.mount_seconds]})


# -- entries of a directory ----------------------------------------------------------------------------


class _Directory:
    """So many entries in one directory, and small ones in several: what a repetition adds at most doubles each."""

    def __init__(self, site: Site, count: int, samples: int) -> None:
        self._site = site
        self._count = count
        self._samples = samples
        self._folders = [f"{site.path}/{count} {n}" for n in range(max(1, samples // count))]
        changes = _Changes(lambda _: self._folders, max(1, samples // len(self._folders)), self._cooled)
        self.acts: dict[str, Act] = {
            **changes.acts, "look_up": self._look_up, "miss": self._miss, "list": self._list_all
        }  # fmt: skip
        for folder in self._folders:
            os.mkdir(folder)
            for n in range(count):
                checkpoint()
                _write(f"{folder}/file {n}")

    def _cooled(self) -> None:
        """What is measured is inside of the directories, so the kernel knows these themselves."""
        cool(self._site)
        for folder in self._folders:
            os.stat(folder)

    def _look_up(self, number: int) -> float:
        every = [f"{folder}/file {n}" for folder in self._folders for n in range(self._count)]
        chosen = dice("entries", number).sample(every, min(len(every), self._samples))
        self._cooled()
        seconds, found = _each(lambda path: os.lstat(path).st_size, chosen)
        _require(found == [_SIZE] * len(found))
        return seconds

    def _miss(self, number: int) -> float:
        folders = [self._folders[n % len(self._folders)] for n in range(self._samples)]
        self._cooled()
        seconds, found = _each(os.path.lexists, [f"{folder}/no {number} {n}" for n, folder in enumerate(folders)])
        _require(not any(found))
        return seconds

    def _list_all(self, number: int) -> float:
        del number
        self._cooled()
        started = time.perf_counter()
        sizes = [size for folder in self._folders for size in _list(folder)]
        elapsed = time.perf_counter() - started
        _require(sizes == [_SIZE] * self._count * len(self._folders))
        return elapsed / len(sizes)


def entries(plan: Plan, stack: ExitStack) -> Iterator[Point]:
    """Directories of one volume."""
    site = stack.enter_context(plan.peer.mounted(plan.base))
    for count in plan.amounts.entries:
        yield Point(count, site, _Directory(site, count, plan.amounts.samples).acts)


# -- programs ------------------------------------------------------------------------------------------


class _Crowd:
    """So many processes that do their share of the same work at once; the seconds are those of all, per operation.

    What they read is compared as they go: that takes 0.2 us.
    """

    def __init__(self, site: Site, clients: int, data: bytes, samples: int) -> None:
        self._cooled = partial(cool, site)
        self._top = str(site.path)
        self._clients = clients
        self._data = data
        self._work = range(samples * 4)
        self.acts: dict[str, Act] = {"create": self._create, "stat": self._stat, "read": self._read, "mix": self._mix}

    def _shares(self) -> list[Sequence[int]]:
        """All do something, at least one thing each."""
        return [self._work[client :: self._clients] for client in range(self._clients)]

    def _together(self, function: Callable[[int, Sequence[int]], None]) -> float:
        works = [partial(function, client, share) for client, share in enumerate(self._shares())]
        return at_once(works) / len(self._work)

    def _home(self, number: int, client: int, word: str = "made") -> str:
        return f"{self._top}/crowd {self._clients} {number}/{client}/{word}"

    def _make_homes(self, number: int, word: str) -> None:
        for client in range(self._clients):
            os.makedirs(self._home(number, client, word))

    def _check(self, number: int, word: str) -> None:
        self._cooled()
        for client, share in enumerate(self._shares()):
            home = self._home(number, client, word)
            _require(all(_read(f"{home}/file {n}") == _note(f"file {n}") for n in share))

    def _read_page(self, fd: int, page: int) -> None:
        found = os.pread(fd, _PAGE, page * _PAGE)
        _require(found == self._data[page * _PAGE : (page + 1) * _PAGE])

    def _pages(self, *what: object) -> list[int]:
        return dice(*what).sample(range(len(self._data) // _PAGE), len(self._work))

    def _create(self, number: int) -> float:
        self._make_homes(number, "made")

        def create(client: int, share: Sequence[int]) -> None:
            home = self._home(number, client)
            for n in share:
                _write(f"{home}/file {n}")

        seconds = self._together(create)
        self._check(number, "made")
        return seconds

    def _stat(self, number: int) -> float:
        """Of the files that :meth:`_create` left."""

        def look(client: int, share: Sequence[int]) -> None:
            home = self._home(number, client)
            for n in share:
                _require(os.lstat(f"{home}/file {n}").st_size == _SIZE)

        self._cooled()
        return self._together(look)

    def _read(self, number: int) -> float:
        pages = self._pages("pages", number)

        def read(client: int, share: Sequence[int]) -> None:
            del client
            fd = os.open(f"{self._top}/shared", os.O_RDONLY)
            try:
                for n in share:
                    self._read_page(fd, pages[n])
            finally:
                os.close(fd)

        self._cooled()
        return self._together(read)

    def _mix(self, number: int) -> float:
        """Each of the three in turn, so that all of them go on at the same time."""
        pages = self._pages("mixed", number)
        self._make_homes(number, "mixed")

        def mix(client: int, share: Sequence[int]) -> None:
            made, mixed = self._home(number, client), self._home(number, client, "mixed")
            fd = os.open(f"{self._top}/shared", os.O_RDONLY)
            try:
                for n in share:
                    _write(f"{mixed}/file {n}")
                    _require(os.lstat(f"{made}/file {n}").st_size == _SIZE)
                    self._read_page(fd, pages[n])
            finally:
                os.close(fd)

        self._cooled()
        seconds = self._together(mix)
        self._check(number, "mixed")
        return seconds / 3


def clients(plan: Plan, stack: ExitStack) -> Iterator[Point]:
    """Crowds on one volume."""
    site = stack.enter_context(plan.peer.mounted(plan.base))
    data = rng.random_bytes(_PAGE * plan.amounts.samples * 16)
    write_file(site.path / "shared", data, 1 << 20)
    for count in plan.amounts.clients:
        yield Point(count, site, _Crowd(site, count, data, plan.amounts.samples).acts)
