"""The certificate of a destruction claims what was proved, and no more; what a path lies on (docs/destroy.md)."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encfs.core.config import read_copy
from encfs.doctor.near import Kind, Search, Secret
from encfs.evidence import certificate, key_holders
from encfs.evidence.certificate import NOT_CLAIMED, People, Verification
from encfs.format.config import Config
from encfs.format.slots import Kdf, KdfAlg, ShareSet, encode_share_set
from encfs.registers.volumes import note_opened
from encfs.stick.storage import Disk, MediaType, Storage, storage_of
from encfs.units import VolumeId
from encfs.volume import Volume
from encfs.volume.key_copies import KeyCopy, Survey

PLATTER = Disk(
    name="sda", manufacturer="ACME", model="Disk 1", serial="S1", size=10**12, bus="sata", kind=MediaType.MAGNETIC
)
IN_PLACE = Storage("ext4", (PLATTER,))
CLEAN = Survey(sealed=3, sealed_bytes=1536)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of a new volume with a passphrase and a recovery key."""
    path = tmp_path_factory.mktemp("v") / "volume"
    Volume.create(os.fsencode(path), secret=b"a passphrase for tests", recovery_key=bytes(32))
    return read_copy((path / "cloakfs.volume").read_bytes())


def body_of(
    config: Config | None, *, storage: Storage = IN_PLACE, left: Survey = CLEAN, copies: bool = False
) -> dict[str, Any]:
    """A certificate's body."""
    if copies:
        note_opened((b"v" * 16).hex(), "/media/other", 1)
    holders = key_holders.elsewhere(VolumeId(b"v" * 16), "/v", "")
    before = certificate.begun(
        volume_id=None if config is None else config.volume_id,
        config=config,
        path="/v",
        identity=bytes(32),
        copies=2,
        size=8000,
        storage=storage,
        holders=list(holders),
        people=People(login="anna"),
    )
    return certificate.body(before, 1_700_000_000, left, Verification())


def failing(body: dict[str, Any]) -> list[str]:
    """The conditions that do not hold."""
    return [one["code"] for one in body["conditions"] if one["holds"] is False]


def test_a_purge_is_claimed_where_all_holds(config: Config) -> None:
    """A magnetic disk that is written in place, keys that never changed; what only people know is left to them."""
    body = body_of(config)
    assert (body["sanitization"]["method"], failing(body)) == ("purge", [])
    assert [one["code"] for one in body["conditions"] if one["holds"] is None] == ["no-copies-elsewhere"]
    disk = body["medium"]["disks"][0]
    assert (disk["manufacturer"], disk["model"], disk["serial"]) == ("ACME", "Disk 1", "S1")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"left": replace(CLEAN, foreign=1)}, "nothing-in-clear"),
        ({"left": replace(CLEAN, unsearched=1)}, "all-searched"),
        ({"left": replace(CLEAN, copies=[KeyCopy(b"x", 1, config=True)])}, "copies-found-are-destroyed"),
        ({"storage": Storage("btrfs", (PLATTER,))}, "overwritten-in-place"),
        ({"storage": Storage("ext4", (replace(PLATTER, kind=MediaType.FLASH),))}, "overwritten-in-place"),
        ({"storage": Storage("ext4", (replace(PLATTER, kind=MediaType.UNKNOWN),))}, "overwritten-in-place"),
        ({"storage": Storage("ext4", ())}, "overwritten-in-place"),
        ({"storage": Storage("", ())}, "overwritten-in-place"),
        ({"storage": Storage("nfs4", ())}, "overwritten-in-place"),
        ({"copies": True}, "no-copies-elsewhere"),
    ],
)
def test_no_purge_is_claimed(config: Config, change: dict[str, Any], code: str) -> None:
    """One condition that does not hold is enough, and it says which."""
    body = body_of(config, **change)
    assert (body["sanitization"]["method"], failing(body)) == (NOT_CLAIMED, [code])


def test_keys_that_were_changed_left_older_copies(config: Config) -> None:
    """Each change of the config freed one, which nobody has overwritten; an unknown past is no clean one."""
    body = body_of(replace(config, seq=4))
    assert failing(body) == ["no-freed-copies"]
    assert body["sanitization"]["method"] == NOT_CLAIMED
    assert "3 times" in next(one["text"] for one in body["conditions"] if one["holds"] is False)
    assert body_of(None)["sanitization"]["method"] == NOT_CLAIMED


def test_a_filesystem_in_memory_keeps_nothing(config: Config) -> None:
    """There are no old bytes to find."""
    assert body_of(config, storage=Storage("tmpfs", ()))["sanitization"]["method"] == "purge"


def test_what_opened_it_is_listed(config: Config) -> None:
    """Each slot by its kind, with what to do; shares with how many; keys beside the volume; never a secret."""
    passphrase, recovery = config.slots
    none = Kdf(KdfAlg.NONE)
    shares = replace(recovery, kind="shares", label="partners", data=encode_share_set(ShareSet(7, 2, 3)))
    others = [replace(recovery, kind=kind, label=kind, kdf=none) for kind in ("key-file", "pkcs11", "age")]
    listed = list(key_holders.of_slots([passphrase, recovery, shares, *others]))
    assert [one.kind for one in listed] == ["passphrase", "recovery-key", "shares", "key-file", "token", "identity"]
    assert "3 shares 'partners', set 00007; any 2 of them" in listed[2].what
    (found,) = key_holders.near(Search((Secret(b"/m/k\n", Kind.KEY_FILE),), 1, complete=True))
    assert found.what.startswith("/m/k\\x0a: a key file")


FINDMNT = {"filesystems": [{"source": "/dev/mapper/x[/sub]", "fstype": "ext4"}]}


def storage_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lsblk: Any, findmnt: Any = FINDMNT) -> Storage:
    """What is made of what the two programs say."""
    for name, said in (("findmnt", findmnt), ("lsblk", lsblk)):
        text = said if isinstance(said, str) else json.dumps(said)
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/{name}.args\ncat <<'END'\n{text}\nEND\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return storage_of("/somewhere")


def block(**more: Any) -> dict[str, Any]:
    """A device as lsblk shows it."""
    told = {"name": "sda", "path": "/dev/sda", "type": "disk", "size": 5, "rota": True, "vendor": None}
    return told | {"model": None, "serial": None, "tran": None} | more


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"tran": "sata"}, MediaType.MAGNETIC),
        ({"tran": "sata", "rota": False}, MediaType.FLASH),
        ({"tran": "usb"}, MediaType.FLASH),
        ({"tran": "nvme", "rota": False}, MediaType.FLASH),
        ({}, MediaType.UNKNOWN),
        ({"type": "loop"}, MediaType.UNKNOWN),
    ],
)
def test_what_a_disk_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], kind: MediaType) -> None:
    """A stick that says it rotates is not believed; what is not known stays unknown."""
    (disk,) = storage_told(tmp_path, monkeypatch, {"blockdevices": [block(**told)]}).disks
    assert disk.kind is kind


def test_disks_through_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encryption over a mirror of two disks: both are named, once, without spaces around."""
    disks = [block(name=name, vendor=" ACME ", serial=name * 2, tran="sata") for name in ("sda", "sdb")]
    raid = block(name="md0", type="raid1", children=disks)
    crypt = block(name="x", type="crypt", children=[raid, raid])
    found = storage_told(tmp_path, monkeypatch, {"blockdevices": [crypt]})
    assert [(disk.name, disk.manufacturer, disk.serial) for disk in found.disks] == [
        ("sda", "ACME", "sdasda"),
        ("sdb", "ACME", "sdbsdb"),
    ]
    assert found.survives == ""
    assert (tmp_path / "lsblk.args").read_text().split()[-1] == "/dev/mapper/x"


def test_a_system_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is guessed, and nothing fails."""
    assert storage_told(tmp_path, monkeypatch, "nonsense", "nonsense") == Storage("", ())
    assert storage_told(tmp_path, monkeypatch, "nonsense") == Storage("ext4", ())
    assert Storage("ext4", ()).survives != ""


def test_this_machine() -> None:
    """The real programs answer."""
    assert storage_of("/proc").filesystem == "proc"
