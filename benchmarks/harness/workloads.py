"""What is done on every peer: the steps of one repetition, in order, each with its own check of the bytes.

Owns: the steps, the data they write and expect. Must not know: peers, the clock, caches (a step says that it wants them
cold, and who runs it sees to that).
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.tree import SampleTree

_BLOCK = 128 << 10  # what cp and cat move at once
_PAGE = 4096
_READERS = 4
_DOCUMENT_SIZE = 200 << 10


class WrongBytesError(Exception):
    """A peer gave back something other than what was written: no figure of this run counts."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is done."""

    large_mib: int = 256
    random_pages: int = 8_000
    tree_files: int = 4_000
    documents: int = 500
    renames: int = 2_000


QUICK = Amounts(large_mib=8, random_pages=200, tree_files=60, documents=10, renames=40)


@dataclass(slots=True)
class Round:
    """Data of one repetition, the same for all peers and other than in the repetition before."""

    amounts: Amounts
    tree: SampleTree
    scratch: Path
    data: bytes
    pages: list[int]
    patches: bytes
    buffer: bytearray
    made: dict[str, int] = field(default_factory=dict)

    @classmethod
    def new(cls, amounts: Amounts, tree: SampleTree, scratch: Path, number: int) -> Round:
        """The data of repetition ``number``."""
        source = random.Random(1_000 + number)  # noqa: S311 - sample data, the same in every run
        data = b"".join(source.randbytes(1 << 20) for _ in range(amounts.large_mib))
        pages = source.sample(range(len(data) // _PAGE), amounts.random_pages)
        patches = source.randbytes(_PAGE * len(pages))
        buffer = bytearray(len(data))
        buffer[:] = bytes(len(buffer))  # Touched now, so that no page of it is faulted in while the clock runs.
        return cls(amounts, tree, scratch, data, pages, patches, buffer)

    def patched(self) -> bytes:
        """The large file after the random writes."""
        content = bytearray(self.data)
        for number, page in enumerate(self.pages):
            content[page * _PAGE : (page + 1) * _PAGE] = self.patches[number * _PAGE : (number + 1) * _PAGE]
        return bytes(content)

    def document(self, number: int) -> bytes:
        """Content of a document: a piece of the large data, another one for each number."""
        start = number * 4099 % max(1, len(self.data) - _DOCUMENT_SIZE)
        return self.data[start : start + _DOCUMENT_SIZE]


Act = Callable[[Path, Round], None]


def _nothing(path: Path, rnd: Round) -> None:
    del path, rnd


@dataclass(frozen=True, slots=True)
class Step:
    """One measured piece of work.

    Attributes:
        group: the steps of a group build on each other.
        name, title: for JSON and for people.
        unit: of ``amount`` done in the time of ``run``; "s" means that the time itself is told.
        cold: whether the kernel's caches are dropped before it. ``check_cold``: before its check.
        warm: whether it is done once before the clock starts.
    """

    group: str
    name: str
    title: str
    unit: str
    run: Act
    amount: Callable[[Amounts], float] = lambda _: 1.0
    prepare: Act = _nothing
    check: Act = _nothing
    cold: bool = False
    warm: bool = False
    check_cold: bool = False


# -- one large file ----------------------------------------------------------------------------------------


def _large(path: Path) -> Path:
    return path / "large"


def _remove_large(path: Path, rnd: Round) -> None:
    del rnd
    _large(path).unlink(missing_ok=True)


def _write_large(path: Path, rnd: Round) -> None:
    view = memoryview(rnd.data)
    fd = os.open(_large(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for start in range(0, len(view), _BLOCK):
            os.write(fd, view[start : start + _BLOCK])
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_range(file: Path, into: memoryview, start: int) -> None:
    fd = os.open(file, os.O_RDONLY)
    try:
        done = 0
        while done < len(into):
            count = os.preadv(fd, [into[done : done + _BLOCK]], start + done)
            if count == 0:
                raise WrongBytesError("the file ends early")
            done += count
    finally:
        os.close(fd)


def _read_large(path: Path, rnd: Round) -> None:
    _read_range(_large(path), memoryview(rnd.buffer)[: len(rnd.data)], 0)


def _read_large_at_once(path: Path, rnd: Round) -> None:
    share = len(rnd.data) // _READERS
    view = memoryview(rnd.buffer)
    with ThreadPoolExecutor(_READERS) as pool:
        starts = [number * share for number in range(_READERS)]
        list(pool.map(lambda start: _read_range(_large(path), view[start : start + share], start), starts))


def _check_buffer(path: Path, rnd: Round) -> None:
    del path
    if memoryview(rnd.buffer)[: len(rnd.data)] != rnd.data:
        raise WrongBytesError("the large file has other bytes")
    rnd.buffer[:] = bytes(len(rnd.buffer))


def _read_pages(path: Path, rnd: Round) -> None:
    view = memoryview(rnd.buffer)
    fd = os.open(_large(path), os.O_RDONLY)
    try:
        for number, page in enumerate(rnd.pages):
            os.preadv(fd, [view[number * _PAGE : (number + 1) * _PAGE]], page * _PAGE)
    finally:
        os.close(fd)


def _check_pages(path: Path, rnd: Round) -> None:
    del path
    expected = b"".join(rnd.data[page * _PAGE : (page + 1) * _PAGE] for page in rnd.pages)
    if memoryview(rnd.buffer)[: len(expected)] != expected:
        raise WrongBytesError("pages of the large file have other bytes")
    rnd.buffer[:] = bytes(len(rnd.buffer))


def _write_pages(path: Path, rnd: Round) -> None:
    view = memoryview(rnd.patches)
    fd = os.open(_large(path), os.O_WRONLY)
    try:
        for number, page in enumerate(rnd.pages):
            os.pwrite(fd, view[number * _PAGE : (number + 1) * _PAGE], page * _PAGE)
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_patched(path: Path, rnd: Round) -> None:
    if _large(path).read_bytes() != rnd.patched():
        raise WrongBytesError("the large file has other bytes after random writes")
    _large(path).unlink()


# -- a tree of small files -----------------------------------------------------------------------------------


def _run(*command: str, stdin: Path | None = None, stdout: Path | None = None, cwd: Path | None = None) -> None:
    with (stdin or Path(os.devnull)).open("rb") as source, (stdout or Path(os.devnull)).open("wb") as target:
        subprocess.run(command, stdin=source, stdout=target, check=True, cwd=cwd)


def _make_folder(path: Path, rnd: Round) -> None:
    del rnd
    (path / "tree").mkdir()


def _untar(path: Path, rnd: Round) -> None:
    _run("tar", "-x", "-f", str(rnd.tree.archive), "-C", str(path / "tree"))


def _check_tree(path: Path, rnd: Round, name: str = "tree") -> None:
    difference = rnd.tree.difference(path / name)
    if difference:
        raise WrongBytesError(difference)


def _list(path: Path, rnd: Round) -> None:
    _run("ls", "-lR", "--time-style=+%s", str(path / "tree"), stdout=rnd.scratch / "listing")


def _check_list(path: Path, rnd: Round) -> None:
    del path
    lines = [line.split() for line in (rnd.scratch / "listing").read_text(encoding="utf-8").splitlines()]
    sizes = [int(fields[4]) for fields in lines if fields and fields[0].startswith("-")]
    folders = sum(1 for fields in lines if fields and fields[0].startswith("d"))
    if (len(sizes), sum(sizes), folders) != (len(rnd.tree.digests), rnd.tree.size, rnd.tree.directories):
        raise WrongBytesError("ls -lR tells other files or sizes")


def _name_files(path: Path, rnd: Round) -> None:
    names = (f"{path}/tree/{name}\0" for name in rnd.tree.digests)
    (rnd.scratch / "names").write_text("".join(names), encoding="utf-8")


def _cat(path: Path, rnd: Round) -> None:
    del path
    _run("xargs", "-0", "cat", stdin=rnd.scratch / "names", stdout=rnd.scratch / "joined")


def _check_cat(path: Path, rnd: Round) -> None:
    del path
    if hashlib.sha256((rnd.scratch / "joined").read_bytes()).digest() != rnd.tree.joined:
        raise WrongBytesError("cat of all files gives other bytes")
    (rnd.scratch / "joined").unlink()


def _copy(path: Path, rnd: Round) -> None:
    del rnd
    _run("cp", "-r", str(path / "tree"), str(path / "copy"))


def _check_copy(path: Path, rnd: Round) -> None:
    _check_tree(path, rnd, "copy")


def _remove_tree(path: Path, rnd: Round) -> None:
    del rnd
    _run("rm", "-rf", str(path / "tree"))


def _check_removed(path: Path, rnd: Round) -> None:
    del rnd
    if (path / "tree").exists():
        raise WrongBytesError("rm -rf left something")
    _run("rm", "-rf", str(path / "copy"))


# -- documents and renames ------------------------------------------------------------------------------------


def _folder(path: Path, rnd: Round) -> None:
    del rnd
    (path / "documents").mkdir()


def _save_documents(path: Path, rnd: Round) -> None:
    folder = path / "documents"
    for number in range(rnd.amounts.documents):
        temporary = folder / f".~letter-{number:04d}.odt"
        with temporary.open("xb", buffering=0) as file:
            file.write(rnd.document(number))
        temporary.rename(folder / f"letter-{number:04d}.odt")


def _check_documents(path: Path, rnd: Round) -> None:
    folder = path / "documents"
    expected = [f"letter-{number:04d}.odt" for number in range(rnd.amounts.documents)]
    if sorted(os.listdir(folder)) != expected:
        raise WrongBytesError("other documents than were saved")
    for number, name in enumerate(expected):
        if (folder / name).read_bytes() != rnd.document(number):
            raise WrongBytesError("a document has other bytes")
    _run("rm", "-rf", str(folder))


def _make_notes(path: Path, rnd: Round) -> None:
    folder = path / "documents"
    folder.mkdir()
    for number in range(rnd.amounts.renames):
        (folder / f"before-{number:04d}").write_bytes(b"note %d of many" % number)


def _rename_notes(path: Path, rnd: Round) -> None:
    folder = str(path / "documents")
    for number in range(rnd.amounts.renames):
        os.rename(f"{folder}/before-{number:04d}", f"{folder}/after-{number:04d}")


def _check_notes(path: Path, rnd: Round) -> None:
    folder = path / "documents"
    expected = {f"after-{number:04d}": b"note %d of many" % number for number in range(rnd.amounts.renames)}
    if {name: (folder / name).read_bytes() for name in os.listdir(folder)} != expected:
        raise WrongBytesError("renamed files have other names or bytes")
    _run("rm", "-rf", str(folder))


def _large_mb(amounts: Amounts) -> float:
    return amounts.large_mib * (1 << 20) / 1e6


def _pages(amounts: Amounts) -> float:
    return amounts.random_pages


def _documents(amounts: Amounts) -> float:
    return amounts.documents


def _renames(amounts: Amounts) -> float:
    return amounts.renames


# fmt: off
STEPS = (
    Step("large", "seq_write", "sequential write, fsync", "MB/s", _write_large, _large_mb, prepare=_remove_large),
    Step("large", "seq_read_cold", "sequential read, cold", "MB/s", _read_large, _large_mb,
         check=_check_buffer, cold=True),
    Step("large", "seq_read_warm", "sequential read, warm", "MB/s", _read_large, _large_mb,
         check=_check_buffer, warm=True),
    Step("large", "read_4_cold", "4 readers at once, cold", "MB/s", _read_large_at_once, _large_mb,
         check=_check_buffer, cold=True),
    Step("large", "random_read", "random 4 KiB reads, cold", "per s", _read_pages, _pages,
         check=_check_pages, cold=True),
    Step("large", "random_write", "random 4 KiB writes, fsync", "per s", _write_pages, _pages,
         check=_check_patched, cold=True, check_cold=True),
    Step("tree", "untar", "untar", "s", _untar, prepare=_make_folder, check=_check_tree, check_cold=True),
    Step("tree", "ls_cold", "ls -lR, cold", "s", _list, check=_check_list, cold=True),
    Step("tree", "ls_warm", "ls -lR, warm", "s", _list, check=_check_list, warm=True),
    Step("tree", "cat", "cat of all, cold", "s", _cat, prepare=_name_files, check=_check_cat, cold=True),
    Step("tree", "cp", "cp -r, cold", "s", _copy, check=_check_copy, cold=True, check_cold=True),
    Step("tree", "rm", "rm -rf", "s", _remove_tree, prepare=_list, check=_check_removed),
    Step("documents", "documents", "save 200 KiB: create, write, rename", "per s", _save_documents, _documents,
         prepare=_folder, check=_check_documents, check_cold=True),
    Step("renames", "renames", "rename", "per s", _rename_notes, _renames,
         prepare=_make_notes, check=_check_notes, check_cold=True),
)
# fmt: on
GROUPS = tuple(dict.fromkeys(step.group for step in STEPS))
