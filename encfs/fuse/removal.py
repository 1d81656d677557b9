"""What the kernel says when a disk is taken out.

Owns: its messages (uevents over netlink). Must not know: which disk holds the volume, what is done about it.

Whatever is heard only makes somebody ask the medium, so a false message does no harm. In a container the kernel says
nothing; then a medium that is gone is noticed at the next request.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from errno import ENOBUFS
from typing import Final

import trio

from encfs.fuse.errnos import logger

_NETLINK_KOBJECT_UEVENT: Final = 15
_KERNEL_GROUP: Final = 1
_MESSAGE_MAX: Final = 65536
_LOST: Final = b"ACTION=remove\0SUBSYSTEM=block"


def is_removal(message: bytes) -> bool:
    """Whether a uevent, ``ACTION@PATH`` and ``NAME=VALUE`` with NUL after each, is of a disk that was taken out."""
    fields = message.split(b"\0")
    return b"ACTION=remove" in fields and b"SUBSYSTEM=block" in fields


async def watch(on_removal: Callable[[], None]) -> None:
    """Call ``on_removal`` for each disk, or partition, that is taken out of the machine."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT) as raw:
            raw.setblocking(False)  # noqa: FBT003 - socket takes it so
            raw.bind((0, _KERNEL_GROUP))
            while True:
                await trio.lowlevel.wait_readable(raw)
                if is_removal(_receive(raw)):
                    on_removal()
    except OSError as exc:
        logger.info("the removal of disks is not announced: errno %s", exc.errno)


def _receive(raw: socket.socket) -> bytes:
    """The next message. Where some were lost in a storm of them, one of those may have been a removal."""
    try:
        return raw.recv(_MESSAGE_MAX)
    except OSError as exc:
        if exc.errno != ENOBUFS:
            raise
        return _LOST
