"""Checkpoints for tests of the library: made, and held against a volume, in one call."""

from __future__ import annotations

import os
from pathlib import Path

from encfs.volume import Volume
from encfs.volume.checkpoint_make import CheckpointMaker, CheckpointResult
from encfs.volume.checkpoint_verify import CheckpointVerifier, ComparisonSummary
from encfs.volume.findings import Finding
from encfs.volume.steps import Waiting
from tests.support.volumes import LowerVolume

Found = list[tuple[str, bytes]]


def make_in(volume: Volume, *, alone: bool = False) -> tuple[CheckpointResult, list[Finding]]:
    """A checkpoint of an unlocked volume, and what was found meanwhile."""
    maker = CheckpointMaker(volume, alone=alone)
    findings = []
    for step in maker.run():
        if isinstance(step, Waiting):
            step.call()
        elif isinstance(step, Finding):
            findings.append(step)
    assert maker.result is not None
    return maker.result, findings


def make(lower: LowerVolume) -> CheckpointResult:
    """A checkpoint of a locked volume, in a session of its own; nothing may be found."""
    with lower.unlock() as volume:
        result, findings = make_in(volume, alone=True)
    assert findings == []
    return result


def compare_in(volume: Volume, copy: Path | None = None) -> tuple[list[Finding], ComparisonSummary]:
    """An unlocked volume against its newest checkpoint, or a copy elsewhere."""
    verifier = CheckpointVerifier(volume, None if copy is None else os.fsencode(copy))
    findings = []
    for step in verifier.run():
        if isinstance(step, Waiting):
            step.call()
        elif isinstance(step, Finding):
            findings.append(step)
    assert verifier.summary is not None
    return findings, verifier.summary


def compare(lower: LowerVolume, copy: Path | None = None) -> Found:
    """(code, plain path) of all that a strict read-only comparison finds."""
    with lower.unlock(read_only=True) as volume:
        return sorted((str(one.code), one.path) for one in compare_in(volume, copy)[0])


def stored(lower: LowerVolume) -> list[Path]:
    """The checkpoints in a volume, the oldest first."""
    folder = lower.path / "cloakfs.c"
    return sorted(folder.iterdir()) if folder.exists() else []
