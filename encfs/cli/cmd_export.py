"""``cloakfs export``: copies files and trees out of a volume.

Owns: what is copied (contents, directories, symlinks, hard links, modes, mtimes; owners where root runs it) and
what happens to the rest. Must not know: whether the volume is mounted.

Rules: nothing is ever overwritten. What cannot be read is reported, and the rest is copied. An export that is
stopped, or for which there is no room, takes back everything it made.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import click

from encfs.cli import options, output, progress, sources, targets
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.errors import DataError, ExitCode, NotEmptyError, UsageError
from encfs.volume.paths import Entry

_ZEROS: Final = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class _Item:
    """One entry to copy: its path in the volume, and where it goes."""

    path: bytes = field(repr=False)
    to: bytes = field(repr=False)
    entry: Entry = field(repr=False)


@dataclass(slots=True)
class _Report:
    """What was copied and what was not."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    size: int = 0
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    skipped: list[tuple[bytes, str]] = field(default_factory=list)
    damaged: bool = False


# These end an export: the next entry would fare no better. Others are of one entry, such as a name or a symlink
# that the destination's filesystem does not allow.
_FATAL: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EMFILE}
)
_UNSUPPORTED: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class _DestinationError(Exception):
    """Writing the copy failed; what reads from the volume is not to blame."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@options.command(
    "export",
    example="""
cloakfs export ~/practice.vault letters/2026 /media/stick/letters-2026
cloakfs export ~/practice.vault / ~/everything""",
)
@click.argument("volume")
@click.argument("path")
@click.argument("dest")
@options.json_option
@secret_options
def command(*, volume: str, path: str, dest: str, as_json: bool, secret: SecretOptions) -> ExitCode:
    """Copy the file or directory at PATH inside VOLUME to DEST, in plain text.

    DEST is the name of the copy. It must not exist, with two exceptions: a directory may be copied into an empty one,
    and a file goes into an existing directory under its own name. "/" is the whole volume.

    VOLUME is a volume directory or a mount point. Modes, times, symlinks and hard links are kept, and owners if root
    runs it; extended attributes are not. What is damaged is reported, and the rest is copied (exit status 25).
    """
    target = targets.find(volume)
    inside = os.fsencode(path).strip(b"/")
    _check_outside(target.volume, dest)
    with sources.open_source(target, secret) as source:
        with sources.named(inside):
            first = source.stat(inside)
        to = _destination(inside, first, dest)
        report = _Report()
        with _taken_back(to), progress.bar("Exporting") as shown:
            _Export(source, report, shown).run(_Item(inside, to, first))
    code = _exit_code(report)
    if as_json:
        output.print_json(_as_json(target.volume, path, to, report))
    else:
        _summarize(report, to)
    return code


def _check_outside(volume: str, dest: str) -> None:
    inner, outer = os.path.realpath(dest), os.path.realpath(volume)
    if inner == outer or inner.startswith(outer + "/"):
        raise UsageError(
            "the destination lies in the volume directory, where only sealed files belong",
            hint="Choose a place outside of it.",
        )


def _destination(inside: bytes, entry: Entry, dest: str) -> bytes:
    """Where the copy goes.

    Raises:
        NotEmptyError: something is there already.
    """
    to = os.fsencode(dest)
    if not stat.S_ISDIR(entry.mode) and os.path.isdir(to):
        to = os.path.join(to, inside.rpartition(b"/")[2])
    elif stat.S_ISDIR(entry.mode) and os.path.isdir(to) and not os.path.islink(to):
        if os.listdir(to):
            raise NotEmptyError(
                f"{output.printable(dest)}: this directory is not empty",
                hint="Give the name of a new directory; nothing is ever overwritten.",
            )
        return to
    if os.path.lexists(to):
        raise NotEmptyError(f"{output.printable(to)}: this exists already", hint="Nothing is ever overwritten.")
    return to


@contextmanager
def _taken_back(to: bytes) -> Iterator[None]:
    """If the block fails, what it made at ``to`` is removed; a directory that was there before stays, empty."""
    was_there = os.path.lexists(to)
    try:
        yield
    except BaseException:
        if os.path.isdir(to) and not os.path.islink(to):
            for item in os.scandir(to):
                if item.is_dir(follow_symlinks=False):
                    shutil.rmtree(item.path)
                else:
                    os.unlink(item.path)
            if not was_there:
                os.rmdir(to)
        elif not was_there and os.path.lexists(to):
            os.unlink(to)
        raise


class _Export:
    """One run: a walk that plans, then a walk that copies."""

    def __init__(self, source: sources.Source, report: _Report, shown: progress.Bar) -> None:
        self._source = source
        self._report = report
        self._shown = shown
        self._first_links: dict[int, bytes] = {}
        self._missing: set[bytes] = set()
        self._total = 0
        self._first = b""

    def run(self, first: _Item) -> None:
        """Copy it and everything below.

        Raises:
            OSError: the copy cannot be written.
        """
        self._first = first.path
        plan = list(self._plan(first))
        self._total = sum(item.entry.size for item in plan if stat.S_ISREG(item.entry.mode))
        self._show()
        try:
            for item in plan:
                if os.path.dirname(item.to) in self._missing:
                    self._missing.add(item.to)
                else:
                    self._reading(item.path, partial(self._copy, item))
            # Backwards, so that what is written into a directory is done before its time and mode are set.
            for item in reversed(plan):
                if stat.S_ISDIR(item.entry.mode) and os.path.lexists(item.to):
                    self._dress(item)
        except _DestinationError as exc:
            raise OSError(exc.cause.errno, exc.cause.strerror, os.fsdecode(first.to)) from exc

    def _plan(self, first: _Item) -> Iterator[_Item]:
        pending = [first]
        while pending:
            item = pending.pop()
            yield item
            if stat.S_ISDIR(item.entry.mode):
                self._reading(item.path, partial(self._extend, pending, item))

    def _extend(self, pending: list[_Item], item: _Item) -> None:
        pending.extend(self._children(item))

    def _children(self, item: _Item) -> list[_Item]:
        listing = self._source.list(item.path)
        if listing.unreadable:
            names = output.plural(listing.unreadable, "entry has a name that is", "entries have names that are")
            self._fail(item.path, f"{names} damaged", damaged=True)
        prefix = item.path + b"/" if item.path else b""
        return [_Item(prefix + entry.name, item.to + b"/" + entry.name, entry) for entry in reversed(listing.entries)]

    def _reading(self, path: bytes, action: Callable[[], None]) -> None:
        """Do something that reads from the volume; if that fails it is reported, and the export goes on."""
        try:
            action()
        except DataError as exc:
            self._fail(path, str(exc), damaged=True)
        except OSError as exc:
            self._fail(path, (exc.strerror or str(exc)).lower(), damaged=False)
        except _DestinationError as exc:
            if exc.cause.errno in _FATAL or path == self._first:
                raise
            self._fail(path, f"the destination refuses it: {exc.cause.strerror}", damaged=False)

    def _fail(self, path: bytes, reason: str, *, damaged: bool) -> None:
        self._report.failures.append((path, reason))
        self._report.damaged = self._report.damaged or damaged
        self._shown.remark(f"not exported: {output.printable(path) or '/'}: {reason}")

    def _show(self) -> None:
        self._shown.update(self._report.size, self._total, output.plural(self._report.files, "file"))

    def _copy(self, item: _Item) -> None:
        mode = item.entry.mode
        if stat.S_ISDIR(mode):
            self._missing.add(item.to)
            with _writing():
                if not os.path.isdir(item.to):
                    os.mkdir(item.to, 0o700)
            self._missing.discard(item.to)
            self._report.directories += 1
        elif stat.S_ISLNK(mode):
            target = self._source.read_link(item.path)
            with _writing():
                os.symlink(target, item.to)
            self._dress(item)
            self._report.symlinks += 1
        elif stat.S_ISREG(mode):
            self._file(item)
            self._report.files += 1
            self._show()
        else:
            self._report.skipped.append((item.path, _kind(mode)))

    def _file(self, item: _Item) -> None:
        first = self._first_links.get(item.entry.inode) if item.entry.links > 1 else None
        if first is not None and _linked(first, item.to):
            return
        with _writing():
            fd = os.open(item.to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        before = self._report.size
        try:
            self._fill(fd, item.path)
            self._dress(item)
        except BaseException:
            os.unlink(item.to)
            self._report.size = before
            raise
        finally:
            os.close(fd)
        if item.entry.links > 1:
            self._first_links[item.entry.inode] = item.to

    def _fill(self, fd: int, path: bytes) -> None:
        """Write the content; a piece of zeros is left out, so that a sparse file stays one."""
        size = 0
        for piece in self._source.read(path):
            with _writing():
                if piece != _ZEROS[: len(piece)]:
                    _write_all(fd, piece, size)
            size += len(piece)
            self._report.size += len(piece)
            self._show()
        with _writing():
            os.truncate(fd, size)

    @staticmethod
    def _dress(item: _Item) -> None:
        """Owner (as root), mode and mtime, in the order in which none undoes another."""
        entry = item.entry
        as_root = os.geteuid() == 0
        if as_root:
            _if_supported(partial(os.chown, item.to, entry.uid, entry.gid, follow_symlinks=False))
        if not stat.S_ISLNK(entry.mode):
            # Without the owner, a set-user-id bit would lend the rights of the wrong one.
            _if_supported(partial(os.chmod, item.to, entry.mode & (0o7777 if as_root else 0o777)))
        _if_supported(partial(os.utime, item.to, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False))


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _DestinationError(exc) from exc


def _if_supported(action: Callable[[], None]) -> None:
    """Owners and modes are lost where the destination has none, as on a stick with FAT."""
    with _writing():
        try:
            action()
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise


def _linked(first: bytes, to: bytes) -> bool:
    """Whether the destination could make a hard link."""
    with _writing():
        try:
            os.link(first, to)
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise
            return False
    return True


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, offset = view[count:], offset + count


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def _exit_code(report: _Report) -> ExitCode:
    if report.damaged:
        return ExitCode.DAMAGED_DATA
    return ExitCode.FAILURE if report.failures else ExitCode.OK


def _summarize(report: _Report, to: bytes) -> None:
    kinds = (
        (report.files, "file", "files"),
        (report.directories, "directory", "directories"),
        (report.symlinks, "symlink", "symlinks"),
    )
    counts = [output.plural(count, one, many) for count, one, many in kinds if count]
    if counts:
        output.say(f"Exported {', '.join(counts)} ({output.human_size(report.size)}) to {output.printable(to)}.")
    for path, kind in report.skipped:
        output.remark(f"left out: {output.printable(path)} is a {kind}")
    if report.failures:
        output.remark(
            f"cloakfs: {output.plural(len(report.failures), 'entry', 'entries')} could not be exported; see above"
        )


def _as_json(volume: str, path: str, to: bytes, report: _Report) -> dict[str, object]:
    return {
        "volume": volume,
        "path": path,
        "destination": os.fsdecode(to),
        "files": report.files,
        "directories": report.directories,
        "symlinks": report.symlinks,
        "bytes": report.size,
        "failures": [{"path": os.fsdecode(name), "reason": reason} for name, reason in report.failures],
        "skipped": [{"path": os.fsdecode(name), "kind": kind} for name, kind in report.skipped],
    }
