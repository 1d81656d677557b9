"""encfs/registers/ledger.py: registers that only grow (FORMAT.md section 17)."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
from functools import partial
from pathlib import Path

import pytest

from encfs.audit.home import home
from encfs.audit.reading import read_log
from encfs.core.audit_verify import LogVerifier
from encfs.core.documents import sign_document
from encfs.crypto.signing import Signer
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuditError, FormatError, RegisterError, UsageError
from encfs.format.audit_body import AuditBody
from encfs.registers.ledger import Entry, Ledger
from encfs.store.local import LocalStore
from encfs.units import VolumeId
from tests.support.stores import DyingStore, FailingStore

VOLUME = VolumeId(b"v" * 16)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of a host of its own."""
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


def filled(count: int) -> Ledger:
    """A register with so many entries."""
    ledger = Ledger("media")
    for number in range(count):
        ledger.append("add", {"number": number})
    return ledger


def numbers() -> list[int]:
    """What is in it."""
    return [entry.data["number"] for entry in Ledger("media").entries()]


def records() -> list[AuditBody]:
    """What the audit log has of it, which must have no problem."""
    with home() as here:
        verifier = LogVerifier(CLOAKFS_1, here.auditor_key())
        bodies = [taken.body for taken in read_log(here, verifier) if taken.body is not None]
    assert verifier.problems == []
    return bodies


def test_appended_and_read(state: Path) -> None:
    """The lines chain as the section says, the files are for this user alone, and the audit log has each of them."""
    made = Ledger("media").append("add", {"label": "blue", "due": None}, volume_id=VOLUME)
    Ledger("media").append("check-out", {"label": "blue"})
    first, second = Ledger("media").entries()
    assert (first, first.kind, dict(first.data)) == (made, "add", {"label": "blue", "due": None})
    assert (first.seq, second.seq, first.uid) == (0, 1, os.getuid())
    lines = (state / "registers" / "media").read_bytes().splitlines(keepends=True)
    bodies = [json.loads(line)["body"] for line in lines]
    assert bodies[0]["previous"] == "0" * 64
    assert bodies[1]["previous"] == hashlib.sha256(lines[0]).hexdigest() == first.digest
    assert {path.name: path.stat().st_mode & 0o777 for path in (state / "registers").iterdir()} == {
        "lock": 0o600,
        "media": 0o600,
    }
    assert (state / "registers").stat().st_mode & 0o777 == 0o700
    found = [(body.action, body.object, dict(body.detail)) for body in records()]
    assert found == [
        ("register.media", "add", {"seq": 0, "head": first.digest}),
        ("register.media", "check-out", {"seq": 1, "head": second.digest}),
    ]


def test_none_yet(state: Path) -> None:
    """Reading begins nothing."""
    assert Ledger("media").entries() == []
    assert not (state / "registers" / "media").exists()
    assert not (state / "audit").exists()


def test_each_byte_that_is_changed(state: Path) -> None:
    """Not one can be changed: told which entry it is, nothing is read, nothing is added, all stays for a repair."""
    filled(3)
    path = state / "registers" / "media"
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for at in range(0, len(whole), 7):
        wrong = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        path.write_bytes(wrong)
        with pytest.raises(RegisterError, match=f"at entry {sum(end <= at for end in ends)}"):
            Ledger("media").entries()
    with pytest.raises(RegisterError) as caught:
        Ledger("media").append("add", {"number": 3})
    assert "registers/media" in caught.value.hint
    assert path.read_bytes() == wrong


def test_dropped_swapped_doubled_and_from_another_register(state: Path) -> None:
    """The chain and the name are in what is signed. One that was cut off is a shorter one: the audit log knows more."""
    filled(4)
    Ledger("other").append("add", {"number": 0})
    path = state / "registers" / "media"
    lines = path.read_bytes().splitlines(keepends=True)
    foreign = (state / "registers" / "other").read_bytes()
    for wrong in (lines[1:], lines[:1] + lines[2:], [lines[0], lines[2], lines[1]], [*lines, lines[3]], [foreign]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(RegisterError):
            Ledger("media").entries()
    path.write_bytes(b"".join(lines[:2]))
    assert numbers() == [0, 1]
    assert max(body.detail["seq"] for body in records() if body.action == "register.media") == 3


def test_whole_lines_that_are_no_entries(state: Path) -> None:
    """A document of another kind, and one with other fields, signed by this host."""
    filled(1)
    path = state / "registers" / "media"
    good = path.read_bytes()
    signer = Signer.generate()
    sign = partial(sign_document, signer, made_at=1, host="h")
    body = json.loads(good)["body"] | {"seq": 1, "previous": hashlib.sha256(good).hexdigest()}
    path.write_bytes(good + sign(kind="register", body=body))
    assert numbers() == [0, 0]
    for line in (sign(kind="evidence", body=body), sign(kind="register", body=body | {"more": 1})):
        path.write_bytes(good + line)
        with pytest.raises(RegisterError):
            Ledger("media").entries()


def test_a_check_sees_all_and_forbids(state: Path) -> None:
    """What it raises keeps the entry out of the register and out of the audit log."""
    filled(2)
    seen: list[int] = []

    def check(entries: list[Entry]) -> None:
        seen.extend(entry.data["number"] for entry in entries)
        raise UsageError("no")

    with pytest.raises(UsageError):
        Ledger("media").append("add", {"number": 2}, check=check)
    assert (seen, numbers(), len(records())) == ([0, 1], [0, 1], 2)


def test_what_cannot_be_written(state: Path) -> None:
    """A fraction: nothing is there of it."""
    with pytest.raises(FormatError):
        Ledger("media").append("add", {"number": 1.5})
    assert numbers() == []


def test_the_audit_log_cannot_take_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the register, and said that it is not in the log."""
    filled(1)
    (state / "audit" / "state").write_bytes(bytes(512))
    with pytest.raises(AuditError, match="it is registered, but"):
        Ledger("media").append("add", {"number": 1})
    assert numbers() == [0, 1]


def test_the_key_of_the_host_is_lost(state: Path) -> None:
    """Nothing is signed with another one unasked."""
    filled(1)
    (state / "audit" / "signing.key").unlink()
    with pytest.raises(AuditError, match="missing"):
        Ledger("media").append("add", {"number": 1})
    assert numbers() == [0]


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "rename", "list", "close"])
def test_every_call_that_fails(state: Path, call: str) -> None:
    """A full disk at any call: an error; the register is as it was or has the whole entry, and goes on."""
    filled(2)
    there = [0, 1]
    for after in range(6):
        stores: list[FailingStore] = []

        def store_on(fd: int, after: int = after, stores: list[FailingStore] = stores) -> FailingStore:
            store = FailingStore(fd)
            store.broken, store.after, store.times = {call: errno.ENOSPC}, after, 1
            stores.append(store)
            return store

        try:
            Ledger("media", store_on=store_on).append("add", {"number": 100 + after})
        except OSError as exc:
            assert exc.errno == errno.ENOSPC
        now = numbers()
        assert now in (there, [*there, 100 + after])
        there = now
    Ledger("media").append("add", {"number": 999})
    assert numbers() == [*there, 999]


@pytest.mark.parametrize("torn", [False, True])
def test_killed_before_and_within_every_change(state: Path, *, torn: bool) -> None:
    """The register has what was confirmed, and goes on."""
    filled(2)
    there = [0, 1]
    for at in range(6):
        child = os.fork()
        if child == 0:

            def store_on(fd: int, at: int = at) -> LocalStore:
                store = DyingStore(fd)
                store.dies_at, store.torn = at, torn
                return store

            Ledger("media", store_on=store_on).append("add", {"number": 100 + at})
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        now = numbers()
        assert now == [*there, 100 + at] if ended == 0 else now in (there, [*there, 100 + at])
        there = now
    Ledger("media").append("add", {"number": 999})
    assert numbers() == [*there, 999]


def _many(start: int) -> None:
    for number in range(10):
        Ledger("media").append("add", {"number": start + number})


def test_four_writers_at_once(state: Path) -> None:
    """Nothing is lost, nothing twice, and the chain is one."""
    filled(1)
    processes = [multiprocessing.get_context("fork").Process(target=_many, args=(100 * one,)) for one in range(1, 5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert sorted(numbers()) == sorted([0] + [100 * one + number for one in range(1, 5) for number in range(10)])
    assert len(records()) == 41
