"""SQLite on a mount: every journal mode, two writers at once, killed writers and a killed daemon."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume
from tests.support.programs import MARKER, Maker, Reporter, crash, need, reporting, run, worker

pytestmark = [pytest.mark.mount, pytest.mark.programs]

# TRUNCATE and PERSIST end a transaction by a change of the same file that DELETE deletes: for the slow run.
JOURNALS = ("DELETE", *(pytest.param(name, marks=pytest.mark.slow) for name in ("TRUNCATE", "PERSIST")), "WAL")
SCHEMA = """
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    INSERT INTO account VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0);
    CREATE TABLE entry (writer TEXT, number INTEGER, text TEXT, PRIMARY KEY (writer, number));
    CREATE INDEX entry_text ON entry (text);
"""


def make_database(path: Path, journal: str) -> None:
    """An empty database for sqlite_writer.py."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(f"PRAGMA journal_mode={journal}").fetchone()[0].upper() == journal
        database.executescript(SCHEMA)


def check_database(path: Path, *reporters: Reporter) -> None:
    """The database is sound, no transaction is half done, and all that was reported as committed is there."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT sum(balance) FROM account").fetchone() == (0,)
        last: dict[str, int] = {}
        for writer, numbers in _entries(database).items():
            last[writer] = max(numbers)
            # Every tenth transaction deletes the entry five before its own.
            assert numbers == {n for n in range(1, last[writer] + 1) if n % 10 != 5 or n + 5 > last[writer]}
        expected = dict.fromkeys(range(7), 0)
        for count in last.values():
            for number in range(1, count + 1):
                expected[number % 7] -= number
                expected[(number + 3) % 7] += number
        assert dict(database.execute("SELECT id, balance FROM account")) == expected
    for reporter in reporters:
        if reporter.lines:
            committed, writer = int(reporter.lines[-1]), str(reporter.process.args[4])  # type: ignore[index]
            # The one after the last report may have been committed too: its report was on the way.
            assert last[writer] in {committed, committed + 1}


def _entries(database: sqlite3.Connection) -> dict[str, set[int]]:
    entries: dict[str, set[int]] = {}
    for writer, number, text in database.execute("SELECT writer, number, text FROM entry"):
        assert text == f"{MARKER} {writer} {number} " * (number % 40)
        entries.setdefault(writer, set()).add(number)
    return entries


@pytest.mark.parametrize("journal", JOURNALS)
def test_two_writers_at_once(volume: MountedVolume, journal: str) -> None:
    """Two processes write one database, one of them is killed in between; nothing is half done or lost."""
    path = volume.path / f"{MARKER}.db"
    make_database(path, journal)
    first = Reporter(worker("sqlite_writer", path, journal, "a", 100))
    second = Reporter(worker("sqlite_writer", path, journal, "b"))
    third = Reporter(worker("sqlite_writer", path, journal, "c"))
    with reporting(first, second, third):
        second.read(20)
        second.kill()
        second.end()
        assert first.end() == 0, first.errors
        third.read(5)
        third.kill()
        third.end()
    check_database(path, first, second, third)
    volume.remount()
    check_database(path, first, second, third)


@pytest.mark.parametrize("journal", JOURNALS)
def test_the_daemon_is_killed(volume: MountedVolume, journal: str) -> None:
    """kill -9 of the daemon under two writers, three times: every committed transaction is there afterwards."""
    path = volume.path / f"{MARKER}.db"
    make_database(path, journal)
    for count in (7, 18, 40):
        writers = [Reporter(worker("sqlite_writer", path, journal, name)) for name in "ab"]
        with reporting(*writers):
            writers[0].read(count)
            crash(volume, *writers)
        check_database(path, *writers)


@pytest.mark.parametrize("cell_size", [4096, pytest.param(65536, marks=pytest.mark.slow)])
def test_the_command_line_tool(make_volume: Maker, cell_size: int, base: Path) -> None:
    """A load of 20,000 rows, VACUUM, and a dump with sqlite3 give the same database as on a plain directory."""
    need("sqlite3")
    volume = make_volume(cell_size=cell_size)
    plain = base / "plain"
    plain.mkdir()
    script = f"""
        PRAGMA page_size=8192; PRAGMA mmap_size=1073741824;
        CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data BLOB);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO t SELECT i, '{MARKER} ' || (i * 7919 % 20011), zeroblob(i % 500) FROM n;
        CREATE INDEX t_name ON t (name);
        DELETE FROM t WHERE id % 3 = 0;
        VACUUM;
        UPDATE t SET data = zeroblob(3000) WHERE id % 10 = 0;
        PRAGMA integrity_check;
    """
    for place in (plain, volume.path):
        assert run("sqlite3", place / "big.db", script).split()[-1] == "ok"
    volume.remount()
    assert run("sqlite3", volume.path / "big.db", "PRAGMA integrity_check").strip() == "ok"
    assert run("sqlite3", volume.path / "big.db", ".dump") == run("sqlite3", plain / "big.db", ".dump")
    assert (volume.path / "big.db").read_bytes() == (plain / "big.db").read_bytes()
    backup = volume.path / "copy.db"
    run("sqlite3", volume.path / "big.db", f".backup {backup}")
    assert run("sqlite3", backup, ".dump") == run("sqlite3", plain / "big.db", ".dump")
