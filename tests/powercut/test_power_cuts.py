"""The power fails: what was confirmed is there, and nothing looks like tampering (THREAT_MODEL.md section 4).

A real filesystem lies on a recorded disk, a volume on it, and a real mount serves programs (``recording.py``). Then the
disk is rebuilt as a power cut may have left it at many points, and each time mounted, unlocked and checked
(``checking.py``).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.powercut.checking import Checker, Figures
from tests.powercut.logbook import CrashPoint, Kind, Medium, Survivors, read_log
from tests.powercut.recording import ALL, WITH_ROTATION, record, record_recovery
from tests.support import evidence
from tests.support.blockdev import FILESYSTEMS, needs_filesystem

# In the quick run only ext4.
EXT4_FIRST = [
    pytest.param(kind, marks=[*needs_filesystem(kind), *([pytest.mark.slow] * (kind != "ext4"))], id=kind)
    for kind in FILESYSTEMS
]
EACH_FILESYSTEM = [pytest.param(kind, marks=needs_filesystem(kind), id=kind) for kind in FILESYSTEMS]


def cut_power(
    filesystem: str, tmp_path: Path, work: Path, *, steps: int, points: int, seed: int, names: Sequence[str] = ALL
) -> Figures:
    """Record, check points, and delete the recording if all of them hold; else it is kept for ``replay.py``."""
    kept, recorded, checked = tmp_path / f"recording-{seed}", work / f"record-{seed}", work / f"check-{seed}"
    for directory in (kept, recorded, checked):
        directory.mkdir()
    recording = record(filesystem, kept, recorded, steps=steps, seed=seed, names=names)
    checker = Checker(recording, checked)
    figures = checker.visit(points, seed)
    assert_all_hold(figures, kept)
    for directory in (kept, recorded, checked):
        shutil.rmtree(directory)
    return figures


def cut_power_twice(filesystem: str, tmp_path: Path, work: Path, *, points: int, seed: int, cuts: int) -> Figures:
    """Record; at ``cuts`` points cut the power, record the recovery, and check ``points`` points of that."""
    kept, recorded = tmp_path / "recording", work / "record"
    for directory in (kept, recorded):
        directory.mkdir()
    before = record(filesystem, kept, recorded, steps=5, seed=seed)
    total = Figures()
    entries = read_log(before.log)
    middle = [index for index, entry in enumerate(entries) if entry.kind is Kind.MARK][len(ALL) :]
    for number in range(cuts):
        point = CrashPoint(middle[len(middle) * (number + 1) // (cuts + 1)] + 1, Survivors.SOME, seed + number)
        again, recorded, checked = tmp_path / f"again-{number}", work / f"again-{number}", work / f"check-{number}"
        for directory in (again, recorded, checked):
            directory.mkdir()
        recording = record_recovery(before, point, again, recorded)
        figures = Checker(recording, checked).visit(points, seed)
        assert_all_hold(figures, again)
        total.add(figures)
        for directory in (again, recorded, checked):
            shutil.rmtree(directory)
    shutil.rmtree(kept)
    return total


def assert_all_hold(figures: Figures, kept: Path) -> None:
    """Fail with each point that failed, and how to see it again."""
    failures = "\n".join(f"{point}  {what}" for point, what in figures.failures.items())
    failing = " ".join(map(str, figures.failures))
    assert not failures, f"{failures}\nagain: python -m tests.powercut.replay {kept} {failing}"


def tell(filesystem: str, figures: Figures, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the figures, and put them into the report."""
    with capsys.disabled():
        print(f"\npower cuts on {filesystem}: {figures}")
    for workload, cases in figures.cases.items():
        evidence.record("crashes", f"power cut on {filesystem}: {workload}", cases=cases)
    evidence.record(
        "crashes",
        f"power cut on {filesystem}: all workloads at once",
        cases=figures.points,
        log_entries=figures.entries,
        unclean=figures.crashed,
        repairs=sum(figures.repaired.values()),
    )


@pytest.mark.parametrize("filesystem", EACH_FILESYSTEM)
def test_power_cuts(filesystem: str, tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At 40 points: the volume opens, all that was fsynced is there, nothing is taken for tampering (section 4)."""
    figures = cut_power(filesystem, tmp_path, work, steps=10, points=40, seed=1)
    assert figures.points == 40
    assert figures.repaired, "a rig that never finds anything to recover tests nothing"
    tell(filesystem, figures, capsys)


@pytest.mark.parametrize(
    ("filesystem", "points"),
    [
        pytest.param(kind, points, marks=[*needs_filesystem(kind), *([pytest.mark.slow] * slow)], id=f"{kind}-{points}")
        for kind in FILESYSTEMS
        for points, slow in ((40, kind != "ext4"), (400, True))
    ],
)
def test_power_cuts_in_rotations(
    filesystem: str, points: int, tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keys are replaced while programs work: all of the promises hold, and the next run ends it (section 4)."""
    figures = cut_power(filesystem, tmp_path, work, steps=6, points=points, seed=1, names=WITH_ROTATION)
    assert figures.cases["rotation"]
    tell(f"{filesystem}, during rotations", figures, capsys)


@pytest.mark.parametrize("filesystem", EXT4_FIRST)
def test_power_cuts_in_recovery(
    filesystem: str, tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The power fails again while the volume is recovered: all of the promises hold as before (sections 4 and 6)."""
    figures = cut_power_twice(filesystem, tmp_path, work, points=30, seed=1, cuts=1)
    tell(f"{filesystem}, during recovery", figures, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("filesystem", EACH_FILESYSTEM)
def test_many_power_cuts_in_recovery(
    filesystem: str, tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for eight recoveries, at 50 points of each (THREAT_MODEL.md section 4)."""
    figures = cut_power_twice(filesystem, tmp_path, work, points=50, seed=6, cuts=8)
    tell(f"{filesystem}, during recovery", figures, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("filesystem", EACH_FILESYSTEM)
def test_many_power_cuts(filesystem: str, tmp_path: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same at 1,200 points of four recordings (THREAT_MODEL.md section 4)."""
    total = Figures()
    for seed in range(2, 6):
        total.add(cut_power(filesystem, tmp_path, work, steps=20, points=300, seed=seed))
    assert total.points == 1200
    tell(filesystem, total, capsys)


@pytest.mark.parametrize("filesystem", EXT4_FIRST)
def test_the_rig_sees_flushes_and_misses_what_a_lying_disk_loses(filesystem: str, tmp_path: Path, work: Path) -> None:
    """A flush lies between a step and its promise; and where flushes do nothing the same checks fail (section 4)."""
    kept, recorded, checked = tmp_path / "recording", work / "record", work / "check"
    for directory in (kept, recorded, checked):
        directory.mkdir()
    recording = record(filesystem, kept, recorded, steps=6, seed=1, names=["log", "overwrite"])
    checker = Checker(recording, checked)
    flushed = False
    for entry in checker.entries:
        flushed = flushed or entry.kind is Kind.FLUSH_END
        if entry.kind is Kind.MARK:
            assert flushed or b" done " not in entry.data, f"{entry.data!r} without a flush"
            flushed = False
    checker.medium = LyingMedium(recording.base, checker.entries, checked)
    figures = checker.visit(60, seed=1)
    assert len(figures.failures) > 5, figures


class LyingMedium(Medium):
    """A disk that takes a flush for done when the one before it is."""

    def confirmed_at(self, index: int) -> int:
        return super().confirmed_at(max(0, super().confirmed_at(index) - 1))
