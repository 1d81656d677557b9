"""Signed documents: packs, certificates, receipts, and the lines of registers (FORMAT.md section 17).

Owns: the envelope, its one spelling, its signature. Must not know: what the kinds say, files, clocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from encfs.crypto.kdf import Label
from encfs.crypto.signing import Algorithm, PublicKey, Signer
from encfs.errors import FormatError, NewerFormatError
from encfs.format import limits
from encfs.format.canonical import Fields, b64, canonical_json, is_text

_VERSION: Final = 1
_ALGORITHMS: Final = {algorithm.value: algorithm for algorithm in Algorithm}


@dataclass(frozen=True, slots=True)
class Document:
    """What was signed, and by whom.

    Attributes:
        kind: such as ``evidence``.
        made_at: seconds since 1970, as the host's clock was.
        host: the name of the computer.
        body: as JSON has it, without fractions.
        signer: whoever has the private half of this key signed it; whose that is has to be known from elsewhere.
    """

    kind: str
    made_at: int
    host: str
    body: Mapping[str, Any]
    signer: PublicKey


def sign_document(signer: Signer, *, kind: str, made_at: int, host: str, body: Mapping[str, Any]) -> bytes:
    """One line, with its newline.

    Raises:
        FormatError: the body has a fraction or a text that cannot be written, or is too long; ``signer`` is no key.
    """
    public = signer.public
    fields = {
        "cloakfs": _VERSION,
        "kind": kind,
        "made_at": made_at,
        "host": host,
        "body": dict(body),
        "signer": {"algorithm": str(public.algorithm), "public": b64(public.raw)},
    }
    _check_value(fields)
    data = canonical_json(fields | {"signature": b64(signer.sign(_signed(fields)))}) + b"\n"
    if len(data) > limits.DOCUMENT_MAX:
        raise FormatError("a document is too long")
    return data


def open_document(data: bytes, kind: str | None = None) -> Document:
    """The inverse of :func:`sign_document`, for a line as it was written.

    Raises:
        FormatError: it is no document, not spelled as it has to be, or of another kind than ``kind``.
        NewerFormatError: a later version wrote it.
        AuthenticationError: it is not signed by the key that it names.
    """
    value = _read(data)
    try:
        document, signature = _fields(Fields(value))
    except FormatError as exc:
        raise FormatError("a document lacks something, or has what it must not have") from exc
    if canonical_json(value) + b"\n" != data:
        raise FormatError("a document is not spelled as it has to be")
    document.signer.check(signature, _signed({name: value[name] for name in value if name != "signature"}))
    if kind is not None and document.kind != kind:
        raise FormatError("this is a document of another kind")
    return document


def _read(data: bytes) -> dict[str, Any]:
    if len(data) > limits.DOCUMENT_MAX:
        raise FormatError("a document is too long")
    try:
        value = json.loads(data, parse_float=_no_fraction, parse_constant=_no_fraction)
    # RecursionError: brackets in brackets without end.
    except (ValueError, RecursionError) as exc:
        raise FormatError("this is no signed document of cloakfs") from exc
    version = value.get("cloakfs") if isinstance(value, dict) else None
    if type(version) is not int or version < _VERSION:
        raise FormatError("this is no signed document of cloakfs")
    if version > _VERSION:
        raise NewerFormatError("this document was made by a newer cloakfs", hint="Update cloakfs, and try again.")
    _check_value(value)
    return dict(value)


def _fields(fields: Fields) -> tuple[Document, bytes]:
    fields.integer("cloakfs")
    named = fields.object("signer")
    algorithm = _ALGORITHMS.get(named.text("algorithm"))
    if algorithm is None:
        raise FormatError("a document is signed in a way that this version does not know")
    document = Document(
        kind=fields.text("kind"),
        made_at=fields.integer("made_at"),
        host=fields.text("host"),
        body=fields.mapping("body"),
        signer=PublicKey(algorithm, named.base64("public")),
    )
    signature = fields.base64("signature")
    named.finish()
    fields.finish()
    return document, signature


def _signed(fields: Mapping[str, Any]) -> bytes:
    return Label.DOCUMENT + canonical_json(fields)


def _no_fraction(_text: str) -> NoReturn:
    raise FormatError("a document has a number that is no integer")


def _check_value(value: object) -> None:
    """Raises: FormatError: it has something that cannot be read back as it was."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            if not isinstance(name, str):
                raise FormatError("a field of a document has no name")
            _check_value(name)
            _check_value(one)
    elif isinstance(value, str):
        if not is_text(value):
            raise FormatError("a text of a document cannot be written")
    elif isinstance(value, list | tuple):
        for one in value:
            _check_value(one)
    elif value is not None and not isinstance(value, int):
        raise FormatError("a document has a value that JSON does not have, or a fraction")
