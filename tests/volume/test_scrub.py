"""Verifying in several goes: oldest-checked first, within a time, and nothing is forgotten (docs/findings.md)."""

from __future__ import annotations

from collections import Counter

import pytest

from encfs.host.scrub import HostCheckTimes
from encfs.volume.scrub import Coverage, Scrubber
from encfs.volume.verify import Finding, Reading
from tests.support import evidence
from tests.support.volumes import LowerVolume, flip, pattern

FILES = [b"a%02d" % number for number in range(10)] + [b"d/b%02d" % number for number in range(10)]
DAY = 86_400.0


class Clock:
    """Time that passes only when files are read."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def full(lower: LowerVolume) -> LowerVolume:
    """Twenty files in two directories."""
    with lower.unlock() as volume:
        volume.make_directory(b"d")
        volume.make_symlink(b"l", b"t")
        for name in FILES:
            volume.write_file(name, pattern(5000, name))
    return lower


def go(lower: LowerVolume, clock: Clock, seconds: float, *, fail_at: int | None = None) -> tuple[list[bytes], Coverage]:
    """One go, in which reading a file takes a second; the paths read, and how far it came."""
    with lower.unlock(read_only=True) as volume:
        times = HostCheckTimes(volume.config.volume_id, volume.ctx.ring.metadata.freshness_key, clock)
        end = clock.now + seconds
        scrubber = Scrubber(volume, [], times, lambda: clock.now >= end)
        read: list[bytes] = []
        try:
            for step in scrubber.run():
                if isinstance(step, Reading):
                    if len(read) == fail_at:
                        raise KeyboardInterrupt
                    read.append(step.file.header.name)
                    clock.now += 1
        finally:
            times.close()
        assert times.problems == []
        return read, scrubber.coverage


def test_all_files_in_several_goes(full: LowerVolume) -> None:
    """Goes of 7 seconds cover 20 files in three, each once; then the oldest come first again (docs/findings.md)."""
    clock, seen = Clock(), Counter[bytes]()
    read, coverage = go(full, clock, 7)
    seen.update(read)
    assert (coverage.checked, coverage.files, coverage.never, coverage.oldest) == (7, 20, 13, None)
    assert not coverage.complete
    first = read
    clock.now += DAY
    read, coverage = go(full, clock, 7)
    seen.update(read)
    assert (coverage.checked, coverage.never, coverage.oldest) == (7, 6, 1_000_001)
    clock.now += DAY
    read, _ = go(full, clock, 6)
    seen.update(read)
    assert len(seen) == 20
    assert set(seen.values()) == {1}
    clock.now += DAY
    read, coverage = go(full, clock, 3)
    assert read == first[:3], "the oldest first"
    assert coverage.never == 0
    evidence.record("repair", "a scrub over several nights", cases=20, note="each file once, oldest first")


def test_a_go_with_time_enough(full: LowerVolume) -> None:
    """With time for everything everything is read, and that is said (docs/findings.md)."""
    read, coverage = go(full, Clock(), 1000)
    assert len(read) == 20
    assert coverage.complete


def test_at_least_one_file(full: LowerVolume) -> None:
    """However short a go is, one file is read, so that the volume is covered in the end (docs/findings.md)."""
    clock = Clock()
    seen = set()
    for _ in range(20):
        read, coverage = go(full, clock, 0.5)
        assert coverage.checked == 1
        assert coverage.listed
        seen |= set(read)
        clock.now += DAY
    assert len(seen) == 20


def test_the_walk_takes_all_the_time(full: LowerVolume) -> None:
    """If the time is up once the files are found, one of them is read all the same (docs/findings.md)."""
    with full.unlock(read_only=True) as volume:
        times = HostCheckTimes(volume.config.volume_id, volume.ctx.ring.metadata.freshness_key)
        scrubber = Scrubber(volume, [], times, lambda: not scrubber._walking)
        read = [step.file.header.name for step in scrubber.run() if isinstance(step, Reading)]
        times.close()
    assert len(read) == scrubber.coverage.checked == 1


def test_no_time_even_to_look(full: LowerVolume) -> None:
    """If the time is up before the files are found, that is said (docs/findings.md)."""
    clock = Clock()
    read, coverage = go(full, clock, 0)
    assert not coverage.listed
    assert not coverage.complete
    assert len(read) <= 1


def test_interrupted(full: LowerVolume) -> None:
    """Broken off in the middle, what was checked is remembered, and the next go does not read it again."""
    clock = Clock()
    with pytest.raises(KeyboardInterrupt):
        go(full, clock, 1000, fail_at=5)
    clock.now += DAY
    read, coverage = go(full, clock, 15)
    assert coverage.never == 0
    assert len(set(read)) == 15
    clock.now += DAY
    assert len(set(go(full, clock, 5)[0]) & set(read)) == 0


def test_new_and_renamed_files_come_first(full: LowerVolume) -> None:
    """A file that this host has not checked comes before all others (docs/findings.md)."""
    clock = Clock()
    go(full, clock, 1000)
    clock.now += DAY
    with full.unlock() as volume:
        volume.write_file(b"new", pattern(100))
        volume.rename(b"a05", b"renamed")
    read, _ = go(full, clock, 2)
    assert sorted(read) == [b"new", b"renamed"]


def test_damage_is_found_in_a_go(full: LowerVolume) -> None:
    """A go finds what a whole verification finds, in files and in directories (docs/findings.md)."""
    flip(full.lower(b"d/b03"), 4500)
    flip(full.lower(b"a04"), 70)
    with full.unlock(read_only=True) as volume:
        times = HostCheckTimes(volume.config.volume_id, volume.ctx.ring.metadata.freshness_key)
        scrubber = Scrubber(volume, [], times, lambda: False)
        found = sorted((step.code, step.path) for step in scrubber.run() if isinstance(step, Finding))
        times.close()
    assert found == [("cell-damaged", b"d/b03"), ("file-damaged", b"a04")]
    assert scrubber.summary.findings == {"error": 2}


def test_the_memory_holds_no_names(full: LowerVolume, host_memory) -> None:
    """What the host remembers is a MAC and a time, no plain or lower name (FORMAT.md section 13)."""
    go(full, Clock(), 1000)
    lower_name = full.lower(b"a03").name.encode()
    raw = b"".join(path.read_bytes() for path in host_memory.rglob("*") if path.is_file())
    assert b"checks" in raw
    assert lower_name not in raw
    assert b"a03" not in raw
