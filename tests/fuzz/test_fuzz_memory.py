"""What a host remembers, with anything in its file: nobody's work is stopped by it (FORMAT.md section 13)."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import strategies as st

from encfs.errors import RollbackError
from encfs.format.limits import VOLUME_ID_SIZE
from encfs.host.database import path_for
from encfs.host.freshness import HostFreshness
from encfs.units import FileId, VolumeId
from tests.support.fuzzing import Fuzz, damaged
from tests.support.lower_damage import hang_guard, remove

VOLUME = VolumeId(b"v" * VOLUME_ID_SIZE)
FID = FileId(b"f" * 16)
HANG = 300


def use(number: int) -> HostFreshness:
    """Everything that a volume asks and tells of its host's memory."""
    memory = HostFreshness()
    memory.bind(VOLUME, bytes(32))
    try:
        memory.check(FID, number)
        memory.was_removed(FID)
        memory.made(FID)
        memory.wrote(FID, number)
        memory.synced(FID, number)
        memory.compare(1, b"d" * 32, [], set())
        memory.remember(1, b"d" * 32, [])
        memory.removed(FID, number)
    finally:
        memory.forget_keys()
    return memory


def clear(path: Path) -> None:
    """No memory, and nothing that was moved aside."""
    for one in path.parent.iterdir():
        with suppress(FileNotFoundError):  # SQLite takes its own away when a connection is collected.
            remove(one)


def test_any_file(fuzz: Fuzz) -> None:
    """A memory of any bytes, or with something else in its place, is read, begun anew or done without."""
    path = path_for(VOLUME)
    use(5)
    good = path.read_bytes()
    beside = Path(f"{path}-wal")

    def attempt(raw: bytes, log: bytes) -> None:
        clear(path)
        path.write_bytes(raw)
        if log:
            beside.write_bytes(log)
        with hang_guard(HANG):
            use(6)

    fuzz(
        "host memory: any bytes",
        attempt,
        damaged(st.just(good)) | st.binary(max_size=5000),
        st.just(b"") | st.binary(max_size=300),
        examples=60,
        explicit=[
            (b"", b""),
            (bytes(4096), b""),
            (good[:100], b""),
            (good[:4096], b"x"),
            (good, b"\x37\x7f\x06\x82" * 9),
        ],
        allowed=(RollbackError,),
    )


def test_any_values(fuzz: Fuzz) -> None:
    """A sound database whose rows hold what cloakfs never writes: other types, other lengths, other numbers."""
    path = path_for(VOLUME)
    use(5)
    with sqlite3.connect(path) as made:
        tables = [name for (name,) in made.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {name: [row[1] for row in made.execute(f"PRAGMA table_info({name})")] for name in tables}
        made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.close()
    good = path.read_bytes()
    values = st.one_of(
        st.binary(max_size=40),
        st.text(st.characters(codec="utf-8"), max_size=20),
        st.floats(),
        st.integers(-(2**63), 2**63 - 1),
    )
    places = st.sampled_from(tables).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(columns[name])))

    def attempt(changes: list[tuple[tuple[str, str], object]]) -> None:
        clear(path)
        path.write_bytes(good)
        database = sqlite3.connect(path)
        for (table, column), value in changes:
            try:
                database.execute(f"UPDATE {table} SET {column} = ?", (value,))
            except sqlite3.IntegrityError:
                continue
        database.commit()
        database.close()
        with hang_guard(HANG):
            use(6)

    fuzz(
        "host memory: any values",
        attempt,
        st.lists(st.tuples(places, values), min_size=1, max_size=4),
        examples=60,
        allowed=(RollbackError,),
    )


@pytest.mark.parametrize("kind", ["directory", "symlink", "pipe"])
def test_another_kind_of_thing(kind: str, fuzz: Fuzz) -> None:
    """What stands in the place of the memory is not followed and not waited for."""
    path = path_for(VOLUME)
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("/dev/null")
    else:
        os.mkfifo(path)

    def attempt(number: int) -> None:
        with hang_guard(60):
            assert use(number).problems

    fuzz(f"host memory: a {kind} in its place", attempt, st.integers(0, 9), examples=2, allowed=())
