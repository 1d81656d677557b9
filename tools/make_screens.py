#!/usr/bin/env python3
"""Draws docs/images from what commands really say: runs tools/screens/*.md on a scratch machine, each becomes an SVG.

A script is a page as the walk-through test reads it. What stands below its heading "Shown" is drawn. What differs from
run to run (times, keys, sizes of this disk) is replaced by an example, so that the same words give the same file, byte
for byte.

    tools/make-screens             writes all; needs root
    tools/make-screens NAME...     only these
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.support import walkthrough

TOP: Final = Path(__file__).resolve().parents[1]
SCRIPTS: Final = TOP / "tools" / "screens"
IMAGES: Final = TOP / "docs" / "images"
_COLUMNS: Final = 100
_LINE_HEIGHT: Final = 24.4  # rich's, in units of the picture
_THEME: Final = TerminalTheme(
    (24, 28, 34),
    (222, 226, 232),
    [
        (24, 28, 34),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (222, 226, 232),
    ],
)
# As rich draws it, but with the reader's own font: its own format fetches one from the network.
_FORMAT: Final = """<svg class="rich-terminal" viewBox="0 0 {width} HEIGHT" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
{styles}
</style>
<defs>
{lines}
</defs>
<rect fill="#181c22" width="100%" height="100%" rx="8"/>
<g transform="translate({terminal_x}, 12)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
# What differs, and the example that stands for it.
_EXAMPLES: Final = (
    (r"(due) \d{4}-\d\d-\d\d", r"\1 2028-03-01"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-03-02 08:15:00"),
    (r"\b[0-9a-f]{16}\b", "b41ea5a1282040c4"),
    (r"\b[0-9a-f]{32}\b", "3f9c0d5e7a1b48c2960ef4d81a7b5c3e"),
    (r"\d+ MiB(,| and) \d+ pass(es)?", r"256 MiB\1 3 passes"),
    (r"\d+ lanes?", "2 lanes"),
    (r"[\d.]+ (ms|seconds?|s)\b", r"1 \1"),
    (r"[\d.]+ [MGT]iB of [\d.]+ [MGT]iB", "75 GiB of 250 GiB"),
)
_SEALED_NAME: Final = re.compile(r"(?<![A-Za-z0-9_-])(?=\S*[A-Z])[A-Za-z0-9_-]{32,}")
SEALED_EXAMPLES: Final = ("JrX0cVtY4ZqS1hK8dW3nUeP7mLbA9fGx2oTiR5vC6sQ", "uB7yE2kN9wDzH4pM1jF6tXaV8cR3gLqS0oIe5ZhTnKs")


def transcript(name: str) -> list[tuple[str, str, str]]:
    """What a script shows, as it goes today: for each command who, what, and what it said.

    Raises:
        SystemExit: it does not go as the script says.
    """
    script = SCRIPTS / f"{name}.md"
    shown_from = script.read_text().splitlines().index("## Shown") + 1
    with tempfile.TemporaryDirectory(prefix="cloakfs-screens-") as scratch:
        steps = walkthrough.walk(script, Path(scratch))
    if any(step.wrong for step in steps):
        raise SystemExit(f"make-screens: {name} does not go as it should:\n{walkthrough.transcript(steps)}")
    return [(step.who, step.text, typical(step.seen)) for step in steps if step.line > shown_from]


def typical(seen: str) -> str:
    """What was printed, with examples in place of what is another each time."""
    for pattern, example in _EXAMPLES:
        seen = re.sub(pattern, example, seen)
    names = iter(SEALED_EXAMPLES)
    return _SEALED_NAME.sub(lambda found: next(names, found[0]), seen)


def draw(name: str, shown: list[tuple[str, str, str]]) -> str:
    """The SVG of a terminal that shows this."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), color_system="truecolor")
    for who, text, seen in shown:
        console.print(Text.assemble((f"{who} ", "bold green"), (text, "bold")), soft_wrap=False)
        for line in seen.splitlines():
            console.print(Text(line))
    height = round(console.export_text(clear=False).count("\n") * _LINE_HEIGHT) + 24
    code_format = _FORMAT.replace("HEIGHT", str(height))
    return console.export_svg(title=name, theme=_THEME, code_format=code_format, unique_id=f"screen-{name}")


def main() -> None:
    """Write the images that are asked for."""
    known = sorted(path.stem for path in SCRIPTS.glob("*.md"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(known)}")
    names = parser.parse_args().names or known
    if unknown := set(names) - set(known):
        sys.exit(f"make-screens: there is no {', '.join(sorted(unknown))} in {SCRIPTS.relative_to(TOP)}")
    for name in names:
        target = IMAGES / f"{name}.svg"
        target.write_text(draw(name, transcript(name)))
        print(f"make-screens: {target.relative_to(TOP)}")


if __name__ == "__main__":
    main()
