"""Connections for anchors: what other computers may do, each with a bound and a word for it (RFC 5425, RFC 3161)."""

from __future__ import annotations

import base64
import gc
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from encfs.audit import syslog
from encfs.audit.link import RECEIVED_MAX, Link, Peer, trust
from encfs.audit.timestamping import Address, timestamp
from encfs.core.anchors import sign_anchor
from encfs.crypto import timestamps
from encfs.crypto.signing import Signer
from encfs.errors import AnchorError, UsageError
from encfs.format import limits
from tests.support.certificates import Authority, Certified
from tests.support.peers import plain_server
from tests.support.timestamps import answering, http, stamped

ANCHOR = sign_anchor(Signer.generate(), log_id=bytes(16), seq=3, head=bytes(32), wall_ms=1_764_253_336_123)
SHORT = 0.5
LONG = 60.0


@dataclass(frozen=True)
class Yard:
    """An authority, and a server's certificate for localhost."""

    authority: Authority
    server: Certified


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """For all tests of this file."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return Yard(authority, authority.server("localhost", "127.0.0.1"))


@contextmanager
def tls_server(
    server: Certified, talk: Callable[[ssl.SSLSocket], None], *, highest: ssl.TLSVersion | None = None
) -> Iterator[int]:
    """One connection with TLS, with which ``talk`` does what it likes. Yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    if highest is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = highest
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                connection, _ = listening.accept()
                with connection, context.wrap_socket(connection, server_side=True) as line:
                    talk(line)
            except OSError:
                return  # The client has gone away.

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            # If nobody came, the accept above ends here.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=30)
            assert not thread.is_alive()


def send_to(yard: Yard, port: int, *, seconds: float = LONG, host: str = "localhost") -> None:
    """One anchor; a socket that stays open would be a warning, and so fail the test."""
    try:
        syslog.send(ANCHOR, Peer(host, port), context=trust(str(yard.authority.ca)), seconds=seconds)
    finally:
        gc.collect()


def read_to_the_end(line: ssl.SSLSocket, into: bytearray) -> None:
    """Until close_notify; an end without it raises."""
    while piece := line.recv(4096):
        into += piece


def test_the_message_byte_for_byte() -> None:
    """RFC 5424: priority, version, time in UTC, host, program, process, id, structured data, text."""
    element = ANCHOR.element().encode()
    assert syslog.message(ANCHOR, host="desk.practice", pid=42) == (
        b"<109>1 2025-11-27T14:22:16.123Z desk.practice cloakfs 42 anchor "
        + element
        + b" anchor of an audit log "
        + element
    )
    assert syslog.message(ANCHOR, host="fr\u00e4ulein rottenmeier", pid=1).split(b" ")[2] == b"fruleinrottenmeier"
    assert syslog.message(ANCHOR, host="\u0434\u043e\u043c", pid=1).split(b" ")[2] == b"-"
    assert len(syslog.message(ANCHOR, host="h" * 999, pid=1 << 22)) < 2048


@pytest.mark.parametrize("leaves", ["with a farewell", "without a word"])
def test_it_is_framed_and_ended(yard: Yard, leaves: str) -> None:
    """RFC 5425: octet count, message, close_notify; some servers answer that, and some only end the connection."""
    got = bytearray()

    def talk(line: ssl.SSLSocket) -> None:
        read_to_the_end(line, got)  # ends with close_notify, and raises without
        got.extend(b"|ended")
        if leaves == "with a farewell":
            line.unwrap()

    with tls_server(yard.server, talk) as port:
        send_to(yard, port)
    size, _, rest = bytes(got).partition(b" ")
    assert rest.endswith(b"|ended")
    assert int(size) == len(rest) - len(b"|ended")
    assert rest.startswith(b"<109>1 ")


def test_a_server_that_does_not_read(yard: Yard) -> None:
    """It ends the connection and leaves the message unread: that is no success."""

    def talk(line: ssl.SSLSocket) -> None:
        # Once the message is in the kernel of this side, the connection ends without being read.
        line_socket = socket.socket(fileno=os.dup(line.fileno()))
        with line_socket:
            line_socket.recv(1, socket.MSG_PEEK)

    with tls_server(yard.server, talk) as port, pytest.raises(AnchorError, match="ended the connection in the middle"):
        send_to(yard, port)


def test_a_server_that_hears_nothing_of_the_end(yard: Yard) -> None:
    """It reads everything and never ends: there is a bound."""
    done = threading.Event()

    def talk(line: ssl.SSLSocket) -> None:
        read_to_the_end(line, bytearray())
        done.wait(60)

    with tls_server(yard.server, talk) as port:
        try:
            with pytest.raises(AnchorError, match="does not answer in time"):
                send_to(yard, port, seconds=SHORT)
        finally:
            done.set()


def test_a_server_that_talks(yard: Yard) -> None:
    """No syslog server answers: whatever that is, it is not one."""

    def talk(line: ssl.SSLSocket) -> None:
        line.recv(10)
        line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        read_to_the_end(line, bytearray())

    with tls_server(yard.server, talk) as port, pytest.raises(AnchorError, match="no syslog server"):
        send_to(yard, port)


def test_a_server_that_sends_without_end(yard: Yard) -> None:
    """A handshake of more bytes than any has: taken up to a bound, well within the time."""

    def flood(connection: socket.socket) -> None:
        connection.recv(1)
        # Records of a handshake message that says it has 16 MiB.
        record = b"\x16\x03\x03\x40\x00" + bytes(1 << 14)
        connection.sendall(b"\x16\x03\x03\x00\x04\x02\xff\xff\xff" + record * 1000)

    with plain_server(flood) as port, pytest.raises(AnchorError, match=r"more than|TLS as it should"):
        send_to(yard, port)

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"x" * (RECEIVED_MAX + 1))
        while connection.recv(4096):
            pass

    with (
        plain_server(talk) as port,
        Link(Peer("127.0.0.1", port), context=None, seconds=LONG) as link,
        pytest.raises(AnchorError, match="more than it was asked for"),
    ):
        link.makefile("rb").read()


def test_a_server_that_wants_a_certificate(yard: Yard) -> None:
    """With TLS 1.3 that comes after the handshake, when the message has been sent; it is told all the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(yard.server.certificate, yard.server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(yard.authority.ca)

    def talk(connection: socket.socket) -> None:
        line = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with line, socket.socket(fileno=os.dup(line.fileno())) as below:
            with pytest.raises(ssl.SSLError):
                line.do_handshake()
            # The other side was told why. What it sent is read, so that no reset of the connection hides that.
            while below.recv(4096):
                pass

    with plain_server(talk) as port, pytest.raises(AnchorError, match="certificate required") as raised:
        send_to(yard, port)
    assert "--client-cert" in raised.value.hint


def _garbage(connection: socket.socket) -> None:
    connection.recv(1)
    connection.sendall(os.urandom(1) + b"SSH-2.0-OpenSSH_9.2 garbage\r\n" * 10)
    while connection.recv(4096):
        pass


def _drip(connection: socket.socket, begin: bytes = b"\x16\x03\x03\x40\x00", each: bytes = b"\x02") -> None:
    """A handshake that begins well and goes on a byte at a time, twenty times as long as anybody waits for it."""
    connection.sendall(begin)
    connection.settimeout(SHORT / 10)
    for _ in range(200):
        connection.sendall(each)
        # Whatever comes first: the other side has gone, or it is time for another byte.
        try:
            if not connection.recv(4096):
                return
        except TimeoutError:
            pass


def _nothing(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def _goes(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    ("talk", "seconds", "said"),
    [
        (_garbage, LONG, "does not speak TLS as it should"),
        (_drip, SHORT, "does not answer in time"),
        (_nothing, SHORT, "does not answer in time"),
        (_goes, LONG, "perhaps it does not speak TLS"),
    ],
)
def test_servers_without_tls(yard: Yard, talk: Callable[[socket.socket], None], seconds: float, said: str) -> None:
    """Garbage, a drip, silence, an end: each is told, and none takes longer than it may."""
    with plain_server(talk) as port, pytest.raises(AnchorError, match=said):
        send_to(yard, port, seconds=seconds)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(yard: Yard) -> None:
    """TLS 1.1 is not spoken."""
    with (
        tls_server(yard.server, lambda _: None, highest=ssl.TLSVersion.TLSv1_1) as port,
        pytest.raises(AnchorError, match=r"TLS|refuses us"),
    ):
        send_to(yard, port)
    assert trust(None).minimum_version is ssl.TLSVersion.TLSv1_2


def test_certificates_are_verified(yard: Yard, tmp_path: Path) -> None:
    """Of another authority, for another name, expired: each is refused, with its word, before anything is sent."""
    other = Authority(tmp_path)
    cases = [
        (other.server("localhost"), "not trusted here"),
        (yard.authority.server("loghost.example"), "for another name"),
        (yard.authority.server("localhost", expired=True), "has expired"),
        (yard.authority.client("localhost"), "is not right"),
    ]
    for certified, said in cases:
        got = bytearray()
        with (
            tls_server(certified, lambda line, into=got: read_to_the_end(line, into)) as port,
            pytest.raises(AnchorError, match=said),
        ):
            send_to(yard, port)
        assert got == b""


def test_the_address_is_compared_too(yard: Yard) -> None:
    """Reached by its address, the address has to stand in the certificate."""
    with tls_server(yard.server, lambda line: read_to_the_end(line, bytearray())) as port:
        send_to(yard, port, host="127.0.0.1")
    by_name = yard.authority.server("localhost")
    with (
        tls_server(by_name, lambda line: read_to_the_end(line, bytearray())) as port,
        pytest.raises(AnchorError, match="another name"),
    ):
        send_to(yard, port, host="127.0.0.1")


def test_nobody_there(yard: Yard) -> None:
    """A port where nothing listens, and a name that does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(AnchorError, match="nothing listens there"):
        send_to(yard, port, host="127.0.0.1")
    with pytest.raises(AnchorError, match="is not known"):
        send_to(yard, 6514, host="no-such-host.invalid")


def test_what_certificates_may_be(yard: Yard, tmp_path: Path) -> None:
    """Files that are none, keys that do not fit or want a passphrase, files that are not there."""
    garbage = tmp_path / "garbage"
    garbage.write_text("no certificate")
    for ca in (garbage, yard.server.key):
        with pytest.raises(UsageError, match="--ca"):
            trust(str(ca))
    other = yard.authority.client("other")
    with pytest.raises(UsageError, match="do not go together"):
        trust(None, str(yard.server.certificate), str(other.key))
    secret = tmp_path / "secret.key"
    secret.write_bytes(_with_passphrase(other.key.read_bytes()))
    with pytest.raises(UsageError, match="passphrase"):
        trust(None, str(other.certificate), str(secret))
    for missing in ((str(tmp_path / "a"), None, None), (None, str(tmp_path / "a"), None)):
        with pytest.raises(FileNotFoundError) as raised:
            trust(*missing)
        assert raised.value.filename == str(tmp_path / "a")


def _with_passphrase(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(pem, None)
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"secret"))


# -- an authority of timestamps --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(yard: Yard) -> Certified:
    """What timestamps are signed with."""
    return yard.authority.timestamps("tsa")


def ask(yard: Yard, port: int, *, seconds: float = LONG, scheme: str = "http") -> bytes:
    """A timestamp of whoever listens there."""
    roots = timestamps.Roots(yard.authority.ca.read_bytes())
    address = Address.of(f"{scheme}://localhost:{port}/tsa?x=1")
    try:
        return timestamp(b"data", address, roots, context=trust(str(yard.authority.ca)), seconds=seconds)[0]
    finally:
        gc.collect()


def test_a_timestamp_over_http_and_https(yard: Yard, authority: Certified, tmp_path: Path) -> None:
    """The same request; https also verifies who is spoken to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(yard.server.certificate, yard.server.key)
    roots = timestamps.Roots(yard.authority.ca.read_bytes())
    with answering(lambda query: http(stamped(tmp_path, query, authority))) as port:
        assert roots.check(ask(yard, port), b"data").authority == "CN=tsa"
    wrap = lambda connection: context.wrap_socket(connection, server_side=True)  # noqa: E731
    with answering(lambda query: http(stamped(tmp_path, query, authority)), wrap=wrap) as port:
        assert roots.check(ask(yard, port, scheme="https"), b"data").authority == "CN=tsa"
        with pytest.raises(AnchorError, match=r"not speak HTTP|in the middle"):
            ask(yard, port, scheme="http")


def _chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_a_timestamp_in_chunks(yard: Yard, authority: Certified, tmp_path: Path) -> None:
    """As proxies send it."""
    with answering(lambda query: _chunked(stamped(tmp_path, query, authority))) as port:
        assert ask(yard, port)


HUGE = b"x" * (limits.TIMESTAMP_MAX + 1)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: "
ANSWERS: dict[str, tuple[bytes, str]] = {
    "an error": (http(b"", "500 Oops"), "status 500"),
    "elsewhere": (http(b"", "302 Found"), "status 302"),
    "a page": (http(b"<html>", kind="text/html"), "something else than a timestamp"),
    "garbage": (http(b"garbage"), "no timestamp"),
    "nothing": (http(b""), "no timestamp"),
    "no HTTP": (b"220 mail.example ESMTP\r\n" * 5, "does not speak HTTP"),
    "the end": (b"", "does not speak HTTP"),
    "cut short": (http(b"x" * 100)[:-50], "no timestamp"),
    "too long": (http(HUGE), "far longer"),
    "a header without end": (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * RECEIVED_MAX * 2, "does not speak HTTP"),
    "headers without end": (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000, "does not speak HTTP"),
    "no length, no end": (LENGTH[:-16] + b"\r\n" + b"x" * RECEIVED_MAX * 2, "far longer|more than"),
    "a length below 0": (LENGTH + b"-5\r\n\r\nabc", "no timestamp|HTTP"),
    "a length that is none": (LENGTH + b"many\r\n\r\nabc", "no timestamp|HTTP"),
    "chunks of nonsense": (LENGTH[:-16] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", "does not speak HTTP"),
}


@pytest.mark.parametrize(("answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_bad_answers(yard: Yard, answer: bytes, said: str) -> None:
    """Each ends with our error; none takes more memory than it may."""
    with answering(lambda _: answer) as port, pytest.raises(AnchorError, match=said):
        ask(yard, port)


def test_an_authority_that_is_silent_or_drips(yard: Yard) -> None:
    """A bound in time, whatever comes."""
    with answering(None) as port, pytest.raises(AnchorError, match="does not answer in time"):
        ask(yard, port, seconds=SHORT)

    def drip(connection: socket.socket) -> None:
        _drip(connection, b"HTTP/1.1 200 OK\r\nX: ", b"x")

    with plain_server(drip) as port, pytest.raises(AnchorError, match="does not answer in time"):
        ask(yard, port, seconds=SHORT)


def test_answers_that_are_no_proof(yard: Yard, authority: Certified, tmp_path: Path) -> None:
    """A refusal, an answer to another question, one for other data, of another authority, without the right purpose."""
    old = timestamps.question(b"data")
    replayed = stamped(tmp_path, old.raw, authority)
    other = Authority(tmp_path, "elsewhere").timestamps("foreign")
    cases = [
        (lambda query: stamped(tmp_path, query, authority, digests="sha512"), "gives no timestamp"),
        (lambda _: replayed, "another question"),
        (lambda _: stamped(tmp_path, timestamps.question(b"other").raw, authority), "another question"),
        (lambda query: stamped(tmp_path, query, other), "not of an authority that is believed here"),
        (lambda query: _flipped(stamped(tmp_path, query, authority)), "damaged"),
    ]
    for answer, said in cases:
        with (
            answering(lambda query, answer=answer: http(answer(query))) as port,
            pytest.raises(AnchorError, match=said),
        ):
            ask(yard, port)


def _flipped(answer: bytes) -> bytes:
    """The last bit of the signature, which ends it."""
    return answer[:-1] + bytes([answer[-1] ^ 1])


# Made with certificates that were good for a minute of November 2026.
OLD_CA = b"""-----BEGIN CERTIFICATE-----
MIIBYDCCAQagAwIBAgIUa3pDn432EmuxaXPRAbbQgfPgia8wCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDb2xkMB4XDTI1MTAyMzE0NDcyMFoXDTI2MTEyNzE0NDgyMFow
DjEMMAoGA1UEAwwDb2xkMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEe7FF0QOG
blJIE/ApLuKPUVv8EqUq/syQaSKupNRzuoOA3cSaTh7RSk04rk6TtdgfoDAFc8mi
8yOZsnSHxoT3maNCMEAwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAQYw
HQYDVR0OBBYEFLMsuDGW3lPWnAKmZ2I8epNIO1nDMAoGCCqGSM49BAMCA0gAMEUC
IGjjIg1zzI0DVomdNc8jpMMWwU6N8bOkuQoUq6zJLbL0AiEA5yP24uNinBgNi6+3
npPlhctbiooJnWYcRKkhROZjNzI=
-----END CERTIFICATE-----
"""
OLD_STAMP = base64.b64decode("""
MIIDhjADAgEAMIIDfQYJKoZIhvcNAQcCoIIDbjCCA2oCAQMxDzANBglghkgBZQMEAgEFADBzBgsqhkiG9w0BCRABBKBkBGIwYAIB
AQYEKgMEATAxMA0GCWCGSAFlAwQCAQUABCA6brB5Dzmsh8lPOFay3SxdEQ5oEWAiYampI9O7I63ItwIBAhgPMjAyNjExMjcxNDQ3
MjBaMAMCAQECCQCE+4cyv+cCIaCCAZ8wggGbMIIBQKADAgECAhQMtVMoak2ZXW9X4MTFYJBc3vEZtzAKBggqhkjOPQQDAjAOMQww
CgYDVQQDDANvbGQwHhcNMjYwODI5MTQ0ODIwWhcNMjYxMTI3MTQ0ODIwWjASMRAwDgYDVQQDDAdvbGQtdHNhMFkwEwYHKoZIzj0C
AQYIKoZIzj0DAQcDQgAEfvCXC6c6HEBezqGHp4aYEiEh5ZhHDM+FgrjklQ9IqRs/p4WBVFFM3yNaxSN0a203CP1dnQJxZ3Z+cJZr
I5BRvqN4MHYwDAYDVR0TAQH/BAIwADAOBgNVHQ8BAf8EBAMCB4AwFgYDVR0lAQH/BAwwCgYIKwYBBQUHAwgwHQYDVR0OBBYEFPqo
hPazty5Ei18lvInkAoYbG/ruMB8GA1UdIwQYMBaAFLMsuDGW3lPWnAKmZ2I8epNIO1nDMAoGCCqGSM49BAMCA0kAMEYCIQDxDPl7
Rz1OSnfRcD/4sAG3agw9Kt0W4+VyD/xWJDZlfwIhAP523wFHJZ5nWefrbicGVroM48SVUnHTcuiS/Kyo23PyMYIBOjCCATYCAQEw
JjAOMQwwCgYDVQQDDANvbGQCFAy1UyhqTZldb1fgxMVgkFze8Rm3MA0GCWCGSAFlAwQCAQUAoIGkMBoGCSqGSIb3DQEJAzENBgsq
hkiG9w0BCRABBDAcBgkqhkiG9w0BCQUxDxcNMjYxMTI3MTQ0NzIwWjAvBgkqhkiG9w0BCQQxIgQg9MubBZb4ijytzGAnCKimHRt9
mrcL2Gq3dRHndlId/nswNwYLKoZIhvcNAQkQAi8xKDAmMCQwIgQgspcvLSgTRjbjpS+IO+I7rK4/WYf8JJkpliMPOoCTaakwCgYI
KoZIzj0EAwIERzBFAiByMixw/EiYHAoDOuf+yDN2xmEVgqhet2dTGI42fKWxLQIhAMtbfuxi8jSwMXg0Nos+NI59lxK2FrNhUIBx
18lBrXMM
""")


def test_a_timestamp_stays_right_when_its_certificates_have_expired(yard: Yard, tmp_path: Path) -> None:
    """What counts is the time that it names; had they expired before that, it would not be believed."""
    roots = timestamps.Roots(OLD_CA)
    assert x509.load_pem_x509_certificate(OLD_CA).not_valid_after_utc < datetime.now(UTC)
    assert roots.check(OLD_STAMP, b"data") == timestamps.Stamp(1795790840000, "CN=old-tsa")
    late = stamped(tmp_path, timestamps.question(b"data").raw, yard.authority.timestamps("late", expired=True))
    with pytest.raises(timestamps.AuthenticationError, match="had expired before it was made"):
        timestamps.Roots(yard.authority.ca.read_bytes()).check(late, b"data")
    with pytest.raises(UsageError, match="--tsa-ca"):
        timestamps.Roots(b"no certificate")


def test_no_bit_of_a_timestamp(yard: Yard, authority: Certified, tmp_path: Path) -> None:
    """Whatever bit is flipped: our error, or the same time, since the bit says nothing. Cut anywhere: our error."""
    roots = timestamps.Roots(yard.authority.ca.read_bytes())
    good = stamped(tmp_path, timestamps.question(b"data").raw, authority)
    said = roots.check(good, b"data")
    through = 0
    for place in range(len(good)):
        changed = bytearray(good)
        changed[place] ^= 1 << place % 8
        try:
            assert roots.check(bytes(changed), b"data") == said
            through += 1
        except (timestamps.AuthenticationError, timestamps.FormatError):
            continue
    assert through < 30
    for size in range(0, len(good), 3):
        with pytest.raises(timestamps.FormatError):
            roots.check(good[:size], b"data")


@pytest.mark.parametrize(
    "url",
    [
        *("", "tsa.example", "ftp://tsa.example/", "http://", "http:///x", "http://a b/", "http://h:99999/"),
        *("https://u:p@h/", "http://h/\r\nX: y", "http://[::1/", "file:///etc/passwd"),
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    """Refused before anything is sent."""
    with pytest.raises(UsageError):
        Address.of(url)


def test_addresses() -> None:
    """Ports and paths as they should be."""
    assert Address.of("http://h") == Address(Peer("h", 80), "/", is_tls=False)
    assert Address.of("https://h/a/b?c=d#e") == Address(Peer("h", 443), "/a/b?c=d", is_tls=True)
    assert str(Address.of("https://[::1]:8443/").peer) == "[::1]:8443"


def test_a_connection_that_ends_is_at_its_end() -> None:
    """Without TLS an end is an end; whether enough came is for the reader to say."""
    with plain_server(lambda _: None) as port, Link(Peer("127.0.0.1", port), context=None, seconds=LONG) as link:
        assert link.makefile("rb").read() == b""
