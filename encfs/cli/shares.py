"""Shares of a key, as their holders give them: from files, or typed one after the other in any order.

Owns: the questions, and what is said of a share that is mistyped or of another volume. Must not know: which command
wants them, how shares are made (``encfs/sheets/shares.py``).

Words of a share are shown only on the terminal that they are typed on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from encfs.cli import output, terminal
from encfs.core.sources import NOUNS, SharedSecret
from encfs.errors import UsageError, WrongSecretError
from encfs.format.slots import ShareSet, Slot, SlotKind, decode_share_set
from encfs.sheets import parts
from encfs.sheets.shares import WORDS, Collector, nearest_words, words_in

_COMMENT: Final = "#"


def sets_of(slots: Collection[Slot]) -> dict[int, ShareSet]:
    """The sets of shares that open a volume, by their ids."""
    found = [decode_share_set(slot.data) for slot in slots if slot.kind == SlotKind.SHARES]
    return {one.set_id: one for one in found}


def from_files(files: Sequence[tuple[str, bytes]], slots: Collection[Slot]) -> SharedSecret:
    """What the shares in files give. Lines that begin with ``#`` are remarks.

    Args:
        files: name and content of each.
        slots: of the volume.

    Raises:
        UsageError: a share is mistyped, of another volume or set, there twice, or one is missing.
        WrongSecretError: the volume has no shares.
        CloakfsError: a package is not installed.
    """
    check(slots)
    collector = Collector(sets_of(slots))
    for name, content in files:
        lines = content.decode("utf-8", "replace").splitlines()
        try:
            collector.add("\n".join(line for line in lines if not line.lstrip().startswith(_COMMENT)))
        except UsageError as exc:
            exc.args = (f"{output.printable(name)}: {exc}",)
            raise
    return _secret_of(collector)


def ask(path: str, slots: Collection[Slot]) -> SharedSecret:
    """What the shares give that somebody types, once :func:`check` has passed.

    Raises:
        UsageError: each share was right, but they do not belong together.
        EOFError, KeyboardInterrupt: the user gives up.
    """
    sets = sets_of(slots)
    collector = Collector(sets)
    with terminal.private_screen():
        needed = {one.threshold for one in sets.values()}
        many = f"{needed.pop()} shares are needed" if len(needed) == 1 else "The first one tells how many are needed"
        terminal.tell(f"Shares of {output.printable(path)}. {many}, in any order.")
        type_in(collector)
    return _secret_of(collector)


def type_in(collector: Collector) -> None:
    """Ask for shares until there are enough. Each word and each share is checked when it is typed.

    Raises:
        EOFError, KeyboardInterrupt: the user gives up.
    """
    terminal.tell(
        f"Type the {WORDS} words of each, on one line or several; case and numbers do not matter.\n"
        "(An empty line begins the share anew. Ctrl-C gives up.)\n"
    )
    while collector.missing != 0:
        words = _ask_words()
        try:
            number = collector.add(" ".join(words))
        except UsageError as exc:
            terminal.complain(exc)
            continue
        missing = collector.missing
        more = f"{output.plural(missing, 'share is', 'shares are')} missing." if missing else "These are all."
        terminal.tell(f"Share {number} is right. {more}")


def _ask_words() -> list[str]:
    """The words of one share; those that are in no share are asked for again, with their line."""
    words: list[str] = []
    while len(words) < WORDS:
        line = terminal.ask(f"  words {len(words) + 1} to {WORDS}: ")
        if not line.strip():
            words = []
            continue
        mistyped = nearest_words(line)
        for number, near in mistyped.items():
            guess = f" Is it {' or '.join(near)}?" if near else ""
            terminal.tell(f"  Word {len(words) + number} is not in the list of words.{guess}")
        if mistyped:
            terminal.tell("  Type this line again.")
        else:
            words += words_in(line)
    return words


def check(slots: Collection[Slot]) -> None:
    """Whether shares can open a volume here.

    Raises:
        WrongSecretError: the volume has none. CloakfsError: a package is not installed.
    """
    parts.check()
    if not sets_of(slots):
        hint = "cloakfs key list VOLUME shows what opens it."
        raise WrongSecretError(f"this volume has no {NOUNS[SlotKind.SHARES]}", hint=hint)


def _secret_of(collector: Collector) -> SharedSecret:
    secret = collector.secret()
    assert collector.set_id is not None
    return SharedSecret(collector.set_id, secret)
