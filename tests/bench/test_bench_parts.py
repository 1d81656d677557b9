"""The parts of ``cloakfs bench``: bytes are checked, room is asked for, the verdict follows from the figures."""

from __future__ import annotations

import os
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from encfs.bench import charts, primitives, sides
from encfs.bench.figures import Figure, Part
from encfs.bench.scratch import scratch
from encfs.bench.sides import Plan, library_figures
from encfs.bench.transfer import WrongBytesError, write_at
from encfs.bench.verdict import verdict
from encfs.bench.work import Amounts, Work
from encfs.errors import LowerIOError, UsageError

TINY = Amounts(large=1 << 20, pages=20, files=30)


def mounted(name: str, ours: float, bare: float) -> Figure:
    """A row of the mounted part."""
    return Figure(Part.MOUNTED, name, name, "MB/s", {"cloakfs": ours, "bare": bare})


def test_work_leaves_an_empty_directory(tmp_path: Path) -> None:
    """Each piece of work is told once, and what it made is gone."""
    names = [sample.name for sample in Work(TINY).steps(tmp_path)]
    assert len(names) == len(set(names)) == 9
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("after", ["write", "random_write"])
def test_wrong_bytes_end_the_run(tmp_path: Path, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One other byte in what is read back, and there are no figures."""
    real = os.preadv
    armed = False

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        count = real(fd, buffers, offset)
        if armed and offset == 0:
            buffers[0][0] ^= 1
        return count

    monkeypatch.setattr(os, "preadv", preadv)
    steps = Work(TINY).steps(tmp_path)
    for sample in steps:
        if sample.name == after:
            armed = True
            break
    with pytest.raises(WrongBytesError):
        list(steps)


def test_short_calls_are_no_wrong_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that moves less than it was asked to is asked again, with a mount and without."""
    preadv, pwrite = os.preadv, os.pwrite
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:3000]], offset))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3000], offset))
    assert len(list(Work(TINY).steps(tmp_path))) == 9
    assert len(list(library_figures(tmp_path, None, Plan(TINY, 1)))) == 2


def test_a_file_that_ends_early_or_takes_nothing_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing at the end of a file is wrong bytes; a write that moves nothing is a full medium."""
    with pytest.raises(WrongBytesError), monkeypatch.context() as patch:
        patch.setattr(os, "preadv", lambda *_: 0)
        list(Work(TINY).steps(tmp_path))
    with pytest.raises(OSError, match=os.strerror(ENOSPC)), (tmp_path / "file").open("wb") as file:
        monkeypatch.setattr(os, "pwrite", lambda *_: 0)
        write_at(file.fileno(), b"x", 0)


def test_sides_without_a_mount_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is first changes from one repetition to the next."""
    order = []
    for name in ("_InVolume", "_Plain"):
        side = getattr(sides, name)

        def write(self: object, data: bytes, *, name: str = name, real: Any = side.write) -> None:
            order.append(name)
            real(self, data)

        monkeypatch.setattr(side, "write", write)
    list(library_figures(tmp_path, None, Plan(TINY, 3)))
    assert order == ["_InVolume", "_Plain", "_Plain", "_InVolume", "_InVolume", "_Plain"]


def test_cells_and_bare_calls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is first changes from one sample to the next."""
    order = []
    real = primitives._together

    def together(functions: list[Any], count: int) -> float:
        order.append(functions[0].__name__)
        return real(functions, count)

    monkeypatch.setattr(primitives, "_together", together)
    monkeypatch.setattr(primitives, "_SAMPLE_SECONDS", 0.001)
    assert next(primitives.measure()).name.startswith("seal")
    assert order[:4] == ["seal", "raw_seal", "raw_seal", "seal"]


def test_scratch_goes_whatever_happens(tmp_path: Path) -> None:
    """The folder is removed after an error, and a full medium is told as one."""
    with pytest.raises(LowerIOError, match="is full"), scratch(tmp_path, 1) as home:
        (home / "file").write_bytes(b"x")
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    with pytest.raises(LowerIOError, match="MiB free"), scratch(tmp_path, 1 << 60):
        pass
    assert [*tmp_path.iterdir()] == []


def test_verdict_names_the_limit() -> None:
    """From 85 % of the bare directory's rate on it is the medium, below the encryption; the worst row counts."""
    said = verdict([mounted("write", 94, 100), mounted("read", 99, 100)])
    assert (
        said[0] == "With large files your medium, not the encryption, is the limit: 94% of the bare directory's speed."
    )
    assert said[1] == "A scan of 100 MB takes 1.1 s to write or read, 1.0 s without encryption."
    said = verdict([mounted("create", 50, 100), mounted("read_small", 90, 100)])
    assert said == ["With small files the encryption is the limit: 50% of the bare directory's speed."]
    assert verdict([]) == []
    faster = verdict([mounted("write", 300, 100), mounted("read", 100, 100)])
    assert "100% of the bare" in faster[0]


def test_pictures_are_the_same_for_the_same_figures(tmp_path: Path) -> None:
    """Two SVG files of the same figures have the same bytes; PNG works; other kinds are refused."""
    for name in ("a.svg", "b.svg", "c.png"):
        charts.bars(
            tmp_path / name, title="t", rows=["one", "two"], series={"cloakfs": [1.0, None], "bare": [2.0, 3.0]},
            unit="MB/s", reference=1.0, subtitle="s",
        )  # fmt: skip
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    charts.lines(tmp_path / "l.svg", title="t", x_label="x", y_label="y", series={"cloakfs": [(1, 2), (10, 3)]})
    with pytest.raises(UsageError):
        charts.lines(tmp_path / "l.txt", title="t", x_label="x", y_label="y", series={})
