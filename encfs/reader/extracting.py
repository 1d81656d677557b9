"""``extract``: copies files and trees out of a volume, in plain text, to a directory of this machine.

Owns: where they go, what is said of them. Must not know: how a tree is copied (``encfs/volume/copying.py``).

Rules: nothing that is there is overwritten without ``--overwrite``. What was copied before the run ended stays; a file
is there whole or not at all.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from encfs.errors import ExitCode, UsageError
from encfs.hostpaths import long_path
from encfs.reader import screen
from encfs.reader.inside import path_inside
from encfs.reader.placing import WINDOWS, SafePlacement
from encfs.reader.unlocking import unlock
from encfs.volume.copying import Copier, Report, starts_of
from encfs.volume.source import VolumeSource
from encfs.wording import as_text, human_size, plural, printable

Renamed = Sequence[tuple[bytes, bytes]]
"""Entries that got another name: their own, and where the copy is, from the destination."""


@dataclass(frozen=True, slots=True)
class _Watcher:
    line: screen.ProgressLine

    def update(self, done: int, total: int, note: str) -> None:
        self.line.update(done, total, note)

    def failed(self, path: bytes, reason: str) -> None:
        self.line.clear()
        screen.remark(f"not extracted: {printable(path) or '/'}: {reason}")


def run(options: Namespace) -> ExitCode:
    """The command."""
    to = _destination(options.volume, options.to)
    placement = SafePlacement(overwrite=options.overwrite)
    with unlock(options.volume, options) as volume:
        line = screen.ProgressLine("Extracting")
        source = VolumeSource(volume)
        copier = Copier(source, _Watcher(line), placement)
        starts = starts_of(source, [path_inside(path) for path in options.paths], to)
        os.makedirs(to, exist_ok=True)
        try:
            copier.run(starts)
        finally:
            line.clear()
    report = copier.report
    renamed = [(name, place[len(to) :].lstrip(os.fsencode(os.sep))) for name, place in placement.renamed]
    if options.json:
        screen.print_json(_as_json(options, report, renamed))
    else:
        _summarize(options.to, report, renamed)
    if report.damaged:
        return ExitCode.DAMAGED_DATA
    return ExitCode.FAILURE if report.failures else ExitCode.OK


def _destination(volume: str, to: str) -> bytes:
    """The directory, in a form that takes long paths.

    Raises:
        UsageError: it lies in the volume directory.
    """
    inner, outer = os.path.realpath(to), os.path.realpath(volume)
    if os.path.normcase(inner + os.sep).startswith(os.path.normcase(outer + os.sep)):
        raise UsageError(
            "the destination lies in the volume directory, where only sealed files belong",
            hint="Choose a place outside of it.",
        )
    return os.fsencode(long_path(inner) if WINDOWS else inner)


def _summarize(to: str, report: Report, renamed: Renamed) -> None:
    kinds = (
        (report.files, "file", "files"),
        (report.directories, "directory", "directories"),
        (report.symlinks, "symlink", "symlinks"),
    )
    counts = [plural(count, one, many) for count, one, many in kinds if count]
    if counts:
        screen.say(f"Extracted {', '.join(counts)} ({human_size(report.size)}) to {printable(to)}, in plain text.")
    else:
        screen.say("Nothing was extracted.")
    for name, place in renamed:
        screen.remark(f"named differently: {printable(name)} is {printable(place)}")
    for path, kind in report.skipped:
        screen.remark(f"left out: {printable(path)} is a {kind}")
    if report.failures:
        entries = plural(len(report.failures), "entry", "entries")
        screen.remark(f"cloakfs-reader: {entries} could not be extracted; see above")
        if any("exists" in reason.lower() for _, reason in report.failures):
            screen.remark("  What was there already has been left alone; --overwrite replaces files.")


def _as_json(options: Namespace, report: Report, renamed: Renamed) -> dict[str, object]:
    return {
        "volume": options.volume,
        "destination": options.to,
        "files": report.files,
        "directories": report.directories,
        "symlinks": report.symlinks,
        "bytes": report.size,
        "renamed": [{"name": as_text(name), "to": as_text(place)} for name, place in renamed],
        "failures": [{"path": as_text(path), "reason": reason} for path, reason in report.failures],
        "skipped": [{"path": as_text(path), "kind": kind} for path, kind in report.skipped],
    }
