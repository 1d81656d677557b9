"""``verify --checkpoint``: walks the volume and holds it against a checkpoint.

Owns: which checkpoint is taken, the summary. Must not know: the rules (``checkpoint_compare.py``), who shows findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from encfs.volume.checkpoint import Checkpoint, newest_is_missing, open_copy, open_newest
from encfs.volume.checkpoint_compare import Comparison
from encfs.volume.checkpoint_index import Index, Since, load
from encfs.volume.checkpoint_make import Step
from encfs.volume.checkpoint_walk import Seen, Walk
from encfs.volume.findings import Severity
from encfs.volume.steps import Waiting
from encfs.volume.volume import Volume


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """A finished comparison.

    Attributes:
        name: of the checkpoint.
        made: when it was made, seconds since 1970.
        digest: of the whole, in hexadecimal.
        files: how many it has.
        same, changed, added, removed: files by what became of them, as far as that is legitimate.
        written, crashed: whether the volume was opened for writing since, and whether that ended in a crash.
        findings: how many of each severity.
    """

    name: str
    made: float
    digest: str
    files: int
    same: int
    changed: int
    added: int
    removed: int
    written: bool
    crashed: bool
    findings: dict[str, int]

    @property
    def clean(self) -> bool:
        """No warning and no error."""
        return not self.findings.get(Severity.WARNING) and not self.findings.get(Severity.ERROR)


class CheckpointVerifier:
    """One comparison of an open volume with a checkpoint.

    Args:
        volume: the volume.
        copy: path of a checkpoint that is kept elsewhere; None for the newest one in the volume.
    """

    def __init__(self, volume: Volume, copy: bytes | None = None) -> None:
        self._volume = volume
        self._copy = copy
        self.summary: ComparisonSummary | None = None
        self._index: Index | None = None

    def load(self) -> None:
        """Read the whole checkpoint, so that a missing or damaged one is told before anything else is done.

        Raises:
            NotFoundError: the volume holds no checkpoint.
            DataError: the checkpoint does not open, is of another volume, or is not whole.
            OSError: it cannot be read.
        """
        self._index = load(self._open())

    def _open(self) -> Checkpoint:
        if self._copy is not None:
            return open_copy(self._volume.ctx, self._copy)
        return open_newest(self._volume.ctx, self._volume.root_fd)

    def run(self) -> Iterator[Step]:
        """Yield findings, progress, and what has to be waited for. ``summary`` is there when it has ended.

        Raises:
            CloakfsError, OSError: as :meth:`load`, if that was not called.
        """
        if self._index is None:
            yield Waiting(self.load)
        index = self._index
        if index is None:
            raise AssertionError("internal error: what was to be waited for was not done")
        volume = self._volume
        since = Since(index, volume.sessions.records(), volume.ctx.session)
        comparison = Comparison(volume.ctx, index, since)
        found: Counter[str] = Counter()
        missing = None if self._copy is not None else newest_is_missing(volume.ctx, volume.root_fd)
        if missing is not None:
            found[missing.severity] += 1
            yield missing
        for step in Walk(volume, comparison.known_digest, settle=False).run():
            if isinstance(step, Seen):
                for finding in comparison.see(step):
                    found[finding.severity] += 1
                    yield finding
            else:
                yield step
        for finding in comparison.lost():
            found[finding.severity] += 1
            yield finding
        self.summary = _summary(index, since, comparison, dict(found))


def _summary(index: Index, since: Since, comparison: Comparison, found: dict[str, int]) -> ComparisonSummary:
    counts = comparison.counts
    return ComparisonSummary(
        name=index.head.checkpoint_id.hex(),
        made=index.head.made_ms / 1000,
        digest=index.end.digest.hex(),
        files=len(index.files),
        same=counts["same"],
        changed=counts["changed"],
        added=counts["added"],
        removed=counts["removed"],
        written=since.written,
        crashed=since.crashed,
        findings=found,
    )
