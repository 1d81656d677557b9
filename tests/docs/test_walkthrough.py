"""Every page with commands is followed word by word on a scratch machine, and goes as it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import pages, scratch_machine, walkthrough

TOP = Path(__file__).resolve().parents[2]
ELSEWHERE = {"story"}  # test_story.py follows it, and looks at what is left of it.
PAGES = sorted(
    path
    for path in (TOP / "README.md", *TOP.glob("docs/*.md"))
    if path.stem not in ELSEWHERE and "```console" in path.read_text(encoding="utf-8")
)
# Blocks that cannot be run here, by their reasons. A block that is left out for a reason that is not here fails.
REASONS = {"on Windows", "on a Mac", "on another machine"}


@pytest.mark.mount
@pytest.mark.skipif(not scratch_machine.available(), reason="needs root and overlays")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_goes_as_it_says(page, tmp_path):
    """Each command, typed as it stands, ends well and prints what the page shows; what it mounted can be locked."""
    if (
        page.stem == "README"
    ):  # tools/cloakfs sets up a checkout that is not ready; the user of the page is not its owner.
        subprocess.run([TOP / "tools/setup", "--quiet"], check=True, capture_output=True)
    steps = walkthrough.walk(page, tmp_path)
    assert not any(step.wrong for step in steps), walkthrough.transcript(steps)
    assert len(steps) == len(pages.read(page.read_text(encoding="utf-8")).steps)


def test_blocks_are_left_out_for_known_reasons_only():
    """Leaving out a block is an exception, and says why."""
    skipped = {
        (page.name, line, why) for page in PAGES for line, why in pages.read(page.read_text(encoding="utf-8")).skipped
    }
    assert [entry for entry in skipped if entry[2] not in REASONS] == []


def test_the_quick_start_is_among_them():
    """A page that lost its commands would pass for want of any."""
    assert "README.md" in {page.name for page in PAGES}
