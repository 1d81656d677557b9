"""encfs/evidence/drill_document.py: the signed record of a drill, its pages and their check (FORMAT.md 17, "Drill")."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from encfs.backup import drills
from encfs.backup.drill_record import DrillOutcome, FoundIn, parse
from encfs.backup.drills import Action, Certified, Drill
from encfs.core.documents import open_document
from encfs.errors import AuthenticationError, ExitCode, FormatError, NewerFormatError
from encfs.evidence import checking, drill_document
from encfs.evidence.checking import Pages
from tests.support.command import run
from tests.support.drills import drill

FAILED = DrillOutcome.FAILED


def _text(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return " ".join(" ".join(page.get_textpage().get_text_range().split()) for page in document)
    finally:
        document.close()


def _certified(one: Drill, **more: Any) -> Drill:
    made = {"by": "Bert Maier", "uid": 1001, "at": 2_000_000, "note": "seen", "shared": False, **more}
    return replace(one, certified=Certified(**made))


def test_what_stands_in_it() -> None:
    """The record as it was made, and who has certified it; all of it comes back from the document."""
    one = _certified(drill())
    document = open_document(drill_document.sign(one, login="bert"), drills.KIND)
    assert parse(document.body["record"]) == one.record
    assert document.body["certified"] == {
        "by": "Bert Maier",
        "login": "bert",
        "uid": 1001,
        "at": 2_000_000,
        "note": "seen",
        "shared": False,
    }
    assert document.body["action"] is None


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (drill(), "A sample of this backup was restored, and is what was taken: 5 files of 20."),
        (drill(full=True), "All of this backup was restored, and is what was taken: 5 files."),
        (drill(outcome=FAILED), "This backup is NOT as it was taken: 1 file is damaged."),
        (drill(outcome=DrillOutcome.BROKEN_OFF), "This trial was broken off, and shows nothing: the target is gone."),
        (_certified(drill()), "Bert Maier (account bert, uid 1001)"),
        (_certified(drill(), shared=True), "the same as above, which both use"),
        (drill(), "5 files of 20, picked by the seed 7; the largest and the newest are among them"),
        (drill(), "2.0 hours by what was measured, of 72 hours that it may take"),
        (replace(drill(outcome=FAILED), action=Action(text="a new stick", owner="Eva", due=5_000_000)), "a new stick"),
    ],
)
def test_the_pages(one: Drill, words: str) -> None:
    """What an office manager reads first, and what an authority asks for."""
    assert words in _text(drill_document.pdf(drill_document.sign(one, login="bert")))


def test_every_count_has_words() -> None:
    """Nothing that is wrong is left out of the sentence."""
    found = FoundIn(tag_failures=2, missing=1, extra=3, mismatches=4, metadata=5)
    text = drill_document.wrong(replace(drill(outcome=FAILED).record, found=found))
    for part in (
        "2 files are damaged",
        "1 file is missing",
        "4 files are others",
        "3 files were never",
        "5 have other",
    ):
        assert part in text
    bare = replace(drill(outcome=FAILED).record, found=FoundIn(), why="it cannot be opened")
    assert drill_document.wrong(bare) == "it cannot be opened"


def test_any_changed_bit_is_refused() -> None:
    """The document is signed: no bit of it can be changed, nor its verdict, counts, names, or who certified."""
    signed = drill_document.sign(_certified(drill(outcome=FAILED)), login="bert")
    for position in range(len(signed) - 1):
        changed = bytearray(signed)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises((FormatError, NewerFormatError, AuthenticationError)):
            checking.check(bytes(changed))


def test_the_check_of_evidence(tmp_path: Path) -> None:
    """``cloakfs evidence --check``: the pages are made again and compared, and the sentence is told; or NOT GENUINE."""
    signed = drill_document.sign(_certified(drill()), login="bert")
    pdf = drill_document.pdf(signed)
    assert checking.check(pdf).pages is Pages.SAME
    good, bad = tmp_path / "good.pdf", tmp_path / "bad.json"
    good.write_bytes(pdf)
    bad.write_bytes(signed.replace(b'"passed"', b'"failed"'))
    done = run("evidence", "--check", good)
    assert done.code == 0
    assert "record of a trial of a backup is as it was signed" in " ".join(done.out.split())
    assert "A sample of this backup was restored" in done.out
    refused = run("evidence", "--check", bad)
    assert (refused.code, "NOT GENUINE" in refused.out) == (ExitCode.FINDINGS, True)
