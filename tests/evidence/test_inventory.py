"""What an inventory says, and the page that it is printed as (encfs/evidence/inventory*.py)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from encfs.checks import Light
from encfs.cli import output
from encfs.crypto.signing import Signer
from encfs.evidence import inventory_html, inventory_rows, inventory_words
from encfs.evidence.facts import ConfigFacts, RotationFacts, SlotFacts, VolumeFacts, Vouched
from encfs.evidence.inventory import (
    Backup,
    Inventory,
    Line,
    State,
    as_json,
    covered,
    disk_check,
    form_of,
    line,
    nameless,
)
from encfs.host.verified import Verified
from encfs.memory.swap import Protection
from encfs.registers.beat_file import State as BeatState
from encfs.registers.exceptions import DataException
from encfs.registers.heartbeat import Beat
from encfs.registers.media import Medium, MediumKind, MediumState
from encfs.registers.scans import LastScan, ScanCounts, Scans, Watched
from encfs.registers.volumes import KnownVolume, Origin
from encfs.share.definition import ShareSpec
from tests.support import browser

DAY = 86_400
NOW = 1_790_000_000
ID = "0123456789abcdef" * 2
EVIL = '<script>alert("1")</script>&amp;\x1b[31m'
LONG = "/srv/" + "averylongnamewithoutanyplacetobreak" * 6

BLUE = Medium(
    label="Blue 1",
    serial="4C53",
    kind=MediumKind.STICK,
    volumes=(ID,),
    holder="Eva",
    place="home office",
    due=NOW - DAY,
    state=MediumState.OUT,
    since=NOW - 9 * DAY,
)
BEAT = Beat(
    volume_id=ID,
    path="/media/eva/encrypted",
    host="reception",
    state=BeatState.LOCKED,
    at=NOW - 3 * DAY,
    since=NOW - 4 * DAY,
    slot="aa" * 8,
    slot_label="Eva",
    reason="idle",
    mountpoint="/mnt",
    read_only=False,
    digest="00" * 32,
    signer=Signer.generate().public,
)
CONFIG = ConfigFacts(
    created=NOW - 500 * DAY,
    suite="cloakfs-1",
    cell_size=4096,
    key_since=NOW - 100 * DAY,
    slots=(
        SlotFacts(
            id="aa" * 8, kind="passphrase", label="Eva", created=NOW - 100 * DAY, cost="Argon2id, 64 MiB, 3 passes"
        ),
        SlotFacts(id="bb" * 8, kind="recovery", label="safe", created=NOW - 500 * DAY, cost=""),
    ),
    rotations=(
        RotationFacts(epoch=1, reason="staff", started=NOW - 100 * DAY, finished=NOW - 100 * DAY, data=False, files=12),
    ),
    rules={"idle_seconds": 900},
)
FACTS = VolumeFacts(
    volume_id=ID,
    path="/media/eva/encrypted",
    vouched=Vouched.REMEMBERED,
    config=CONFIG,
    noted=NOW - 4 * DAY,
    mounted=False,
    known=KnownVolume(
        volume_id=ID,
        path="/media/eva/encrypted",
        paths=("/media/eva/encrypted",),
        kind=Origin.SEEN,
        first_seen=NOW - 400 * DAY,
        created=CONFIG.created,
    ),
    beat=BEAT,
    verified=Verified(NOW - 20 * DAY, 2),
    media=(BLUE,),
    shares=(),
)
COUNTS = ScanCounts(
    files=30,
    clinical=4,
    bytes=1 << 20,
    inside=70,
    kinds={"document": 26, "dicom": 4},
    ages={"year": 30},
    looked_at=200,
    folders=9,
    unreadable=0,
    left_out=2,
    disk="plain",
)


def one(facts: VolumeFacts = FACTS, state: State = State.ELSEWHERE, **more: Any) -> Line:
    """A line of an inventory made on a desktop."""
    return line(facts, state, **{"host": "reception", "form": "desktop"} | more)


def inventory(volumes: Sequence[Line]) -> Inventory:
    """With something of everything."""
    return Inventory(
        host="reception",
        form="desktop",
        made_at=NOW,
        version="0.1.0",
        checks=[disk_check(Protection.PLAIN), disk_check(Protection.ENCRYPTED)],
        volumes=volumes,
        media=[BLUE, replace(BLUE, label="Safe disk", kind=MediumKind.BACKUP, state=MediumState.IN, due=None)],
        shares=[ShareSpec(name="practice", volume="/srv/p.vault", mountpoint="/srv/p", group="staff")],
        exceptions=[
            DataException(
                id="E1",
                dataset="X-ray machine",
                reason="its maker forbids changes",
                controls="a room of its own, locked",
                approver="Dr. Weber",
                review=NOW - 5,
                added=NOW - DAY,
                withdrawn=None,
                reviewed=NOW - DAY,
            )
        ],
        scans=Scans(
            {"/srv": Watched(path="/srv", since=NOW - DAY, last=LastScan(at=NOW - 60, counts=COUNTS))},
            LastScan(at=NOW - 90, counts=COUNTS),
        ),
    )


RICH = inventory(
    [
        one(),
        one(
            replace(FACTS, shares=("practice",), media=()),
            State.OPEN,
            light=Light.RED,
            backup=Backup(last=NOW, drill=NOW),
        ),
        one(replace(nameless(LONG), beat=replace(BEAT, slot_label=EVIL)), State.LOCKED, problem=f"{LONG}: {EVIL}"),
        *(one(replace(FACTS, path=f"/srv/{number}.vault"), State.LOCKED) for number in range(4)),
    ]
)


# -- what follows from the facts ------------------------------------------------------------------------------------


def test_kind_holder_and_place() -> None:
    """A share before its medium, a medium before the host; one that is elsewhere is not on this host."""
    assert (one().kind, one().holder, one().place) == ("stick", "Eva", "home office")
    assert one(replace(FACTS, shares=("practice",))).kind == "share"
    plain = replace(FACTS, media=())
    assert (one(plain, State.LOCKED).kind, one(plain, State.LOCKED).place) == ("folder", "reception")
    assert one(plain, State.LOCKED, form="laptop").kind == "laptop"
    assert one(plain).place == ""
    gone = replace(BLUE, state=MediumState.DESTROYED, holder="nobody", kind=MediumKind.DISK)
    assert (one(replace(FACTS, media=(gone, BLUE))).kind, one(replace(FACTS, media=(gone, BLUE))).holder) == (
        "stick",
        "Eva",
    )
    assert FACTS.known is not None
    assert one(replace(FACTS, known=replace(FACTS.known, destroyed=5))).state is State.DESTROYED


def test_one_that_is_open_was_not_locked_since() -> None:
    """The heartbeat of an open volume tells no lock; one without a heartbeat tells nothing."""
    assert (one().last_unlock, one().last_lock) == (BEAT.since, BEAT.at)
    still = one(replace(FACTS, beat=replace(BEAT, state=BeatState.OPEN)))
    assert (still.last_unlock, still.last_lock, as_json(inventory([still]))["volumes"][0]["last_lock"]) == (
        *(BEAT.since, None),
        None,
    )
    assert "not since" in inventory_words.last_lock(still)
    assert inventory_words.last_lock(one(replace(FACTS, beat=None))) == "not known"


def test_no_backup_is_said_and_never_made_up() -> None:
    """Where none is known that is what everything says."""
    assert as_json(inventory([one()]))["volumes"][0]["backup"] is None
    rows = dict(inventory_words.volume_rows(one(), NOW))
    assert (rows["last backup"], rows["last drill"]) == ("none known", "none known")
    assert inventory_words.backups(inventory([one()])) == (
        "No backup of a volume is known here. Media for backups in the register: Safe disk."
    )
    assert "2026" in inventory_words.backup(one(backup=Backup(last=NOW, drill=None)))


def test_a_part_that_was_verified_is_no_verification() -> None:
    """0 is what the host remembers before everything was read once."""
    assert one(replace(FACTS, verified=Verified(0, 1))).verified_at is None
    assert inventory_words.verified(one(replace(FACTS, verified=Verified(0, 1)))) == (
        "never as a whole, as far as this computer knows; 1 thing was wrong"
    )


def test_coverage() -> None:
    """Of a hundred likely files, how many are in volumes; rounded down, so that 100 is all of them."""
    watched = RICH.scans.watched["/srv"]
    assert covered(watched) == 70
    assert covered(replace(watched, last=None)) is None
    assert covered(replace(watched, last=LastScan(at=1, counts=replace(COUNTS, files=0, inside=0)))) is None
    assert covered(replace(watched, last=LastScan(at=1, counts=replace(COUNTS, files=1, inside=999)))) == 99
    assert inventory_words.coverage(watched).startswith(
        "70 % in volumes: 30 likely files outside of volumes, 70 in open"
    )


@pytest.mark.parametrize(
    ("chassis", "form"), [("10\n", "laptop"), ("31", "laptop"), ("3", "desktop"), ("1", ""), ("?", "")]
)
def test_the_form_of_the_computer(tmp_path: Path, chassis: str, form: str) -> None:
    """By what its firmware says; nothing is guessed."""
    place = tmp_path / "sys/class/dmi/id/chassis_type"
    assert form_of(tmp_path) == ""
    place.parent.mkdir(parents=True)
    place.write_text(chassis)
    assert form_of(tmp_path) == form


def test_json_and_rows_have_everything() -> None:
    """JSON without fractions; a row for each thing; a formula stays text in a spreadsheet."""
    found = as_json(RICH)
    assert "." not in re.sub(r'"[^"]*"', "", json.dumps(found))
    assert {name for name, part in found.items() if part in (None, [], {})} == set()
    first = found["volumes"][0]
    assert (first["vouched"], first["noted"], first["slots"][1]["kind"]) == ("remembered", NOW - 4 * DAY, "recovery")
    assert (first["policy"], found["volumes"][1]["policy"]) == (None, "red")
    rows = list(inventory_rows.rows(RICH))
    assert {column for row in rows for column in row} <= set(inventory_rows.COLUMNS)
    whats = [row["what"] for row in rows]
    assert [
        whats.count(what) for what in ("volume", "medium", "share", "exception", "watched directory", "computer")
    ] == ([7, 2, 1, 1, 1, 2])
    assert rows[0]["slots"] == "1 passphrase, 1 recovery"


def test_rows_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    """Read back, every cell of the head is there."""
    output.print_csv(inventory_rows.COLUMNS, inventory_rows.rows(RICH))
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (read[0]["name"], read[0]["last_backup"], read[1]["last_backup"] != "") == ("/media/eva/encrypted", "", True)


# -- the page -------------------------------------------------------------------------------------------------------


class Parsed(HTMLParser):
    """The tags of a page, what each of them would load, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_the_page_loads_and_runs_nothing() -> None:
    """No script, no attribute that loads, no address in its style; what others chose is text."""
    page = inventory_html.render(RICH)
    parsed = Parsed(page)
    assert parsed.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert not {"script", "link", "img", "iframe", "object", "a", "form", "base", "svg"} & set(parsed.tags)
    assert not re.search(r"url\(|@import|https?:|\\x1b|\x1b", page.replace("\\x1b[31m", ""))
    assert "default-src 'none'" in page
    assert '<script>alert("1")</script>&amp;\\x1b[31m' in parsed.words
    assert "This is not legal advice." in parsed.words


def test_the_page_has_everything() -> None:
    """Each volume, medium, share, exception and directory, and what is overdue."""
    text = " ".join(Parsed(inventory_html.render(RICH)).words.split())
    for wanted in (
        *(
            "/media/eva/encrypted",
            LONG,
            "Blue 1",
            "OVERDUE",
            "practice",
            "X-ray machine",
            "70 % in volumes",
            "none known",
        ),
        *(
            "AES-256-GCM",
            "4 KiB",
            "Argon2id, 64 MiB, 3 passes",
            "it is not encrypted",
            "this computer, which wrote it down",
        ),
    ):
        assert wanted in text
    assert "None is known." in Parsed(inventory_html.render(replace(inventory([]), media=[], shares=[]))).words


# Writes into the title what stands out of the page or of its cell, and what lies on top of other text.
LOOK = """<script>addEventListener("load", () => {
  const wrong = [], cells = [...document.querySelectorAll("td, th, h1, h2, h3, p, footer")];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) wrong.push("the page is wider than the paper");
  const boxes = cells.map((e) => {
    const range = document.createRange();
    range.selectNodeContents(e);
    return [e, range.getBoundingClientRect()];
  });
  for (const [e, box] of boxes) {
    const own = e.getBoundingClientRect();
    if (box.width && (box.right > own.right + 1 || box.left < own.left - 1 || box.bottom > own.bottom + 1)) {
      wrong.push("out of its cell: " + e.textContent.slice(0, 30));
    }
    if (box.right > root.clientWidth || box.left < 0) wrong.push("out of the page: " + e.textContent.slice(0, 30));
  }
  boxes.forEach(([e, a], i) => boxes.slice(i + 1).forEach(([f, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    const names = e.textContent.slice(0, 20) + " / " + f.textContent.slice(0, 20);
    if (wide > 1 && high > 1) wrong.push("one over the other: " + names);
  }));
  document.title = "cells " + cells.length + " wrong " + JSON.stringify(wrong.slice(0, 5));
});</script></body>"""
# 210 mm and 215.9 mm without margins of 15 mm, at 96 points to the inch; and a desk.
WIDTHS = {"A4": 680, "Letter": 702, "screen": 1280}


def look(page: str, tmp_path: Path, width: int) -> str:
    """The title that a browser of that width gives to the page."""
    measured = tmp_path / "measured.html"
    measured.write_text(re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", LOOK), encoding="utf-8")
    seen = browser.after_scripts(measured.as_uri(), tmp_path / "profile", width=width)
    found = re.search(r"<title>(.*?)</title>", seen)
    assert found is not None
    return found[1]


@pytest.mark.skipif(not browser.available(), reason="no Chromium")
@pytest.mark.parametrize("paper", WIDTHS)
def test_nothing_stands_out_or_overlaps(tmp_path: Path, paper: str) -> None:
    """As a browser lays it out at the width of the paper, with names that are long and break nowhere."""
    title = look(inventory_html.render(RICH), tmp_path, WIDTHS[paper])
    cells = re.fullmatch(r"cells (\d+) wrong \[\]", title)
    assert cells is not None, title
    assert int(cells[1]) > 150


@pytest.mark.skipif(not browser.available(), reason="no Chromium")
def test_what_would_stand_out_is_seen(tmp_path: Path) -> None:
    """The look at the page is one: without its rule for long words it finds something."""
    page = inventory_html.render(RICH).replace("overflow-wrap: anywhere", "")
    assert "out of its cell" in look(page, tmp_path, WIDTHS["A4"])


@pytest.mark.skipif(not browser.available(), reason="no Chromium")
@pytest.mark.parametrize("size", ["a4", "letter"])
def test_printed(tmp_path: Path, size: str) -> None:
    """On paper all of the text is there, and within the margins."""
    page = tmp_path / "page.html"
    page.write_text(inventory_html.render(RICH).replace("@page {", f"@page {{ size: {size};"), encoding="utf-8")
    browser.printed(page.as_uri(), tmp_path / "page.pdf", tmp_path / "profile")
    document = pypdfium2.PdfDocument(tmp_path / "page.pdf")
    try:
        pages = [document[number] for number in range(len(document))]
        text = " ".join(" ".join(one.get_textpage().get_text_range().split()) for one in pages)
        width = {"a4": 595, "letter": 612}[size]
        for sheet in pages:
            assert round(sheet.get_size()[0]) == width
            boxes = [sheet.get_textpage().get_charbox(n) for n in range(sheet.get_textpage().count_chars())]
            inked = [box for box in boxes if box[2] > box[0]]
            assert min(box[0] for box in inked) > 40
            assert max(box[2] for box in inked) < width - 40
    finally:
        document.close()
    assert len(pages) >= 2
    for wanted in ("Inventory of reception", "Blue 1", "X-ray machine", "70 % in volumes", "This is not legal advice."):
        assert wanted in text
    assert text.count("last backup") == len(RICH.volumes)
