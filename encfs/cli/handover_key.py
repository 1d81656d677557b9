"""What opens a copy that is handed over: a passphrase for the receiver, or the receiver's own key.

Owns: which of the two, and the questions. Must not know: the volume that is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from encfs.cli import calibration, elsewhere, new_passphrase, output, progress, secret_files, secrets, terminal
from encfs.cli.key_making import check_label
from encfs.cli.secrets import SecretOptions
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot, UnlockSource
from encfs.errors import UsageError
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.kinds import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """The options that say what opens the copy. Nothing of what opens the source does."""

    label: str
    dest: str
    passphrase: SecretOptions = field(repr=False)
    allow_weak: bool
    memory_kib: int | None
    passes: int | None
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Before anything is asked.

        Raises:
            UsageError: the options contradict each other, or nobody can be asked.
        """
        check_label(self.label)
        if self.elsewhere:
            if self.passphrase.given:
                raise UsageError(
                    "the copy opens with a passphrase or with a key of the receiver", hint="Give only one of the two."
                )
            for place in elsewhere.places_apart(self.elsewhere):
                secret_files.check_apart(place, self.dest)
        elif self.passphrase.asks:
            terminal.require("the receiver's passphrase", hint="Give --new-passphrase-file, or --recipient.")

    @property
    def words(self) -> str:
        """What opens it, for people."""
        if self.elsewhere:
            return f"{output.printable(self.label)}: {KINDS[elsewhere.kind_of_new(self.elsewhere).name].title}"
        return f"{output.printable(self.label)}: a passphrase, which goes another way than the medium"

    def make(self) -> tuple[NewSlot, UnlockSource]:
        """The slot, and what opens it.

        Raises:
            WeakPassphraseError, UsageError, UnlockError, CloakfsError, OSError, EOFError.
        """
        if self.elsewhere:
            made = elsewhere.make(self.elsewhere, secrets.read_file)
            kind = elsewhere.kind_of_new(self.elsewhere).name
            new = NewSlot(kind=kind, label=self.label, kdf=Kdf(KdfAlg.NONE), secret=made.secret, data=made.data)
            return new, made.proof
        wanted = new_passphrase.Wanted(
            volume=f"{self.dest} (the copy)", label=self.label, secret=self.passphrase, allow_weak=self.allow_weak
        )
        passphrase = new_passphrase.choose(wanted)
        with progress.activity("Measuring this machine, to make guessing slow"):
            kdf = calibration.calibrate(memory_kib=self.memory_kib, passes=self.passes).kdf
        new = NewSlot(kind=SlotKind.PASSPHRASE, label=self.label, kdf=kdf, secret=SlotSecret(passphrase=passphrase))
        return new, KnownSecret.of(SlotKind.PASSPHRASE, passphrase)
