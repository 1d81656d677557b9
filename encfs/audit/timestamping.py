"""Asking an authority for a timestamp, over HTTP.

Owns: the conversation (RFC 3161 section 3.4). Must not know: what is stamped, where the answer goes.

Plain HTTP is as good as HTTPS here: what is sent is a digest, and the answer is signed, has the nonce of the question,
and is checked before it is kept. Most authorities offer nothing else.
"""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from encfs.audit.link import Link, Peer, Trust
from encfs.crypto.timestamps import Roots, Stamp, question, refusal
from encfs.errors import AnchorError, DataError, UsageError
from encfs.format import limits

_ASKS: Final = "application/timestamp-query"
_ANSWERS: Final = "application/timestamp-reply"
_PORTS: Final = {"http": 80, "https": 443}
_PRINTED: Final = re.compile(r"[!-~]*")
_REFUSAL_MAX: Final = 200
_HINT: Final = "Is it the address of an authority of timestamps (RFC 3161)?"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an authority is asked."""

    peer: Peer
    path: str
    is_tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises: UsageError: it is no address that can be asked."""
        try:
            parts = urlsplit(url)
            port = parts.port
            if parts.scheme not in _PORTS or not parts.hostname or not _PRINTED.fullmatch(url):
                raise ValueError
        except ValueError as exc:
            raise UsageError(
                "the address given with --timestamp is none", hint="Give one that begins with http:// or https://"
            ) from exc
        if "@" in parts.netloc:
            raise UsageError(
                "the address given with --timestamp has a name of a user in it, which is not supported",
                hint="Use an authority that answers without.",
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(Peer(parts.hostname, port or _PORTS[parts.scheme]), path, parts.scheme == "https")


def timestamp(
    data: bytes, address: Address, roots: Roots, *, context: Trust | None, seconds: float
) -> tuple[bytes, Stamp]:
    """A TimeStampResp over ``data`` that was checked, and what it says.

    With https, ``context`` is of :func:`encfs.audit.link.trust`.

    Raises:
        AnchorError: there is none to be had, or it is not right.
    """
    asked = question(data)
    answer = _ask(asked.raw, address, context=context if address.is_tls else None, seconds=seconds)
    try:
        refused = refusal(answer)
        if refused is not None:
            raise AnchorError(f'{address.peer} gives no timestamp: "{refused[:_REFUSAL_MAX]}"')
        return answer, roots.check(answer, data, asked.nonce)
    except DataError as exc:
        raise AnchorError(f"{address.peer}: {exc}", hint="Is it the authority whose certificate --tsa-ca has?") from exc


class _Connection(http.client.HTTPConnection):
    """Over a link, which has limits, and which stays open until all was read."""

    def __init__(self, link: Link) -> None:
        super().__init__(link.peer.host, link.peer.port)
        self.sock = link

    def close(self) -> None:
        """Whoever has the link closes it: http.client would do so before the answer was read."""


def _ask(body: bytes, address: Address, *, context: Trust | None, seconds: float) -> bytes:
    with Link(address.peer, context=context, seconds=seconds) as link:
        connection = _Connection(link)
        try:
            connection.request("POST", address.path, body, {"Content-Type": _ASKS, "Connection": "close"})
            response = connection.getresponse()
            answer = response.read(limits.TIMESTAMP_MAX + 1) if response.status == http.client.OK else b""
        except (http.client.HTTPException, ValueError) as exc:
            raise AnchorError(f"{address.peer} does not speak HTTP as it should", hint=_HINT) from exc
    if response.status != http.client.OK:
        raise AnchorError(f"{address.peer} answers with status {response.status} of HTTP", hint=_HINT)
    if response.headers.get_content_type() != _ANSWERS:
        raise AnchorError(f"{address.peer} answers with something else than a timestamp", hint=_HINT)
    if len(answer) > limits.TIMESTAMP_MAX:
        raise AnchorError(f"{address.peer} answers with something far longer than a timestamp", hint=_HINT)
    return answer
