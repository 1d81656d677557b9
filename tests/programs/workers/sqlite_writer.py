"""Commits transactions to a SQLite database until it is stopped; prints the number of each one that is committed.

Every transaction moves money between two accounts and notes what it did, so that a half-done one would show.

    sqlite_writer.py DATABASE JOURNAL_MODE WRITER [COUNT]
"""

import os
import sqlite3
import sys

from common import MARKER


def begin(database: sqlite3.Connection) -> None:
    """BEGIN IMMEDIATE, asking without a pause: SQLite's own waiting lets the other writer win for many seconds."""
    database.execute("PRAGMA busy_timeout=0")
    while not database.in_transaction:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorname not in {"SQLITE_BUSY", "SQLITE_BUSY_RECOVERY", "SQLITE_BUSY_SNAPSHOT"}:
                raise
            os.sched_yield()
    database.execute("PRAGMA busy_timeout=60000")


def main(path: str, journal: str, writer: str, count: str = "0") -> None:
    """Run the transactions; endless with a count of 0."""
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={journal}")
    database.execute("PRAGMA synchronous=FULL")
    number = database.execute("SELECT coalesce(max(number), 0) FROM entry WHERE writer = ?", (writer,)).fetchone()[0]
    last = number + int(count)
    while number != last or count == "0":
        number += 1
        begin(database)
        database.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (number, number % 7))
        database.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (number, (number + 3) % 7))
        text = f"{MARKER} {writer} {number} " * (number % 40)
        database.execute("INSERT INTO entry VALUES (?, ?, ?)", (writer, number, text))
        if number % 10 == 0:
            database.execute("DELETE FROM entry WHERE writer = ? AND number = ?", (writer, number - 5))
        database.execute("COMMIT")
        print(number, flush=True)
    database.close()


main(*sys.argv[1:])
