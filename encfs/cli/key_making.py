"""``cloakfs key add`` and ``key change``: a new passphrase, key file or recovery key for a volume.

Owns: which kind is made, where its secret comes from or goes to, and the order: nothing is written before the new
secret is proved. Must not know: what is in a slot, how it is written.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import click

from encfs.cli import (
    calibration,
    elsewhere,
    new_passphrase,
    options,
    output,
    progress,
    recovery_key,
    secret_files,
    secrets,
    seeing,
    terminal,
    unlocking,
)
from encfs.cli.key_slots import as_json as slot_json
from encfs.cli.key_slots import cost_text, find_slot, note_use, open_keys, printable_label, target_of
from encfs.cli.secrets import SecretOptions, secret_options
from encfs.core.slots import SlotSecret
from encfs.core.sources import KnownSecret, NewSlot, UnlockSource
from encfs.crypto import rng
from encfs.errors import ExitCode, FormatError, MemoryShortError, UnlockError, UsageError
from encfs.format.config import Config
from encfs.format.key_file import decode_key_file, encode_key_file
from encfs.format.limits import KEY_FILE_KEY_SIZE, LABEL_MAX, RECOVERY_KEY_SIZE
from encfs.format.policy import Policy
from encfs.format.slots import Kdf, KdfAlg, Slot, SlotKind
from encfs.kinds import KINDS
from encfs.volume.keys import Keys

_F = TypeVar("_F", bound=Callable[..., Any])
_KINDS: Final = [*(str(kind) for kind in SlotKind if kind is not SlotKind.SHARES), *KINDS]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """The options that say what the new secret is."""

    kind: str
    passphrase: SecretOptions = field(repr=False)
    key_file: str | None
    recovery_out: str | None
    allow_weak: bool
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_passphrase(self) -> bool:
        return self.kind in {SlotKind.PASSPHRASE, SlotKind.PASSPHRASE_AND_KEY_FILE}

    @property
    def has_key_file(self) -> bool:
        return self.kind in {SlotKind.KEY_FILE, SlotKind.PASSPHRASE_AND_KEY_FILE}


@dataclass(frozen=True, slots=True)
class _Cost:
    """What the options fix of the derivation."""

    memory_kib: int | None
    passes: int | None


def _new_secret_options(function: _F) -> _F:
    made = click.option("--allow-weak", is_flag=True, help="Take the passphrase even if it is easy to guess.")(function)
    made = click.option("--recovery-out", metavar="FILE", help="Write a new recovery key to a new file.")(made)
    made = click.option(
        "--new-key-file", metavar="FILE", help="The new key file: made there, or used if it is one. Not on this medium."
    )(made)
    made = click.option("--new-passphrase-file", metavar="FILE", help="Read the new passphrase from a file.")(made)
    return click.option(
        "--kind", type=click.Choice(_KINDS), help="What the new secret is (default: a passphrase, or what is given)."
    )(made)


def _wishes(
    kind: str | None,
    new_passphrase_file: str | None,
    new_key_file: str | None,
    recovery_out: str | None,
    new_elsewhere: Mapping[str, str],
    *,
    weak: bool,
) -> _Wishes:
    """What is meant.

    Raises:
        UsageError: the options contradict each other.
    """
    if kind is not None:
        chosen = kind
    elif new_elsewhere:
        chosen = elsewhere.kind_of_new(new_elsewhere).name
    elif new_key_file is not None:
        chosen = SlotKind.KEY_FILE if new_passphrase_file is None else SlotKind.PASSPHRASE_AND_KEY_FILE
    else:
        chosen = SlotKind.RECOVERY if recovery_out is not None else SlotKind.PASSPHRASE
    wishes = _Wishes(
        kind=chosen,
        passphrase=SecretOptions(passphrase_file=new_passphrase_file),
        key_file=new_key_file,
        recovery_out=recovery_out,
        allow_weak=weak,
        elsewhere=new_elsewhere,
    )
    elsewhere.check_making(chosen, new_elsewhere)
    if new_passphrase_file is not None and not wishes.has_passphrase:
        raise UsageError(f"--new-passphrase-file: the kind {chosen} has no passphrase")
    if new_key_file is not None and not wishes.has_key_file:
        raise UsageError(f"--new-key-file: the kind {chosen} has no key file")
    if wishes.has_key_file and new_key_file is None:
        raise UsageError("say where the key file shall be", hint="Give --new-key-file FILE, on another medium.")
    if recovery_out is not None and chosen != SlotKind.RECOVERY:
        raise UsageError(f"--recovery-out: the kind {chosen} is no recovery key")
    return wishes


def check_label(label: str) -> None:
    """Raises: UsageError."""
    if not label.strip() or len(label) > LABEL_MAX or not label.isprintable():
        raise UsageError(f"a label has 1 to {LABEL_MAX} characters, and no control characters")


def opened(path: str, secret: SecretOptions) -> Keys:
    """The slots of a volume, opened with the secret from the options or the prompt, which this host remembers.

    Raises:
        UnlockError, ConfigError, UsageError, VolumeInUseError, MemoryShortError, OSError.
    """
    keys = unlocking.try_sources(path, secret, lambda source: open_keys(path, source))
    note_use(keys)
    keys.on_written = seeing.keys_changed
    return keys


@options.command(
    "add",
    example="""
cloakfs key add ~/practice.vault --label "Anna Schmidt"
cloakfs key add ~/practice.vault --label "stick of Anna" --new-key-file /media/anna/practice.key""",
)
@click.argument("volume")
@click.option("--label", metavar="TEXT", help="A person or a purpose; not secret. Asked for if it is not given.")
@_new_secret_options
@elsewhere.making_options
@calibration.kdf_options
@options.json_option
@secret_options
def add(
    *,
    volume: str,
    label: str | None,
    kind: str | None,
    new_passphrase_file: str | None,
    new_key_file: str | None,
    recovery_out: str | None,
    allow_weak: bool,
    new_elsewhere: dict[str, str],
    memory_kib: int | None,
    passes: int | None,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Add a slot to VOLUME: another passphrase, key file or recovery key that opens it.

    Asks for a passphrase that opens it now, then for the new secret. The new slot is tried before it is written.
    """
    path = target_of(volume)
    wishes = _wishes(kind, new_passphrase_file, new_key_file, recovery_out, new_elsewhere, weak=allow_weak)
    cost = _Cost(memory_kib, passes)
    _check_places(wishes, path)
    if label is None:
        terminal.require("a label for the new slot", hint="Give --label.")
        label = terminal.ask("Whose is the new slot, or what is it for? ").strip()
    check_label(label)
    with opened(path, secret) as keys:
        require_new(keys.config, label)
        maker = _Maker(wishes, path, label, cost, keys.config.policy)
        made = maker.make(keys.add)
    _tell(path, made, "is added", maker.unproved, as_json)
    return ExitCode.OK


@options.command(
    "change",
    example="""
cloakfs key change ~/practice.vault "Anna Schmidt" """,
)
@click.argument("volume")
@click.argument("slot")
@_new_secret_options
@elsewhere.making_options
@calibration.kdf_options
@options.json_option
@secret_options
def change(
    *,
    volume: str,
    slot: str,
    kind: str | None,
    new_passphrase_file: str | None,
    new_key_file: str | None,
    recovery_out: str | None,
    allow_weak: bool,
    new_elsewhere: dict[str, str],
    memory_kib: int | None,
    passes: int | None,
    as_json: bool,
    secret: SecretOptions,
) -> ExitCode:
    """Give SLOT of VOLUME a new secret; the old one opens nothing any more.

    Anybody who can open the volume may do it. No other slot changes. The cost of a guess is measured anew.
    """
    path = target_of(volume)
    wishes = _wishes(kind, new_passphrase_file, new_key_file, recovery_out, new_elsewhere, weak=allow_weak)
    cost = _Cost(memory_kib, passes)
    _check_places(wishes, path)
    with opened(path, secret) as keys:
        found = find_slot(keys.config, slot)
        if kind is None and wishes.kind == SlotKind.PASSPHRASE and found.kind != SlotKind.PASSPHRASE:
            raise UsageError(
                f"the slot {printable_label(found)} opens with a {found.kind}", hint="Say with --kind what it shall be."
            )
        maker = _Maker(wishes, path, found.label, cost, keys.config.policy, replaces=True)
        made = maker.make(lambda new, proof: keys.change(found, new, proof))
    _tell(path, made, "has a new secret", maker.unproved, as_json)
    return ExitCode.OK


def require_new(config: Config, label: str) -> None:
    """Before a new secret is asked for, or a file is made.

    Raises:
        UsageError: another slot has that label.
    """
    if any(one.label == label for one in config.slots):
        raise UsageError(f"there is a slot {output.printable(label)} already", hint="Choose another label.")


def _check_places(wishes: _Wishes, path: str) -> None:
    """Everything that can be said of files before anything is asked.

    Raises:
        UsageError: a secret would lie on the volume's own medium. NotEmptyError: a file is there already.
    """
    for place in (wishes.key_file, wishes.recovery_out, *elsewhere.places_apart(wishes.elsewhere)):
        if place is not None and not secret_files.is_device(place):
            secret_files.check_apart(place, path)
    if wishes.recovery_out is not None and not secret_files.is_device(wishes.recovery_out):
        secret_files.check_free(wishes.recovery_out)


class _Maker:
    """Makes the secret, then the slot; what was made for it elsewhere goes again if the slot is certainly not there.

    Args:
        replaces: another slot goes when this one is written, so it has to be proved.

    ``unproved`` says afterwards what was not proved of the new slot, as far as it is a sentence; mostly it is empty.
    """

    def __init__(
        self, wishes: _Wishes, path: str, label: str, cost: _Cost, policy: Policy, *, replaces: bool = False
    ) -> None:
        self._wishes = wishes
        self._cost = cost
        self._policy = policy
        self._path = path
        self._label = label
        self._replaces = replaces
        self._undo: list[Callable[[], None]] = []
        self.unproved = ""

    def make(self, write: Callable[[NewSlot, UnlockSource], Slot]) -> Slot:
        """The slot that ``write`` made of the new secret and its proof."""
        writing = False
        try:
            new, proof = self._elsewhere() if self._wishes.elsewhere else self._here()
            writing = True
            with progress.activity("Proving and writing it"):
                return write(new, proof)
        except BaseException as exc:
            if not (writing and may_be_written(exc)):
                for undo in self._undo:
                    undo()
            raise

    def _here(self) -> tuple[NewSlot, UnlockSource]:
        kind = SlotKind(self._wishes.kind)
        secret = SlotSecret(self._passphrase(), self._key())
        new = NewSlot(kind=kind, label=self._label, kdf=self._kdf(), secret=secret)
        return new, KnownSecret(kind, secret.passphrase, secret.key)

    def _elsewhere(self) -> tuple[NewSlot, UnlockSource]:
        kind = self._wishes.kind
        made = elsewhere.make(self._wishes.elsewhere, secrets.read_file)
        self._undo.append(made.undo)
        if made.unproved and self._replaces:
            raise UsageError(
                f"it is not proved {made.unproved}; so the old secret stays",
                hint=f"{elsewhere.proof_hint(kind)} Or add a slot, let it be tried, and remove the old one.",
            )
        self.unproved = made.unproved
        new = NewSlot(kind=kind, label=self._label, kdf=Kdf(KdfAlg.NONE), secret=made.secret, data=made.data)
        return new, made.proof

    def _passphrase(self) -> bytes:
        wishes = self._wishes
        if not wishes.has_passphrase:
            return b""
        calibration.require_floor(self._policy, memory_kib=self._cost.memory_kib, passes=self._cost.passes)
        wanted = new_passphrase.Wanted(
            volume=self._path,
            label=self._label,
            secret=wishes.passphrase,
            allow_weak=wishes.allow_weak,
            policy=self._policy,
        )
        if wanted.secret.asks:
            terminal.require("the new passphrase", hint="Give --new-passphrase-file.")
        return new_passphrase.choose(wanted)

    def _key(self) -> bytes:
        wishes = self._wishes
        if wishes.kind == SlotKind.RECOVERY:
            return self._recovery_key()
        if not wishes.has_key_file:
            return b""
        assert wishes.key_file is not None
        if os.path.lexists(wishes.key_file):
            return decode_key_file(secrets.read_file(wishes.key_file))
        key = rng.random_bytes(KEY_FILE_KEY_SIZE)
        secret_files.write_new(wishes.key_file, encode_key_file(key))
        self._undo.append(functools.partial(os.unlink, wishes.key_file))
        return key

    def _recovery_key(self) -> bytes:
        key, out = rng.random_bytes(RECOVERY_KEY_SIZE), self._wishes.recovery_out
        if out is None:
            terminal.require("a terminal to show the recovery key on", hint="Give --recovery-out FILE.")
            recovery_key.prove(key, self._path)
            return key
        recovery_key.write_file(out, key, self._path)
        if not secret_files.is_device(out):
            self._undo.append(functools.partial(os.unlink, out))
        return key

    def _kdf(self) -> Kdf:
        if not self._wishes.has_passphrase:
            return Kdf(KdfAlg.NONE)
        with progress.activity("Measuring this machine, to make guessing slow"):
            cost = self._cost
            return calibration.calibrate(memory_kib=cost.memory_kib, passes=cost.passes, policy=self._policy).kdf


def may_be_written(exc: BaseException) -> bool:
    """Whether a change of slots that ended so may be on the disk: then what the new slot opens with must not go."""
    return not isinstance(exc, (UsageError, UnlockError, MemoryShortError, FormatError))


def _tell(path: str, slot: Slot, what: str, unproved: str, json_wanted: bool) -> None:  # noqa: FBT001 - of the option
    if json_wanted:
        output.print_json({"volume": path, "slot": slot_json(slot, None), "proved": not unproved})
        return
    if unproved:
        output.say(f"The slot {printable_label(slot)} {what}.")
        output.say(f"It was not proved {unproved}. Let it be tried: {elsewhere.trial(slot.kind, path)}")
        return
    output.say(f"The slot {printable_label(slot)} {what}, and was tried: it opens {output.printable(path)}.")
    if slot.kdf.alg is KdfAlg.ARGON2ID:
        output.say(f"A guess costs: {cost_text(slot)}.")
