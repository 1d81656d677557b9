"""``cloakfs export``: copies files and trees out of a volume.

Owns: where the copy goes, and what is said of it. Must not know: whether the volume is mounted, how a tree is copied
(``encfs/volume/copying.py``).

Rules: nothing is ever overwritten. An export that is stopped, or for which there is no room, takes back everything
it made.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from encfs.cli import auditing, options, output, progress, sources, targets
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.errors import ExitCode, NotEmptyError, UsageError
from encfs.volume.copying import Copier, ExactPlacement, Item, Report
from encfs.volume.paths import Entry


@dataclass(frozen=True, slots=True)
class _Shown:
    """Tells on a bar how far the run is."""

    bar: progress.Bar

    def update(self, done: int, total: int, note: str) -> None:
        self.bar.update(done, total, note)

    def failed(self, path: bytes, reason: str) -> None:
        self.bar.remark(f"not exported: {output.printable(path) or '/'}: {reason}")


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
@auditing.recorded("volume.export")
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
        with _taken_back(to), progress.bar("Exporting") as shown:
            copier = Copier(source, _Shown(shown), ExactPlacement())
            copier.run([Item(inside, first, to)])
    report = copier.report
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


def _exit_code(report: Report) -> ExitCode:
    if report.damaged:
        return ExitCode.DAMAGED_DATA
    return ExitCode.FAILURE if report.failures else ExitCode.OK


def _summarize(report: Report, to: bytes) -> None:
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


def _as_json(volume: str, path: str, to: bytes, report: Report) -> dict[str, object]:
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
