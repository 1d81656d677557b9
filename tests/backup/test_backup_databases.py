"""A database that is written to while it is backed up: whole when it comes back, or listed (FORMAT.md section 18)."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from encfs.errors import ExitCode
from tests.support import blockdev, practice_weeks
from tests.support.practice_weeks import DATABASE, Server, Sticks
from tests.support.programs import need

pytestmark = [pytest.mark.mount, *blockdev.needs_filesystem("ext4")]

RUNS = 2
ENDS = (ExitCode.OK, ExitCode.FINDINGS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A computer with a volume in which there is a database; it is gone afterwards."""
    made = Server(tmp_path / "server", since=time.time())
    made.begin()
    try:
        yield made
    finally:
        made.burn()


@pytest.fixture
def sticks(tmp_path: Path) -> Iterator[Sticks]:
    """One stick."""
    made = Sticks(tmp_path, "Red")
    yield made
    made.throw_away()


@pytest.mark.parametrize(
    ("engine", "journal"),
    [
        ("copy", "delete"),
        ("copy", "wal"),
        pytest.param("restic", "delete", marks=pytest.mark.slow),
        pytest.param("restic", "wal", marks=pytest.mark.slow),
    ],
)
def test_a_database_in_use_is_sound_or_listed(server: Server, sticks: Sticks, engine: str, journal: str) -> None:
    """Whoever restores a database that SQLite does not take was told of it: by the run, and by the restore."""
    if engine == "restic":
        need("restic")
    database = server.mnt / DATABASE
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("CREATE TABLE visits (day INTEGER, note TEXT)")
    with closing(sqlite3.connect(database)) as opened:
        opened.execute(f"PRAGMA journal_mode = {journal}")
    with sticks.plugged("Red") as target:
        sheet = ("--sheet", server.base / "sheet.pdf") if engine == "restic" else ()
        server.cloakfs("backup", "init", server.volume, target, "--engine", engine, *sheet)
        for number in range(RUNS):
            with practice_weeks.writing(database):
                run = server.cloakfs("backup", "run", server.volume, "--json", ends=ENDS).json["runs"][0]
            to = server.mnt / f"back {number}"
            secret = server.opens if engine == "copy" else ()
            done = server.cloakfs("restore", server.volume, "--to", to, "--json", *secret, ends=ENDS).json
            listed = {Path(name).name for kind in ("older", "live", "missing") for name in done[kind]}
            # What no run has has no name: a sealed copy knows only that something was there.
            assert bool(run["not_whole"]) == bool(listed or done["unnamed"])
            if (to / DATABASE).exists():
                assert listed or practice_weeks.is_sound(to / DATABASE), (run, done)
            else:
                assert DATABASE in listed or done["unnamed"]
            if to.exists():  # Not where the run has nothing of it.
                shutil.rmtree(to)
