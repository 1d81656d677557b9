"""encfs/evidence/facts.py: what is known of a volume, and who vouches for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from encfs.evidence.facts import Vouched, collect, config_facts, snapshot
from encfs.format.canonical import b64, canonical_json
from encfs.format.config import Config
from encfs.format.epochs import Rotation, RotationReason
from encfs.format.policy import Policy
from encfs.host import verified
from encfs.host.verified import Verified
from encfs.registers import configs, media, volumes
from encfs.share.definition import ShareSpec, definition
from encfs.volume import Volume, read_config


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """That of a new volume on a host of its own."""
    monkeypatch.setenv("CLOAKFS_STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("CLOAKFS_SHARE_ETC", str(tmp_path / "etc"))
    path = os.fsencode(tmp_path / "volume")
    Volume.create(path, secret=b"seven grey herons", label="Anna", recovery_key=bytes(32))
    return read_config(path)


def test_a_snapshot_has_all_and_no_key(config: Config) -> None:
    """Slots, rotations, rules as they are; nothing that is sealed, and no salt."""
    rotation = Rotation(epoch=1, reason=RotationReason.STAFF, started=7, finished=9, data=True, files=3)
    changed = replace(config, policy=Policy(idle_seconds=600), rotations=(rotation,))
    taken = snapshot(changed)
    facts = config_facts(taken)
    assert (facts.created, facts.suite, facts.cell_size) == (config.created, "cloakfs-1", config.cell_size)
    assert facts.key_since == config.epochs[0].created
    assert [(slot.kind, slot.label, slot.id) for slot in facts.slots] == [
        ("passphrase", "Anna", config.slots[0].id.hex()),
        ("recovery", config.slots[1].label, config.slots[1].id.hex()),
    ]
    assert facts.slots[0].cost == "Argon2id, 64 MiB, 3 passes"
    assert facts.slots[1].cost == ""
    assert [(one.epoch, one.reason, one.started, one.finished, one.data, one.files) for one in facts.rotations] == [
        (1, "staff", 7, 9, True, 3)
    ]
    assert facts.rules == {"idle_seconds": 600}
    spelled = canonical_json(taken)
    for slot in config.slots:
        for secret in (slot.esk, slot.erk, slot.auth, slot.commit, slot.pub, slot.kdf.salt):
            for form in (secret.hex(), b64(secret)):
                assert form == "" or form.encode() not in spelled


def test_who_vouches(config: Config, tmp_path: Path) -> None:
    """Its keys; nobody; this host, for one that is not here; or it is not known."""
    volume_id, path = config.volume_id, str(tmp_path / "volume")
    assert collect(volume_id, path, config, opened=True, mounted=True).vouched is Vouched.OPENED
    assert collect(volume_id, path, config, opened=False, mounted=False).vouched is Vouched.AS_IT_LIES
    gone = collect(volume_id, "", None, opened=False, mounted=False)
    assert (gone.vouched, gone.config, gone.encrypted_since, gone.path) == (Vouched.UNKNOWN, None, None, "")
    volumes.note_opened(volume_id.hex(), path, config.created)
    configs.note(volume_id.hex(), snapshot(config))
    gone = collect(volume_id, "", None, opened=False, mounted=False)
    assert gone.vouched is Vouched.REMEMBERED
    assert (gone.config, gone.path) == (config_facts(snapshot(config)), path)
    assert gone.noted == configs.remembered(volume_id.hex()).at
    assert gone.encrypted_since == config.created


def test_what_this_host_has_of_it(config: Config, tmp_path: Path) -> None:
    """Media on which it is, its last verify, the shares over it; of no other volume."""
    path = str(tmp_path / "volume")
    media.add("blue", volumes=[config.volume_id.hex()])
    media.add("red", volumes=["00" * 16])
    verified.remember(config.volume_id, Verified(1_700_000_000, 2))
    folder = tmp_path / "etc/samba/cloakfs"
    folder.mkdir(parents=True)
    for name, volume in (("practice", path), ("other", "/srv/other")):
        spec = ShareSpec(name=name, volume=volume, mountpoint=f"/srv/cloakfs/{name}", group="practice")
        (folder / f"{name}.conf").write_text(definition(spec))
    facts = collect(config.volume_id, path, config, opened=True, mounted=False)
    assert [one.label for one in facts.media] == ["blue"]
    assert facts.verified == Verified(1_700_000_000, 2)
    assert facts.shares == ("practice",)
    assert facts.beat is None
