"""A page of the documentation as what it tells people to do: commands, what they answer, what hands do meanwhile.

Owns: how a page is read, and when what was seen is what the page says. How it is run: ``walkthrough.py``.

Only blocks marked ``console`` count. In them ``$ `` begins a command of the user, ``# `` one of root; the lines below
are what it prints, where ``...`` stands for any text (alone on a line: for any lines), and what is typed stands in ‹ ›.
A comment ``<!-- hands: ... -->`` is something that hands do; ``<!-- walkthrough: skip, REASON -->`` leaves out the next
block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

USER, ROOT = "$", "#"
_ANSWER: Final = re.compile(r"‹([^›]*)›")
_HERE_DOCUMENT: Final = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_COMMENT: Final = re.compile(r"<!--\s*(hands|walkthrough):\s*(.*?)\s*-->")
_SKIP: Final = re.compile(r"skip,\s*(.+)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page.

    Attributes:
        line: where it stands, counted from 1.
        who: ``USER`` or ``ROOT``.
        text: what the shell gets.
        output: the lines that it prints, as the page has them; none: the page does not say.
    """

    line: int
    who: str
    text: str
    output: tuple[str, ...]

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Each prompt, and what is typed there: the text between ‹ ›."""
        found = []
        for line in self.output:
            end = 0
            for answer in _ANSWER.finditer(line):
                prompt = line[end : answer.start()].rpartition("...")[2].strip()
                if not prompt:
                    raise PageError(f"line {self.line}: nothing asks for {answer[1]!r}")
                found.append((prompt, answer[1]))
                end = answer.end()
        return found


@dataclass(frozen=True, slots=True)
class Hands:
    """Something that is no command: a stick is pulled out, the power fails."""

    line: int
    action: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says, in its order, and why some blocks of it are not run."""

    steps: tuple[Command | Hands, ...]
    skipped: tuple[tuple[int, str], ...]


class PageError(AssertionError):
    """A page is written so that nobody could follow it; the text names the line."""


def read(text: str) -> Page:
    """The steps of a page.

    Raises:
        PageError: a block begins with output, or a comment for the walk-through is none that is known.
    """
    steps: list[Command | Hands] = []
    skipped = []
    lines = text.splitlines()
    skip, at = "", 0
    while at < len(lines):
        comment = _COMMENT.fullmatch(lines[at].strip())
        if comment and comment[1] == "hands":
            steps.append(Hands(at + 1, comment[2]))
        elif comment:
            reason = _SKIP.fullmatch(comment[2])
            if not reason:
                raise PageError(f"line {at + 1}: {comment[2]!r} is not 'skip, REASON'")
            skip = reason[1]
        elif re.fullmatch(r"\s*```console", lines[at]):
            end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == "```"), None)
            if end is None:
                raise PageError(f"line {at + 1}: the block does not end")
            if skip:
                skipped.append((at + 1, skip))
            else:
                steps += _block(lines[at + 1 : end], at + 2, indent=len(lines[at]) - len(lines[at].lstrip()))
            skip, at = "", end
        at += 1
    return Page(tuple(steps), tuple(skipped))


def _block(lines: list[str], first: int, *, indent: int) -> list[Command]:
    lines = [line[indent:] if line[:indent].isspace() else line for line in lines]
    commands = []
    at = 0
    while at < len(lines):
        begin = at
        if lines[at][:2] not in {USER + " ", ROOT + " "}:
            raise PageError(f"line {first + at}: {lines[at]!r} stands below no command")
        parts = [lines[at][2:]]
        while parts[-1].endswith("\\") and at + 1 < len(lines):
            at += 1
            parts.append(lines[at])
        if here := _HERE_DOCUMENT.search("\n".join(parts)):
            while parts[-1].strip() != here[2]:
                at += 1
                if at == len(lines):
                    raise PageError(f"line {first + begin}: the here-document does not end")
                parts.append(lines[at])
        at += 1
        output = at
        while at < len(lines) and lines[at][:2] not in {USER + " ", ROOT + " "}:
            at += 1
        commands.append(Command(first + begin, lines[begin][0], "\n".join(parts), tuple(lines[output:at])))
    return commands


def says(expected: tuple[str, ...], seen: str) -> bool:
    """Whether what was seen is what the page shows. Spaces at the ends of lines and empty lines around do not count."""
    pattern = "".join(map(_pattern, tidy("\n".join(expected)).splitlines()))
    return re.fullmatch(pattern, tidy(seen) + "\n") is not None


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:[^\n]*\n)*?"
    # What is typed shows on the terminal, or does not when it is secret.
    line = re.sub(r"\s*‹[^›]*›", "...", line)
    return r"[^\n]*?".join(re.escape(piece) for piece in line.split("...")) + r"\n"


def tidy(seen: str) -> str:
    """Text from a terminal without what does not count."""
    return "\n".join(line.rstrip() for line in seen.strip("\n").splitlines())
