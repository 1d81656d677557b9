"""When a volume was seen open or locked, and which volumes there are (encfs/registers, FORMAT.md section 17)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.audit import clock
from encfs.core.documents import open_document, sign_document
from encfs.crypto.signing import Signer
from encfs.errors import AuditError, RegisterError
from encfs.registers import heartbeat, volumes
from encfs.registers.heartbeat import Presence
from encfs.registers.ledger import Ledger
from encfs.registers.volumes import Origin
from encfs.store.base import Store
from encfs.store.local import LocalStore
from tests.support.stores import DyingStore, FailingStore

ONE, TWO = "1a" * 16, "2b" * 16


def presence(
    volume_id: str = ONE,
    *,
    mountpoint: str = "/mnt",
    label: str = "Anna",
    path: str = "/srv/p.vault",
    store_on: Callable[[int], Store] = LocalStore,
) -> Presence:
    """A use of a volume by this process."""
    return Presence(
        volume_id,
        path=path,
        slot="cd" * 16,
        slot_label=label,
        read_only=False,
        mountpoint=mountpoint,
        store_on=store_on,
    )


def state() -> tuple[str, str, str]:
    """How the volume is said to be, why, and by whose slot."""
    beat = heartbeat.beat_of(ONE)
    assert beat is not None
    return beat.state, beat.reason, beat.slot_label


def left_by_a_dead_process(mountpoint: str = "/mnt") -> None:
    """A process says that it has the volume open, and is gone without a word."""
    code = (
        "from encfs.registers.heartbeat import Presence;"
        f"Presence({ONE!r}, path='/srv/p.vault', slot='cd', slot_label='gone', read_only=False,"
        f" mountpoint={mountpoint!r}).open()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_open_and_locked(host_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the interface says, in one signed file for this user alone, whose digest the writer is told."""
    assert heartbeat.beat_of(ONE) is None
    assert heartbeat.beats() == []
    use = presence(path="/srv/p\udcff%.vault")
    first = use.open()
    seen = heartbeat.beat_of(ONE)
    assert seen == first
    file = host_memory / "heartbeat" / ONE
    assert first.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert heartbeat.document_of(ONE) == file.read_bytes()
    assert open_document(file.read_bytes(), "heartbeat").signer == first.signer
    assert (first.state, first.path, first.mountpoint) == ("open", "/srv/p\udcff%.vault", "/mnt")
    assert (first.slot, first.slot_label, first.reason, first.read_only) == ("cd" * 16, "Anna", "", False)
    assert first.since == first.at
    later = clock.now()
    monkeypatch.setattr(clock, "now", lambda: replace(later, wall_ms=later.wall_ms + 900_000))
    again = use.open()
    assert (again.since, again.at) == (first.since, later.wall_ms // 1000 + 900)
    ended = use.locked("idle")
    assert (ended.state, ended.reason, ended.since) == ("locked", "idle", first.since)
    assert [beat.volume_id for beat in heartbeat.beats()] == [ONE]
    assert {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {"lock": 0o600, ONE: 0o600}
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_command_does_not_hide_a_mount() -> None:
    """Whatever ends first: it is open while one of them has it open, and the way the mount ended is still known."""
    mount, command = presence(), presence(mountpoint="", label="Eva")
    mount.open()
    command.open()
    assert state() == ("open", "", "Anna")
    command.locked("done")
    assert state() == ("open", "", "Anna")
    mount.locked("idle")
    assert state() == ("locked", "idle", "Anna")
    another, third = presence(mountpoint="", label="Eva"), presence(mountpoint="", label="Ute")
    another.open()
    third.open()
    third.locked("done")
    assert state() == ("open", "", "Eva")
    another.locked("done")
    assert state()[0] == "locked"
    last = heartbeat.last_mount(ONE)
    assert last is not None
    assert (last.reason, last.label) == ("idle", "Anna")
    sessions = json.loads(heartbeat.document_of(ONE) or b"")["body"]["sessions"]
    assert len(sessions) == 2


def test_of_two_in_one_second_the_last_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was begun first: what was written last is how it is."""
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    mount, command = presence(), presence(mountpoint="", label="Eva")
    for first, second, expected in ((mount, command, "done"), (command, mount, "idle"), (mount, command, "done")):
        for use in (first, second):
            use.open()
        for use in (first, second):
            use.locked("idle" if use is mount else "done")
        assert state()[:2] == ("locked", expected)


def test_a_crash_leaves_it_open_until_somebody_opens_it_again() -> None:
    """Open, last seen at; the next use finds the process gone, which is a lock with the reason "crash"."""
    left_by_a_dead_process()
    assert state() == ("open", "", "gone")
    command = presence(mountpoint="")
    command.open()
    last = heartbeat.last_mount(ONE)
    assert last is not None
    assert (last.state, last.reason, last.label) == ("locked", "crash", "gone")
    command.locked("done")
    assert state()[0] == "locked"


def test_before_a_restart_of_the_computer_no_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number and the beginning of a process may be those of another one after a restart."""
    presence(label="before").open()
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: replace(real(), boot_id=b"b" * 16))
    presence(mountpoint="").open()
    last = heartbeat.last_mount(ONE)
    assert last is not None
    assert (last.reason, last.label) == ("crash", "before")


def test_each_byte_that_is_changed(host_memory: Path) -> None:
    """Read as what it is: damaged. The next use keeps it under another name, and goes on."""
    presence().open()
    presence(TWO).open()
    file = host_memory / "heartbeat" / ONE
    whole = file.read_bytes()
    for wrong in [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 5)] + [
        b"",
        whole[:-1],
        whole[: len(whole) // 2],
        (host_memory / "heartbeat" / TWO).read_bytes(),
        sign_document(
            Signer.generate(), kind="heartbeat", made_at=1, host="h", body={"volume_id": ONE, "sessions": []}
        ),
    ]:
        file.write_bytes(wrong)
        with pytest.raises(RegisterError) as caught:
            heartbeat.beat_of(ONE)
        assert f"heartbeat/{ONE}" in caught.value.hint
        with pytest.raises(RegisterError):
            heartbeat.last_mount(ONE)
        with pytest.raises(RegisterError):
            heartbeat.beats()
    presence().open()
    assert state() == ("open", "", "Anna")
    (aside,) = [path for path in file.parent.iterdir() if "damaged" in path.name]
    assert aside.read_bytes() == wrong
    assert heartbeat.volume_ids() == [ONE, TWO]


def test_without_the_key_of_the_host(host_memory: Path) -> None:
    """An error that the caller can pass over; what was written stays."""
    use = presence()
    use.open()
    (host_memory / "audit" / "signing.key").unlink()
    with pytest.raises(AuditError, match="missing"):
        use.locked("asked")
    assert state() == ("open", "", "Anna")


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "rename", "list", "close"])
def test_every_call_that_fails(call: str) -> None:
    """A full disk at any call: an error; what was there stays, or the new one is whole."""
    presence(label="first").open()
    for after in range(6):
        stores: list[FailingStore] = []

        def store_on(fd: int, after: int = after, stores: list[FailingStore] = stores) -> FailingStore:
            store = FailingStore(fd)
            store.broken, store.after, store.times = {call: errno.ENOSPC}, after, 1
            stores.append(store)
            return store

        before = state()
        try:
            presence(label=f"try {after}", store_on=store_on).open()
        except OSError as exc:
            assert exc.errno == errno.ENOSPC
        assert state() in (before, ("open", "", f"try {after}"))
    presence(label="last").locked("asked")


@pytest.mark.parametrize("torn", [False, True])
def test_killed_before_and_within_every_change(*, torn: bool) -> None:
    """Whatever a power cut or kill -9 leaves can be read, and has what was confirmed."""
    use = presence()
    use.open()
    for at in range(6):
        child = os.fork()
        if child == 0:

            def store_on(fd: int, at: int = at) -> LocalStore:
                store = DyingStore(fd)
                store.dies_at, store.torn = at, torn
                return store

            presence(mountpoint="", label=f"child {at}", store_on=store_on).locked("done")
            os._exit(0)
        os.waitpid(child, 0)
        assert state() == ("open", "", "Anna")
    use.locked("asked")
    assert state() == ("locked", "asked", "Anna")


# -- which volumes there are -----------------------------------------------------------------------------------------


def test_made_opened_moved_destroyed() -> None:
    """One entry for each, however often it is opened; the date since which it is encrypted is that of its config."""
    volumes.note_created(ONE, "/srv/p.vault", 100)
    for _ in range(3):
        volumes.note_opened(ONE, "/srv/p.vault", 100)
        volumes.note_opened(TWO, "/media/a/encrypted", 50)
    assert [(one.volume_id, one.kind, one.created) for one in volumes.known_volumes()] == [
        (ONE, Origin.CREATED, 100),
        (TWO, Origin.SEEN, 50),
    ]
    for _ in range(2):
        volumes.note_opened(TWO, "/media/b/\udcff", 50)
        volumes.note_opened(TWO, "/media/a/encrypted", 50)
    two = volumes.known_volume(TWO)
    assert two is not None
    assert two.paths == ("/media/a/encrypted", "/media/b/\udcff")
    volumes.note_destroyed(ONE, "/srv/p.vault")
    one = volumes.known_volume(ONE)
    assert one is not None
    assert one.destroyed is not None
    assert [entry.kind for entry in Ledger("volumes").entries()] == ["created", "seen", "moved", "destroyed"]
    volumes.note_opened(ONE, "/mnt/copy", 100)
    back = volumes.known_volume(ONE)
    assert back is not None
    assert (back.destroyed, back.path, back.kind, back.first_seen) == (
        None,
        "/mnt/copy",
        Origin.CREATED,
        one.first_seen,
    )


def test_where_it_was_last_is_what_the_heartbeat_says(host_memory: Path) -> None:
    """A stick that goes between two places needs no entry each time. A damaged heartbeat hides no volume."""
    volumes.note_opened(ONE, "/media/a", 1)
    volumes.note_opened(ONE, "/media/b", 1)
    presence(path="/media/a").open()
    assert [one.path for one in volumes.known_volumes()] == ["/media/a"]
    (host_memory / "heartbeat" / ONE).write_bytes(b"?")
    assert [one.path for one in volumes.known_volumes()] == ["/media/b"]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("moved", {"volume_id": TWO, "path": "/x"}),
        ("seen", {"volume_id": TWO, "path": "/x"}),
        ("seen", {"volume_id": TWO, "path": "/x", "created": 1, "more": 1}),
        ("found", {"volume_id": TWO, "path": "/x", "created": 1}),
    ],
)
def test_an_entry_that_cannot_follow(kind: str, data: dict[str, object]) -> None:
    """Damage: nothing is read, nothing added."""
    volumes.note_created(ONE, "/srv/p.vault", 100)
    Ledger("volumes").append(kind, data)
    with pytest.raises(RegisterError, match="at entry 1"):
        volumes.known_volumes()
    with pytest.raises(RegisterError, match="at entry 1"):
        volumes.note_opened(TWO, "/x", 1)
