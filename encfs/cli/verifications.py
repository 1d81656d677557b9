"""What this host remembers of a verification: for ``cloakfs doctor`` and ``cloakfs status``.

Owns: what a run means for the age of the last one. Must not know: where that is kept (``encfs.host.verified``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from encfs.cli import output
from encfs.cli.unlocking import config_of
from encfs.host.verified import Verified, last_verified, remember
from encfs.units import VolumeId
from encfs.volume.findings import Finding, Severity
from encfs.volume.scrub import Coverage


def wrong(found: Iterable[Finding]) -> int:
    """How many of the findings are more than a note."""
    return sum(finding.severity is not Severity.INFO for finding in found)


def whole(path: str, count: int) -> None:
    """The whole volume was just read; ``count``: what is wrong in it now."""
    _remember(config_of(path).volume_id, Verified(int(time.time()), count))


def part(path: str, coverage: Coverage, count: int) -> None:
    """One go of several (``verify --for``) has ended: what it found counts at once, its reading when all is read."""
    volume_id = config_of(path).volume_id
    before = last_verified(volume_id) or Verified(0, 0)
    if coverage.complete:
        _remember(volume_id, Verified(int(time.time()), count))
        return
    at = before.at
    if coverage.listed and not coverage.never and coverage.oldest is not None:
        at = max(at, int(coverage.oldest))
    _remember(volume_id, Verified(at, max(before.wrong, count)))


def _remember(volume_id: VolumeId, verified: Verified) -> None:
    for problem in remember(volume_id, verified):
        output.warn(problem)
