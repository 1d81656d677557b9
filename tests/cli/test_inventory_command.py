"""``cloakfs inventory`` (docs/inventory.md) on real volumes, registers and mounts."""

from __future__ import annotations

import csv
import io
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from encfs.errors import ExitCode
from encfs.format.limits import CONFIG_BAK_NAME, CONFIG_NAME
from encfs.registers import exceptions, media, volumes
from encfs.share.definition import ShareSpec, definition
from encfs.volume import read_config
from tests.support.command import Made, run
from tests.support.mounting import MountedVolume


@pytest.fixture(autouse=True)
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shares of this test alone."""
    monkeypatch.setenv("CLOAKFS_SHARE_ETC", str(tmp_path / "etc"))
    return tmp_path / "etc"


def listed() -> dict[str, Any]:
    """The object; the exit status is 0."""
    result = run("inventory", "--json")
    assert result.code == ExitCode.OK
    found: dict[str, Any] = result.json
    return found


def volume_at(path: Path) -> dict[str, Any]:
    """The only one there. What other tests have mounted just now is in the list too."""
    (one,) = [each for each in listed()["volumes"] if each["path"] == str(path)]
    found: dict[str, Any] = one
    return found


def test_nothing_yet() -> None:
    """A computer that knows of nothing says so, and what it is like."""
    found = listed()
    assert [found[name] for name in ("media", "shares", "exceptions", "watched")] == [[]] * 4
    # What others have mounted on this machine meanwhile is mounted for this one too.
    assert [one for one in found["volumes"] if one["state"] not in {"open", "dead"} or one["last_unlock"]] == []
    assert found["last_other_scan"] is None
    codes = {check["code"] for check in found["checks"]}
    assert {"system-disk", "swap", "hibernation", "core-dumps"} <= codes
    assert "none is known" in run("inventory").out


def test_a_volume_that_is_here(volume: Made, etc: Path) -> None:
    """Once opened it is in the list: since when, with what, what opened it last, and that it is shared."""
    assert run("verify", volume.path, *volume.secret).code == ExitCode.OK
    config = read_config(os.fsencode(volume.path))
    one = volume_at(volume.path)
    assert (one["volume_id"], one["path"], one["state"]) == (config.volume_id.hex(), str(volume.path), "locked")
    assert one["kind"] == ("laptop" if listed()["form"] == "laptop" else "folder")
    assert (one["encrypted_since"], one["suite"], one["cell_size"]) == (config.created, "cloakfs-1", config.cell_size)
    assert (one["vouched"], one["keys_since"], one["policy"]) == ("as-it-lies", config.active.created, None)
    assert [(slot["kind"], slot["created"]) for slot in one["slots"]] == [
        (str(slot.kind), slot.created) for slot in config.slots
    ]
    assert one["last_unlock"]["slot"] == config.slots[0].id.hex()
    assert one["last_lock"]["reason"] == "done"
    assert (one["verified"]["wrong"], one["backup"]) == (0, None)
    assert "last backup  none known" in run("inventory").out
    spec = ShareSpec(name="practice", volume=str(volume.path), mountpoint="/srv/practice", group="staff")
    (etc / "samba/cloakfs").mkdir(parents=True)
    (etc / "samba/cloakfs/practice.conf").write_text(definition(spec))
    shared = volume_at(volume.path)
    assert (shared["kind"], shared["shares"]) == ("share", ["practice"])
    assert listed()["shares"] == [{"name": "practice", "volume": str(volume.path), "mountpoint": "/srv/practice"}]


def test_a_volume_that_is_elsewhere(volume: Made, tmp_path: Path) -> None:
    """A stick that was taken: who has it, and what opens it, as this computer wrote down when it was opened here."""
    run("cat", volume.path, "empty", *volume.secret)
    config = read_config(os.fsencode(volume.path))
    media.add("Blue 1", volumes=[config.volume_id.hex()], holder="Eva", place="safe")
    media.check_out("Blue 1", holder="Anna", place="home", due=1)
    exceptions.add(dataset="X-ray", reason="its maker", controls="locked room", approver="Dr. Weber", review=1)
    shutil.move(volume.path, tmp_path / "away")
    found = listed()
    one = volume_at(volume.path)
    assert (one["state"], one["kind"], one["holder"], one["place"]) == ("elsewhere", "stick", "Anna", "home")
    assert (one["vouched"], len(one["slots"]), one["media"]) == ("remembered", 2, ["Blue 1"])
    assert one["encrypted_since"] == config.created
    assert (found["media"][0]["overdue"], found["exceptions"][0]["overdue"]) == (True, True)
    text = run("inventory").out
    assert all(words in text for words in ("not here now", "OVERDUE", "Anna, home"))
    # What lies at that place, and cannot be read, is told as that.
    shutil.copytree(tmp_path / "away", volume.path, symlinks=True)
    for name in (CONFIG_NAME, CONFIG_BAK_NAME):
        (volume.path / os.fsdecode(name)).write_bytes(b"damaged")
    one = volume_at(volume.path)
    assert (one["state"], one["vouched"]) == ("locked", "remembered")
    assert "config" in one["problem"]
    assert "NOT READABLE" in run("inventory").out


def test_a_destroyed_volume(volume: Made) -> None:
    """It stays in the list, and is told as what it is."""
    run("cat", volume.path, "empty", *volume.secret)
    config = read_config(os.fsencode(volume.path))
    volumes.note_destroyed(config.volume_id.hex(), str(volume.path))
    shutil.rmtree(volume.path)
    assert volume_at(volume.path)["state"] == "destroyed"


def test_its_policy(volume: Made) -> None:
    """How a volume stands against its rules, by the same light as status."""
    assert run("policy", volume.path, *volume.secret, "--recommended").code == ExitCode.OK
    one = volume_at(volume.path)
    assert one["policy"] == run("policy", volume.path, "--json").json["policy"]["light"]
    assert one["rules"] == run("policy", volume.path, "--json").json["policy"]["rules"]


@pytest.mark.mount
def test_a_mounted_volume(mounted: MountedVolume) -> None:
    """Its daemon vouches for the config; it was not locked since."""
    one = volume_at(mounted.lower)
    assert (one["state"], one["vouched"], one["last_lock"]) == ("open", "opened", None)
    assert one["last_unlock"]["label"]


def test_for_a_spreadsheet(volume: Made) -> None:
    """One row for each thing, with the names of the columns; a name that is a formula is text."""
    run("cat", volume.path, "empty", *volume.secret)
    media.add("=1+1")
    read = list(csv.DictReader(io.StringIO(run("inventory", "--csv").out)))
    names = {row["what"]: row["name"] for row in reversed(read)}
    assert (names["volume"], names["medium"]) == (str(volume.path), "'=1+1")


def test_the_page_goes_to_a_new_file(tmp_path: Path) -> None:
    """For its owner only; nothing is overwritten; a directory that is not there is said."""
    page = tmp_path / "page.html"
    assert run("inventory", "--html", page).code == ExitCode.OK
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    before = page.read_bytes()
    assert run("inventory", "--html", page).code == ExitCode.NOT_EMPTY
    assert page.read_bytes() == before
    assert run("inventory", "--html", tmp_path / "no/page.html").code != ExitCode.OK
    result = run("inventory", "--html", tmp_path / "two.html", "--json")
    assert result.json["html"] == str(tmp_path / "two.html")
    assert run("inventory", "--csv", "--json").code == ExitCode.USAGE
