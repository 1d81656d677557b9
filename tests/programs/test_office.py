"""Documents saved as office programs save them, while others read them and while the daemon is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.workers.common import number_of
from tests.support.mounting import MountedVolume
from tests.support.programs import MARKER, Reporter, crash, reporting, worker

pytestmark = [pytest.mark.mount, pytest.mark.programs]

PROGRAMS = ("libreoffice", "word")


def leftovers(folder: Path) -> set[str]:
    """What is in the folder besides the documents."""
    return {path.name for path in folder.iterdir()} - {f"{MARKER} letter.docx", f"{MARKER}.txt"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_saves_are_whole_for_readers(volume: MountedVolume, program: str) -> None:
    """Two readers see only whole versions, in order, while a program saves a document sixty times."""
    path = volume.path / f"{MARKER} letter.docx"
    readers = [Reporter(worker("office_reader", path)) for _ in range(2)]
    saver = Reporter(worker("office", path, program, 60))
    with reporting(saver, *readers):
        assert saver.end() == 0, saver.errors
        for reader in readers:
            reader.read(1)
        (volume.path / "stop").touch()
        for reader in readers:
            assert reader.end() == 0, reader.errors
    (volume.path / "stop").unlink()
    assert number_of(path.read_bytes()) == 60
    assert leftovers(volume.path) == set()
    volume.remount()
    assert number_of(path.read_bytes()) == 60
    assert leftovers(volume.path) == set()
    if program == "word":
        assert path.stat().st_mtime_ns == 1_700_000_000_000_000_200


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_daemon_is_killed(volume: MountedVolume, program: str) -> None:
    """kill -9 of the daemon between and during saves: a whole version is there, never older than the last save."""
    path = volume.path / f"{MARKER} letter.docx"
    for count in (1, 6, 11, 14):
        saver = Reporter(worker("office", path, program))
        with reporting(saver):
            saver.read(count)
            crash(volume, saver)
        # Word leaves a moment in which the new version has not got the name yet; both versions exist then.
        kept = [path, volume.path / "~WRD0001.tmp"] if program == "word" and not path.exists() else [path]
        last = int(saver.lines[-1])
        assert {number_of(file.read_bytes()) for file in kept} <= {last, last + 1}
        if program == "word" and not path.exists():
            assert number_of((volume.path / "~WRL0002.tmp").read_bytes()) == last
        for name in leftovers(volume.path):
            (volume.path / name).unlink()
        path.unlink(missing_ok=True)
