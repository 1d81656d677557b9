"""PKCS#11 tokens: which are there, and what is asked of a key on one. The only importer of pkcs11, late.

Owns: the library of the maker, sessions, what its errors mean for a user. Must not know: slots, what is agreed on.

A library is set up for each step and given back after it: what forks later, such as the daemon of a mount, has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from encfs.crypto import p256
from encfs.errors import CloakfsError, FormatError, TokenError, UsageError, WrongPinError
from encfs.kinds.token_uri import TokenUri

if TYPE_CHECKING:
    import pkcs11
    from pkcs11._pkcs11 import lib as Library  # noqa: N812 - a class, whatever it is called

_P256: Final = bytes.fromhex("06082a8648ce3d030107")
"""The name of the curve, in DER."""
_COMMON_BITS: Final = 256


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key on a token that can agree; ``point``: its public half, 65 bytes."""

    label: str
    id: bytes
    point: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is there.

    Attributes:
        module: the library that speaks to it.
        uri: what it says it is; no key.
        flags: as of PKCS#11.
    """

    module: str
    uri: TokenUri
    flags: int

    def warning(self) -> str:
        """What to say before its PIN is asked for; mostly nothing."""
        import pkcs11  # noqa: PLC0415 - an optional part

        flags = pkcs11.TokenFlag
        if self.flags & flags.USER_PIN_LOCKED:
            return "it is locked after too many wrong PINs"
        if self.flags & flags.USER_PIN_FINAL_TRY:
            return "only one try is left, then it locks"
        if self.flags & flags.USER_PIN_COUNT_LOW:
            return "a wrong PIN was given before; after some more it locks"
        return ""

    @contextmanager
    def session(self, pin: str, *, writable: bool = False) -> Iterator[Session]:
        """Log in, and out again afterwards.

        Raises:
            WrongPinError: with how many tries are left, as far as a token tells.
            TokenError: it is gone, or does not do what it is asked.
        """
        import pkcs11  # noqa: PLC0415 - an optional part

        with _library(self.module) as library:
            handle = next((one for one in library.get_tokens() if _uri(one) == self.uri), None)
            if handle is None:
                raise TokenError(f"the token is not there any more: {self.uri}", hint="Plug it in and try again.")
            try:
                opened = handle.open(rw=writable, user_pin=pin)
            except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked) as exc:
                locked = isinstance(exc, pkcs11.PinLocked)
                raise self._wrong_pin(library, locked=locked) from None
            try:
                yield Session(opened)
            finally:
                opened.close()

    def _wrong_pin(self, library: Library, *, locked: bool) -> WrongPinError:
        if locked:
            return WrongPinError(
                "the token is locked after too many wrong PINs", hint="Its PUK or its issuer unlocks it."
            )
        now = [Token(self.module, self.uri, int(one.flags)) for one in library.get_tokens() if _uri(one) == self.uri]
        warning = now[0].warning() if now else ""
        hint = f"The token says: {warning}." if warning else "Most tokens lock after three wrong PINs."
        return WrongPinError("the PIN of the token is wrong", hint=f"{hint} It was tried once.")


class Session:
    """A token that somebody has logged in to."""

    def __init__(self, session: pkcs11.Session) -> None:
        self._session = session

    def find(self, wanted: TokenUri) -> TokenKey | None:
        """The key that a URI names; None if it is not there.

        Raises:
            UsageError: there is more than one, or it cannot do what is needed.
        """
        import pkcs11  # noqa: PLC0415 - an optional part

        found = self._objects(wanted, pkcs11.ObjectClass.PRIVATE_KEY)
        if not found:
            return None
        if len(found) > 1:
            raise UsageError(f"more than one key on the token is {wanted}", hint="Add its id to the URI.")
        key = found[0]
        usable = key[pkcs11.Attribute.KEY_TYPE] is pkcs11.KeyType.EC and key[pkcs11.Attribute.EC_PARAMS] == _P256
        if not usable or not key[pkcs11.Attribute.DERIVE]:
            raise UsageError(
                f"the key {wanted} cannot be used: it has to be one of the curve P-256 that may derive",
                hint="Name an object that is not there yet: then a key is made for you.",
            )
        label, key_id = key[pkcs11.Attribute.LABEL], key[pkcs11.Attribute.ID]
        public = self._objects(TokenUri(object=label, id=key_id), pkcs11.ObjectClass.PUBLIC_KEY)
        if not public or not key_id:
            raise UsageError(
                f"the public half of the key {wanted} is not on the token, or the key has no id",
                hint="Name an object that is not there yet: then a key is made for you.",
            )
        return TokenKey(label, key_id, _point(public[0]))

    def generate(self, label: str, key_id: bytes) -> TokenKey:
        """A new key, which never leaves the token."""
        import pkcs11  # noqa: PLC0415 - an optional part

        attribute = pkcs11.Attribute
        curve = self._session.create_domain_parameters(pkcs11.KeyType.EC, {attribute.EC_PARAMS: _P256}, local=True)
        public, _ = curve.generate_keypair(
            store=True,
            id=key_id,
            label=label,
            capabilities=pkcs11.MechanismFlag.DERIVE,
            private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
        )
        return TokenKey(label, key_id, _point(public))

    def destroy(self, uri: TokenUri) -> None:
        """Take a key away, both halves."""
        import pkcs11  # noqa: PLC0415 - an optional part

        for half in (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY):
            for found in self._objects(uri, half):
                found.destroy()

    def agree(self, uri: TokenUri, peer: bytes) -> bytes:
        """What the key has in common with a point of P-256: 32 bytes.

        Raises:
            TokenError: there is no such key.
        """
        import pkcs11  # noqa: PLC0415 - an optional part

        found = self._objects(uri, pkcs11.ObjectClass.PRIVATE_KEY)
        key = found[0] if found else None
        if not isinstance(key, pkcs11.DeriveMixin):
            raise TokenError(
                f"the token has no such key any more: {uri}",
                hint="Without it this slot opens nothing: remove the slot.",
            )
        common = key.derive_key(
            pkcs11.KeyType.GENERIC_SECRET,
            _COMMON_BITS,
            mechanism_param=(pkcs11.KDF.NULL, None, peer),
            template={pkcs11.Attribute.SENSITIVE: False, pkcs11.Attribute.EXTRACTABLE: True},
        )
        return bytes(common[pkcs11.Attribute.VALUE])

    def _objects(self, uri: TokenUri, half: pkcs11.ObjectClass) -> list[pkcs11.Object]:
        import pkcs11  # noqa: PLC0415 - an optional part

        wanted: dict[pkcs11.Attribute, object] = {pkcs11.Attribute.CLASS: half}
        if uri.object is not None:
            wanted[pkcs11.Attribute.LABEL] = uri.object
        if uri.id is not None:
            wanted[pkcs11.Attribute.ID] = uri.id
        return list(self._session.get_objects(wanted))


def tokens(module: str) -> list[Token]:
    """Those that a library sees and that are set up.

    Raises:
        CloakfsError: what speaks PKCS#11 is not installed. TokenError: the library cannot be used.
    """
    with _library(module) as library:
        import pkcs11  # noqa: PLC0415 - an optional part

        found = [one for one in library.get_tokens() if one.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED]
        return [Token(module, _uri(one), int(one.flags)) for one in found]


@contextmanager
def _library(module: str) -> Iterator[Library]:
    try:
        import pkcs11  # noqa: PLC0415 - an optional part
    except ImportError:
        raise CloakfsError(
            "tokens need python-pkcs11, which is not installed", hint="Install it with: pip install 'cloakfs[pkcs11]'"
        ) from None
    try:
        library = pkcs11.lib(module)
        try:
            yield library
        finally:
            library.finalize()
    except pkcs11.PKCS11Error as exc:
        # Some have a text, all have a name.
        raise TokenError(f"the token or its library fails: {str(exc) or type(exc).__name__}") from exc


def _uri(token: pkcs11.Token) -> TokenUri:
    return TokenUri(
        token=token.label,
        manufacturer=token.manufacturer_id,
        model=token.model,
        serial=token.serial.decode("ascii", "replace"),
    )


def _point(public: pkcs11.Object) -> bytes:
    """The point of a public key, which most tokens wrap into an OCTET STRING and some do not."""
    import pkcs11  # noqa: PLC0415 - an optional part

    raw = bytes(public[pkcs11.Attribute.EC_POINT])
    point = raw[2:] if raw[:2] == bytes([4, p256.POINT_SIZE]) and len(raw) == p256.POINT_SIZE + 2 else raw
    try:
        p256.check_point(point)
    except FormatError as exc:
        raise TokenError("the token gives a public key that is none") from exc
    return point
