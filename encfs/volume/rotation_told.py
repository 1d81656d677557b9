"""How a rotation goes on, as its record tells it: begun, each tenth of the way, ended or not.

Owns: when there is something to tell. Must not know: who records it, threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from encfs.errors import CloakfsError
from encfs.happenings import RotationStep
from encfs.volume.rotation import Outcome
from encfs.volume.verify import Progress
from encfs.volume.volume import Volume

_TENTHS: Final = 10
Detail = dict[str, str | int]
Told = tuple[RotationStep, Detail]


class RotationTale:
    """All runs of one rotation in this process. Each method gives what is to be told now, or None.

    A run that failed is tried again and again; that is told once, and again when it fails in another way.

    Args:
        again: whether an earlier process has begun it and not ended it.
    """

    def __init__(self, volume: Volume, *, again: bool) -> None:
        config = volume.config
        self.epoch = config.active.epoch
        self._data = config.data_epoch > 0
        self._again = again
        self._under_way = False
        self._told_begin = False
        self._told_failure: Told | None = None
        self._tenth = 0

    def begun(self) -> Told | None:
        """A run begins."""
        self._under_way = True
        if self._told_begin:
            return None
        self._told_begin = True
        return RotationStep.BEGUN, {"epoch": self.epoch, "data": int(self._data), "again": int(self._again)}

    def on_the_way(self, progress: Progress) -> Told | None:
        """How far it is, by bytes where contents are encrypted anew, else by entries."""
        by_bytes = self._data and progress.total_bytes
        done, total = (progress.bytes, progress.total_bytes) if by_bytes else (progress.files, progress.total_files)
        tenth = min(done * _TENTHS // total, _TENTHS - 1) if total else 0
        if tenth <= self._tenth:
            return None
        self._tenth = tenth
        percent = tenth * (100 // _TENTHS)
        detail: Detail = {"epoch": self.epoch, "percent": percent, "files": progress.files, "bytes": progress.bytes}
        return RotationStep.PROGRESS, detail

    def ended(self, outcome: Outcome) -> Told | None:
        """It went through: the old keys are destroyed, or what still needs them is counted."""
        counts: Detail = asdict(outcome)
        if not outcome.complete:
            return self._failed("incomplete", counts)
        self._under_way = False
        return RotationStep.DONE, {"epoch": self.epoch, **counts}

    def failed(self, exc: BaseException) -> Told | None:
        """It could not go on; it is tried again, at the latest by the next mount."""
        known = isinstance(exc, CloakfsError | OSError)
        return self._failed(type(exc).__name__.removesuffix("Error") if known else "internal")

    def superseded(self) -> Told | None:
        """Another rotation has begun meanwhile, which ends both."""
        return self._failed("superseded")

    def interrupted(self) -> Told | None:
        """The mount was locked, or the command was ended, while it was under way."""
        return self._failed("interrupted") if self._under_way else None

    def _failed(self, why: str, counts: Mapping[str, str | int] | None = None) -> Told | None:
        self._under_way = False
        told: Told = (RotationStep.FAILED, {"epoch": self.epoch, "why": why, **(counts or {})})
        if told == self._told_failure:
            return None
        self._told_failure = told
        return told
