"""docs/story.md: a stick is lost, what is said of it, and that no patient's name is in anything that was written."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
import pytest

from tests.support import pages, scratch_machine, walkthrough

PAGE = Path(__file__).resolve().parents[2] / "docs/story.md"
NAME = "Quillfeather"
LABEL = "Blue 1"
WRITTEN = (
    "incident.json",
    "incident.pdf",
    "incident-2.json",
    "incident-2.pdf",
    "evidence.json",
    "evidence.pdf",
    "log.jsonl",
)


def words_of(path: Path) -> str:
    """What stands on the pages of a PDF."""
    document = pypdfium2.PdfDocument(path.read_bytes())
    try:
        return " ".join(page.get_textpage().get_text_bounded() for page in document)
    finally:
        document.close()


@pytest.mark.mount
@pytest.mark.skipif(not scratch_machine.available(), reason="needs root and overlays")
def test_the_whole_story(tmp_path: Path) -> None:
    """Each command goes as it says, on both computers; then everything that is left is searched for the name."""
    text = PAGE.read_text(encoding="utf-8")
    assert NAME in text
    steps = walkthrough.walk(PAGE, tmp_path)
    assert not any(step.wrong for step in steps), walkthrough.transcript(steps)
    assert len(steps) == len(pages.read(text).steps)
    home = tmp_path / "practice/changes/home/anna"
    assert {name for name in WRITTEN if (home / name).stat().st_size > 0} == set(WRITTEN)
    left = [path for machine in ("practice", "elsewhere0") for path in (tmp_path / machine / "changes").rglob("*")]
    files = [path for path in (*left, tmp_path / "stick.image") if path.is_file() and not path.is_symlink()]
    with_label = [path for path in files if LABEL.encode() in path.read_bytes()]
    assert any("registers" in path.parts for path in with_label)
    assert [path for path in left if NAME in path.name] == []
    assert [path for path in files if NAME.encode() in path.read_bytes()] == []
    for path in (path for path in files if path.suffix == ".pdf"):
        words = words_of(path)
        assert "not legal advice" in words
        assert NAME not in words
