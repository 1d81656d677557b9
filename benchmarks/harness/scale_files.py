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
        Operation("create", "create one more, write 100 bytes, close"),
        Operation("look_up", "look up one, cold"),
        Operation("miss", "look up a name that is not there, cold"),
        Operation("list", "list it with stat, per entry, cold"),
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
    ),
)


def _note(name: str) -> bytes:
    """The content of a small file."""
    return (name.encode() * _SIZE)[:_SIZE]


def _write(folder: str, name: str) -> None:
    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, _note(name))
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
    """Files that a repetition makes in a folder, renames, and removes again."""

    def __init__(self, folder: Callable[[int], str], samples: int, cooled: Callable[[], None]) -> None:
        self._cooled = cooled
        self._folder = folder
        self._samples = samples
        self.acts: dict[str, Act] = {"create": self._create, "rename": self._rename, "unlink": self._unlink}

    def _names(self, number: int, word: str) -> list[str]:
        return [f"{word} {number} {n}" for n in range(self._samples)]

    def _create(self, number: int) -> float:
        folder = self._folder(number)
        os.makedirs(folder, exist_ok=True)
        return _each(partial(_write, folder), self._names(number, "made"))[0]

    def _rename(self, number: int) -> float:
        folder = self._folder(number)
        pairs = dict(zip(self._names(number, "made"), self._names(number, "kept"), strict=True))
        return _each(lambda name: os.rename(f"{folder}/{name}", f"{folder}/{pairs[name]}"), list(pairs))[0]

    def _unlink(self, number: int) -> float:
        folder = self._folder(number)
        self._cooled()
        pairs = zip(self._names(number, "made"), self._names(number, "kept"), strict=True)
        _require(all(_read(f"{folder}/{kept}") == _note(made) for made, kept in pairs))
        return _each(lambda name: os.unlink(f"{folder}/{name}"), self._names(number, "kept"))[0]


# -- files in a volume ---------------------------------------------------------------------------------


class _Filled:
    """A volume with so many files, in folders of 100."""

    def __init__(self, top: Path, count: int, samples: int) -> None:
        self._site: Site | None = None
        self._top = str(top)
        self._count = count
        self._samples = samples
        changes = _Changes(lambda number: f"{self._top}/changes {number}", samples, self._cooled)
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
            _write(self._folder(n), f"file {n}")

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
    """One directory with so many entries."""

    def __init__(self, site: Site, count: int, samples: int) -> None:
        self._cooled = partial(cool, site)
        self._folder = str(site.path / f"{count}")
        self._count = count
        self._samples = samples
        changes = _Changes(lambda _: self._folder, samples, self._cooled)
        self.acts: dict[str, Act] = {
            **changes.acts, "look_up": self._look_up, "miss": self._miss, "list": self._list_all
        }  # fmt: skip
        os.mkdir(self._folder)
        for n in range(count):
            checkpoint()
            _write(self._folder, f"file {n}")

    def _look_up(self, number: int) -> float:
        chosen = dice("entries", number).sample(range(self._count), min(self._count, self._samples))
        self._cooled()
        seconds, found = _each(lambda path: os.lstat(path).st_size, [f"{self._folder}/file {n}" for n in chosen])
        _require(found == [_SIZE] * len(found))
        return seconds

    def _miss(self, number: int) -> float:
        self._cooled()
        paths = [f"{self._folder}/nothing {number} {n}" for n in range(self._samples)]
        seconds, found = _each(os.path.lexists, paths)
        _require(not any(found))
        return seconds

    def _list_all(self, number: int) -> float:
        del number
        self._cooled()
        started = time.perf_counter()
        sizes = _list(self._folder)
        elapsed = time.perf_counter() - started
        _require(len(sizes) >= self._count and set(sizes) == {_SIZE})
        return elapsed / len(sizes)


def entries(plan: Plan, stack: ExitStack) -> Iterator[Point]:
    """Directories of one volume."""
    site = stack.enter_context(plan.peer.mounted(plan.base))
    for count in plan.amounts.entries:
        yield Point(count, site, _Directory(site, count, plan.amounts.samples).acts)


# -- programs ------------------------------------------------------------------------------------------


class _Crowd:
    """So many processes that do their share of the same work at once; the seconds are those of all, per operation."""

    def __init__(self, site: Site, clients: int, data: bytes, samples: int) -> None:
        self._cooled = partial(cool, site)
        self._top = str(site.path)
        self._clients = clients
        self._data = data
        self._samples = samples
        self.acts: dict[str, Act] = {"create": self._create, "stat": self._stat, "read": self._read}

    def _shares(self, work: Sequence[int]) -> list[Sequence[int]]:
        """All do something, at least one thing each."""
        return [work[client :: self._clients] for client in range(self._clients)]

    def _together(self, work: Sequence[int], function: Callable[[int, Sequence[int]], None]) -> float:
        shares = self._shares(work)
        return at_once([partial(function, client, share) for client, share in enumerate(shares)]) / len(work)

    def _create(self, number: int) -> float:
        home = f"{self._top}/crowd {self._clients} {number}"
        for client in range(self._clients):
            os.makedirs(f"{home}/{client}")

        def create(client: int, share: Sequence[int]) -> None:
            for n in share:
                _write(f"{home}/{client}", f"file {n}")

        seconds = self._together(range(self._samples * 4), create)
        self._cooled()
        for client, share in enumerate(self._shares(range(self._samples * 4))):
            _require(all(_read(f"{home}/{client}/file {n}") == _note(f"file {n}") for n in share))
        return seconds

    def _stat(self, number: int) -> float:
        """Of the files that :meth:`_create` left."""
        home = f"{self._top}/crowd {self._clients} {number}"

        def look(client: int, share: Sequence[int]) -> None:
            for n in share:
                _require(os.lstat(f"{home}/{client}/file {n}").st_size == _SIZE)

        self._cooled()
        return self._together(range(self._samples * 4), look)

    def _read(self, number: int) -> float:
        """Comparing a page takes 0.2 us."""
        pages = dice("pages", number).sample(range(len(self._data) // _PAGE), self._samples * 4)

        def read(client: int, share: Sequence[int]) -> None:
            del client
            fd = os.open(f"{self._top}/shared", os.O_RDONLY)
            try:
                for page in share:
                    found = os.pread(fd, _PAGE, page * _PAGE)
                    _require(found == self._data[page * _PAGE : (page + 1) * _PAGE])
            finally:
                os.close(fd)

        self._cooled()
        return self._together(pages, read)


def clients(plan: Plan, stack: ExitStack) -> Iterator[Point]:
    """Crowds on one volume."""
    site = stack.enter_context(plan.peer.mounted(plan.base))
    data = rng.random_bytes(_PAGE * plan.amounts.samples * 16)
    write_file(site.path / "shared", data, 1 << 20)
    for count in plan.amounts.clients:
        yield Point(count, site, _Crowd(site, count, data, plan.amounts.samples).acts)
