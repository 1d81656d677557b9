"""The pictures of terminals in docs/images are what the commands say today."""

from __future__ import annotations

import re

import pytest

from tests.support import scratch_machine
from tools import make_screens

NAMES = sorted(path.stem for path in make_screens.SCRIPTS.glob("*.md"))


@pytest.mark.mount
@pytest.mark.skipif(not scratch_machine.available(), reason="needs root and overlays")
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_what_the_commands_say(name):
    """Run again, the script gives the same picture, byte for byte; else: tools/make-screens."""
    drawn = make_screens.draw(name, make_screens.transcript(name))
    assert (make_screens.IMAGES / f"{name}.svg").read_text(encoding="utf-8") == drawn


def test_every_picture_has_a_script_and_a_page():
    """No picture is left that nothing makes or shows."""
    drawn_by_hand = {"concepts"}
    assert {path.stem for path in make_screens.IMAGES.glob("*.svg")} == {*NAMES, *drawn_by_hand}
    pages = "".join(path.read_text(encoding="utf-8") for path in (make_screens.TOP / "docs").glob("*.md"))
    assert set(re.findall(r"\]\(images/([\w-]+)\.svg\)", pages)) == {*NAMES, *drawn_by_hand}


@pytest.mark.parametrize("first", ["J", "-", "_", "--"])
def test_a_name_of_the_backing_store(first):
    """Whatever letter a random name begins with, another one stands in the picture."""
    name = first + "Rx0cVtY4ZqS1hK8dW3nUeP7mLbA9fGx2oTiR5vC6sQ"
    assert make_screens.typical(f"below: {name}]") == f"below: {make_screens.SEALED_EXAMPLES[0]}]"
