"""What somebody types from a sheet or keeps in a file: a recovery key, shares.

Owns: the questions, and what is said of an answer that is mistyped. Must not know: on which terminal, which volume.

What is typed is told back, and asked for, only through the :class:`Person` that typed it.
"""

from __future__ import annotations

from typing import Final, Protocol

from encfs.errors import CloakfsError, UsageError
from encfs.format.recovery_key import GROUPS, decode_recovery_key
from encfs.sheets.shares import WORDS, Collector, nearest_words, words_in
from encfs.wording import plural

_GROUP_SIZE: Final = 5
_COMMENT: Final = "#"


class Person(Protocol):
    """Somebody who can be asked."""

    def tell(self, text: str, /) -> None:
        """Show lines."""

    def ask(self, prompt: str, /) -> str:
        """A visible answer, without its newline. Raises: EOFError."""
        ...


def complain(person: Person, exc: CloakfsError) -> None:
    """Say what was wrong with an answer, before the question is asked again."""
    text = str(exc)
    person.tell(f"{text[:1].upper()}{text[1:]}." + (f"\n  {exc.hint}" if exc.hint else ""))


def without_remarks(content: bytes) -> str:
    """The lines of a file that do not begin with ``#``."""
    lines = content.decode("utf-8", "replace").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(_COMMENT))


def recovery_key_in(content: bytes) -> bytes:
    """The recovery key in a file.

    Raises:
        UsageError: there is none.
    """
    return decode_recovery_key(" ".join(without_remarks(content).splitlines()))


def type_recovery_key(person: Person, prompt: str) -> bytes:
    """A recovery key, on one line or several.

    Raises:
        UsageError: it is mistyped.
        EOFError: Ctrl-D, or nothing was typed.
    """
    typed = person.ask(prompt)
    if not typed.strip():
        raise EOFError
    while sum(character not in " -\t" for character in typed) < GROUPS * _GROUP_SIZE:
        more = person.ask("  and on: ")
        if not more.strip():
            break
        typed += " " + more
    return decode_recovery_key(typed)


def type_shares(person: Person, collector: Collector) -> None:
    """Ask for shares until there are enough. Each word and each share is checked when it is typed.

    Raises:
        EOFError, KeyboardInterrupt: the user gives up.
    """
    person.tell(
        f"Type the {WORDS} words of each, on one line or several; case and numbers do not matter.\n"
        "(An empty line begins the share anew. Ctrl-C gives up.)\n"
    )
    while collector.missing != 0:
        words = _ask_words(person)
        try:
            number = collector.add(" ".join(words))
        except UsageError as exc:
            complain(person, exc)
            continue
        missing = collector.missing
        more = f"{plural(missing, 'share is', 'shares are')} missing." if missing else "These are all."
        person.tell(f"Share {number} is right. {more}")


def _ask_words(person: Person) -> list[str]:
    """The words of one share; those that are in no share are asked for again, with their line."""
    words: list[str] = []
    while len(words) < WORDS:
        line = person.ask(f"  words {len(words) + 1} to {WORDS}: ")
        if not line.strip():
            words = []
            continue
        mistyped = nearest_words(line)
        for number, near in mistyped.items():
            guess = f" Is it {' or '.join(near)}?" if near else ""
            person.tell(f"  Word {len(words) + number} is not in the list of words.{guess}")
        if mistyped:
            person.tell("  Type this line again.")
        else:
            words += words_in(line)
    return words
