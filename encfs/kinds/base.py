"""What a kind of slots is, to those who offer it: its options, how it opens, how a slot of it is made.

Owns: that interface. Must not know: any kind, files, prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from encfs.core.slots import SlotSecret
from encfs.core.sources import UnlockSource
from encfs.format.slots import Slot


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the command line, ``--name``, and of mount(8), ``name=``. Its value is never a secret.

    Attributes:
        apart: the value is a file that must not lie on the medium of the volume.
    """

    name: str
    metavar: str
    help: str
    apart: bool = False


class Read(Protocol):
    """The content of a file."""

    def __call__(self, path: str, *, public: bool = False) -> bytes:
        """All of it, with a warning where others can read what is not public. Raises ``OSError``, ``UsageError``."""


class Ask(Protocol):
    """A hidden question."""

    def __call__(self, prompt: str, *, hint: str) -> str:
        """The answer. Where nobody can be asked: ``UsageError`` with ``hint``."""


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody says, and ways to learn the rest.

    Attributes:
        values: of the options, by their names; the first option of the kind is always there.
        read, ask: see there.
    """

    values: Mapping[str, str]
    read: Read
    ask: Ask


@dataclass(frozen=True, slots=True)
class Made:
    """The secret of a new slot, and what proves it.

    Attributes:
        secret, data: for :class:`~encfs.core.sources.NewSlot`.
        proof: has to open the new slot before it is written.
        unproved: what ``proof`` does not show, as a sentence; empty: it goes the way of every later unlock.
        undo: takes back what was made for the slot, where it is not written.
    """

    secret: SlotSecret = field(repr=False)
    data: bytes = field(repr=False)
    proof: UnlockSource
    unproved: str = ""
    undo: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind.

    Attributes:
        name: ``kind`` of its slots.
        title: what ``key list`` says it opens with.
        guess: what a guess costs.
        opening: the options that open a slot of it; the first one says that it shall be this kind.
        making: the same for a new one. Their names are of no other kind's.
        source: what opens a slot of it, one of these (of this kind).
        make: a new secret.

    ``source`` and ``make`` raise:
        UsageError: the options make no sense. UnlockError: whoever keeps the secret does not give it.
        CloakfsError: a part that has to be installed is missing. OSError: a file cannot be read.
    """

    name: str
    title: str
    guess: str
    opening: tuple[Option, ...]
    making: tuple[Option, ...]
    source: Callable[[Given, Sequence[Slot]], UnlockSource]
    make: Callable[[Given], Made]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A source for the slot that is made with it just now: its secret was drawn here and is still at hand."""

    kind: str
    noun: str
    key: bytes = field(repr=False)

    def secret_for(self, slot: Slot) -> SlotSecret:
        """The same for each."""
        del slot
        return SlotSecret(key=self.key)
