"""The memory file itself: damaged, unwritable, missing, shared by threads and forks (FORMAT.md section 13)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from encfs.errors import RollbackError
from encfs.host.database import Database
from encfs.units import FileId
from tests.support.evidence import record
from tests.support.linux import in_child
from tests.volume.test_freshness_rules import DIGEST, VOLUME, fid, memory, session


def the_file(host_memory: Path) -> Path:
    """The one memory file."""
    (found,) = (host_memory / "volumes").glob("*.sqlite")
    return found


def remembered() -> None:
    """A host that knows one file, one config and one session."""
    first = memory()
    first.remember(1, DIGEST, [session(10)])
    first.synced(fid(1), 5)
    first.flush()
    first.release()


@pytest.mark.parametrize("damage", ["garbage", "cut", "middle", "no-table", "empty"])
def test_a_damaged_file_is_moved_aside_and_said(host_memory: Path, damage: str) -> None:
    """FORMAT.md section 13: a damaged database is no error: it is said, kept, and a new one begins and works."""
    remembered()
    path = the_file(host_memory)
    content = path.read_bytes()
    if damage == "no-table":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE durable")
            connection.execute("CREATE TABLE durable(other)")
        connection.close()
    else:
        path.write_bytes(
            {
                "garbage": os.urandom(5000),
                "cut": content[:1000],
                "middle": content[:4096] + os.urandom(len(content) - 4096),
                "empty": b"",
            }[damage]
        )
    known = memory()
    assert known.compare(1, DIGEST, [session(10)], set()) is None
    known.check(fid(1), 0)
    known.synced(fid(2), 7)
    known.remember(1, DIGEST, [session(10)])
    known.all_durable()
    aside = list(path.parent.glob("*.damaged-*"))
    if damage == "empty":  # An empty file is a new database.
        assert known.problems == []
        assert aside == []
    else:
        assert len(known.problems) == 1
        assert "damaged" in known.problems[0]
        assert aside
    again = memory()
    assert again.problems == []
    assert "is missing" in str(again.compare(1, DIGEST, [], set()))
    with pytest.raises(RollbackError):
        again.check(fid(2), 6)
    record("freshness", "database damaged", note="moved aside, said, begun anew")


def test_no_place_for_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FORMAT.md section 13: without a usable directory everything works, nothing is remembered, and it is said once."""
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(tmp_path / "a-file"))
    known = memory()
    assert known.compare(1, DIGEST, [session(10)], set()) is None
    known.remember(1, DIGEST, [])
    known.synced(fid(1), 5)
    known.check(fid(2), 4)
    known.all_durable()
    known.release()
    assert known.state == "off"
    assert len(known.problems) == 1
    assert "cannot be used" in known.problems[0]


def test_a_full_disk_below_the_file(host_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FORMAT.md section 13: what cannot be written is said and forgone; what was remembered is still compared."""
    remembered()
    known = memory()
    assert known.state == "known"
    known.check(fid(1), 5)
    known._db().write(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    before = known._db().read("PRAGMA page_count")
    known.synced(fid(2), 5)
    for number in range(100, 3000):
        known.wrote(fid(number), 1)
    known.all_durable()
    assert known.problems
    assert "cannot be written" in known.problems[0]
    with pytest.raises(RollbackError):
        known.check(fid(1), 4)
    assert known._db().read("PRAGMA page_count") == before
    record("freshness", "database cannot be written", cases=2, note="said; work goes on")


def test_a_file_of_a_newer_version_is_left_alone(host_memory: Path) -> None:
    """FORMAT.md section 13: what a newer cloakfs made is neither read nor changed nor moved."""
    remembered()
    path = the_file(host_memory)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    known = memory()
    known.check(fid(1), 0)
    known.remember(1, DIGEST, [])
    assert known.state == "off"
    assert "newer cloakfs" in known.problems[0]
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_fork_goes_on_with_the_same_memory(host_memory: Path) -> None:
    """FORMAT.md section 13: the daemon that a mount forks has its own connections, with what was noted before."""
    known = memory()
    known.remember(1, DIGEST, [])
    known.synced(fid(1), 5)
    known.wrote(fid(2), 5)
    known.check(fid(3), 5)
    parents = known._db()._reader, known._db()._writer
    assert None not in parents

    def child() -> str:
        known.check(fid(3), 5)
        known.all_durable()
        # SQLite forbids to use what was opened before the fork, though it may seem to work.
        assert known._db()._reader not in parents
        assert known._db()._writer not in parents
        try:
            known.check(fid(2), 4)
        except RollbackError as exc:
            return str(exc)
        return "not noticed"

    assert "generation 4" in in_child(child)
    with pytest.raises(RollbackError):
        memory().check(fid(2), 4)
    with pytest.raises(RollbackError):
        known.check(fid(1), 4)


def test_threads_share_the_file(host_memory: Path) -> None:
    """FORMAT.md section 13: look-ups and flushes of several threads lose nothing and see no half state."""
    known = memory()
    wrong: list[str] = []

    def work(base: int) -> None:
        for number in range(base, base + 150):
            known.synced(fid(number), 9)
            if number % 10 == 0:
                known.flush()
            try:
                known.check(fid(number), 8)
                wrong.append("an older one passed")
            except RollbackError:
                continue

    threads = [threading.Thread(target=work, args=(base,)) for base in (0, 1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known.all_durable()
    assert wrong == []
    assert memory()._db().read("SELECT count(*), min(mark) FROM durable") == [(600, 18)]


def test_two_parts_share_one_file(host_memory: Path) -> None:
    """FORMAT.md section 13: another part of the memory keeps its own table in the same file."""
    table = "CREATE TABLE IF NOT EXISTS other(key BLOB PRIMARY KEY)"
    remembered()
    other = Database(VOLUME, (table,))
    assert other.write(lambda connection: connection.execute("INSERT INTO other VALUES(x'01')"))
    assert other.read("SELECT key FROM other") == [(b"\1",)]
    assert not other.write(lambda connection: connection.execute("INSERT INTO other VALUES(x'01')"))
    assert other.read("SELECT count(*) FROM other") == [(1,)]
    other.close()
    assert other.read("SELECT count(*) FROM durable") == [(1,)]
    other.close()


def test_each_user_has_his_own_below_a_foreign_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FORMAT.md section 13: where the state directory is another user's, this one has his own in it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    base = tmp_path / "state"
    base.mkdir()
    os.chown(base, 12345, 12345)
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(base))
    known = memory()
    known.synced(FileId(bytes(16)), 5)
    known.flush()
    known.release()
    assert known.problems == []
    assert (base / "uid-0" / "volumes" / f"{VOLUME.hex()}.sqlite").is_file()


def test_another_process_that_looks_does_not_end_the_memory(host_memory: Path) -> None:
    """FORMAT.md section 13: what is remembered after another process had the file open and closed it is there too.

    SQLite's last user of a write-ahead log deletes it; whoever has the file open has locks that say so (fcntl(2)).
    """
    known = memory()
    known.remember(1, DIGEST, [session(10)])
    known.check(fid(1), 0)  # Opens one connection to read and ...
    known.synced(fid(1), 5)
    known.flush()  # ... one to write.
    look = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM durable'); c.close()"
    subprocess.run([sys.executable, "-c", look, the_file(host_memory)], check=True)
    known.synced(fid(1), 7)
    known.flush()
    with pytest.raises(RollbackError, match="7"):
        memory().check(fid(1), 6)
    known.release()
