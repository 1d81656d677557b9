"""The kind ``pkcs11``: a slot that opens with a key that never leaves its token.

Owns: FORMAT.md section 4, the data of that kind, and what is asked of a token. Must not know: how a library speaks to
it (``token.py``), where the config lies, the other kinds.

Rule: a library is code that runs here, so its path comes from whoever calls and never from the config.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from encfs.core.slots import SlotSecret
from encfs.crypto import kdf, p256, rng
from encfs.errors import FormatError, SlotDamagedError, TokenError, UsageError, WrongSecretError
from encfs.format.canonical import Fields, b64, canonical_json
from encfs.format.limits import DRAWN_SECRET_SIZE
from encfs.format.slots import Slot
from encfs.kinds import token_uri
from encfs.kinds.base import Given, Kind, Made, Option
from encfs.kinds.token import Token, tokens
from encfs.kinds.token_uri import TokenUri

NAME: Final = "pkcs11"
NOUN: Final = "PKCS#11 token"
_DEFAULT_OBJECT: Final = "cloakfs"
_KEY_ID_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class _Data:
    """The data of a slot: which key, its public point, and the point that was agreed with it."""

    uri: TokenUri
    key: bytes
    peer: bytes

    def secret(self, common: bytes) -> SlotSecret:
        """S of section 4, from what the two points have in common."""
        info = kdf.Label.PKCS11 + self.peer + self.key
        return SlotSecret(key=kdf.extract_expand(salt=b"", ikm=common, info=info, length=DRAWN_SECRET_SIZE))


def _encode(data: _Data) -> bytes:
    return canonical_json({"key": b64(data.key), "peer": b64(data.peer), "uri": str(data.uri)})


def _decode(raw: bytes) -> _Data:
    """Raises: SlotDamagedError: it has another shape, or a point that is none."""
    try:
        fields = Fields(json.loads(raw))
        uri = token_uri.parse(fields.text("uri"))
        data = _Data(uri, fields.base64("key"), fields.base64("peer"))
        fields.finish()
        p256.check_point(data.key)
        p256.check_point(data.peer)
    except (FormatError, UsageError, ValueError, RecursionError) as exc:
        raise _damaged() from exc
    if _encode(data) != raw or data.uri.id is None:
        raise _damaged()
    return data


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Opens the slots whose keys are on one token. The repr does not show the PIN."""

    token: Token
    pin: str = field(repr=False)
    kind: str = NAME
    noun: str = NOUN
    known: dict[bytes, SlotSecret] = field(default_factory=dict, repr=False)

    def secret_for(self, slot: Slot) -> SlotSecret | None:
        """What the token agrees on; None if the key of the slot is on another one.

        Raises:
            SlotDamagedError: the slot's data is not what it was. WrongPinError, TokenError: the token does not do it.
        """
        data = _decode(slot.data)
        if not _place(data.uri).fits(self.token.uri):
            return None
        # A PIN counts tries, and a config has two copies: nothing is asked of a token twice.
        if slot.data not in self.known:
            with self.token.session(self.pin) as session:
                self.known[slot.data] = data.secret(session.agree(data.uri, data.peer))
        return self.known[slot.data]


def _source(given: Given, slots: Sequence[Slot]) -> TokenSource:
    """The one token that is there and has a key of one of the slots."""
    wanted = token_uri.parse(given.values["token"])
    module = _module(given, "module")
    present = tokens(module)
    fitting = [data.uri for data in _readable(slots) if wanted.fits(data.uri)]
    if not fitting:
        raise WrongSecretError(
            f"no slot of this volume opens with {wanted}", hint='"cloakfs key list" shows what opens it.'
        )
    found = [token for token in present if any(_place(uri).fits(token.uri) for uri in fitting)]
    if not found:
        places = sorted({str(_place(uri)) for uri in fitting})
        raise TokenError(f"the token is not there: {', '.join(places)}", hint=_plug_in(present))
    if len(found) > 1:
        raise UsageError(
            "more than one of the tokens that are there opens this volume",
            hint="Say which: " + " or ".join(f"--token '{token.uri}'" for token in found),
        )
    return TokenSource(found[0], _pin(given, found[0], "pin-file"))


def _make(given: Given) -> Made:
    """A secret agreed with a key on the token: with one that is there, or a new one."""
    wanted = token_uri.parse(given.values["new-token"])
    present = tokens(_module(given, "new-module"))
    found = [token for token in present if _place(wanted).fits(token.uri)]
    if not found:
        raise TokenError(f"the token is not there: {_place(wanted)}", hint=_plug_in(present))
    if len(found) > 1:
        raise UsageError(
            "more than one token fits", hint="Say which: " + " or ".join(str(token.uri) for token in found)
        )
    token, pin = found[0], _pin(given, found[0], "new-pin-file")
    with token.session(pin, writable=True) as session:
        named = wanted.object is not None or wanted.id is not None
        key = session.find(wanted) if named else None
        made = key is None
        if key is None:
            name, key_id = wanted.object or _DEFAULT_OBJECT, wanted.id or rng.random_bytes(_KEY_ID_SIZE)
            key = session.generate(name, key_id)
    uri = replace(token.uri, object=key.label, id=key.id)

    def undo() -> None:
        if made:
            with token.session(pin, writable=True) as again:
                again.destroy(uri)

    try:
        peer, common = p256.agree(key.point)
        data = _Data(uri, key.point, peer)
        return Made(data.secret(common), _encode(data), TokenSource(token, pin), undo=undo)
    except BaseException:
        undo()
        raise


def _place(uri: TokenUri) -> TokenUri:
    """What says where the key is, without the key."""
    return replace(uri, object=None, id=None)


def _readable(slots: Sequence[Slot]) -> list[_Data]:
    """The data of those that are not damaged.

    Raises:
        SlotDamagedError: all are.
    """
    found = []
    damaged: SlotDamagedError | None = None
    for slot in slots:
        try:
            found.append(_decode(slot.data))
        except SlotDamagedError as exc:
            damaged = exc
    if damaged is not None and not found:
        raise damaged
    return found


def _module(given: Given, option: str) -> str:
    if option not in given.values:
        raise UsageError(
            f"say which library speaks to the token: --{option} PATH",
            hint="OpenSC has .../opensc-pkcs11.so, YubiKeys .../libykcs11.so, SoftHSM .../libsofthsm2.so.",
        )
    return given.values[option]


def _pin(given: Given, token: Token, option: str) -> str:
    if option in given.values:
        return given.read(given.values[option]).decode("utf-8", "replace").rstrip("\r\n")
    warning = token.warning()
    note = f" ({warning})" if warning else ""
    return given.ask(f"PIN of the token {token.uri.token}{note}: ", hint=f"Give --{option} FILE.")


def _plug_in(present: Sequence[Token]) -> str:
    there = ", ".join(str(token.uri) for token in present) or "none"
    return f"Plug it in and try again. Tokens that this library sees: {there}."


def _damaged() -> SlotDamagedError:
    return SlotDamagedError(
        "a slot for a PKCS#11 token is damaged", hint="Use what opens another slot, or restore the config."
    )


KIND: Final = Kind(
    name=NAME,
    title=NOUN,
    guess="nothing, and is hopeless: it takes the token and its PIN",
    opening=(
        Option("token", "URI", "Use a PKCS#11 token: pkcs11:token=... (pkcs11: alone for the one that is there)."),
        Option("module", "PATH", "The library that speaks to the token."),
        Option("pin-file", "FILE", "Read the PIN of the token from a file; else it is asked for."),
    ),
    making=(
        Option(
            "new-token", "URI", "For a PKCS#11 token: pkcs11:token=...;object=...; the key is made if it is not there."
        ),
        Option("new-module", "PATH", "The library that speaks to the new token."),
        Option("new-pin-file", "FILE", "Read the PIN of the new token from a file; else it is asked for."),
    ),
    source=_source,
    make=_make,
)
