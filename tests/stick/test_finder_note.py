"""The note for the finder, and which devices may be erased: rules that need no stick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from encfs.errors import UsageError
from encfs.stick import finder, layout, reader_file
from encfs.stick.devices import Device, check_formattable, holds_system
from encfs.stick.preparing import check_label


def test_the_note_is_shown_by_every_machine():
    """ASCII with CRLF and short lines, as Notepad needs it; umlauts and accents are spelled out, lines are kept."""
    note = finder.note("Praxis Dr. Müller \u2013 André Groß\nTel. 030 123456")
    assert note.endswith(b"\r\n")
    lines = note.decode("ascii").split("\r\n")
    assert not any("\n" in line or "\r" in line or len(line) > 72 for line in lines)
    at = lines.index("Praxis Dr. Mueller - Andre Gross")
    assert lines[at + 1] == "Tel. 030 123456"
    assert lines[0] == "THIS MEDIUM IS ENCRYPTED"
    assert b"Mueller" not in finder.note("")
    assert all(name.encode() in note for name in (layout.VOLUME_NAME, layout.READER_NAME))


@pytest.mark.parametrize("words", ["Практика", "\x1b[2J", "x" * 601, "smile \U0001f600", "a\0b"])
def test_words_that_not_everybody_could_read_are_refused(words: str):
    """Other scripts, control characters and whole letters are refused before anything is made."""
    with pytest.raises(UsageError) as caught:
        finder.note(words)
    assert caught.value.hint
    assert "\x1b" not in str(caught.value)


def test_the_reader_is_found_in_the_first_place_that_has_it(tmp_path):
    """A place without it is passed over; without any there is none."""
    (tmp_path / "b").mkdir()
    assert reader_file.find([tmp_path / "a", tmp_path / "b"]) is None
    (tmp_path / "b" / layout.READER_NAME).write_bytes(b"reader")
    assert reader_file.find([tmp_path / "a", tmp_path / "b"]) == tmp_path / "b" / layout.READER_NAME


def test_a_stick_stands_for_the_volume_on_it(tmp_path):
    """Only a folder of the fixed name that is a volume counts, and a directory that is a volume stands for itself."""
    inner = tmp_path / layout.VOLUME_NAME
    assert layout.volume_at(str(tmp_path)) == str(tmp_path)
    inner.mkdir()
    assert layout.volume_at(str(tmp_path)) == str(tmp_path)
    (inner / "cloakfs.volume.bak").touch()
    assert layout.volume_at(str(tmp_path)) == str(inner)
    (tmp_path / "cloakfs.volume").touch()
    assert layout.volume_at(str(tmp_path)) == str(tmp_path)


STICK = Device(
    name="sdb", path="/dev/sdb", number="8:16", kind="disk", size=8 << 30, removable=True, model="USB Flash",
    children=(Device(name="sdb1", path="/dev/sdb1", number="8:17", kind="part", size=8 << 30, disk="sdb"),),
)  # fmt: skip
PART = STICK.children[0]


@pytest.mark.parametrize(
    ("disk", "device", "why"),
    [
        (replace(STICK, removable=False), None, "built into this machine"),
        (STICK, replace(PART, mountpoints=("/media/anna/STICK",)), "is mounted at /media/anna/STICK"),
        (replace(STICK, children=(replace(PART, mountpoints=("/mnt",)),)), None, "is mounted at /mnt"),
        (replace(STICK, children=(replace(PART, mountpoints=("/boot",)),)), PART, "this machine runs from"),
        (replace(STICK, mountpoints=("[SWAP]",)), None, "this machine runs from"),
        (STICK, replace(PART, children=(replace(PART, name="secret", kind="crypt"),)), "secret (crypt)"),
        (STICK, replace(PART, kind="lvm"), "but lvm"),
        (replace(STICK, size=0), None, "no medium in it"),
        (replace(STICK, read_only=True), None, "write-protected"),
    ],
)
def test_what_is_no_free_stick_is_not_formatted(disk: Device, device: Device | None, why: str):
    """Each disk that must not be erased is refused, with the reason; a free stick and a partition of it are not."""
    check_formattable(STICK, STICK)
    check_formattable(PART, STICK)
    with pytest.raises(UsageError, match=why.replace("(", r"\(").replace(")", r"\)")):
        check_formattable(device or disk, disk)


def test_the_system_is_found_below_other_layers():
    """A root filesystem on LVM on a partition makes the whole disk that of the system."""
    root = Device(name="vg-root", path="/dev/dm-0", number="254:0", kind="lvm", size=1, mountpoints=("/",))
    assert holds_system(replace(STICK, children=(replace(PART, children=(root,)),)))
    assert not holds_system(STICK)


def test_windows_looks_only_into_its_own_partitions():
    """A partition that was made for Linux is told apart, so that its owner can be warned."""
    assert PART.in_sight_of_windows
    assert replace(PART, part_type="0x7").in_sight_of_windows
    assert not replace(PART, part_type="0x83").in_sight_of_windows


@pytest.mark.parametrize("label", ["", "TWELVE-CHARS", "a b", "ü", "a/b"])
def test_labels_that_not_every_system_takes_are_refused(label: str):
    """What desktops would show wrongly is refused."""
    check_label("STICK-2")
    with pytest.raises(UsageError):
        check_label(label)
