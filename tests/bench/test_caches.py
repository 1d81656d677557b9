"""Whether what is read came from the medium: the right files are cooled, and what stayed in memory is told."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

import pytest

from encfs.bench import caches, sides, work
from encfs.bench.caches import cool, forget
from encfs.bench.sides import Plan, library_figures, mounted_figures
from encfs.bench.work import Amounts

TINY = Amounts(large=1 << 20, pages=20, files=30)


class Cooled:
    """Stands in for ``cool``: remembers its calls; what has ``kept`` in the path of its first file stays in memory."""

    def __init__(self, kept: str) -> None:
        self.calls: list[tuple[Path, ...]] = []
        self._kept = kept

    def __call__(self, *files: Path) -> bool:
        self.calls.append(files)
        return self._kept not in str(files[0])


@pytest.fixture
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who may not drop all caches, whoever runs this."""
    monkeypatch.setattr(caches, "_DROP_CACHES", Path("/dev/null/none"))


def large_file(directory: Path) -> Path:
    """Just written, and so in memory."""
    file = directory / "file"
    file.write_bytes(os.urandom(1 << 20))
    return file


@pytest.mark.usefixtures("_user")
def test_a_user_cools_a_file(tmp_path: Path) -> None:
    """The kernel forgets a file of an ordinary user's, where it can."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    assert cool(large_file(tmp_path)) is (kind.strip() not in ("tmpfs", "ramfs"))


@pytest.mark.usefixtures("_user")
def test_what_stays_in_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Advice that the kernel does not take makes nothing cold; nor does one cold file among others."""
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: None)
    file, empty = large_file(tmp_path), tmp_path / "empty"
    empty.touch()
    assert not cool(file)
    assert not cool(empty, file)
    assert cool(empty, tmp_path / "gone")
    forget(tmp_path, file)  # A directory is no error, though it has no bytes.


@pytest.mark.parametrize("kept", ["/nothing/", "/plain", "/library/"])
def test_library_cools_the_files_below(tmp_path: Path, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower files of the volume, and the plain file; one side that is read from memory is told."""
    cooled = Cooled(kept)
    monkeypatch.setattr(sides, "cool", cooled)
    write, read = library_figures(tmp_path, None, Plan(TINY, 1))
    below, plain = cooled.calls
    assert plain == (tmp_path / "plain",)
    assert all(path.is_relative_to(tmp_path / "library") for path in below)
    assert tmp_path / "library" / "cloakfs.volume" in below
    # The large file was there, under a name that tells nothing; it is gone by now.
    assert [path for path in below if not path.exists()]
    assert write.cold is None
    assert read.cold is (kept == "/nothing/")


@pytest.mark.usefixtures("_user")
@pytest.mark.parametrize("kept", ["/nothing/", "/mnt/large", "/bare/large"])
def test_mounted_cools_what_lies_below(tmp_path: Path, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower files after the mounted one; one side that is read from memory is told, and so are names to a user.

    Who is first changes from one repetition to the next.
    """
    cooled = Cooled(kept)
    monkeypatch.setattr(work, "cool", cooled)
    figures = mounted_figures(tmp_path, Plan(TINY, 2), lambda *_: nullcontext())
    cold = {figure.name: figure.cold for figure in figures}
    for name in ("read", "random_read"):
        assert cold.pop(name) is (kept == "/nothing/")
    for name in ("list", "read_small"):
        assert cold.pop(name) is False
    assert set(cold.values()) == {None}
    assert [side for side, _ in groupby(call[0].parent.name for call in cooled.calls)] == ["mnt", "bare", "mnt"]
    for call in cooled.calls:
        if call[0] == tmp_path / "mnt" / "large":
            assert tmp_path / "volume" / "cloakfs.volume" in call[1:]
        else:
            assert call == (tmp_path / "bare" / "large",)
