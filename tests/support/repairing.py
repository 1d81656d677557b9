"""Repair as the tests use it: rounds until nothing more can be done, and what was where before and after."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from encfs.core import symlinks
from encfs.errors import DataError
from encfs.volume import Volume
from encfs.volume.repair import Action, Done, Left, Outcome, Repair
from encfs.volume.verify import Finding, Verifier
from tests.support.volumes import LowerVolume

NOW = 1_795_305_600.0  # 2026-11-22 00:00:00 UTC
RUN = b"lost+found/2026-11-22T000000Z"


def findings_of(volume: Volume, paths: Iterable[bytes] = ()) -> list[Finding]:
    """What a verification of these paths finds."""
    return [step for step in Verifier(volume, list(paths)).run() if isinstance(step, Finding)]


def repair_open(
    volume: Volume,
    paths: Iterable[bytes] = (),
    *,
    stop: Callable[[], bool] = lambda: False,
    began: Callable[[], object] = lambda: None,
    **more: Any,
) -> tuple[list[Done], list[Left]]:
    """Repair an unlocked volume in as many rounds as it takes. ``began`` is called before the first."""
    repair = Repair(volume, now=lambda: NOW, **more)
    began()
    findings, done, left = findings_of(volume, paths), [], []
    while True:
        plan = repair.plan(findings)
        left += plan.left
        took = list(repair.apply(plan, stop=stop))
        done += took
        touched = [path for one in took for path in one.touched]
        if not any(one.outcome is Outcome.DONE for one in took):
            return done, left
        findings = [step for step in repair.look_again(touched) if isinstance(step, Finding)]


def repair(lower: LowerVolume, paths: Iterable[bytes] = (), *, store: Any = None, **more: Any) -> list[Done]:
    """Unlock, repair, lock."""
    with lower.unlock(store=store) as volume:
        return repair_open(volume, paths, **more)[0]


def planned(lower: LowerVolume, paths: Iterable[bytes] = (), **more: Any) -> list[Action]:
    """The plan alone."""
    with lower.unlock() as volume:
        return Repair(volume, now=lambda: NOW, **more).plan(findings_of(volume, paths)).actions


def lower_pieces(lower: LowerVolume) -> set[bytes]:
    """Every byte string that counts below: files in pieces of a cell, link targets, attributes, each once.

    Headers, records and what cloakfs keeps for itself are left out: they are rewritten when something moves.
    """
    found: set[bytes] = set()
    for directory, _, files in os.walk(lower.path):
        if Path(directory).name.startswith("cloakfs."):
            continue
        for name in files:
            path = Path(directory, name)
            if name.startswith("cloakfs.") or not (path.is_file() or path.is_symlink()):
                continue
            if path.is_symlink():
                found.add(os.fsencode(os.readlink(path)))
                continue
            raw = path.read_bytes()
            found |= {raw[at : at + 4096] for at in range(4096, len(raw), 4096)}
            if len(raw) > 512:
                found.add(raw[512:4096])
            found |= {os.getxattr(path, key) for key in os.listxattr(path)}
    return found


def plain_pieces(volume: Volume, path: bytes = b"") -> set[bytes]:
    """The plain contents, symlink targets and pieces of kept lower files that can be read."""
    found: set[bytes] = set()
    try:
        entries = volume.list_directory(path)
    except DataError:
        return found
    for entry in entries:
        full = path + b"/" + entry.name if path else entry.name
        kind = entry.mode & 0o170000
        try:
            if kind == 0o040000:
                found |= plain_pieces(volume, full)
            elif kind == 0o120000:
                found.add(volume.read_link(full))
            elif kind == 0o100000:
                raw = b"".join(volume.read_file(full))
                found |= {raw, raw[512:4096], *(raw[at : at + 4096] for at in range(4096, len(raw), 4096))}
        except DataError:
            continue
    return found


def missing_bytes(before: set[bytes], lower: LowerVolume) -> set[bytes]:
    """What was below before and is now neither there nor inside any plain file."""
    gone = before - lower_pieces(lower)
    if not gone:
        return gone
    with lower.unlock(read_only=True) as volume:
        kept = plain_pieces(volume)
        # A symlink that was put aside is sealed anew: its target counts.
        return {piece for piece in gone if piece not in kept and target_of(volume, piece) not in kept}


def target_of(volume: Volume, sealed: bytes) -> bytes | None:
    """What a sealed symlink holds, None if these bytes are none."""
    try:
        return symlinks.open_target(volume.ctx.ring, sealed).target
    except DataError:
        return None
