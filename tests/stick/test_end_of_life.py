"""``cloakfs destroy`` and ``handover`` on the filesystems of real media (docs/destroy.md, docs/handover.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encfs.core.config import read_copy
from encfs.format.canonical import b64
from tests.stick.conftest import Inserted
from tests.support import media
from tests.support.command import run


@pytest.mark.parametrize("kind", media.kinds("exfat", "ext4", "btrfs"))
def test_a_stick_is_destroyed(inserted: Inserted, making: tuple[str, ...], base: Path, kind: str) -> None:
    """Nothing of a key is left in its image on a filesystem that writes in place; what is not proved is not claimed."""
    lower = inserted(kind)
    assert run("stick", "create", lower.path, *making).code == 0
    config = read_copy((lower.path / "encrypted" / "cloakfs.volume").read_bytes())
    secrets = [b64(one).encode() for slot in config.slots for one in (slot.esk, slot.erk)]
    done = run("destroy", lower.path, "--confirm", "medium", "--json")
    assert done.code == 0, done.err
    body = done.json["body"]
    assert body["sanitization"]["method"] == "not claimed"
    assert body["medium"]["survives"]
    if kind == "btrfs":
        assert "btrfs" in body["medium"]["survives"]
    media.take_out(lower)
    if kind != "btrfs":
        image = (base / "image").read_bytes()
        assert not any(secret[at : at + 200] in image for secret in secrets for at in range(0, len(secret) - 199, 200))
    media.insert(lower)
    again = run("destroy", lower.path, "--json")
    assert (again.code, again.json["body"]) == (0, body)


@pytest.mark.parametrize("kind", media.kinds("exfat", "ext4"))
def test_a_copy_on_a_stick(
    inserted: Inserted, making: tuple[str, ...], secret: tuple[str, str], base: Path, kind: str
) -> None:
    """Made, proved after it was taken out and put in again; what exFAT does not keep is told."""
    lower = inserted(kind)
    volume = base / "volume"
    assert run("create", volume, *making[:3], *making[4:]).code == 0
    theirs = base / "theirs"
    theirs.write_text("another lot of odd words")
    theirs.chmod(0o600)
    mounted = base / "plain"
    mounted.mkdir()
    assert run("mount", volume, mounted, *secret).code == 0
    (mounted / "letters").mkdir()
    (mounted / "letters" / "a").write_bytes(b"x" * 300_000)
    (mounted / "b").hardlink_to(mounted / "letters" / "a")
    (mounted / "l").symlink_to("b")
    (mounted / "b").chmod(0o640)
    assert run("lock", mounted).code == 0
    receipt = base / "receipt.json"
    options = ("--new-passphrase-file", theirs, "--receipt", receipt)
    made = run("handover", volume, lower.path / "copy", *secret, *options, "--kdf-memory", "64M", "--kdf-passes", "3")
    assert made.code == 0, made.err
    body = json.loads(receipt.read_text())["body"]
    assert body["counts"] == {"directories": 1, "files": 2, "symlinks": 1, "others": 0, "bytes": 600_000}
    assert (sum(body["lost"].values()) == 0) == (kind == "ext4")
    media.take_out(lower)
    media.insert(lower)
    checked = run("handover", "--check", receipt, lower.path / "copy", "--passphrase-file", theirs)
    assert (checked.code, "It is the same" in checked.out) == (0, True)
