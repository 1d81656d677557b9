"""``cloakfs scan``: files that are likely to belong to patients, and lie outside of volumes.

Owns: which directories are scanned, what is written down, how it is shown. Must not know: what such a file is, how a
directory is walked through (``encfs.evidence``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from encfs.cli import auditing, mounts, options, output, progress, targets
from encfs.errors import AuditError, ExitCode, UsageError
from encfs.evidence.likely import CLINICAL, TITLES
from encfs.evidence.scanning import Age, LeftOut, Scan, Tally, Wanted, scan
from encfs.format.audit import NO_VOLUME
from encfs.format.audit_body import Outcome
from encfs.memory.swap import Protection, protection
from encfs.registers import scans
from encfs.registers.scans import ScanCounts

_AGES: Final = {
    Age.MONTH: "changed within a month",
    Age.YEAR: "within a year",
    Age.SIX_YEARS: "within six years",
    Age.OLDER: "longer ago",
}
_LEFT_OUT: Final = {
    LeftOut.VOLUME: ("volume", "volumes"),
    LeftOut.MOUNT: ("mounted volume", "mounted volumes"),
    LeftOut.FILESYSTEM: ("other filesystem (--across goes in)", "other filesystems (--across goes in)"),
    LeftOut.SYSTEM: ("folder of the system", "folders of the system"),
    LeftOut.PROGRAM: ("folder of programs", "folders of programs"),
    LeftOut.EXCLUDED: ("name that you excluded", "names that you excluded"),
}
_DISKS: Final = {
    Protection.ENCRYPTED: "encrypted",
    Protection.PLAIN: "not encrypted",
    Protection.MEMORY: "memory",
    Protection.UNKNOWN: "cannot be seen from here",
}
_RUNTIME: Final = (AuditError, OSError, RuntimeError)


@dataclass(frozen=True, slots=True)
class _Scanned:
    """One directory. ``disk``: what it lies on."""

    path: str
    watched: bool
    found: Scan
    disk: Protection


@options.command(
    "scan",
    example="""
cloakfs scan /home /srv
cloakfs scan --watch /srv/practice
cloakfs scan --json""",
)
@click.argument("paths", metavar="[DIRECTORY]...", nargs=-1)
@click.option(
    "--watch", is_flag=True, help="Watch each DIRECTORY: it is scanned where none is given, and in inventory."
)
@click.option("--forget", is_flag=True, help="Watch each DIRECTORY no longer. Nothing is scanned.")
@click.option("--across", is_flag=True, help="Also go into other filesystems that are mounted below.")
@click.option(
    "--exclude", metavar="PATTERN", multiple=True, help="Leave out files and folders with such a name (*.bak)."
)
@click.option(
    "--top", metavar="N", type=click.IntRange(1, 1000), default=20, show_default=True, help="Folders to show."
)
@click.option(
    "--depth", metavar="N", type=click.IntRange(0, 16), default=2, show_default=True, help="How deep they are."
)
@options.json_option
def command(
    *,
    paths: tuple[str, ...],
    watch: bool,
    forget: bool,
    across: bool,
    exclude: tuple[str, ...],
    top: int,
    depth: int,
    as_json: bool,
) -> ExitCode:
    """Look for files outside of volumes that are likely to belong to patients, by their names and first 4 KiB.

    Without DIRECTORY: all that are watched. Nothing is copied, and nothing is written down but counts, and the paths of
    watched directories. Links are not followed. What is likely and what is not seen: docs/inventory.md.

    Exit status 0: nothing was found; 3: something was.
    """
    roots = [os.path.realpath(path) for path in paths]
    if (watch or forget) and (watch == forget or not roots):
        raise UsageError("--watch and --forget each need a DIRECTORY, and do not go together")
    if forget:
        return _forget(roots, as_json=as_json)
    for root in roots:
        if not os.path.isdir(root):
            raise UsageError(f"{output.printable(root)} is no directory", hint="Name the directory that it is in.")
    if watch:
        for root in roots:
            scans.watch(root)
    known = scans.scans().watched
    chosen = list(dict.fromkeys(roots or sorted(known)))
    if not chosen:
        raise UsageError("no directory is watched, and none was given", hint="Such as: cloakfs scan --watch /srv")
    open_volumes = frozenset(one.mountpoint for one in targets.all_mounted() if one.mounted and one.mountpoint)
    scanned = []
    for root in chosen:
        wanted = Wanted(
            now=time.time(),
            mounts=_mounts,
            open_volumes=open_volumes if root in known else frozenset(),
            across=across,
            exclude=exclude,
            top=top,
            depth=depth,
        )
        scanned.append(_scan(root, wanted, watched=root in known))
        _write_down(scanned[-1])
    if as_json:
        output.print_json({"roots": [_as_json(one) for one in scanned]})
    else:
        _show(scanned)
    return ExitCode.FINDINGS if any(one.found.outside.files for one in scanned) else ExitCode.OK


def _forget(roots: list[str], *, as_json: bool) -> ExitCode:
    for root in roots:
        scans.forget(root)
    if as_json:
        output.print_json({"forgotten": roots})
    else:
        output.say(f"No longer watched: {', '.join(output.printable(root) for root in roots)}")
    return ExitCode.OK


def _mounts() -> Mapping[str, str]:
    return {mount.mountpoint: mount.fstype for mount in mounts.all_mounts()}


def _scan(root: str, wanted: Wanted, *, watched: bool) -> _Scanned:
    name = output.printable(root)
    with progress.activity(f"Looking through {name}") as shown:

        def tell(found: Scan) -> None:
            files, likely = output.plural(found.looked_at, "file"), f"{found.outside.files:,}"
            shown.update(f"Looking through {name}: {files}, {likely} likely")

        found = scan(root, wanted, tell)
    return _Scanned(root, watched, found, protection(os.fsencode(root)))


def _write_down(one: _Scanned) -> None:
    """Counts, for the audit log and for the inventory. The result is shown also where they cannot be written."""
    found = one.found
    counts = ScanCounts(
        files=found.outside.files,
        clinical=found.outside.clinical,
        bytes=found.outside.bytes,
        inside=found.inside.files,
        kinds=_counted(found.outside.kinds),
        ages=_counted(found.outside.ages),
        looked_at=found.looked_at,
        folders=found.folders,
        unreadable=found.unreadable_folders + found.unreadable_files,
        left_out=found.left_out.total(),
        disk=str(one.disk),
    )
    auditing.tell(
        *("scan", Outcome.DONE, NO_VOLUME),
        **{
            name: getattr(counts, name)
            for name in ("files", "clinical", "inside", "looked_at", "folders", "unreadable")
        },
    )
    try:
        scans.note(one.path if one.watched else "", counts)
    except _RUNTIME as exc:
        output.warn(f"what the scan found cannot be written down on this computer: {exc}")


def _counted(counter: Mapping[Any, int]) -> dict[str, int]:
    return {str(name): number for name, number in sorted(counter.items()) if number}


# -- JSON ------------------------------------------------------------------------------------------------------------


def _as_json(one: _Scanned) -> dict[str, Any]:
    found = one.found
    return {
        "path": one.path,
        "watched": one.watched,
        "disk": str(one.disk),
        "outside": _tally(found.outside),
        "inside": _tally(found.inside) if one.watched else None,
        "looked_at": found.looked_at,
        "folders": found.folders,
        "unreadable": {"folders": found.unreadable_folders, "files": found.unreadable_files},
        "left_out": _counted(found.left_out),
        "top": [{"path": path, **_tally(tally)} for path, tally in found.top],
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "files": tally.files,
        "clinical": tally.clinical,
        "bytes": tally.bytes,
        "kinds": _counted(tally.kinds),
        "ages": _counted(tally.ages),
    }


# -- text ------------------------------------------------------------------------------------------------------------


def _show(scanned: list[_Scanned]) -> None:
    for position, one in enumerate(scanned):
        if position:
            output.say()
        _show_one(one)
    output.say()
    if any(one.found.outside.files for one in scanned):
        output.say('These are likely, not certain, and what was not found may be there: docs/inventory.md, "Limits".')
    output.say("Nothing was copied. Counts were written down, and no names but those of watched directories.")


def _show_one(one: _Scanned) -> None:
    found, outside = one.found, one.found.outside
    output.say(output.bold(output.printable(one.path)))
    where = f"{output.plural(found.looked_at, 'file')} in {output.plural(found.folders, 'folder')}"
    rows = [("looked at", where), ("the disk below", _DISKS[one.disk])]
    if one.watched:
        rows.append(("in open volumes", output.plural(found.inside.files, "likely file")))
    rows.append(("outside volumes", _sum(outside)))
    rows += _lines([f"{number:,} {TITLES[kind]}" for kind, number in _most(outside.kinds)])
    if outside.files:
        rows.append(("age", ", ".join(f"{outside.ages[age]:,} {_AGES[age]}" for age in Age if outside.ages[age])))
    if found.unreadable_folders or found.unreadable_files:
        folders = output.plural(found.unreadable_folders, "folder")
        rows.append(("NOT READABLE", f"{folders} and {output.plural(found.unreadable_files, 'file')}"))
    rows += [("left out", text) for text in _left_out(found)][:1] + _lines(_left_out(found)[1:])
    output.print_table(rows)
    if found.top:
        output.say("  Most of them are in")
        output.print_table([(output.printable(path), _sum(tally)) for path, tally in found.top], indent="    ")


def _lines(texts: list[str]) -> list[tuple[str, str]]:
    return [("", text) for text in texts]


def _left_out(found: Scan) -> list[str]:
    return [output.plural(found.left_out[reason], *_LEFT_OUT[reason]) for reason in LeftOut if found.left_out[reason]]


def _most(counter: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """What says so itself first, and of those the most."""
    return sorted(counter.items(), key=lambda one: (one[0] not in CLINICAL, -one[1], one[0]))


def _sum(tally: Tally) -> str:
    if not tally.files:
        return "nothing likely was found"
    text = f"{output.plural(tally.files, 'likely file')}, {output.human_size(tally.bytes)}"
    return f"{text}; {tally.clinical:,} say so themselves" if tally.clinical else text
