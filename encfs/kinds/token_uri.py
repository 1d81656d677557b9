"""PKCS#11 URIs (RFC 7512): what somebody calls a token and a key on it.

Owns: their spelling, and which attributes count here. Must not know: tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from encfs.errors import UsageError

_SCHEME: Final = "pkcs11:"
_TEXTS: Final = ("token", "manufacturer", "model", "serial", "object")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_EXAMPLE: Final = "Give something like 'pkcs11:token=Practice;object=cloakfs'."


@dataclass(frozen=True, slots=True)
class TokenUri:
    """The attributes that are said; None fits everything."""

    token: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    object: str | None = None
    id: bytes | None = None

    def __str__(self) -> str:
        said = [(name, getattr(self, name)) for name in _TEXTS]
        pieces = [f"{name}={quote(value, safe='')}" for name, value in said if value is not None]
        if self.id is not None:
            pieces.append("id=" + "".join(f"%{byte:02X}" for byte in self.id))
        return _SCHEME + ";".join(pieces)

    def fits(self, other: TokenUri) -> bool:
        """Whether ``other`` has all that is said here."""
        names = (*_TEXTS, "id")
        return all(getattr(self, name) in (None, getattr(other, name)) for name in names)


def parse(text: str) -> TokenUri:
    """Read a URI.

    Raises:
        UsageError: it is none, says something twice, or something that is not for a URI here: a PIN, a library.
    """
    if not text.startswith(_SCHEME):
        raise UsageError("a token is named by a PKCS#11 URI, which begins with pkcs11:", hint=_EXAMPLE)
    path, mark, _ = text.removeprefix(_SCHEME).partition("?")
    if mark:
        raise UsageError(
            "the URI of a token holds no PIN and no library here", hint="There are options for the library and the PIN."
        )
    found: dict[str, str | bytes] = {}
    for piece in path.split(";") if path else []:
        name, equals, value = piece.partition("=")
        known = name in {*_TEXTS, "id", "type"}
        if not known or not equals or name in found or _ESCAPE.search(value):
            raise UsageError("this is no PKCS#11 URI of a token and a key that can be used here", hint=_EXAMPLE)
        found[name] = unquote_to_bytes(value) if name == "id" else _text(value)
    if found.pop("type", "private") not in ("private", "public"):
        raise UsageError("the URI names something else than a key", hint=_EXAMPLE)
    return TokenUri(**found)  # type: ignore[arg-type]  # id is bytes and all others text, by the line above


def _text(value: str) -> str:
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("the URI of the token is not text", hint=_EXAMPLE) from None
