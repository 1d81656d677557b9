"""Timestamps of an authority (RFC 3161): asking for one, and checking it.

Owns: these objects as bytes; the only importer of rfc3161_client, late. Must not know: what is stamped, how an
authority is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509

from encfs.errors import AuthenticationError, CloakfsError, FormatError, UsageError

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_GRANTED: Final = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A TimeStampReq, and the nonce in it: the answer has the same."""

    raw: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a timestamp says.

    Attributes:
        at_ms: when the digest was shown to the authority, milliseconds since 1970.
        authority: whom its certificate names.
    """

    at_ms: int
    authority: str


class Roots:
    """The authorities that are believed.

    Args:
        pem: certificates; what a timestamp is signed with has to follow from one of them.

    Raises:
        UsageError: there are none. CloakfsError: what checks timestamps is not installed.
    """

    def __init__(self, pem: bytes) -> None:
        _require()
        try:
            self._roots = x509.load_pem_x509_certificates(pem)
        except ValueError as exc:
            raise UsageError("the file given with --tsa-ca has no certificates (PEM)") from exc

    def check(self, answer: bytes, data: bytes, nonce: int | None = None) -> Stamp:
        """That a TimeStampResp is of such an authority, and for ``data``; the nonce as long as it is known.

        Certificates have to have been good at the time that it names; so it stays right when they have expired.

        Raises:
            AuthenticationError: it is not; the text says why.
            FormatError: it is no timestamp.
        """
        from rfc3161_client import VerificationError, VerifierBuilder  # noqa: PLC0415 - an optional part

        found = _parse(answer)
        builder = VerifierBuilder(roots=list(self._roots), intermediates=[], nonce=nonce)
        try:
            builder.build().verify_message(found, data)
            return Stamp(int(found.tst_info.gen_time.timestamp() * 1000), _signer_of(found))
        except VerificationError as exc:
            raise AuthenticationError(_why(str(exc))) from exc
        except (ValueError, TypeError, OverflowError, x509.UnsupportedGeneralNameType) as exc:
            raise FormatError("the timestamp is damaged") from exc


def question(data: bytes) -> Question:
    """Asks for a timestamp on the SHA-256 of ``data``, with a nonce and the certificates.

    Raises:
        CloakfsError: what asks for timestamps is not installed.
    """
    _require()
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415 - an optional part

    made = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    if made.nonce is None:
        raise AssertionError("internal error: a question without a nonce")
    return Question(made.as_bytes(), made.nonce)


def refusal(answer: bytes) -> str | None:
    """What an authority says where it gives no timestamp; None where it gives one. Raises: FormatError: it is none."""
    found = _parse(answer)
    if found.status == _GRANTED:
        return None
    return "; ".join(found.status_string) or f"status {found.status}"


def _parse(answer: bytes) -> TimeStampResponse:
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415 - an optional part

    try:
        return decode_timestamp_response(answer)
    except ValueError as exc:
        raise FormatError("this is no timestamp (RFC 3161)") from exc


def _signer_of(found: TimeStampResponse) -> str:
    """Whom the certificate names that the signature was checked with. The check has made sure that there is one."""
    (signer,) = found.signed_data.signer_infos
    for raw in found.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(raw)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            return certificate.subject.rfc4514_string()
    raise ValueError("the certificate is not there")


def _why(told: str) -> str:
    """What the library tells, in fewer words."""
    if "Mismatch between messages" in told:
        return "the timestamp is for something else"
    if "Nonce" in told:
        return "the timestamp is the answer to another question"
    if "certificate has expired" in told:
        return "the certificate of the timestamp had expired before it was made"
    if "EKU" in told:
        return "the certificate of the timestamp is not one for timestamps"
    if "certificate verify error" in told:
        return "the timestamp is not of an authority that is believed here"
    return "the timestamp is damaged, or was changed"


def _require() -> None:
    try:
        import rfc3161_client  # noqa: F401, PLC0415 - asked for, not used
    except ImportError:
        raise CloakfsError(
            "timestamps need rfc3161-client, which is not installed",
            hint="Install it with: pip install 'cloakfs[timestamp]'",
        ) from None
