"""The kind ``age``: a slot for the holder of an age or SSH key, made with the public key alone.

Owns: FORMAT.md section 4, the data of that kind; the only importer of pyrage, late. Must not know: where the config
lies, the other kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from encfs.core.slots import SlotSecret
from encfs.core.sources import UnlockSource
from encfs.crypto import rng, ssh_keys
from encfs.errors import CloakfsError, SlotDamagedError, UsageError
from encfs.format.limits import DRAWN_SECRET_SIZE, SLOT_DATA_MAX
from encfs.format.slots import Slot
from encfs.kinds.base import Drawn, Given, Kind, Made, Option

if TYPE_CHECKING:
    import pyrage

    Identity = pyrage.x25519.Identity | pyrage.ssh.Identity
    Recipient = pyrage.x25519.Recipient | pyrage.ssh.Recipient

NAME: Final = "age"
NOUN: Final = "age or SSH key"
_NOT_MINE: Final = "No matching keys found"
_ENCRYPTED: Final = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_LOCKED: Final = "must be decrypted first"


@dataclass(frozen=True, slots=True)
class AgeSource:
    """Opens the slots that are made for one of these identities."""

    identities: Sequence[Identity] = field(repr=False)
    kind: str = NAME
    noun: str = NOUN

    def secret_for(self, slot: Slot) -> SlotSecret | None:
        """What is sealed in the slot; None if it is sealed for somebody else.

        Raises:
            SlotDamagedError: the slot's data is not what it was.
        """
        import pyrage  # noqa: PLC0415 - an optional part

        try:
            key = pyrage.decrypt(slot.data, self.identities)
        except pyrage.DecryptError as exc:
            if str(exc) == _NOT_MINE:
                return None
            raise _damaged() from exc
        if len(key) != DRAWN_SECRET_SIZE:
            raise _damaged()
        return SlotSecret(key=key)


def _source(given: Given, slots: Sequence[Slot]) -> AgeSource:
    del slots
    _require()
    return AgeSource(_identities(given, given.values["identity"]))


def _make(given: Given) -> Made:
    """A secret for the holder of a public key.

    It is proved by decrypting it where the identity is given. Else all that can be shown is that what was encrypted
    opens the slot.
    """
    _require()
    import pyrage  # noqa: PLC0415 - an optional part

    recipient = _recipient(given)
    key = rng.random_bytes(DRAWN_SECRET_SIZE)
    data = pyrage.encrypt(key, [recipient])
    if len(data) > SLOT_DATA_MAX:
        raise UsageError("the public key is too long for a slot", hint="An RSA key may have up to 16384 bits.")
    proof: UnlockSource = Drawn(NAME, NOUN, key)
    unproved = "that the holder of the private key can open it, because only the public key was given"
    if "new-identity" in given.values:
        proof, unproved = AgeSource(_identities(given, given.values["new-identity"])), ""
    return Made(SlotSecret(key=key), data, proof, unproved)


def _recipient(given: Given) -> Recipient:
    """The one public key in ``--recipient``, or in the file that it names."""
    text = given.values["recipient"].strip()
    if not text.startswith(("age1", "ssh-")):
        lines = given.read(text, public=True).decode("utf-8", "replace").splitlines()
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if len(found) != 1:
            raise UsageError(
                f"--recipient: {len(found)} public keys are in the file, and a slot is for one",
                hint="Make a slot for each, with a label of its own.",
            )
        text = found[0]
    import pyrage  # noqa: PLC0415 - an optional part

    try:
        if text.startswith("age1"):
            return pyrage.x25519.Recipient.from_str(text)
        return pyrage.ssh.Recipient.from_str(text)
    except pyrage.RecipientError as exc:
        # What the library says may quote what it was given, and that may be a private key by mistake.
        raise UsageError(
            "--recipient: this is no public key that can be used",
            hint="Give age1..., ssh-ed25519 ..., ssh-rsa ..., or a file with one of them.",
        ) from exc


def _identities(given: Given, path: str) -> list[Identity]:
    """The private keys in an age identity file or an OpenSSH private key.

    Raises:
        UsageError: it is neither, or of a sort that cannot be used.
        WrongSecretError: the passphrase of the key is wrong.
    """
    raw = given.read(path)
    if raw.startswith(_ENCRYPTED):
        raise UsageError(
            "this identity file is itself encrypted with age, and cloakfs does not open those",
            hint="Use an SSH key with a passphrase, or decrypt it to a place in memory such as /dev/shm.",
        )
    if raw.startswith(b"-----BEGIN "):
        return [_ssh_identity(given, raw)]
    import pyrage  # noqa: PLC0415 - an optional part

    lines = [line.strip() for line in raw.decode("utf-8", "replace").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    try:
        identities: list[Identity] = [pyrage.x25519.Identity.from_str(line) for line in found]
    except pyrage.IdentityError:
        # Not chained: the exception may quote a private key.
        identities = []
    if not identities:
        raise UsageError(
            "this is neither an age identity file nor an OpenSSH private key",
            hint="age-keygen makes the one, ssh-keygen -t ed25519 the other. Plug-ins of age are not used.",
        )
    return identities


def _ssh_identity(given: Given, raw: bytes) -> pyrage.ssh.Identity:
    import pyrage  # noqa: PLC0415 - an optional part

    try:
        return pyrage.ssh.Identity.from_buffer(raw)
    except pyrage.IdentityError as exc:
        if _LOCKED not in str(exc):
            raise UsageError(f"this SSH key cannot be used: {exc}", hint="Use one of type ed25519 or rsa.") from exc
    passphrase = given.ask("Passphrase of the SSH key: ", hint="Without a terminal use a key that has no passphrase.")
    try:
        return pyrage.ssh.Identity.from_buffer(
            ssh_keys.without_passphrase(raw, passphrase.encode("utf-8", "surrogateescape"))
        )
    except pyrage.IdentityError as exc:
        raise UsageError(f"this SSH key cannot be used: {exc}", hint="Use one of type ed25519 or rsa.") from exc


def _require() -> None:
    try:
        import pyrage  # noqa: F401, PLC0415 - asked for, not used
    except ImportError:
        raise CloakfsError(
            "age and SSH keys need pyrage, which is not installed", hint="Install it with: pip install 'cloakfs[age]'"
        ) from None


def _damaged() -> SlotDamagedError:
    return SlotDamagedError(
        "a slot for an age or SSH key is damaged", hint="Use what opens another slot, or restore the config."
    )


KIND: Final = Kind(
    name=NAME,
    title="age or SSH key",
    guess="nothing, and is hopeless: it takes the private key",
    opening=(Option("identity", "FILE", "Use a private key: an age identity file, or an OpenSSH key."),),
    making=(
        Option("recipient", "KEY|FILE", "For the holder of an age or SSH key: the public key (age1..., ssh-...)."),
        Option(
            "new-identity",
            "FILE",
            "The private key of the recipient, to prove the slot. Not on this medium.",
            apart=True,
        ),
    ),
    source=_source,
    make=_make,
)
