"""A connection to another computer, plain or with TLS, that ends when its time is over.

Owns: whom TLS trusts, the limits of time and size, and how a failure is told. Must not know: what is said over it.

The one place that uses ``ssl``: certificates are always verified and names always compared (RFC 9525 by way of
OpenSSL); versions before TLS 1.2 are refused.
"""

from __future__ import annotations

import fcntl
import io
import os
import socket
import ssl
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeAlias, TypeVar

from encfs.errors import AnchorError, UsageError

RECEIVED_MAX: Final = 256 << 10
"""Bytes that are taken from one connection; a timestamp with its certificates has some 6,000."""
_PIECE: Final = 16 << 10
_POLL: Final = 0.01
_RIGHT_PLACE: Final = "Is it the right server, and the right port?"
# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_EXPIRED: Final = 10
_UNKNOWN: Final = {2, 18, 19, 20, 21}
_OTHER_NAME: Final = {62, 64}

Trust: TypeAlias = ssl.SSLContext
"""Whom to believe, and what to show: of :func:`trust`."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Peer:
    """Where to connect to.

    Attributes:
        host: a name, or an address of IP without brackets.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def trust(ca: str | None, client_cert: str | None = None, client_key: str | None = None) -> Trust:
    """Whom to believe, and what to show.

    Args:
        ca: file with the certificates (PEM) that a server's has to follow from; without it those of this system.
        client_cert: file with the certificate to show, and those between it and one that the server trusts.
        client_key: file with its private key, without a passphrase.

    Raises:
        UsageError: a file has not what it should have. OSError: it cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates and compares names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        _readable(ca)
        try:
            context.load_verify_locations(cafile=ca)
        except ssl.SSLError as exc:
            raise UsageError("the file given with --ca has no certificates (PEM)") from exc
    if client_cert is not None:
        _readable(client_cert)
        _readable(client_key or client_cert)
        try:
            context.load_cert_chain(client_cert, client_key, password=_no_passphrase)
        except ssl.SSLError as exc:
            raise UsageError("the certificate to show and its key cannot be read (PEM), or do not go together") from exc
    return context


def _readable(path: str) -> None:
    """Raises: OSError, with the path, which OpenSSL does not tell."""
    with open(path, "rb"):
        pass


def _no_passphrase() -> NoReturn:
    raise UsageError(
        "the key of the certificate to show has a passphrase", hint="Give one without, in a file for its owner alone."
    )


class _Phase(Enum):
    """How far a connection is."""

    REACHING = auto()
    PLAIN = auto()
    SECURED = auto()


class Link:
    """A connection. All that is done with it takes no longer than ``seconds``, but for the look-up of the name.

    TLS goes through buffers in memory: a socket of :mod:`ssl` takes a refusal that comes while it takes leave for a
    farewell.

    Args:
        context: of :func:`trust`; None for no TLS.

    Raises:
        AnchorError: there is no connection to be had; so do all methods, and say why.
    """

    def __init__(self, peer: Peer, *, context: Trust | None, seconds: float) -> None:
        self.peer = peer
        self._until = time.monotonic() + seconds
        self._received = 0
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._phase = _Phase.REACHING
        with self._told():
            self._socket = self._connect()
        if context is None:
            self._phase = _Phase.PLAIN
            return
        try:
            with self._told():
                self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=peer.host)
                self._pump(self._tls.do_handshake)
        except AnchorError:
            self._socket.close()
            raise
        self._phase = _Phase.SECURED

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Without taking leave."""
        self._socket.close()

    def sendall(self, data: bytes) -> None:
        tls = self._tls
        with self._told():
            if tls is None:
                self._send(data)
            else:
                self._pump(lambda: tls.write(data))

    def makefile(self, *_mode: object) -> io.BufferedReader:
        """What comes, for :mod:`http.client`."""
        return io.BufferedReader(_Reading(self))

    def receive_into(self, buffer: memoryview) -> int:
        """What there is, at the end 0."""
        tls = self._tls
        with self._told():
            if tls is None:
                data = self._receive(len(buffer))
            else:
                try:
                    data = self._pump(lambda: tls.read(len(buffer)))
                except ssl.SSLZeroReturnError:
                    data = b""
            buffer[: len(data)] = data
            return len(data)

    def take_leave(self) -> None:
        """Say that nothing more comes (close_notify), and wait until the other side ends as well.

        Then it has read everything. With TLS 1.3 this is also where a server says that it does not like the certificate
        it was shown. Some (rsyslog with GnuTLS) end without a word, in both cases: then the kernel knows whether
        anything was left unread, because that makes a reset out of the end.
        """
        tls = self._tls
        assert tls is not None
        with self._told():
            self._nothing_more(tls)
            try:
                tls.unwrap()
            except ssl.SSLWantReadError:
                pass  # Ours is in the buffer; theirs is not, since nothing was read meanwhile.
            self._flush()
            try:
                while self._nothing_more(tls):
                    self._feed()
            except ssl.SSLZeroReturnError:
                return
            except ssl.SSLEOFError:
                self._wait_until_taken()

    def _nothing_more(self, tls: ssl.SSLObject) -> bool:
        """Whether more may come. Raises: ssl.SSLError: a farewell, the end, or a refusal; AnchorError: it talks."""
        try:
            data = tls.read(1)
        except ssl.SSLWantReadError:
            return True
        if data:
            raise AnchorError(f"{self.peer} answers, which no syslog server does", hint=_RIGHT_PLACE)
        raise ssl.SSLZeroReturnError

    def _wait_until_taken(self) -> None:
        """Raises: OSError: not all that was sent was read by the program on the other side."""
        waiting = True
        while waiting:
            self._left()
            waiting = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)) != bytes(4)
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise ConnectionResetError(error, os.strerror(error))
            if waiting:
                time.sleep(_POLL)

    # -- bytes -------------------------------------------------------------------------------------------------

    def _pump(self, step: Callable[[], _T]) -> _T:
        """One step of TLS, with all that it wants to send and receive."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
                continue
            except ssl.SSLError:
                # The other side shall hear why; that it may be gone already is not what is wrong.
                with suppress(OSError):
                    self._flush()
                raise
            self._flush()
            return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._send(self._outgoing.read())

    def _feed(self) -> None:
        data = self._receive(_PIECE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def _receive(self, most: int) -> bytes:
        self._socket.settimeout(self._left())
        data = self._socket.recv(most)
        self._received += len(data)
        if self._received > RECEIVED_MAX:
            raise AnchorError(f"{self.peer} sends more than it was asked for", hint=_RIGHT_PLACE)
        return data

    # -- time and failures -------------------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        problem: OSError = TimeoutError()
        try:
            found = socket.getaddrinfo(self.peer.host, self.peer.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise AnchorError(
                f"{self.peer} is not known: there is no such name, or whoever knows names was not reached",
                hint="Look for a mistake in the name, and whether this computer is connected.",
            ) from exc
        for family, kind, protocol, _, address in found:
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self._left())
                made.connect(address)
            except OSError as exc:
                made.close()
                problem = exc
            else:
                return made
        raise problem

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Failures as people read them."""
        try:
            yield
        except (OSError, ValueError) as exc:  # ValueError: a name that no certificate can have
            why, hint = _told_of(exc, self._phase)
            raise AnchorError(f"{self.peer} {why}", hint=hint) from exc


class _Reading(io.RawIOBase):
    """The reading side of a link."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - what io gives
        return self._link.receive_into(memoryview(buffer).cast("B"))


def _told_of(exc: OSError | ValueError, phase: _Phase) -> tuple[str, str]:
    """What happened, behind the name of the server, and what to do."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _distrust(exc)
    if isinstance(exc, TimeoutError):
        return "does not answer in time", "Is it switched on and connected? A longer time can be given: --timeout"
    if isinstance(exc, ConnectionRefusedError):
        return "refuses the connection: nothing listens there", _RIGHT_PLACE
    if isinstance(exc, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return {
            _Phase.SECURED: ("ended the connection in the middle", "Does it want a certificate of us? --client-cert"),
            _Phase.PLAIN: ("ended the connection in the middle", _RIGHT_PLACE),
            _Phase.REACHING: ("ended the connection at once: perhaps it does not speak TLS", _RIGHT_PLACE),
        }[phase]
    if isinstance(exc, ssl.SSLError):
        reason = (exc.reason or "no reason was given").lower().replace("_", " ")
        if "alert" in reason:
            return f"refuses us: {reason}", "Does it want a certificate of us, or another one? --client-cert"
        return f"does not speak TLS as it should: {reason}", _RIGHT_PLACE
    return f"cannot be reached: {(exc.strerror if isinstance(exc, OSError) else None) or exc}", ""


def _distrust(exc: ssl.SSLCertVerificationError) -> tuple[str, str]:
    code = exc.verify_code
    if code == _EXPIRED:
        return (
            "shows a certificate that has expired",
            "Have it renewed there. Look also whether the clock of this computer is right.",
        )
    if code in _OTHER_NAME:
        return "shows a certificate for another name", "Use the name that stands in it, or have one made for this name."
    if code in _UNKNOWN:
        return (
            "shows a certificate that is not trusted here",
            "Give the certificate of whoever has signed it: --ca FILE",
        )
    return f"shows a certificate that is not right: {exc.verify_message}", ""
