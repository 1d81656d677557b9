"""``verify``: each kind of damage has its own code, one finding, and nothing is changed (DESIGN section 4)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.format.geometry import Geometry
from encfs.volume.verify import Finding, Progress, Reading, Severity, Verifier
from tests.support.volumes import CELLS, LONG, ROOT, LowerVolume, flip, open_file, pattern, verify


@pytest.fixture
def full(lower: LowerVolume) -> LowerVolume:
    """Some of everything."""
    with lower.unlock() as volume:
        for directory in (b"d", b"d/e", LONG + b"d"):
            volume.make_directory(directory)
        for name in (b"a", b"b", b"d/c", LONG):
            volume.write_file(name, pattern(20_000, name))
        with open_file(volume, b"sparse") as file:
            file.write(1 << 20, b"end")
        volume.changes.link(volume.resolve(b"a"), volume.tree.root, b"a2")
        volume.make_symlink(b"l", b"target")
        volume.make_symlink(b"m", b"t" * 4000)
        volume.changes.mknod(volume.tree.root, b"pipe", 0o10600, 0, ROOT)
        for name in (b"b", b"d", b"m"):
            if name != b"m":
                volume.attributes.set(volume.resolve(name), b"user.x", b"y" * 1000)
    return lower


def test_clean_volume(full: LowerVolume) -> None:
    """Everything is read once, counted, and nothing is found (DESIGN section 4)."""
    before = full.snapshot()
    findings, summary = full.verify()
    assert findings == []
    assert summary.clean
    assert (summary.files, summary.directories, summary.symlinks) == (6, 4, 2)
    assert summary.bytes == 4 * 20_000 + (1 << 20) + 3 + 4000
    assert summary.findings == {}
    assert full.snapshot() == before


Damage = Callable[[LowerVolume], object]


def swap(lower: LowerVolume, one: bytes, two: bytes) -> None:
    """Two lower names trade what they name."""
    first, second = lower.lower(one), lower.lower(two)
    spare = lower.path / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def move_attribute(lower: LowerVolume) -> None:
    """The attributes of a directory on a file."""
    os.setxattr(lower.lower(b"b"), "user.cloakfs", os.getxattr(lower.lower(b"d"), "user.cloakfs"))


def zero_cell(path: Path, cell: int) -> None:
    """What a hole looks like."""
    raw = bytearray(path.read_bytes())
    raw[cell * 4096 : (cell + 1) * 4096] = bytes(4096)
    path.write_bytes(raw)


def truncate(path: Path, by: int) -> None:
    """Longer or shorter."""
    os.truncate(path, path.stat().st_size + by)


DAMAGES: dict[str, tuple[Damage, list[tuple[str, bytes]]]] = {
    "header": (lambda v: flip(v.lower(b"b"), 70), [("file-damaged", b"b")]),
    "header of a linked file": (lambda v: flip(v.lower(b"a"), 70), [("file-damaged", b"a|a2")]),
    "header cut": (lambda v: os.truncate(v.lower(b"d/c"), 100), [("file-size", b"d/c")]),
    "longer": (lambda v: truncate(v.lower(b"b"), 1), [("file-size", b"b")]),
    "cell": (lambda v: flip(v.lower(b"b"), 5000), [("cell-damaged", b"b")]),
    "two cells": (
        lambda v: (flip(v.lower(b"b"), 5000), flip(v.lower(b"b"), 13000)),
        [("cell-damaged", b"b"), ("cell-damaged", b"b")],
    ),
    "last cell": (lambda v: flip(v.lower(b"b"), 5 * 4096 + 20), [("cell-damaged", b"b")]),
    "zeroed cell": (lambda v: zero_cell(v.lower(b"b"), 2), [("cell-damaged", b"b")]),
    "end of a sparse file": (
        lambda v: zero_cell(v.lower(b"sparse"), Geometry(4096).cell_of(1 << 20)),
        [("cell-damaged", b"sparse")],
    ),
    "swapped files": (lambda v: swap(v, b"b", b"d/c"), [("file-moved", b"b"), ("file-moved", b"d/c")]),
    "swapped directories": (
        lambda v: swap(v, b"d", LONG + b"d"),
        [("directory-moved", b"d"), ("entry-damaged", b"")],
    ),
    "record": (lambda v: flip(v.lower(b"d") / "cloakfs.d", 70), [("directory-damaged", b"d")]),
    "record missing": (lambda v: (v.lower(b"d/e") / "cloakfs.d").unlink(), [("directory-size", b"d/e")]),
    "root record": (lambda v: flip(v.path / "cloakfs.d", 70), [("directory-damaged", b"")]),
    "symlink": (lambda v: swap_link(v), [("symlink-damaged", b"l")]),
    "symlink in a file": (lambda v: flip(v.lower(b"m"), 700), [("cell-damaged", b"m")]),
    "attributes": (move_attribute, [("attributes-damaged", b"b")]),
    "foreign file": (lambda v: (v.path / "Thumbs.db").write_bytes(b""), [("foreign", b"")]),
    "foreign name": (lambda v: (v.lower(b"d") / ("A" * 43)).write_bytes(b""), [("foreign", b"d")]),
    "fixed name elsewhere": (lambda v: (v.lower(b"d") / "cloakfs.volume").write_bytes(b""), [("foreign", b"d")]),
    "temporary": (lambda v: (v.path / "cloakfs.t.0123456789abcdef").write_bytes(b""), []),
    "long name": (lambda v: flip(v.lower(LONG), 70), [("entry-damaged", b"")]),
    "long name of a directory": (lambda v: (v.lower(LONG + b"d") / "cloakfs.d").unlink(), [("entry-damaged", b"")]),
    "two forms of one name": (
        lambda v: shutil.copyfile(v.lower(b"m"), str(v.lower(b"b")) + ".l"),
        [("foreign", b"")],
    ),
}


def swap_link(lower: LowerVolume) -> None:
    """A symlink that cloakfs did not make."""
    path = lower.lower(b"l")
    path.unlink()
    path.symlink_to("/dev/null")


@pytest.mark.parametrize("damage", DAMAGES)
def test_code_of_each_damage(full: LowerVolume, damage: str) -> None:
    """Each kind of damage is found under its code and path, and the rest is still read (DESIGN section 4)."""
    apply, expected = DAMAGES[damage]
    apply(full)
    before = full.snapshot()
    findings, summary = full.verify()
    found = sorted((one.code, one.path) for one in findings if one.severity is not Severity.INFO)
    assert len(found) == len(expected)
    for (code, path), (expected_code, paths) in zip(found, sorted(expected)):
        assert code == expected_code
        assert path in paths.split(b"|")
    assert summary.clean == (not expected)
    assert sum(summary.findings.values()) == len(findings)
    assert full.snapshot() == before
    for one in findings:
        assert (full.path / os.fsdecode(one.lower_path)).exists() or "missing" in damage


def test_severities(full: LowerVolume) -> None:
    """What is lost is an error, what is strange a warning, what is left over an information (DESIGN section 4)."""
    flip(full.lower(b"b"), 5000)
    (full.path / "Thumbs.db").write_bytes(b"")
    (full.path / "cloakfs.t.0123456789abcdef").write_bytes(b"")
    findings, summary = full.verify()
    assert {one.code: str(one.severity) for one in findings} == {
        "cell-damaged": "error", "foreign": "warning", "temporary": "info"
    }  # fmt: skip
    assert summary.findings == {"error": 1, "warning": 1, "info": 1}
    assert not summary.clean


@pytest.mark.parametrize("cell_size", CELLS)
def test_every_damaged_cell_is_named(tmp_path: Path, cell_size: int) -> None:
    """Each bad cell is one finding with its number, wherever it lies in a run (FORMAT.md section 9.2)."""
    lower = LowerVolume(tmp_path / "volume", cell_size)
    with lower.unlock() as volume:
        volume.write_file(b"a", pattern(40 * cell_size))
    path, bad = lower.lower(b"a"), [0, 1, 7, 8, 9, 30, 40]
    for cell in bad:
        flip(path, (cell * cell_size or 512) + 100)
    findings, summary = lower.verify()
    assert [one.detail.split(":")[0] for one in findings] == [f"cell {cell}" for cell in bad]
    assert summary.bytes == 40 * cell_size


def test_paths_and_progress(full: LowerVolume) -> None:
    """Only what is asked for is read; progress never goes back and ends at its total (DESIGN section 4)."""
    flip(full.lower(b"b"), 5000)
    with full.unlock(read_only=True) as volume:
        verifier = Verifier(volume, [b"d", b"/a"])
        steps = list(verifier.run())
        assert not any(isinstance(step, Finding) for step in steps)
        assert verifier.summary.bytes == 2 * 20_000
        assert any(isinstance(step, Reading) for step in steps)
        told = [step for step in steps if isinstance(step, Progress)]
        assert [step.bytes for step in told] == sorted(step.bytes for step in told)
        assert told[-1].bytes <= told[-1].total_bytes
        assert told[-1].files == told[-1].total_files
        with pytest.raises(FileNotFoundError):
            list(Verifier(volume, [b"missing"]).run())


def test_open_files_are_seen_as_their_programs_see_them(full: LowerVolume) -> None:
    """On an unlocked volume a file that is just being written is no damage (DESIGN section 4)."""
    with full.unlock() as volume:
        with open_file(volume, b"a") as file:
            file.write(20_000, pattern(50_000))
            findings, summary = verify(volume)
            assert findings == []
            assert summary.bytes > 5 * 20_000 + 50_000
        assert verify(volume)[0] == []


def test_changes_between_two_steps(full: LowerVolume) -> None:
    """Files may come, grow, move and go while verify runs, and none of it is damage (DESIGN section 4)."""
    with full.unlock() as volume:
        for number, step in enumerate(Verifier(volume).run()):
            assert not isinstance(step, Finding), step
            volume.write_file(b"new-%d" % (number % 5), pattern(1000 * number % 30_000))
            if number == 3:
                volume.remove(b"b")
                volume.rename(b"d", b"moved")
            if number == 6:
                volume.rename(b"moved/c", b"c")
                volume.remove(b"moved/e")
        assert volume.ctx.events == 0
    assert full.findings() == []


def test_header_with_sizes_that_contradict_the_cells(full: LowerVolume) -> None:
    """A header of ours for another size is seen, even where the lower size was made to fit (section 9.3)."""
    path = full.lower(b"b")
    full.write_header(path, replace(full.header(b"b"), size=3552 + 4064))
    os.truncate(path, 2 * 4096)
    assert full.findings() == []
    full.write_header(path, replace(full.header(b"b"), size=3552 + 100, synced_size=0))
    os.truncate(path, 2 * 4096 + 100)
    assert full.findings() == [("cell-damaged", b"b")]
