"""Certificates that live as long as a test: an authority, and what it signs for servers, clients and timestamps."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Use
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certified:
    """Files of a certificate and of its key (PEM)."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is ``ca``, a file."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + 400 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        self.ca = directory / f"{name}-ca.pem"
        self.ca.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def server(self, *names: str, expired: bool = False) -> Certified:
        """For a server with these names or addresses of IP."""
        return self._issue(names[0], names, Use.SERVER_AUTH, expired=expired)

    def client(self, name: str) -> Certified:
        return self._issue(name, (), Use.CLIENT_AUTH)

    def timestamps(self, name: str, *, expired: bool = False) -> Certified:
        """For an authority of timestamps."""
        return self._issue(name, (), Use.TIME_STAMPING, expired=expired)

    def _issue(
        self, name: str, names: tuple[str, ...], use: x509.ObjectIdentifier, *, expired: bool = False
    ) -> Certified:
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.now(UTC) + (-DAY if expired else 30 * DAY)
        public = self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - 90 * DAY)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=use == Use.TIME_STAMPING)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), False)
        # A name may have several.
        self._count += 1
        stem = f"{self._count}-{name}"
        made = Certified(self.directory / f"{stem}.pem", self.directory / f"{stem}.key")
        made.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        made.key.chmod(0o600)
        return made


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
