"""``info``, ``list`` and ``verify``: what a volume is, what is in it, whether it is what was written.

Owns: how that is shown as plain text. Must not know: what is checked (``encfs/volume/verify.py``).
"""

from __future__ import annotations

import os
import stat
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict

from encfs.core.sources import NOUNS
from encfs.errors import DataError, ExitCode
from encfs.format.slots import Slot, SlotKind
from encfs.reader import screen
from encfs.reader.inside import path_inside
from encfs.reader.unlocking import OPENS_HERE, config_of, unlock
from encfs.volume.paths import Entry
from encfs.volume.source import Listing, VolumeSource
from encfs.volume.told import config_json, finding_json, finding_line, named, verdict, what_was_read
from encfs.volume.verify import Finding, Progress, Verifier
from encfs.wording import as_text, human_size, human_time, plural, printable

_TYPES = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFREG: "file"}


def info(options: Namespace) -> ExitCode:
    """What the config says; nothing is unlocked for it."""
    config = config_of(options.volume)
    if options.json:
        screen.print_json({"volume": options.volume, "config": config_json(config)})
        return ExitCode.OK
    screen.say(printable(options.volume))
    rows = [
        ("cell size", human_size(config.cell_size)),
        ("created", human_time(config.created)),
        ("volume id", config.volume_id.hex()),
        *((f"slot {number}", _slot(slot)) for number, slot in enumerate(config.slots, start=1)),
    ]
    for left, right in rows:
        screen.say(f"  {left:<9}  {right}")
    return ExitCode.OK


def _slot(slot: Slot) -> str:
    label = f" ({printable(slot.label)})" if slot.label else ""
    if slot.kind not in OPENS_HERE:
        return f"{printable(slot.kind)}{label}; not with this reader"
    kind = SlotKind(slot.kind)
    noun = "passphrase and key file" if kind is SlotKind.PASSPHRASE_AND_KEY_FILE else NOUNS[kind]
    return f"{noun}{label}"


def show(options: Namespace) -> ExitCode:
    """``list``: the entries at a path, and all below with ``--recursive``."""
    with unlock(options.volume, options) as volume:
        source = VolumeSource(volume)
        inside = path_inside(options.path)
        with named(inside):
            first = source.stat(inside)
        found: list[dict[str, object]] = []
        damaged = 0
        for path, item in _walk(source, inside, first, recursive=options.recursive):
            if isinstance(item, str):
                damaged += 1
                screen.remark(f"damaged: {printable(path) or '/'}: {item}")
            elif options.json:
                found.append(_entry_json(source, path, item))
            else:
                screen.say(_line(source, path, item))
    if options.json:
        screen.print_json({"volume": options.volume, "path": options.path, "entries": found, "damaged": damaged})
    return ExitCode.DAMAGED_DATA if damaged else ExitCode.OK


def _walk(source: VolumeSource, path: bytes, first: Entry, *, recursive: bool) -> Iterator[tuple[bytes, Entry | str]]:
    """Each entry with its path from the root; text instead of one that is damaged."""
    if not stat.S_ISDIR(first.mode):
        yield path, first
        return
    pending = [path]
    while pending:
        here = pending.pop()
        try:
            listing: Listing = source.list(here)
        except DataError as exc:
            yield here, str(exc)
            continue
        if listing.unreadable:
            yield here, f"{plural(listing.unreadable, 'entry has a name', 'entries have names')} that cannot be read"
        prefix = here + b"/" if here else b""
        for entry in listing.entries:
            yield prefix + entry.name, entry
        if recursive:
            pending += [prefix + one.name for one in reversed(listing.entries) if stat.S_ISDIR(one.mode)]


def _line(source: VolumeSource, path: bytes, entry: Entry) -> str:
    when = human_time(entry.mtime_ns / 1e9)
    ending = "/" if stat.S_ISDIR(entry.mode) else f" -> {printable(_target(source, path, entry))}"
    name = printable(path) + ("" if stat.S_ISREG(entry.mode) else ending)
    size = "" if stat.S_ISDIR(entry.mode) else f"{entry.size:,}"
    return f"{stat.filemode(entry.mode)}  {size:>15}  {when}  {name}"


def _target(source: VolumeSource, path: bytes, entry: Entry) -> bytes:
    if not stat.S_ISLNK(entry.mode):
        return b"(no file: a pipe, socket or device)"
    try:
        return source.read_link(path)
    except DataError as exc:
        return f"(damaged: {exc})".encode()


def _entry_json(source: VolumeSource, path: bytes, entry: Entry) -> dict[str, object]:
    link = {"target": as_text(_target(source, path, entry))} if stat.S_ISLNK(entry.mode) else {}
    return {
        "path": as_text(path),
        "type": _TYPES.get(stat.S_IFMT(entry.mode), "special"),
        "size": entry.size,
        "mode": stat.S_IMODE(entry.mode),
        "mtime": entry.mtime_ns / 1e9,
        **link,
    }


def verify(options: Namespace) -> ExitCode:
    """Read and authenticate everything, or what is at each path. Nothing is changed."""
    started = time.monotonic()
    found: list[Finding] = []
    with unlock(options.volume, options) as volume:
        paths = [path_inside(path) for path in options.paths]
        for path in paths:
            with named(path):
                volume.stat(path, follow=False)
        verifier = Verifier(volume, paths)
        line = screen.ProgressLine("Verifying")
        for step in verifier.run():
            if isinstance(step, Finding):
                found.append(step)
                line.clear()
                if not options.json:
                    screen.say(finding_line(step))
            elif isinstance(step, Progress):
                line.update(step.bytes, step.total_bytes, plural(step.files, "entry", "entries"))
        line.clear()
    summary, seconds = verifier.summary, time.monotonic() - started
    looked_at_attributes = hasattr(os, "O_PATH")
    if options.json:
        screen.print_json(
            {
                "volume": options.volume,
                "paths": options.paths,
                "clean": summary.clean,
                "seconds": round(seconds, 3),
                "attributes": looked_at_attributes,
                "summary": asdict(summary),
                "findings": [finding_json(finding) for finding in found],
            }
        )
    else:
        screen.say(f"{what_was_read(summary, seconds)} {verdict(summary, found)}")
        if not looked_at_attributes:
            screen.say("Extended attributes were not looked at: this system cannot read them.")
        if summary.findings.get("error"):
            screen.say("What has an error cannot be read in full; the rest is as it was written.")
            screen.say("Repair the volume with cloakfs on Linux, or take what has an error from a backup.")
    return ExitCode.OK if summary.clean else ExitCode.FINDINGS
