"""encfs/core/documents.py: what is signed and read back, and all that is refused (FORMAT.md section 17)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encfs.core.documents import Document, open_document, sign_document
from encfs.crypto.signing import Algorithm, PublicKey, Signer
from encfs.errors import AuthenticationError, CloakfsError, FormatError, NewerFormatError
from encfs.format import limits
from encfs.format.base64url import decode
from encfs.format.canonical import b64, canonical_json

SIGNER = Signer.generate()
BODY: dict[str, Any] = {"a": 1, "b": [True, None, "ü"], "c": {"d": -5}}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


def made(signer: Signer = SIGNER, **changed: Any) -> bytes:
    """A document, or one with other arguments."""
    return sign_document(
        signer, **({"kind": "test", "made_at": 1_700_000_000, "host": "office", "body": BODY} | changed)
    )


def signed_anew(**changed: Any) -> bytes:
    """A document that was changed by somebody who has the key."""
    fields = json.loads(made()) | changed
    del fields["signature"]
    signature = SIGNER.sign(b"cloakfs/1 document" + canonical_json(fields))
    return canonical_json(fields | {"signature": b64(signature)}) + b"\n"


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_back_as_it_was(algorithm: Algorithm) -> None:
    """Both algorithms, by the same interface."""
    signer = Signer.generate(algorithm)
    assert open_document(made(signer), "test") == Document("test", 1_700_000_000, "office", BODY, signer.public)


def test_the_bytes_are_those_of_the_format() -> None:
    """Section 17, put together here by hand."""
    line = made()
    fields = json.loads(line)
    assert list(fields) == ["body", "cloakfs", "host", "kind", "made_at", "signature", "signer"]
    assert fields["signer"] == {"algorithm": "ed25519", "public": b64(SIGNER.public.raw)}
    head = line[: line.index(b'"signature"')]
    signed = b"cloakfs/1 document" + head + line[line.index(b'"signer"') : -1]
    SIGNER.public.check(decode(fields["signature"].encode()), signed)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES))
@settings(max_examples=60)
def test_any_body(body: dict[str, Any]) -> None:
    """Whatever JSON has but fractions."""
    assert open_document(made(body=body)).body == body


def test_one_bit_anywhere() -> None:
    """No bit of the line can be changed."""
    line = made()
    for at in range(len(line)):
        for bit in range(8):
            wrong = bytearray(line)
            wrong[at] ^= 1 << bit
            with pytest.raises((FormatError, AuthenticationError, NewerFormatError)):
                open_document(bytes(wrong))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b'{"cloakfs":true}\n',
        b"[" * 100_000,
        b'{"cloakfs":1.0}\n',
        b'{"cloakfs":NaN}\n',
        b'{"cloakfs":1' + b"0" * 5000 + b"}\n",
        b"\xff\n",
        made()[:-1],
        made() + b"\n",
        made() + made(),
        b" " + made(),
        made().replace(b'"kind":"test"', b'"kind":"test","kind":"test"'),
        signed_anew(more=1),
        signed_anew(body=[]),
        signed_anew(kind=1),
        signed_anew(made_at="1"),
        signed_anew(made_at=True),
        signed_anew(host=None),
        signed_anew(signer={}),
        signed_anew(signer={"algorithm": "rsa", "public": ""}),
        signed_anew(signer={"algorithm": "ed25519", "public": b64(SIGNER.public.raw), "more": 1}),
        signed_anew(cloakfs=0),
        signed_anew(body={"a": "\ud800"}),
    ],
)
def test_no_document(line: bytes) -> None:
    """Our error and no other, also where it is signed."""
    with pytest.raises(FormatError):
        open_document(line)


def test_signed_by_another() -> None:
    """The key that it names did not sign it."""
    other = Signer.generate().public
    with pytest.raises(AuthenticationError):
        open_document(signed_anew(signer={"algorithm": "ed25519", "public": b64(other.raw)}))


def test_a_newer_version_and_another_kind() -> None:
    """Said before anything else is looked at; and a certificate is no pack."""
    with pytest.raises(NewerFormatError):
        open_document(b'{"cloakfs":2,"what":"ever"}\n')
    with pytest.raises(FormatError, match="another kind"):
        open_document(made(), "evidence")


@pytest.mark.parametrize("value", [1.5, float("nan"), b"", object(), {1: 2}, "\ud800", ["\udfff"], {"\ud800": 1}])
def test_what_cannot_be_signed(value: object) -> None:
    """Nothing is signed that could not be read."""
    with pytest.raises(FormatError):
        made(body={"a": value})


def test_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither written nor read."""
    monkeypatch.setattr(limits, "DOCUMENT_MAX", len(made()))
    made()
    with pytest.raises(FormatError, match="too long"):
        made(host="office2")
    monkeypatch.setattr(limits, "DOCUMENT_MAX", len(made()) - 1)
    with pytest.raises(FormatError, match="too long"):
        open_document(signed_anew())


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """No exception but ours."""
    with pytest.raises(CloakfsError):
        open_document(data)


def test_the_key_may_be_none() -> None:
    """A public key that is no point or has no length."""
    for public in (b"", bytes(31), bytes([2]) + b"\xff" * 32):
        with pytest.raises(AuthenticationError):
            PublicKey(Algorithm.ECDSA_P256, public).check(bytes(64), b"")
