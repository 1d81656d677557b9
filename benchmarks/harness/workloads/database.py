"""SQLite with a write-ahead log: transactions that each insert a row and change one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.harness.workloads.steps import FailedError, RefusedError, Round, Step, WrongBytesError

_ROW = 200


def _row(rnd: Round, number: int) -> bytes:
    return bytes(rnd.data[number * _ROW : (number + 1) * _ROW])


@contextmanager
def _database(path: Path, synchronous: str, error: type[Exception]) -> Iterator[sqlite3.Connection]:
    """Open one; ``error`` is raised in place of what SQLite raises."""
    try:
        with closing(sqlite3.connect(path / f"{synchronous}.db", isolation_level=None)) as database:
            yield database
    except sqlite3.Error as exc:
        raise error(f"SQLite: {exc}") from exc


def _transact(path: Path, rnd: Round, *, synchronous: str) -> None:
    with _database(path, synchronous, RefusedError) as database:
        mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise RefusedError("WAL")
    with _database(path, synchronous, FailedError) as database:
        database.execute(f"PRAGMA synchronous={synchronous}")
        database.execute("CREATE TABLE letters (number INTEGER PRIMARY KEY, text BLOB)")
        database.execute("CREATE TABLE counter (value INTEGER)")
        database.execute("INSERT INTO counter VALUES (0)")
        for number in range(rnd.amounts.transactions):
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO letters VALUES (?, ?)", (number, _row(rnd, number)))
            database.execute("UPDATE counter SET value = value + 1")
            database.execute("COMMIT")


def _check(path: Path, rnd: Round, *, synchronous: str) -> None:
    count = rnd.amounts.transactions
    with _database(path, synchronous, WrongBytesError) as database:
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise WrongBytesError("the database is damaged")
        rows = database.execute("SELECT number, text FROM letters ORDER BY number").fetchall()
        counter = database.execute("SELECT value FROM counter").fetchone()[0]
    if rows != [(number, _row(rnd, number)) for number in range(count)] or counter != count:
        raise WrongBytesError("the database holds other rows than were committed")


STEPS = tuple(
    Step(
        "database",
        f"sqlite_{synchronous.lower()}",
        f"SQLite transactions, WAL, {synchronous}",
        "per s",
        partial(_transact, synchronous=synchronous),
        lambda amounts: amounts.transactions,
        read_back=partial(_check, synchronous=synchronous),
    )
    for synchronous in ("FULL", "NORMAL")
)
