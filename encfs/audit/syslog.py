"""Anchors to a syslog server, over TLS.

Owns: the message (RFC 5424, FORMAT.md section 16) and how it is sent (RFC 5425). Must not know: how an anchor is made,
whom TLS trusts.
"""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from typing import Final

from encfs.audit.link import Link, Peer, Trust
from encfs.format.anchor import Anchor

PORT: Final = 6514
_PRIORITY: Final = 13 * 8 + 5  # facility "log audit", severity "notice"
_HOST_MAX: Final = 255


def send(anchor: Anchor, peer: Peer, *, context: Trust, seconds: float) -> None:
    """One message. That the server has read it is certain when this returns, and no more: syslog acknowledges nothing.

    Raises:
        AnchorError: it could not be sent, or it is not certain that it was read.
    """
    data = message(anchor, host=socket.gethostname(), pid=os.getpid())
    with Link(peer, context=context, seconds=seconds) as link:
        link.sendall(b"%d %b" % (len(data), data))
        link.take_leave()


def message(anchor: Anchor, *, host: str, pid: int) -> bytes:
    """The message without its frame: ASCII, less than the 2,048 bytes that every server over TLS has to take."""
    at = datetime.fromtimestamp(anchor.wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = "".join(character for character in host if "!" <= character <= "~")[:_HOST_MAX] or "-"
    element = anchor.element()
    text = f"<{_PRIORITY}>1 {at} {name} cloakfs {pid} anchor {element} anchor of an audit log {element}"
    return text.encode("ascii")
