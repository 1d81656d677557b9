"""Programs that work in a mount while something is done to it, and files that nobody touches meanwhile.

Owns: the threads, and the look at every byte that they read. Must not know: what is done.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Self

from tests.support.volumes import pattern


class Programs:
    """Threads that work in the mount until they are told to stop, and check what they read."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._stop = threading.Event()
        self.done = {"saved": 0, "rows": 0, "moved": 0}
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work,)) for work in (self._save, self._rows, self._move)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.failures == []

    def _run(self, work: object) -> None:
        try:
            while not self._stop.is_set():
                work()  # type: ignore[operator]
        except BaseException as exc:
            self.failures.append(exc)

    def _save(self) -> None:
        """A document is saved as an editor does it, and read back."""
        number = self.done["saved"]
        name, content = self._top / f"doc{number % 7}", pattern(3000 + number * 977 % 30_000, number)
        new = name.with_suffix(".new")
        with new.open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        new.rename(name)
        assert name.read_bytes() == content
        self.done["saved"] += 1

    def _rows(self) -> None:
        """A database that is open all the time, with a transaction for each row."""
        with sqlite3.connect(self._top / "practice.db", isolation_level=None) as database:
            database.execute("CREATE TABLE IF NOT EXISTS visits(id INTEGER PRIMARY KEY, text BLOB)")
            for _ in range(5):
                number = self.done["rows"]
                database.execute("INSERT INTO visits VALUES(?, ?)", (number, pattern(500, number)))
                assert database.execute("SELECT count(*) FROM visits").fetchone() == (number + 1,)
                self.done["rows"] += 1
        database.close()

    def _move(self) -> None:
        """A folder with files goes to and fro."""
        number = self.done["moved"]
        source, target = self._top / f"folder{number % 2}", self._top / f"folder{(number + 1) % 2}"
        source.rename(target)
        assert (target / "letter").read_bytes() == b"Dear colleague"
        self.done["moved"] += 1


def furnish(top: Path) -> dict[Path, bytes]:
    """Files that nobody touches while the keys are replaced."""
    (top / "folder0").mkdir()
    (top / "folder0" / "letter").write_bytes(b"Dear colleague")
    made = {}
    for number in range(40):
        folder = top / f"patients {number % 4}"
        folder.mkdir(exist_ok=True)
        path = folder / f"report {number}"
        path.write_bytes(pattern(number * 1500, number))
        made[path] = path.read_bytes()
    large = top / "scan"
    large.write_bytes(pattern(3_000_000))
    made[large] = pattern(3_000_000)
    return made
