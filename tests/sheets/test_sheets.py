"""encfs/sheets: what is on the pages, read back from the PDF and from its QR code."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import unicodedata
from datetime import date

import pypdfium2
import pytest

from encfs.errors import UsageError
from encfs.format.recovery_key import decode_recovery_key, encode_recovery_key
from encfs.sheets import parts
from encfs.sheets.shares import Collector, Share, split
from encfs.sheets.sheets import recovery_sheet, share_sheet
from encfs.units import VolumeId
from tests.support.paper import codes_on, words_on

KEY = bytes(range(100, 132))
VOLUME_ID = VolumeId(bytes(range(240, 256)))
DAY = date(2026, 2, 28)
NAMES = [
    "Praxis Größenwahn & Söhne, Ärzte",
    "Łódź: Żółć, gęślą jaźń",
    "Ιατρείο Αθηνών, Ύδρα",
    "Лікарня «Ґанок», Щёлково",
    "Đặng Văn Ứng, Şişli, Čeněk, Þór, Ċensa, Őrség",
    "2ª planta, O\N{RIGHT SINGLE QUOTATION MARK}Neill €5 № 7 \N{EN DASH} 50 %",
]


def recovery(**changed) -> bytes:
    """A recovery sheet, of other people or of another day if that is given."""
    arguments = {"volume": "practice", "volume_id": VOLUME_ID, "custodian": "Anna Schmidt", "day": DAY}
    return recovery_sheet(KEY, **{**arguments, **changed})


def share(shown: Share, **changed) -> bytes:
    """The sheet of a share, likewise."""
    arguments = {"volume": "practice", "volume_id": VOLUME_ID, "holder": "Anna Schmidt", "day": DAY}
    return share_sheet(shown, **{**arguments, **changed})


@pytest.fixture(scope="module")
def shares() -> list[Share]:
    """Two of three."""
    return split(KEY, 2, 3)


def read(pdf: bytes) -> tuple[str, list[str]]:
    """The words of the only page with one space between them, and what its QR codes say."""
    return words_on(pdf), codes_on(pdf)


def test_recovery_sheet():
    """Every group is there with its number, and so is all that tells which volume it opens and who keeps it."""
    text, codes = read(recovery())
    groups = encode_recovery_key(KEY).split("-")
    assert " ".join(f"{number} {group}" for number, group in enumerate(groups, start=1)) in text
    for shown in ("Recovery key", "Volume practice", f"Volume id {VOLUME_ID.hex()}", "Date 2026-02-28"):
        assert shown in text
    assert "Custodian Anna Schmidt" in text
    assert text.endswith("Kept at (place) Date Signature of the custodian")
    assert [decode_recovery_key(code) for code in codes] == [KEY]


def test_share_sheet(shares):
    """Every word is there with its number; number, threshold and set are told; the codes open the volume."""
    collector = Collector()
    for one in shares[:2]:
        text, codes = read(share(one))
        assert " ".join(f"{number} {word}" for number, word in enumerate(one.words, start=1)) in text
        assert f"Share {one.number} of 3" in text
        assert f"Share {one.number} of 3, 2 needed, set {one.set_id:05}" in text
        assert "Any 2 of these 3 shares together" in text
        assert f"Volume id {VOLUME_ID.hex()}" in text
        assert "Holder Anna Schmidt" in text
        assert text.endswith("Kept at (place) Date Signature of the holder")
        assert codes == [one.text]
        collector.add(codes[0])
    assert collector.secret() == KEY


def test_what_is_copied_from_the_page_is_a_share(shares):
    """The numbered words as a PDF reader copies them are taken as they are."""
    text, _ = read(share(shares[2]))
    start = text.index(f"1 {shares[2].words[0]} 2 ")
    end = text.index(" When 2 holders")
    assert Collector().add(text[start:end]) == 3


def test_commands_on_the_sheets(shares):
    """Each sheet says in three steps how to open the volume on a machine that has nothing of it."""
    text, _ = read(recovery())
    assert "1. On a Linux computer" in text
    assert "2. Open the volume" in text
    assert "3. Then add a passphrase, and renew this sheet" in text
    assert "tools/cloakfs status VOLUME" in text
    assert "tools/cloakfs key add VOLUME --recovery" in text
    assert "tools/setup" in text
    assert "tools/cloakfs mount VOLUME MOUNTPOINT --recovery" in text
    text, _ = read(share(shares[0]))
    assert "tools/cloakfs mount VOLUME MOUNTPOINT --shares" in text
    assert "tools/cloakfs key add VOLUME --shares" in text


@pytest.mark.parametrize("name", NAMES)
def test_letters_of_europe(name, shares):
    """Latin, Greek and Cyrillic letters come out as they went in, composed or not."""
    composed, taken_apart = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    text = words_on(recovery(volume=composed, custodian=taken_apart))
    assert f"Volume {composed}" in text
    assert f"Custodian {composed}" in text
    assert f"Holder {composed}" in words_on(share(shares[0], holder=taken_apart))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("診療所", "U+8A3A"),
        ("عيادة", "U+0639"),
        ("מרפאה", "U+05DE"),
        ("क्लिनिक", "U+0915"),
        ("tooth \N{TOOTH}", "U+1F9B7"),
        ("a\nb", "U+000A"),
        ("a\N{ZERO WIDTH SPACE}b", "U+200B"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}abc", "U+202E"),
        ("x\N{COMBINING RING BELOW}\N{COMBINING ENCLOSING CIRCLE}", "U+0325"),
        (os.fsdecode(b"\xff"), "U+DCFF"),
    ],
)
def test_letters_that_cannot_be_printed(name, code):
    """No wrong letter and no box instead: the sheet is refused, and what is wrong is said without the key."""
    with pytest.raises(UsageError) as caught:
        recovery(custodian=name)
    assert str(caught.value) == f"the custodian has a character that cannot be printed on a sheet: {code}"
    assert caught.value.hint


def test_every_name_is_looked_at(shares):
    """Whatever a user wrote on a sheet is refused if it cannot be printed, and called by its name."""
    with pytest.raises(UsageError, match="the volume has a character"):
        recovery(volume="診療所")
    with pytest.raises(UsageError, match="the holder has a character"):
        share(shares[0], holder="診療所")


@pytest.mark.parametrize("letter", "eщ")
def test_the_longest_names(letter, shares):
    """The longest name of a folder and the longest label still fit on one page, with nothing lost."""
    volume, label = letter * 255, letter * 64
    for pdf in (recovery(volume=volume, custodian=label), share(shares[0], volume=volume, holder=label)):
        text, codes = read(pdf)
        joined = text.replace(" ", "")
        assert f"Volume{volume}Volumeid" in joined
        assert f"{label}Share" in joined or f"Custodian{label}" in joined
        assert len(codes) == 1


def test_names_without_end(shares):
    """What does not fit is refused, and nothing is printed over."""
    for make in (lambda: recovery(volume="W" * 5000), lambda: share(shares[0], holder="W" * 5000)):
        with pytest.raises(UsageError, match="too long"):
            make()


def test_same_bytes_for_the_same_date(shares):
    """A sheet is made again byte for byte, in another process too; with another date it is another one."""
    code = (
        "import sys, datetime\n"
        "from encfs.sheets.sheets import recovery_sheet\n"
        f"sys.stdout.buffer.write(recovery_sheet({KEY!r}, volume='practice', volume_id={bytes(VOLUME_ID)!r},"
        f" custodian='Anna Schmidt', day=datetime.date.fromisoformat('{DAY}')))\n"
    )
    made = recovery()
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == (made, b"")
    assert share(shares[0]) == share(shares[0])
    assert recovery(day=date(2026, 3, 1)) != made


def test_nothing_of_a_sheet_is_left(tmp_path, monkeypatch, caplog, shares):
    """No file stays behind, no log line is written, and the parts of the PDF that describe it name no key."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        pdf = recovery()
        share(shares[0])
        with pytest.raises(UsageError):
            recovery(custodian="診")
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []
    document = pypdfium2.PdfDocument(pdf)
    told = " ".join(document.get_metadata_dict().values())
    document.close()
    assert "Recovery key" in told
    for group in encode_recovery_key(KEY).split("-"):
        assert group not in told


def test_check_passes_here():
    """What sheets need is among the locked packages."""
    parts.check()
