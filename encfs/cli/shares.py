"""Shares of a key, as their holders give them: from files, or typed one after the other in any order.

Owns: which sets of shares a volume takes, and the secret that they give. Must not know: which command wants them, how
shares are typed and made (``encfs/sheets``).

Words of a share are shown only on the terminal that they are typed on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from encfs.cli import output, terminal
from encfs.core.sources import NOUNS, SharedSecret
from encfs.errors import UsageError, WrongSecretError
from encfs.format.slots import ShareSet, Slot, SlotKind, decode_share_set
from encfs.sheets import parts
from encfs.sheets.shares import Collector
from encfs.sheets.typed import type_shares, without_remarks


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
        try:
            collector.add(without_remarks(content))
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
        type_shares(terminal, collector)
    return _secret_of(collector)


def check(slots: Collection[Slot]) -> None:
    """Whether shares can open a volume here.

    Raises:
        WrongSecretError: the volume has none. CloakfsError: a package is not installed.
    """
    parts.check_words()
    if not sets_of(slots):
        hint = "cloakfs key list VOLUME shows what opens it."
        raise WrongSecretError(f"this volume has no {NOUNS[SlotKind.SHARES]}", hint=hint)


def _secret_of(collector: Collector) -> SharedSecret:
    secret = collector.secret()
    assert collector.set_id is not None
    return SharedSecret(collector.set_id, secret)
