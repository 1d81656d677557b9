"""Files as a practice has them, the same in several places: made, saved again, and compared byte for byte.

Owns: how large they are, what is in them, what a change is. Must not know: what is measured, what lies below.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import interrupts
from benchmarks.harness.workloads.steps import WrongBytesError

_IN_A_FOLDER = 100
_SPREAD = math.sqrt(2 * math.log(5))
"""Of the logarithm of a size: the mean is five times the median, as of letters among scans."""
_PIECE = 4 << 20
_CHANGED = 4096


class Files:
    """So many files of so many bytes together; what is in them is random, as of scans and PDF files that are packed."""

    def __init__(self, count: int, total: int, seed: int = 1) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        raw = [self._chance.lognormvariate(0, _SPREAD) for _ in range(count)]
        self._sizes = {
            f"{number // _IN_A_FOLDER:04}/scan {number:06}.pdf": max(1, round(size * total / sum(raw)))
            for number, size in enumerate(raw)
        }
        self._digests: dict[str, bytes] = {}

    @property
    def bytes(self) -> int:
        """All together."""
        return sum(self._sizes.values())

    def fill(self, places: Sequence[Path]) -> None:
        """Make all of them, the same in each place. Raises: OSError. SystemExit: a signal came."""
        for name, size in self._sizes.items():
            interrupts.checkpoint()
            for place in places:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
            self._put(name, size, None, places)

    def change(self, places: Sequence[Path], share: float) -> int:
        """Save this share of them again: a few KiB are different, and a new file takes the place of the old one.

        Returns: how many. Raises: OSError.
        """
        names = self._chance.sample(sorted(self._sizes), max(1, round(len(self._sizes) * share)))
        for name in names:
            self._put(name, self._sizes[name], places[0] / name, places)
        return len(names)

    def _put(self, name: str, size: int, old: Path | None, places: Sequence[Path]) -> None:
        digest = hashlib.sha256()
        saved = [(place / name).with_suffix(".new") for place in places]
        opened = [path.open("wb", buffering=0) for path in saved]
        before = None if old is None else old.open("rb")
        try:
            for offset in range(0, size, _PIECE):
                length = min(_PIECE, size - offset)
                piece = os.urandom(length) if before is None else before.read(length)
                if before is not None and offset == 0:
                    piece = os.urandom(min(_CHANGED, length)) + piece[_CHANGED:]
                digest.update(piece)
                for file in opened:
                    file.write(piece)
        finally:
            for file in opened:
                file.close()
            if before is not None:
                before.close()
        for path in saved:
            path.replace(path.with_suffix(".pdf"))
        self._digests[name] = digest.digest()

    def check(self, place: Path, who: str) -> None:
        """All of them are there, and nothing else. Raises: WrongBytesError: not so. OSError."""
        there = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
        if there != self._digests.keys():
            raise WrongBytesError(f"{who}: {len(there ^ self._digests.keys())} files are missing or too many")
        for name, digest in self._digests.items():
            with (place / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").digest() != digest:
                    raise WrongBytesError(f"{who}: a file that was restored has other bytes")


def scratch(directory: Path) -> tempfile.TemporaryDirectory[str]:
    """Room for a run, which goes with it."""
    return tempfile.TemporaryDirectory(prefix="cloakfs-bench-", dir=directory)
