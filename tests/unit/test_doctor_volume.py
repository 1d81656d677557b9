"""``cloakfs doctor`` on made-up volumes, and what it finds of their keys on real directories."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from encfs.checks import Light
from encfs.cli import mount_troubles
from encfs.doctor.near import Kind, Search, search
from encfs.doctor.unattended import Given, unattended
from encfs.doctor.volume_checks import DAY, VERIFY_DAYS, Room, VolumeFacts, volume_checks
from encfs.format.config import Config
from encfs.format.key_file import encode_key_file
from encfs.format.policy import Policy
from encfs.format.recovery_key import encode_recovery_key
from encfs.format.slots import SlotKind
from encfs.sheets.shares import split
from encfs.sheets.sheets import recovery_sheet, share_sheet
from encfs.units import VolumeId
from encfs.volume import Volume, read_config

_NOW = 1_800_000_000
_NOTHING_NEAR = Search((), 10, complete=True)
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of a volume with a passphrase and a recovery key."""
    path = tmp_path_factory.mktemp("doctor") / "volume"
    Volume.create(os.fsencode(path), secret=b"four unrelated words here", recovery_key=KEY)
    return read_config(os.fsencode(path))


@pytest.fixture
def good(config: Config) -> VolumeFacts:
    """A volume in order."""
    return VolumeFacts(
        volume="/media/stick/the practice.vault",
        config=config,
        damaged_copies=0,
        room=Room(free=20 << 30, total=100 << 30, files_free=None, is_read_only=False),
        near=_NOTHING_NEAR,
        unattended=[],
        verified_at=_NOW - 3 * DAY,
        wrong=0,
        now=_NOW,
    )


def lights(facts: VolumeFacts, code: str) -> list[Light]:
    """Of the checks with a code."""
    return [check.light for check in volume_checks(facts) if check.code == code]


def only_passphrases(config: Config, count: int) -> Config:
    """The config with its passphrase slot, several times."""
    (slot,) = [slot for slot in config.slots if slot.kind == SlotKind.PASSPHRASE]
    return replace(config, slots=tuple(replace(slot, id=bytes([number] * 8)) for number in range(count)))


def test_a_good_volume_is_green(good: VolumeFacts) -> None:
    """Each check once, and nothing to do."""
    checks = volume_checks(good)
    assert [check.code for check in checks] == [
        "config", "recovery-key", "kdf", "keys-apart", "free-space", "verified",
    ]  # fmt: skip
    assert {(check.light, check.remedy) for check in checks} == {(Light.GREEN, "")}


def test_one_way_in_is_red(good: VolumeFacts) -> None:
    """One passphrase and no recovery key: red. Two people: amber. The remedy names the volume, quoted for a shell."""
    alone = replace(good, config=only_passphrases(good.config, 1))
    assert lights(alone, "recovery-key") == [Light.RED]
    assert lights(replace(good, config=only_passphrases(good.config, 2)), "recovery-key") == [Light.AMBER]
    (remedy,) = [check.remedy for check in volume_checks(alone) if check.code == "recovery-key"]
    assert remedy == "cloakfs key add '/media/stick/the practice.vault' --kind recovery"


def test_the_config(good: VolumeFacts) -> None:
    """A damaged copy is told; so is a volume that this version can only read."""
    assert lights(replace(good, damaged_copies=1), "config") == [Light.AMBER]
    features = replace(good.config.features, ro_compat=("from-the-future",))
    assert lights(replace(good, config=replace(good.config, features=features)), "config") == [Light.AMBER]


def test_the_cost_of_a_guess(good: VolumeFacts) -> None:
    """Below the floor of the policy is red; who has no passphrase has no such check."""
    policy = Policy(kdf_memory_kib=131_072)
    assert lights(replace(good, config=replace(good.config, policy=policy)), "kdf") == [Light.RED]
    paper = tuple(slot for slot in good.config.slots if slot.kind == SlotKind.RECOVERY)
    assert lights(replace(good, config=replace(good.config, slots=paper)), "kdf") == []


@pytest.mark.parametrize(
    ("free", "total", "files", "light"),
    [
        (60 << 20, 1 << 40, None, Light.RED),
        (60 << 20, 64 << 20, None, Light.GREEN),
        (3 << 30, 100 << 30, None, Light.AMBER),
        (12 << 30, 1 << 40, None, Light.GREEN),
        (2 << 30, 16 << 30, None, Light.GREEN),
        (20 << 30, 100 << 30, 12, Light.AMBER),
    ],
)
def test_free_space(good: VolumeFacts, free: int, total: int, files: int | None, light: Light) -> None:
    """A small stick and a large disk are judged by both shares and bytes; files can run out before bytes do."""
    room = Room(free=free, total=total, files_free=files, is_read_only=False)
    assert lights(replace(good, room=room), "free-space") == [light]


def test_free_space_that_does_not_matter(good: VolumeFacts) -> None:
    """A read-only medium needs none; one that does not answer is amber."""
    assert good.room is not None
    assert lights(replace(good, room=replace(good.room, is_read_only=True)), "free-space") == []
    assert lights(replace(good, room=None), "free-space") == [Light.AMBER]


@pytest.mark.parametrize(
    ("at", "wrong", "light"),
    [
        (None, 0, Light.AMBER),
        (0, 0, Light.AMBER),
        (_NOW - (VERIFY_DAYS + 1) * DAY, 0, Light.AMBER),
        (_NOW - VERIFY_DAYS * DAY, 0, Light.GREEN),
        (_NOW - DAY, 2, Light.RED),
        (_NOW + 5 * DAY, 0, Light.AMBER),
    ],
)
def test_last_verify(good: VolumeFacts, at: int | None, wrong: int, light: Light) -> None:
    """Never, long ago and in the future are amber; what was wrong and is not repaired is red."""
    assert lights(replace(good, verified_at=at, wrong=wrong), "verified") == [light]


# -- what lies beside it ------------------------------------------------------------------------------------------


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A medium with a volume that must not be entered, documents, and one file of each kind to be found."""
    (tmp_path / "a.vault").mkdir()
    (tmp_path / "a.vault/cloakfs.volume").write_text("x")
    (tmp_path / "a.vault/inside").write_bytes(encode_key_file(KEY))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/letter.txt").write_text("Dear colleague, the key of the cabinet is in the drawer, as always.\n")
    (tmp_path / "docs/a.pdf").write_bytes(b"%PDF-1.4 " + bytes(20_000) + b"/Title (Invoice)")
    (tmp_path / "link").symlink_to(tmp_path / "docs/office.key")
    (tmp_path / "docs/office.key").write_bytes(encode_key_file(KEY))
    (tmp_path / "recovery.txt").write_text(f"# of the practice\n{encode_recovery_key(KEY).lower()}\n")
    facts = {"volume": "practice", "volume_id": VolumeId(bytes(16)), "day": date(2026, 11, 27)}
    (tmp_path / "sheet.pdf").write_bytes(recovery_sheet(KEY, custodian="Anna", **facts))  # type: ignore[arg-type]
    share = split(KEY, threshold=2, count=3)[0]
    (tmp_path / "docs/share.pdf").write_bytes(share_sheet(share, holder="Ben", **facts))  # type: ignore[arg-type]
    (tmp_path / "docs/share.txt").write_text(f"# share 1 of 3\n{share.text}\n")
    (tmp_path / "identity").write_text("# public key: age1x\nAGE-SECRET-KEY-1" + "Q" * 58 + "\n")
    return tmp_path


def test_files_are_known_by_their_form(stick: Path) -> None:
    """Each kind is found where it lies, once; documents, links and what is in a volume are not."""
    found = search([os.fsencode(stick / "docs"), os.fsencode(stick)], stick.stat().st_dev)
    assert {(os.fsdecode(secret.path), secret.kind) for secret in found.secrets} == {
        (str(stick / "docs/office.key"), Kind.KEY_FILE),
        (str(stick / "recovery.txt"), Kind.RECOVERY),
        (str(stick / "sheet.pdf"), Kind.RECOVERY_SHEET),
        (str(stick / "docs/share.pdf"), Kind.SHARE_SHEET),
        (str(stick / "docs/share.txt"), Kind.SHARE),
        (str(stick / "identity"), Kind.IDENTITY),
    }
    assert found.complete


def test_the_search_is_bounded(stick: Path) -> None:
    """It stays on the medium, ends after so many entries, and says so."""
    assert search([os.fsencode(stick)], stick.stat().st_dev + 1) == Search((), 0, complete=True)
    assert search([os.fsencode(stick)], stick.stat().st_dev, entries_max=1) == Search((), 1, complete=False)
    assert not search([os.fsencode(stick / "missing")], stick.stat().st_dev).complete
    mounts = {os.fsencode(stick / "docs")}
    around = search([os.fsencode(stick)], stick.stat().st_dev, mounts=mounts)
    assert not [secret for secret in around.secrets if b"/docs/" in secret.path]


def test_only_what_opens_this_volume_is_told(stick: Path, good: VolumeFacts) -> None:
    """It has no key file, so that of another volume is not its business; each find is red, with its path."""
    near = search([os.fsencode(stick)], stick.stat().st_dev)
    checks = [check for check in volume_checks(replace(good, near=near)) if check.code == "keys-apart"]
    assert {check.light for check in checks} == {Light.RED}
    assert [check.found.rpartition(": ")[2] for check in checks] == [
        str(stick / "recovery.txt"),
        str(stick / "sheet.pdf"),
    ]
    assert encode_recovery_key(KEY)[:11].lower() not in str(checks).lower()


def test_a_search_that_was_not_complete_says_so(good: VolumeFacts) -> None:
    """Nothing found in a part is no promise for the whole."""
    part = replace(good, near=Search((), 20_000, complete=False))
    (check,) = [check for check in volume_checks(part) if check.code == "keys-apart"]
    assert check.found == "no key file or recovery sheet in 20,000 entries of its medium; that is not all of it"


def test_what_opens_it_without_a_person(tmp_path: Path, good: VolumeFacts) -> None:
    """fstab, a unit with an option and one with a credential; what other units do is not looked at."""
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/fstab").write_text(
        "# /srv/no /mnt fuse.cloakfs passphrase-file=/no\n"
        "/srv/a\\040b /mnt fuse.cloakfs noauto,key-file=/srv/k\\040ey,allow_other 0 0\n"
        "/dev/sda1 / ext4 defaults 0 1\n"
    )
    units = tmp_path / "etc/systemd/system"
    (units / "a.service").write_text(
        "[Service]\nExecStart=/usr/bin/cloakfs mount /srv/c /mnt --passphrase-file=/srv/p\n"
    )
    (units / "b.service").write_text(
        "[Service]\nLoadCredentialEncrypted=secret:/srv/sealed\n"
        "ExecStart=-/usr/bin/cloakfs mount /srv/d /mnt \\\n    --passphrase-file %d/secret\n"
    )
    (units / "c.service").write_text(
        "[Service]\nExecStart=/usr/bin/mount /srv/e\nExecStart=/usr/bin/cloakfs lock --all\n"
    )
    found = {one.volume: (one.secrets, one.source) for one in unattended(tmp_path)}
    assert found == {
        "/srv/a b": ((Given("/srv/k ey"),), "/etc/fstab"),
        "/srv/c": ((Given("/srv/p"),), "/etc/systemd/system/a.service"),
        "/srv/d": ((Given("/srv/sealed", is_sealed=True),), "/etc/systemd/system/b.service"),
    }
    given = [(secret, source) for secrets, source in found.values() for secret in secrets]
    assert lights(replace(good, unattended=given), "keys-apart") == [Light.RED, Light.RED, Light.AMBER]


# -- its mount ------------------------------------------------------------------------------------------------------

_WELL = {
    "mountpoint": "/mnt/p",
    "pid": 1,
    "integrity_events": 0,
    "medium": "present",
    "rollback": None,
    "recovery": None,
}


@pytest.mark.parametrize(
    ("state", "mount", "light", "words", "remedy"),
    [
        ("mounted", _WELL, Light.GREEN, "its daemon answers", ""),
        ("mounted", {**_WELL, "recovery": {"failed": 0}}, Light.GREEN, "its daemon answers", ""),
        ("dead", {"mountpoint": "/mnt/p"}, Light.RED, "its daemon died", "cloakfs lock /mnt/p "),
        ("mounted", {"mountpoint": "/mnt/p"}, Light.AMBER, "does not answer", "wait a minute"),
        ("mounted", {**_WELL, "medium": "gone"}, Light.RED, "its medium went away", "cloakfs lock /mnt/p "),
        (
            "mounted",
            {**_WELL, "rollback": "the config is older"},
            Light.RED,
            "the config is older",
            "if it is a restored",
        ),
        ("mounted", {**_WELL, "integrity_events": 2}, Light.RED, "2 things were read", "cloakfs verify /mnt/p"),
        ("mounted", {**_WELL, "recovery": {"failed": 1}}, Light.RED, "1 entry is damaged", "cloakfs verify /mnt/p"),
    ],
    ids=["well", "recovered", "dead", "silent", "gone", "rollback", "refused", "damaged"],
)
def test_a_mount(state: str, mount: dict[str, object], light: Light, words: str, remedy: str) -> None:
    """Each trouble has its light, says what is, and names the command; one that is well is one green line."""
    (check,) = mount_troubles.checks(state, mount)
    assert (check.code, check.light) == ("mount", light)
    assert words in check.found
    assert check.remedy.startswith(remedy)


def test_what_is_not_mounted_has_no_such_check() -> None:
    """It is left out, not green; several troubles are several lines."""
    assert mount_troubles.checks("locked", None) == []
    assert len(mount_troubles.checks("mounted", {**_WELL, "integrity_events": 1, "medium": "gone"})) == 2
