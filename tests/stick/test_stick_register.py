"""A new stick is in the register of media by itself (docs/media-register.md)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from encfs.cli import stick_registering
from encfs.cli.medium_facts import Facts
from encfs.errors import ExitCode
from encfs.registers import media as register
from encfs.registers.media import MediumState
from encfs.volume import read_config
from tests.stick.conftest import Inserted
from tests.support import media
from tests.support.command import run


@pytest.mark.parametrize("kind", media.kinds("exfat"))
def test_a_directory(inserted: Inserted, making: tuple[str, ...], kind: str) -> None:
    """Under the name of the stick, with what is on it; made anew under its label, it is the same medium, and found."""
    stick = inserted(kind).path
    made = run("stick", "create", stick, *making)
    assert (made.code, made.err) == (0, "")
    name = os.path.basename(os.path.realpath(stick))
    assert f"In the register of media it is {name}" in made.out
    volume = read_config(os.fsencode(stick / "encrypted")).volume_id.hex()
    (one,) = register.media()
    assert (one.label, one.state, one.volumes) == (name, MediumState.IN, (volume,))
    register.lost(name, lost_at=1)
    for left in stick.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    again = run("stick", "create", stick, *making, "--medium", name.upper(), "--json")
    assert again.json["medium"] == name
    (one,) = register.media()
    assert (one.state, one.volumes) == (MediumState.IN, (again.json["volume_id"],))
    assert [entry.kind for entry in register.history(name)] == ["add", "lost", "found", "volume"]


def test_a_device(empty_stick: str, making: tuple[str, ...]) -> None:
    """With the filesystem that it got now, under a label that is free; in the list of volumes by its device."""
    register.add("STICK", serial="of another one")
    name = os.path.basename(empty_stick)
    made = run("stick", "create", empty_stick, *making, "--confirm", name, "--json")
    assert made.code == 0, made.err
    assert made.json["medium"] == "STICK 2"
    one = register.medium("STICK 2")
    assert (one.serial, one.volumes) == ("", (made.json["volume_id"],))
    assert len(one.filesystem) == 9


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_label_of_another_medium(inserted: Inserted, making: tuple[str, ...], kind: str) -> None:
    """Refused before anything is written on the stick; one that cannot be a label too."""
    stick = inserted(kind).path
    register.add("Blue")
    register.destroyed("Blue")
    before = sorted(os.listdir(stick))
    for label in ("blue", "a\nb", " "):
        refused = run("stick", "create", stick, *making, "--medium", label)
        assert refused.code == ExitCode.USAGE
    assert sorted(os.listdir(stick)) == before
    assert len(register.all_entries()) == 2


@pytest.mark.parametrize("kind", media.kinds("ext4"))
def test_a_register_that_is_damaged(inserted: Inserted, making: tuple[str, ...], state: Path, kind: str) -> None:
    """The stick is made all the same, and it is said that it is not in the register."""
    register.add("Blue")
    file = state / "registers" / "media"
    file.write_bytes(b"x")
    stick = inserted(kind).path
    made = run("stick", "create", stick, *making, "--json")
    assert (made.code, made.json["medium"]) == (0, None)
    assert "will not be in the register" in made.err
    assert file.read_bytes() == b"x"


def test_which_one_is_meant(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The serial decides; a folder on the disk of this machine is no medium, unless a label is given."""
    del state
    assert stick_registering.choose(None, str(tmp_path), None, "STICK") is None
    monkeypatch.setattr(stick_registering, "_facts", lambda *_: Facts("4C53", ""))
    register.add("Blue", serial="4C53")
    register.add("Red", serial="other")
    known = stick_registering.choose("Blue", str(tmp_path), None, "STICK")
    assert known == stick_registering.Label("Blue", is_known=True)
    assert stick_registering.choose("Green", str(tmp_path), None, "STICK") == stick_registering.Label(
        "Green", is_known=False
    )
    with pytest.raises(stick_registering.UsageError, match="another medium Red"):
        stick_registering.choose("Red", str(tmp_path), None, "STICK")
