"""SQLite in both journal modes, with as much syncing as it promises durable commits for."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import ClassVar

from encfs.volume import Volume
from tests.powercut.workload import Progress, Workload, read, text


class Sqlite(Workload):
    """Moves money between accounts, one transaction a step."""

    journal: ClassVar[str]
    synchronous: ClassVar[str]

    def start(self, mountpoint: Path, lower: Path) -> None:
        super().start(mountpoint, lower)
        self._database = sqlite3.connect(self.top / "db", isolation_level=None)
        for setting in (f"journal_mode={self.journal}", f"synchronous={self.synchronous}", "wal_autocheckpoint=20"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
        self._database.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, what BLOB)")
        self._database.executemany("INSERT INTO account VALUES (?, 0)", [(account,) for account in range(7)])

    def step(self, number: int) -> None:
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        execute("UPDATE account SET balance = balance - ? WHERE id = ?", (number, number % 7))
        execute("UPDATE account SET balance = balance + ? WHERE id = ?", (number, (number + 3) % 7))
        execute("INSERT INTO entry VALUES (?, ?)", (number, text(number % 5 * 1500, self.seed, number)))
        execute("COMMIT")

    def stop(self) -> None:
        self._database.close()

    def check(self, volume: Volume, progress: Progress, scratch: Path) -> None:
        for entry in volume.list_directory(self.plain):
            if not entry.name.endswith(b"-shm"):
                (scratch / entry.name.decode()).write_bytes(read(volume, self.plain + b"/" + entry.name))
        database = sqlite3.connect(scratch / "db")
        try:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            entries = database.execute("SELECT number, what FROM entry ORDER BY number").fetchall()
            last = len(entries)
            assert progress.done <= last <= progress.begun, f"{last} transactions: {progress}"
            assert entries == [(n, text(n % 5 * 1500, self.seed, n)) for n in range(1, last + 1)]
            balances = [0] * 7
            for number in range(1, last + 1):
                balances[number % 7] -= number
                balances[(number + 3) % 7] += number
            assert [row[0] for row in database.execute("SELECT balance FROM account ORDER BY id")] == balances
        finally:
            database.close()


class SqliteWal(Sqlite):
    """Write-ahead log."""

    name = "sqlite-wal"
    journal = "WAL"
    synchronous = "FULL"


class SqliteRollback(Sqlite):
    """Rollback journal. Only EXTRA syncs the directory after the journal is unlinked, which is what commits."""

    name = "sqlite-rollback"
    journal = "DELETE"
    synchronous = "EXTRA"
